"""An artifact as tables for people and as JSON for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from inference.contract.artifact import REPORT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inference.contract.artifact import Artifact
    from inference.contract.passport import Interval, Passport


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
    """What it is, what it predicts, and what its passport says."""
    yield _identity(artifact)
    yield _behaviours(artifact)
    yield from passport_tables(artifact.passport)


def passport_tables(passport: Passport) -> Iterator[Table]:
    """How well it predicts, what fusing saved, what each stage gave, what was not fused, what other ways would give."""
    if passport.behaviours:
        yield _quality(passport)
    yield _cost(passport)
    if passport.stages:
        yield _stages(passport)
    if passport.private:
        yield _private(passport)
    if passport.baselines:
        yield _candidates(passport)


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
        "report": str(artifact.path / REPORT_FILE) if manifest.has_report else "",
        "parity error": f"{passport.parity_error:.2g} between the trained network and the graph",
        "decisions": "\n".join(passport.decisions),
    }
    for label, text in facts.items():
        if text:
            table.add_row(f"[bold]{label}[/]", escape(text))
    return table


def _behaviours(artifact: Artifact) -> Table:
    table = table_of("behaviours", "behaviour", "unit", numbers=("prior",))
    for behaviour in artifact.manifest.behaviours:
        prior = f"{artifact.manifest.priors[behaviour.name]:.3g}"
        table.add_row(*map(escape, (behaviour.name, behaviour.unit, prior)))
    return table


def _quality(passport: Passport) -> Table:
    table = table_of(
        "quality on test players (95 % intervals, players resampled)",
        "behaviour, measure\n  best teacher",  # below it, so that the table fits 80 columns
        numbers=("teacher", "fused", "change (95 %)"),
    )
    for row in passport.behaviours:
        judged = f"{escape(f'{row.behaviour}, {row.measure}')}\n  [dim]{escape(row.best_teacher)}[/]"
        table.add_row(judged, _value(row.teacher), _value(row.fused), _change(row.change))
    return table


def _cost(passport: Passport) -> Table:
    teachers, fused = passport.teachers_cost, passport.fused_cost
    table = table_of("cost", "", numbers=("teachers", "fused", "ratio"))
    for label, before, after in (
        ("parameters", teachers.parameters, fused.parameters),
        ("bytes of ONNX", teachers.file_bytes, fused.file_bytes),
        ("CPU µs per 64-player lobby", teachers.cpu_us_per_lobby, fused.cpu_us_per_lobby),
    ):
        table.add_row(label, f"{before:,.0f}", f"{after:,.0f}", f"1/{before / after:,.1f}" if after else "")
    energy = passport.energy
    table.add_row(f"joules per lobby ({escape(energy.source)})", "", f"{energy.joules_per_lobby:.3g}", "")
    return table


def _stages(passport: Passport) -> Table:
    table = table_of(
        "stages (change against the best teachers)", "stage", numbers=("parameters", "mean change", "worst change")
    )
    for stage in passport.stages:
        table.add_row(
            escape(stage.stage), f"{stage.parameters:,}", f"{stage.mean_change:+.4f}", f"{stage.worst_change:+.4f}"
        )
    return table


def _private(passport: Passport) -> Table:
    table = table_of("kept private (a branch of the graph answers)", "behaviour", "teacher", "why", numbers=())
    for one in passport.private:
        table.add_row(*map(escape, (one.behaviour, one.teacher, one.reason)))
    return table


def _candidates(passport: Passport) -> Table:
    table = table_of(
        "beside other ways (change against the best teachers)",
        "way",
        numbers=("mean", "worst", "parameters", "bytes", "µs per lobby"),
    )
    for one in passport.candidates:
        table.add_row(
            escape(one.name),
            f"{one.mean_change:+.4f}",
            f"{one.worst_change:+.4f}",
            f"{one.parameters:,}",
            f"{one.file_bytes:,}",
            f"{one.cpu_us_per_lobby:,.0f}",
        )
    return table


def table_of(title: str, *texts: str, numbers: tuple[str, ...]) -> Table:
    """A table without rows: on a narrow terminal the columns of text are folded, those of numbers stay whole."""
    table = Table(title=title, title_justify="left")
    for header in texts:
        table.add_column(header, overflow="fold")
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _value(interval: Interval) -> str:
    return f"{interval.value:.4f}"


def _change(interval: Interval) -> str:
    return f"{interval.value:+.4f} ({interval.low:+.4f} … {interval.high:+.4f})"
