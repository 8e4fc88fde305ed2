from __future__ import annotations

import re
from xml.etree import ElementTree

from fusion.report.svg import FUSED, drawing, to_svg


def drawn(name: str) -> str:
    with drawing(300, 200) as figure:
        axes = figure.subplots()
        axes.plot([1, 2], [3, 4], "o-", color=FUSED)
        axes.set_title("a <title> & more")
        return to_svg(figure, name=name, title="less < more", description='said "so"')


def test_it_is_one_element_that_names_itself() -> None:
    root = ElementTree.fromstring(drawn("a").replace("xlink:href", "href"))
    assert root.get("role") == "img"
    assert root.get("viewBox") == "0 0 300 200"
    texts = {child.get("id"): child.text for child in root if child.tag in {"title", "desc"}}
    assert texts == {"a-title": "less < more", "a-desc": 'said "so"'}
    assert root.get("aria-labelledby") == " ".join(str(key) for key in texts)


def test_text_stays_text_and_colours_are_the_pages() -> None:
    svg = drawn("a")
    assert "a &lt;title&gt; &amp; more</text>" in svg
    assert "var(--fused)" in svg
    assert re.findall(r"#[0-9a-f]{6}\b", svg) == []
    assert "font-family" not in svg
    assert "<style" not in svg


def test_coordinates_are_rounded_and_numbers_that_people_read_are_not() -> None:
    with drawing(300, 200) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0.0, 0.00375), title="0.123456")
        axes.set_xticks([0.00125], ["0.00125"])
        svg = to_svg(figure, name="a", title="t 0.123456", description="d")
    assert re.findall(r">([^<]*\.\d{3,}[^<]*)<", svg) == ["t 0.123456", "0.00125", "0.123456"]
    assert not re.search(r"<[^>]*\d\.\d{3,}[^>]*>", svg)


def test_two_figures_share_no_id_and_the_same_one_is_the_same() -> None:
    first, second = (set(re.findall(r'\bid="([^"]*)"', drawn(name))) for name in "ab")
    assert not first & second
    assert drawn("a") == drawn("a")
