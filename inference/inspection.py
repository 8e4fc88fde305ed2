"""An artifact as tables for people and as JSON for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inference.contract.artifact import Artifact
    from inference.contract.passport import Interval


def as_json(artifact: Artifact) -> dict[str, Any]:
    """Manifest without its probe, passport, and where it all lies."""
    return {
        "path": str(artifact.path),
        "verified": True,
        "model_bytes": len(artifact.model),
        "manifest": artifact.manifest.model_dump(mode="json", exclude={"probe"}),
        "passport": artifact.passport.model_dump(mode="json"),
    }


def tables(artifact: Artifact) -> Iterator[Table]:
    """What it is, what it predicts and how well, what fusing saved, and how it was made."""
    yield _identity(artifact)
    yield _behaviours(artifact)
    yield _cost(artifact)
    if artifact.passport.stages:
        yield _stages(artifact)


def _identity(artifact: Artifact) -> Table:
    manifest, passport = artifact.manifest, artifact.passport
    table = Table(title=escape(f"{manifest.name} {manifest.version}"), show_header=False, title_justify="left")
    trained_on = passport.lineage.data_name + (" (simulated players: for trying out)" if manifest.synthetic else "")
    facts = {
        "artifact": f"{artifact.path}, {len(artifact.model):,} bytes of model; every hash and the probe verified",
        "trained on": trained_on,
        "notice": passport.lineage.data_notice,
        "features": f"{len(manifest.features)}: {', '.join(manifest.features)}",
        "feature version": str(manifest.feature_version),
        "teachers": ", ".join(sorted(passport.lineage.teachers_sha256)),
        "built with": f"playfuse {manifest.playfuse_version}, seed {passport.seed}, {passport.machine}",
        "parity error": f"{passport.parity_error:.2g} between the trained network and the graph",
        "decisions": "\n".join(passport.decisions),
    }
    for label, text in facts.items():
        if text:
            table.add_row(f"[bold]{label}[/]", escape(text))
    return table


def _behaviours(artifact: Artifact) -> Table:
    table = Table(title="behaviours", title_justify="left")
    for header in ("behaviour", "unit", "prior", "measure", "best teacher", "teacher", "fused", "change (95 %)"):
        table.add_column(header, justify="right" if header in ("prior", "teacher", "fused") else "left")
    quality = {entry.behaviour: entry for entry in artifact.passport.behaviours}
    for behaviour in artifact.manifest.behaviours:
        prior = f"{artifact.manifest.priors[behaviour.name]:.3g}"
        entry = quality.get(behaviour.name)
        judged = (
            (entry.measure, entry.best_teacher, _value(entry.teacher), _value(entry.fused), _change(entry.change))
            if entry
            else ("", "", "", "", "")
        )
        table.add_row(*map(escape, (behaviour.name, behaviour.unit, prior, *judged)))
    return table


def _cost(artifact: Artifact) -> Table:
    passport = artifact.passport
    teachers, fused = passport.teachers_cost, passport.fused_cost
    table = Table(title="cost", title_justify="left")
    for header in ("", "teachers", "fused", "ratio"):
        table.add_column(header, justify="left" if not header else "right")
    for label, before, after in (
        ("parameters", teachers.parameters, fused.parameters),
        ("file bytes", teachers.file_bytes, fused.file_bytes),
        ("CPU µs per 64-player lobby", teachers.cpu_us_per_lobby, fused.cpu_us_per_lobby),
    ):
        table.add_row(label, f"{before:,.0f}", f"{after:,.0f}", f"1/{before / after:,.1f}" if after else "")
    energy = passport.energy
    table.add_row(f"joules per lobby ({escape(energy.source)})", "", f"{energy.joules_per_lobby:.3g}", "")
    return table


def _stages(artifact: Artifact) -> Table:
    table = Table(title="what each stage contributed", title_justify="left")
    for header in ("stage", "parameters", "mean change", "worst change"):
        table.add_column(header, justify="left" if header == "stage" else "right")
    for stage in artifact.passport.stages:
        table.add_row(
            escape(stage.stage), f"{stage.parameters:,}", f"{stage.mean_change:+.4f}", f"{stage.worst_change:+.4f}"
        )
    return table


def _value(interval: Interval) -> str:
    return f"{interval.value:.4f}"


def _change(interval: Interval) -> str:
    return f"{interval.value:+.4f} ({interval.low:+.4f} … {interval.high:+.4f})"
