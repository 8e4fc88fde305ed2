"""The page as text: what is in it, and what never is. `tests/e2e/test_report.py` looks at it in a browser."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from fusion.report import page
from inference.contract.artifact import Manifest, read, write
from inference.contract.passport import Passport
from tests.support.artifacts import build_graph, write_artifact
from tests.support.reports import BEHAVIOURS, full_report

if TYPE_CHECKING:
    from pathlib import Path


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def values(self, attribute: str) -> list[str]:
        return [str(attributes[attribute]) for _, attributes in self.tags if attribute in attributes]


@pytest.fixture(scope="module")
def report() -> tuple[Manifest, Passport]:
    return full_report()


@pytest.fixture(scope="module")
def text(report: tuple[Manifest, Passport]) -> str:
    return page.render(*report)


@pytest.fixture(scope="module")
def elements(text: str) -> Elements:
    return Elements(text)


def test_it_loads_nothing(text: str, elements: Elements) -> None:
    assert {tag for tag, _ in elements.tags}.isdisjoint({"script", "iframe", "img", "object", "embed"})
    assert elements.values("src") == []
    links = elements.values("href") + elements.values("xlink:href")
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_ids_are_unique_and_every_link_leads_to_one(elements: Elements) -> None:
    ids = elements.values("id")
    assert len(set(ids)) == len(ids)
    links = {link[1:] for link in elements.values("href") + elements.values("xlink:href") if link.startswith("#")}
    assert links <= set(ids)
    assert {"summary", "quality", "stages", "calibration", "layers", "candidates", "decisions", "lineage"} <= links


def test_it_says_what_the_passport_says(text: str, report: tuple[Manifest, Passport]) -> None:
    for said in (
        "Simulated players.",
        "9 level",
        "100\N{MULTIPLICATION SIGN}",
        "estimated from CPU time",
        "0.023 → 0.023",
        "A notice that a licence asks for.",
        "boosted_next_session_coop_18",
        "40 trials",
        "separate networks, same size",
        "trial 6",
        "kept dense, as the recipe says",
        "<li>return_24h from 1.00 gru</li>",
        "trunk multiplied out at load (92 µs; all as factors 111 µs)",
    ):
        assert said in text, said
    assert all(behaviour.description in text for behaviour in report[0].behaviours)


def test_the_recipe_says_first_what_a_step_is(text: str) -> None:
    recipe = text[text.index("<pre") :]
    assert recipe.index("name: net") < recipe.index("steps:") < recipe.index("step: distil") < recipe.index("epochs: 3")


def test_what_was_not_measured_is_left_out(report: tuple[Manifest, Passport]) -> None:
    manifest, passport = report
    empty = {"behaviours": (), "stages": (), "layers": (), "calibration": (), "decisions": (), "search": None}
    bare = page.render(
        manifest.model_copy(update={"synthetic": False}),
        passport.model_copy(
            update={
                **empty,
                "baselines": (),
                "lineage": passport.lineage.model_copy(update={"data_is_synthetic": False, "data_notice": ""}),
            }
        ),
    )
    assert set(Elements(bare).values("id")) == {"summary", "lineage", "recipe"}
    assert "Its quality was not measured." in bare
    assert "Simulated" not in bare


def test_a_passport_from_before_the_report_is_enough(tmp_path: Path) -> None:
    artifact = write_artifact(tmp_path / "a")
    ids = set(Elements(page.render(artifact.manifest, artifact.passport)).values("id"))
    assert {"quality", "stages"} <= ids
    assert ids.isdisjoint({"calibration", "layers", "candidates"})


def test_names_are_text_never_markup(report: tuple[Manifest, Passport]) -> None:
    manifest, passport = report
    evil = "<script>alert(1)</script>"
    stage = passport.stages[0].model_copy(update={"stage": evil})
    lineage = passport.lineage.model_copy(update={"data_name": evil, "data_notice": evil})
    told = {"machine": evil, "decisions": (evil,), "recipe": {evil: evil}}
    update = {"stages": (stage,), "lineage": lineage, "calibration": (), **told}
    assert evil not in page.render(manifest, passport.model_copy(update=update))


def test_it_can_be_made_anew_from_the_artifact(report: tuple[Manifest, Passport], text: str, tmp_path: Path) -> None:
    manifest, passport = report
    model = build_graph(len(manifest.features), BEHAVIOURS)
    write(tmp_path / "a", manifest=manifest, model=model, passport=passport, report=text.encode())
    again = read(tmp_path / "a")
    assert page.render(again.manifest, again.passport) == text
    assert (tmp_path / "a" / "report.html").read_text() == text
