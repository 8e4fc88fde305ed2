"""`playfuse report`: makes the report of an artifact that came without one, or anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.errors import disk_faults
from fusion.report import page
from inference.console import console
from inference.contract import artifact as artifacts
from inference.contract import staging

if TYPE_CHECKING:
    from pathlib import Path


def run(*, artifact: Path, out: Path) -> None:
    """Write the page; a file that is there is replaced.

    Raises:
        ArtifactError: the artifact is damaged.
        FusionError: the page cannot be written.
    """
    verified = artifacts.read(artifact)
    content = page.render(verified.manifest, verified.passport)
    fix = "Free some space, or name another path with --out; nothing half-written was left."
    with disk_faults(out, expected="a file that can be written", fix=fix):
        staging.put_file(out, content.encode())
    console.print(f"{out} written", markup=False, highlight=False, soft_wrap=True)
