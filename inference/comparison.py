"""Two artifacts side by side, as tables for people and as JSON for scripts. A is the first one, B the second."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from rich.markup import escape

from inference.inspection import table_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from inference.contract.artifact import Artifact
    from inference.contract.passport import BehaviourQuality, Interval, StageQuality

_NONE: Final = "none"
_HASH_DIGITS: Final = 12
"""Of a hash that a person compares with another."""
_SETTING_WIDTH: Final = 36


def as_json(a: Artifact, b: Artifact) -> dict[str, Any]:
    """Everything that the tables show; null is what one of the two does not have."""
    return {
        "artifacts": {side: _facts(artifact) for side, artifact in (("a", a), ("b", b))},
        "behaviours": {
            name: {
                **_dumped(here, there),
                "difference": there.fused.value - here.fused.value if here and there else None,
                "intervals_apart": _apart(here.fused, there.fused) if here and there else None,
            }
            for name, (here, there) in _qualities(a, b).items()
        },
        "cost": {label: {"a": before, "b": after} for label, (before, after) in _costs(a, b).items()},
        "stages": {name: _dumped(*stages) for name, stages in _stages(a, b).items()},
        "recipe": {setting: {"a": said[0], "b": said[1]} for setting, said in recipe_differences(a, b).items()},
        "notes": notes(a, b),
    }


def tables(a: Artifact, b: Artifact) -> Iterator[Table]:
    """What they are, how well they predict, what they cost, what each stage gave, and where their recipes differ."""
    yield _identity_table(a, b)
    yield _quality_table(a, b)
    yield _cost_table(a, b)
    if a.passport.stages or b.passport.stages:
        yield _stages_table(a, b)
    differences = recipe_differences(a, b)
    if differences:
        table = table_of("recipe, where it differs", "setting", "A", "B", numbers=())
        table.columns[0].min_width = min(_SETTING_WIDTH, max(map(len, differences)))
        for setting, said in differences.items():
            table.add_row(escape(setting), *(_NONE if one is None else escape(_text(one)) for one in said))
        yield table


def notes(a: Artifact, b: Artifact) -> list[str]:
    """What to know before reading the figures, in sentences."""
    said = []
    if a.passport.lineage.data_sha256 != b.passport.lineage.data_sha256:
        said.append("They were judged on different data: a difference of quality may be one of the players.")
    if a.passport.machine != b.passport.machine:
        said.append("CPU times were measured on different machines.")
    if a.passport.energy.source != b.passport.energy.source:
        said.append("Joules come from different sources and cannot be compared.")
    for here, there, own in (("A", "B", _only(a, b)), ("B", "A", _only(b, a))):
        if own:
            said.append(f"{here} predicts what {there} does not: {', '.join(own)}.")
    if not recipe_differences(a, b):
        said.append("Their recipes are the same.")
    return said


def recipe_differences(a: Artifact, b: Artifact) -> dict[str, tuple[object, object]]:
    """Setting → what the recipes of A and B say; None where one says nothing. Steps go by name, not by place."""
    here, there = (dict(_settings(artifact.passport.recipe)) for artifact in (a, b))
    every = dict.fromkeys((*here, *there))
    return {name: (here.get(name), there.get(name)) for name in every if here.get(name) != there.get(name)}


def _settings(part: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every single value of a recipe with its dotted path."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield from _settings(value, f"{path}.{key}" if path else str(key))
    elif isinstance(part, list | tuple) and part and all(isinstance(one, dict) and "step" in one for one in part):
        yield path, " → ".join(str(one["step"]) for one in part)
        taken: list[str] = []
        for one in part:
            taken.append(str(one["step"]))
            times = taken.count(taken[-1])
            yield from _settings(
                {key: value for key, value in one.items() if key != "step"},
                taken[-1] + (f" {times}" if times > 1 else ""),
            )
    else:
        yield path, part


def _dumped(a: BehaviourQuality | StageQuality | None, b: BehaviourQuality | StageQuality | None) -> dict[str, Any]:
    return {side: row.model_dump(mode="json") if row else None for side, row in (("a", a), ("b", b))}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _only(a: Artifact, b: Artifact) -> list[str]:
    return [name for name in a.manifest.behaviour_names if name not in b.manifest.behaviour_names]


def _qualities(a: Artifact, b: Artifact) -> dict[str, tuple[BehaviourQuality | None, BehaviourQuality | None]]:
    """Behaviour → its quality in A and in B, where it was measured."""
    here, there = ({row.behaviour: row for row in artifact.passport.behaviours} for artifact in (a, b))
    every = dict.fromkeys((*a.manifest.behaviour_names, *b.manifest.behaviour_names))
    return {name: (here.get(name), there.get(name)) for name in every}


def _stages(a: Artifact, b: Artifact) -> dict[str, tuple[StageQuality | None, StageQuality | None]]:
    here, there = ({stage.stage: stage for stage in artifact.passport.stages} for artifact in (a, b))
    return {name: (here.get(name), there.get(name)) for name in dict.fromkeys((*here, *there))}


def _costs(a: Artifact, b: Artifact) -> dict[str, tuple[float, float]]:
    here, there = a.passport.fused_cost, b.passport.fused_cost
    return {
        "parameters": (here.parameters, there.parameters),
        "file_bytes": (here.file_bytes, there.file_bytes),
        "cpu_us_per_lobby": (here.cpu_us_per_lobby, there.cpu_us_per_lobby),
        "joules_per_lobby": (a.passport.energy.joules_per_lobby, b.passport.energy.joules_per_lobby),
    }


def _facts(artifact: Artifact) -> dict[str, object]:
    manifest, lineage = artifact.manifest, artifact.passport.lineage
    return {
        "path": str(artifact.path),
        "name": manifest.name,
        "version": manifest.version,
        "data_name": lineage.data_name,
        "data_sha256": lineage.data_sha256,
        "synthetic": manifest.synthetic,
        "teachers": sorted(lineage.teachers_sha256),
        "features": list(manifest.features),
        "kept_private": [one.behaviour for one in artifact.passport.private],
        "seed": artifact.passport.seed,
        "machine": artifact.passport.machine,
        "energy_source": artifact.passport.energy.source,
        "playfuse_version": manifest.playfuse_version,
    }


def _identity_table(a: Artifact, b: Artifact) -> Table:
    table = table_of("artifacts", "", "A", "B", numbers=())
    here, there = _facts(a), _facts(b)
    for facts in (here, there):
        facts["data"] = f"{facts['data_name']}, SHA-256 {str(facts['data_sha256'])[:_HASH_DIGITS]}"
    for label in ("path", "name", "version", "data", "seed", "machine", "playfuse_version"):
        table.add_row(label.replace("_", " "), escape(str(here[label])), escape(str(there[label])))
    for label in ("features", "teachers", "kept_private"):
        table.add_row(
            label.replace("_", " "),
            *(_listed(artifact, other, label) for artifact, other in ((here, there), (there, here))),
        )
    return table


def _listed(facts: dict[str, Any], other: dict[str, Any], label: str) -> str:
    """How many, and by name those that the other one does not have."""
    own = [name for name in facts[label] if name not in other[label]]
    return f"{len(facts[label])}" + (f", of them only here: {escape(', '.join(own))}" if own else "")


def _quality_table(a: Artifact, b: Artifact) -> Table:
    table = table_of(
        "quality on test players (below: change against its best teacher)",
        "behaviour\n  measure",
        numbers=("A", "B", "B - A", "95 % intervals"),
    )
    for name, (here, there) in _qualities(a, b).items():
        measured = here or there
        difference = apart = ""
        if here and there:
            difference = f"{there.fused.value - here.fused.value:+.4f}"
            apart = "apart" if _apart(here.fused, there.fused) else "overlap"
        cells = (_reached(here), _reached(there), difference, apart)
        table.add_row(f"{escape(name)}\n  [dim]{escape(measured.measure) if measured else 'not measured'}[/]", *cells)
    return table


def _reached(row: BehaviourQuality | None) -> str:
    return f"{row.fused.value:.4f}\n[dim]{row.change.value:+.4f}[/]" if row else _NONE


def _apart(a: Interval, b: Interval) -> bool:
    return a.high < b.low or b.high < a.low


def _cost_table(a: Artifact, b: Artifact) -> Table:
    table = table_of("cost", "", numbers=("A", "B", "B / A"))
    sources = dict.fromkeys(escape(artifact.passport.energy.source) for artifact in (a, b))
    labels = {
        "parameters": "parameters",
        "file_bytes": "bytes of ONNX",
        "cpu_us_per_lobby": "CPU µs per 64-player lobby",
        "joules_per_lobby": f"joules per lobby ({', '.join(sources)})",
    }
    for key, (here, there) in _costs(a, b).items():
        form = ".3g" if key == "joules_per_lobby" else ",.0f"
        ratio = f"{there / here:.2f}" if here and (key != "joules_per_lobby" or len(sources) == 1) else ""
        table.add_row(labels[key], f"{here:{form}}", f"{there:{form}}", ratio)
    return table


def _stages_table(a: Artifact, b: Artifact) -> Table:
    table = table_of(
        "stages (mean change against the best teachers)",
        "stage",
        numbers=("A\nparameters", "\nchange", "B\nparameters", "\nchange"),
    )
    for name, stages in _stages(a, b).items():
        cells = [(f"{stage.parameters:,}", f"{stage.mean_change:+.4f}") if stage else (_NONE, "") for stage in stages]
        table.add_row(escape(name), *cells[0], *cells[1])
    return table
