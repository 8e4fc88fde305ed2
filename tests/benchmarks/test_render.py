from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import serving_tables, tables
from benchmarks.render import NOT_MEASURED, RESULTS, ROOT, SECTIONS, documents, rendered

if TYPE_CHECKING:
    from pathlib import Path

FUSION: dict[str, Any] = {
    "machine": "two cores",
    "games": {
        "gran_turismo_sport": {
            "behaviours": [
                {
                    "behaviour": "churn_7d",
                    "measure": "auc",
                    "best_teacher": "gru",
                    "teacher": {"value": 0.8207, "low": 0.81, "high": 0.83},
                    "fused": {"value": 0.8201, "low": 0.809, "high": 0.83},
                    "change": {"value": -0.0006, "low": -0.002, "high": 0.001},
                }
            ],
            "teachers": {"parameters": 900_000, "file_bytes": 4_000_000, "cpu_us_per_lobby": 4_000.0},
            "fused": {"parameters": 20_000, "file_bytes": 90_000, "cpu_us_per_lobby": 100.0},
            "one_session": {"cpu_us_per_lobby": 1_500.0, "fused_cpu_us_per_lobby": 100.0},
            "mean_change": -0.0006,
            "worst_change": -0.0006,
            "seeds": {
                str(seed): {
                    "changes": {"churn_7d": change},
                    "mean_change": change,
                    "worst_change": -0.001,
                    "seconds": 480.0 + seed,
                    "stages": [{"stage": "targets", "mean_change": 0.0007, "worst_change": -0.0456}],
                }
                for seed, change in enumerate((0.001, 0.002, 0.003))
            },
        }
    },
}


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_documents_hold_what_was_measured(path: Path) -> None:
    assert path.read_text() == rendered(path.read_text()), "run: python -m benchmarks.render"


def test_every_section_is_shown_somewhere() -> None:
    shown = {
        name
        for path in documents()
        for name in re.findall(r"^<!-- results:([a-z-]+) -->$", path.read_text(), re.MULTILINE)
    }
    assert shown == set(SECTIONS)


def test_every_stored_result_is_shown() -> None:
    assert {path.name for path in RESULTS.glob("*.json")} <= {file for file, _ in SECTIONS.values()}


def test_only_the_framed_part_changes(tmp_path: Path) -> None:
    (tmp_path / "fusion.json").write_text(json.dumps(FUSION))
    text = "before\n<!-- results:fusion-summary -->\nold\n<!-- /results -->\nafter\n"
    first = rendered(text, tmp_path)
    assert first.startswith("before\n<!-- results:fusion-summary -->\n| game |")
    assert first.endswith("|\n<!-- /results -->\nafter\n")
    assert "old" not in first
    assert rendered(first, tmp_path) == first


def test_a_missing_measurement_is_said(tmp_path: Path) -> None:
    text = "<!-- results:fusion -->\n<!-- /results -->\n"
    assert NOT_MEASURED in rendered(text, tmp_path)


def test_an_unknown_section_is_refused() -> None:
    with pytest.raises(KeyError, match="nothing"):
        rendered("<!-- results:nothing -->\n<!-- /results -->\n")


def test_tables_quote_the_figures(tmp_path: Path) -> None:
    (tmp_path / "fusion.json").write_text(json.dumps(FUSION))
    text = rendered(
        "<!-- results:fusion-summary -->\n<!-- /results --><!-- results:fusion -->\n<!-- /results -->", tmp_path
    )
    assert "900,000 → 20,000 (1/45)" in text
    assert "4,000 → 100 µs (1/40)" in text
    assert "| `churn_7d` | AUC | gru | 0.8207 [0.8100, 0.8300] | 0.8201 [0.8090, 0.8300] |" in text
    assert "| seconds to train and fuse | 480 | 481 | 482 |" in text
    assert "3,906 → 88 (1/44)" in text
    assert "+0.0020 ± 0.0025" in text, "Student's t for two degrees of freedom is 4.303, times 0.001 / √3"
    assert "1,500 µs, 15 times" in text


def test_without_that_stage_nothing_is_said_of_the_teachers_average(tmp_path: Path) -> None:
    game = FUSION["games"]["gran_turismo_sport"]
    before = {seed: run | {"stages": []} for seed, run in game["seeds"].items()}
    for seeds, shown in ((game["seeds"], True), (before, False)):
        stored = {**FUSION, "games": {"gran_turismo_sport": game | {"seeds": seeds}}}
        (tmp_path / "fusion.json").write_text(json.dumps(stored))
        text = rendered("<!-- results:fusion -->\n<!-- /results -->", tmp_path)
        assert ("| teachers' average, mean | +0.0007 | +0.0007 | +0.0007 |" in text) == shown


