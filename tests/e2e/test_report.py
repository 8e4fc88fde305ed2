"""The report in a real Chromium, on a desk and on a telephone, by day and by night."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fusion.report import page
from tests.support.browser import Browser, running_browser
from tests.support.reports import full_report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("browser")]

WIDTH = "[document.documentElement.scrollWidth, innerWidth]"
SEEN_PLOTS = "[...document.querySelectorAll('svg')].filter(plot => plot.getBoundingClientRect().height > 0).length"
CUT_PLOTS = """[...document.querySelectorAll('svg text')].filter(text => {
  const box = text.getBoundingClientRect(), plot = text.ownerSVGElement.getBoundingClientRect();
  return box.width > 0 && (box.left < plot.left - 1 || box.right > plot.right + 1 || box.top < plot.top - 1
    || box.bottom > plot.bottom + 1);
}).map(text => text.textContent)"""
SMALLEST_TEXT = """Math.min(...[...document.querySelectorAll('svg text')].map(
  text => text.getBoundingClientRect().height).filter(height => height > 0))"""
COLOURS = """[getComputedStyle(document.body).backgroundColor,
  getComputedStyle(document.querySelector('#quality svg text')).fill]"""
SELECTED = "getSelection().selectAllChildren(document.querySelector('#quality figure')), getSelection().toString()"
QUESTIONS = (WIDTH, SEEN_PLOTS, CUT_PLOTS, SMALLEST_TEXT, COLOURS, SELECTED)
PLOTS = 13
"""Four figures and the calibration of nine behaviours."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page.render(*full_report()))
    return path


@pytest.mark.parametrize("width_px", [1280, 390])
def test_it_is_readable(browser: Browser, report: Path, width_px: int) -> None:
    light, dark = (browser.show(report, width_px=width_px, dark=dark, questions=QUESTIONS) for dark in (False, True))
    for shown in (light, dark):
        assert shown.faults == []
        assert shown.requests == [report.as_uri()]
        needed, there = shown[WIDTH]
        assert there == width_px
        assert needed <= there
        assert shown[SEEN_PLOTS] == PLOTS
        assert shown[CUT_PLOTS] == []
        assert shown[SMALLEST_TEXT] >= 9
        assert "churn_7d" in shown[SELECTED]
    assert not set(light[COLOURS]) & set(dark[COLOURS])
    assert light.screenshot != dark.screenshot
    # Blank pages compress to almost nothing.
    assert min(len(light.screenshot), len(dark.screenshot)) > 50_000


def test_a_bad_page_would_be_seen(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='missing.png'><script>console.error('oh')</script><p style='width: 900px'>wide</p>")
    shown = browser.show(bad, width_px=390, dark=False, questions=(WIDTH,))
    assert any("oh" in fault for fault in shown.faults)
    assert (tmp_path / "missing.png").as_uri() in shown.requests
    assert shown[WIDTH][0] > 390
