"""The teachers that a benchmark of fusion begins with: trained, or those of an earlier run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.teachers import specs
from fusion.teachers.folder import load
from fusion.teachers.library import train

if TYPE_CHECKING:
    from pathlib import Path

    from fusion.pipeline import Told
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset


def teachers_for(
    dataset: Dataset, kept: Path | None, folder: Path, told: Told, *, preset: str = "full", seed: int = 0
) -> list[OnnxTeacher]:
    """The teachers in `kept`; without one, those of the preset, trained and written to `folder`.

    Raises:
        FusionError: `kept` holds no teachers for this dataset.
    """
    if kept is not None:
        return load(kept, dataset)
    chosen = specs.preset(specs.Preset(preset), dataset.behaviours, sessions=dataset.recorded is not None)
    return train(dataset, chosen.teachers, folder, seed=seed, progress=told)
