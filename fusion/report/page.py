"""Writes the report: one HTML file that needs nothing else, made from an artifact's manifest and passport alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fusion.report import plots
from fusion.report.numerals import count, joules, kilobytes, percent, signed, times

if TYPE_CHECKING:
    from inference.contract.artifact import Manifest
    from inference.contract.passport import Passport

_FOLDER: Final = Path(__file__).parent
_ENERGY_SOURCES: Final = {"estimate": "estimated from CPU time", "rapl": "measured (RAPL)", "nvml": "measured (NVML)"}
_MEASURES: Final = {"auc": "AUC", "r2_log": "R²"}
_RECIPE_FIRST: Final = ("name", "version", "seed", "step", "form", "scheme")


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure of the headline: what it is, how large, and what that means."""

    label: str
    value: str
    detail: str


def render(manifest: Manifest, passport: Passport) -> str:
    """The page.

    Args:
        manifest: names and behaviours; its hashes are not needed.
        passport: everything else. Whatever it does not hold is left out of the page.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"signed": signed, "count": count, "kilobytes": kilobytes, "percent": percent}
    measures = {row.behaviour: row.measure for row in passport.behaviours}
    beside = passport.candidates if passport.baselines or passport.search else ()
    return environment.get_template("report.html.j2").render(
        manifest=manifest,
        passport=passport,
        style=Markup((_FOLDER / "report.css").read_text()),
        verdict=_verdict(passport),
        tiles=list(_tiles(passport)),
        measures=_MEASURES,
        units={behaviour.name: behaviour.unit for behaviour in manifest.behaviours},
        quality=plots.quality(passport) if passport.behaviours else None,
        stages=plots.stages(passport) if passport.stages else None,
        calibration=[(one, plots.calibration(one, measures[one.behaviour])) for one in passport.calibration],
        layers=plots.layers(passport) if passport.layers else None,
        rest_bytes=passport.fused_cost.file_bytes - sum(layer.file_bytes for layer in passport.layers),
        beside=beside,
        candidates=plots.candidates(passport, beside) if beside else None,
        decisions=[_told(decision) for decision in passport.decisions],
        energy=f"{joules(passport.energy.joules_per_lobby)} per lobby, {_source(passport)}",
        calibration_columns=min((4, 3), key=lambda columns: -len(passport.calibration) % columns),
        recipe=yaml.safe_dump(_readable(passport.recipe), sort_keys=False, default_flow_style=None, width=76),
    )


def _verdict(passport: Passport) -> str:
    """How many behaviours are as good as before, in a sentence."""
    rows = passport.behaviours
    if not rows:
        return "Its quality was not measured."
    better = sum(row.change.low > 0 for row in rows)
    worse = sum(row.change.high < 0 for row in rows)
    level = len(rows) - better - worse
    said = ", ".join(
        f"{number} {word}" for number, word in ((level, "level"), (better, "better"), (worse, "worse")) if number
    )
    return (
        f"One network for {len(rows)} behaviours. Against the best teacher of each, on test players that neither saw: "
        f"{said}. Level means that the 95 % interval of the change includes zero."
    )


def _tiles(passport: Passport) -> Iterator[Tile]:
    rows = passport.behaviours
    if rows:
        worst, mean = min(rows, key=lambda row: row.change.value), passport.candidates[0].mean_change
        yield Tile("mean change", signed(mean), f"worst {signed(worst.change.value)}, {worst.behaviour}")
    before, after = passport.teachers_cost, passport.fused_cost
    factor, word = times(before.parameters, after.parameters, "fewer", "more")
    yield Tile(f"{word} parameters", factor, f"{count(after.parameters)} instead of {count(before.parameters)}")
    factor, word = times(before.file_bytes, after.file_bytes, "smaller", "larger")
    yield Tile(f"{word} file", factor, f"{kilobytes(after.file_bytes)} instead of {kilobytes(before.file_bytes)}")
    factor, word = times(before.cpu_us_per_lobby, after.cpu_us_per_lobby, "less", "more")
    detail = f"{count(after.cpu_us_per_lobby)} µs per 64-player lobby instead of {count(before.cpu_us_per_lobby)} µs"
    yield Tile(f"{word} CPU time", factor, detail)
    yield Tile("energy per lobby", joules(passport.energy.joules_per_lobby), _source(passport))


def _source(passport: Passport) -> str:
    return _ENERGY_SOURCES.get(passport.energy.source, passport.energy.source)


def _told(decision: str) -> tuple[str, list[str]]:
    """What a decision is about, and what was decided: one item, or several where it lists them."""
    subject, _, said = decision.partition(": ")
    return (subject, re.split(r"; (?![^(]*\))", said)) if said else ("", [decision])


def _readable(part: Any) -> Any:
    """A part of a recipe in the order that people write: what it is first, then single values, then what has parts."""
    if isinstance(part, list | tuple):
        return [_readable(one) for one in part]
    if not isinstance(part, dict):
        return part

    def place(key: str) -> tuple[int, bool, str]:
        first = _RECIPE_FIRST.index(key) if key in _RECIPE_FIRST else len(_RECIPE_FIRST)
        return first, isinstance(part[key], dict | list | tuple), key

    return {key: _readable(part[key]) for key in sorted(part, key=place)}
