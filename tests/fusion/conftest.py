"""What holds for all tests of the fusion half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from fusion import cost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECIPE: Final = """\
least_training_rows: 0
network: {bins: 2, hidden: 8, trunk: 6, behaviour: 2}
steps: [{step: distil, epochs: 1}, {step: decompose}, {step: finetune, epochs: 1}]
"""
SPEC: Final = "teachers: [{name: line, family: logistic, settings: {epochs: 2}}]\n"


@pytest.fixture(autouse=True, scope="session")
def short_timing() -> Iterator[None]:
    """No test judges what something costs: a millisecond shows that it is measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "REPEAT_SECONDS", 0.001)
        patch.setattr(cost, "ENERGY_SECONDS", 0.02)
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands leave, as small as can be, to be copied and never changed: data, teachers, artifact (with the
    network beside it), recipe.yaml, spec.yaml."""
    from fusion.command import read_recipe
    from fusion.pipeline import fuse
    from fusion.teachers.library import train
    from fusion.teachers.specs import TeacherSpec
    from fusion.telemetry.dataset import build
    from fusion.telemetry.simulate import simulate

    folder = tmp_path_factory.mktemp("made")
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "spec.yaml").write_text(SPEC)
    dataset = build(simulate(120, seed=1))
    dataset.save(folder / "data")
    specs = (TeacherSpec(name="line", family="logistic", settings={"epochs": 2}),)
    teachers = train(dataset, specs, folder / "teachers")
    recipe = read_recipe(str(folder / "recipe.yaml"))
    fuse(dataset, teachers, recipe, folder / "artifact", lambda *_: None, with_report=False)
    return folder