def test_other_ways_stand_beside_the_fused_network(tmp_path: Path) -> None:
    game = FUSION["games"]["gran_turismo_sport"]
    separate = {
        "name": "separate networks, same size",
        "mean_change": -0.0123,
        "worst_change": -0.0456,
        "parameters": 19_999,
        "file_bytes": 160_000,
        "cpu_us_per_lobby": 321.0,
    }
    fused = game["fused"] | {"mean_change": -0.0006, "worst_change": -0.0006}
    stored = {"games": {"outriders": {"fused": fused, "teachers": game["teachers"], "baselines": [separate]}}}
    (tmp_path / "baselines.json").write_text(json.dumps(stored))
    text = rendered("<!-- results:baselines -->\n<!-- /results -->", tmp_path)
    minus = "\N{MINUS SIGN}"
    assert "| Outriders | mean change |" in text
    assert f"| **fused** | {minus}0.0006 | {minus}0.0006 | 20,000 | 90,000 | 100 |" in text
    assert f"| separate networks, same size | {minus}0.0123 | {minus}0.0456 | 19,999 | 160,000 | 321 |" in text
    assert "| teachers as they are | +0.0000 | +0.0000 | 900,000 | 4,000,000 | 4,000 |" in text


def test_readme_shows_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


def test_of_each_pair_of_families_the_best_combination_stands_out() -> None:
    def row(change: float, *families: str) -> dict[str, object]:
        sizes = {"parameters": 9, "file_bytes": 9, "cpu_us_per_lobby": 9.0}
        return {"mean_change": change, "worst_change": change, "families": families, **sizes}

    rows = {
        "alone": row(0.9, "pruning"),
        "ahead": row(-0.001, "pruning", "low rank"),
        "behind": row(-0.002, "pruning", "low rank"),
        "other": row(-0.5, "distillation", "low rank"),
    }
    shown = tables.methods({"game": "outriders", "machine": "one", "rows": rows})
    assert re.findall(r"\*\*(.*?)\*\*", shown) == ["ahead", "other"]


def test_other_servers_are_summed_up_in_a_glance() -> None:
    one = {"jobs_per_second": 12_000.4, "playfuse_jobs_ratio": 1.0, "title": "ours"}
    other = {"jobs_per_second": 1_200.0, "playfuse_jobs_ratio": 10.0, "title": "theirs"}
    cases = {"lobbies": {"servers": {"playfuse": one, "x": other}}, "single": {"servers": {"playfuse": one}}}
    shown = serving_tables.peers_summary({"cases": cases}).splitlines()
    assert shown[2:] == ["| ours | 12,000 | 12,000 |", "| theirs | 1,200 (1/10) |  |"]


def test_a_search_tells_how_long_it_took_and_what_it_came_to() -> None:
    teachers = {"parameters": 800_000, "file_bytes": 4_000_000, "cpu_us_per_lobby": 4_000.0}
    fused = {"parameters": 8_000, "file_bytes": 20_000, "cpu_us_per_lobby": 40.4}
    found = {"seconds": 750.0, "tried": 42, "mean_change": 0.0007, "worst_change": -0.0004}
    one = {**found, "teachers": teachers, "fused": fused}
    shown = tables.search({"game": "outriders", "machine": "one", "budgets": {"server": one}}).splitlines()
    worst = "\N{MINUS SIGN}0.0004"
    assert shown[-1] == f"| server | 12.5 | 42 | +0.0007 | {worst} | 8,000 (1/100) | 20,000 (1/200) | 40 |"


def test_a_soak_tells_what_grew_and_what_went_wrong() -> None:
    first, last = ({"resident_mib": mib, "threads": 9, "descriptors": 19} for mib in (110.2, 121.7))
    judged = {"resident_growth_mib": 0.44, "wrong": 0, "unexpected": 1}
    calls = {"OK": 1_234, "INVALID_ARGUMENT": 5, "DEADLINE_EXCEEDED": 6, "wrong": 0}
    one = {"minutes": 20.0, "calls": calls, "first": first, "middle": first, "last": last, "verdict": judged}
    assert serving_tables.soak({"native": one}).splitlines()[-1] == (
        "| native, 20 min | 1,234; 6 DEADLINE_EXCEEDED, 5 INVALID_ARGUMENT | **0** / **1** | 110 → 110 → 122 | +0.4 "
        "| 9 → 9 | 19 → 19 |"
    )
