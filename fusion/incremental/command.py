"""`playfuse update`: one behaviour more, anew or less, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fusion.errors import FusionError
from fusion.incremental.fused import Fused
from fusion.incremental.update import add, remove
from fusion.progress import stages
from fusion.teachers.folder import load
from fusion.telemetry.dataset import Dataset
from inference.console import console, print_next
from inference.contract import artifact as artifacts
from inference.inspection import passport_tables

if TYPE_CHECKING:
    from inference.contract.passport import Passport


def run(
    *,
    artifact: Path,
    added: str | None,
    called: str | None,
    removed: str | None,
    data: Path | None,
    teachers: Path | None,
    out: Path,
    version: str,
    as_json: bool,
) -> None:
    """Update and report.

    Raises:
        PlayfuseError: see `fusion.incremental.update`.
    """
    if (added is None) == (removed is None):
        raise FusionError(
            "playfuse update",
            got="neither --add nor --remove" if added is None else "both --add and --remove",
            expected="one of them",
        )
    artifacts.check_target(out)
    with stages() as told:
        fused = Fused.open(artifact)
        if removed is not None:
            passport: Passport = remove(fused, removed, out, version, told)
        else:
            if added is None or data is None or teachers is None:
                raise FusionError("playfuse update --add", got="no --data or --teachers", expected="both")
            dataset = Dataset.load(data)
            passport = add(fused, added, dataset, load(teachers, dataset), out, version, told, called=called)
    if as_json:
        print(passport.model_dump_json(indent=1))
        return
    for table in passport_tables(passport):
        console.print(table)
    print_next(f"\nWritten to {out}.", ("playfuse", "compare", artifact, out), ("playfuse", "serve", out))
