"""Teachers on disk: a folder of ONNX files, each with a card beside it, ours (`.json`) or a studio's own (`.yaml`)."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from fusion import yaml_file
from fusion.errors import FusionError, disk_faults
from fusion.teachers.families import FAMILIES, IMPORTED
from fusion.teachers.import_card import ImportCard
from fusion.teachers.importer import import_model
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.teacher import TeacherCard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fusion.telemetry.dataset import Dataset

_CARDS: Final = (".json", ".yaml")
_DOCS: Final = "docs/bring_your_models.md shows whole cards."


def load(folder: Path, dataset: Dataset | None = None) -> list[OnnxTeacher]:
    """Read all teachers of a folder, in order of their names, and verify each.

    Args:
        folder: of `<name>.onnx`, each with `<name>.json` (as `playfuse train` writes it) or `<name>.yaml` (see
            `fusion.teachers.import_card`).
        dataset: to understand and judge the latter by; needed only where there are some.

    Raises:
        FusionError: there is none, a card or a model is missing, damaged or not what the other one says, a name
            or family is not what it should be, or two cards mean different things by one behaviour.
    """
    cards = sorted(path for path in folder.glob("*") if path.suffix in _CARDS)
    models = {path.stem: path for path in folder.glob("*.onnx")}
    orphans = sorted(set(models) - {path.stem for path in cards})
    if orphans:
        raise FusionError(
            where=str(models[orphans[0]]),
            got="no card beside it",
            expected=" or ".join(orphans[0] + suffix for suffix in _CARDS),
            fix="If it is your own model, write a card; if its training was cut short, train it again or delete it. "
            + _DOCS,
        )
    if not cards:
        raise FusionError(
            where=str(folder),
            got="no teacher" if folder.is_dir() else "no such folder",
            expected="a folder of <name>.onnx and <name>.json or <name>.yaml",
            fix="Train some with `playfuse train`, or bring your own.",
        )
    names = [path.stem for path in cards]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FusionError(
            where=str(folder),
            got=f"two cards of teacher {twice[0]}",
            expected=f"{twice[0]}.json, which `playfuse train` wrote, or {twice[0]}.yaml, not both",
            fix="Delete the one that is not of this model, or give your own model another name.",
        )
    teachers = [_read(path) if path.suffix == ".json" else _import(path, dataset) for path in cards]
    _check_alike(teachers)
    return teachers


def _read(path: Path) -> OnnxTeacher:
    model = path.with_suffix(".onnx")
    with disk_faults(path, expected="a readable card", fix="Train the teacher again."):
        described = path.read_bytes()
    with disk_faults(model, expected=f"the model that {path.name} speaks of", fix="Train the teacher again."):
        content = model.read_bytes()
    try:
        card = TeacherCard.model_validate_json(described)
    except ValidationError as error:
        raise yaml_file.explain(error, TeacherCard, str(path), "Train it again, or delete it.") from error
    families = (*FAMILIES, IMPORTED)
    if card.name != path.stem or card.family not in families:
        raise FusionError(
            where=str(path),
            got=f"teacher {card.name} of family {card.family}",
            expected=f"name {path.stem}, as the file's, and a family out of {', '.join(families)}",
            fix="Give every teacher its own name: two of one name cannot be told apart.",
        )
    return OnnxTeacher(content, card)


def _import(path: Path, dataset: Dataset | None) -> OnnxTeacher:
    card = yaml_file.read(path, ImportCard, fix=_DOCS)
    model = path.with_suffix(".onnx")
    if dataset is None:
        raise FusionError(
            str(path),
            got="no dataset",
            expected="the one it is to be used with: it says what the behaviours mean",
            fix="Call load(folder, dataset).",
        )
    with disk_faults(model, expected=f"the model that {path.name} speaks of", fix=_DOCS):
        content = model.read_bytes()
    return import_model(path.stem, content, card, dataset, where=str(model))


def _check_alike(teachers: Sequence[OnnxTeacher]) -> None:
    """Two cards must not mean different things by one behaviour: their answers would be averaged."""
    said = [(behaviour, teacher.card.name) for teacher in teachers for behaviour in teacher.card.behaviours]
    for (one, first), (other, second) in combinations(said, 2):
        if one.name == other.name and one != other:
            differing = [key for key, value in one if value != getattr(other, key)]
            raise FusionError(
                where=f"{one.name} of teachers {first} and {second}",
                got=" and ".join(f"{key} {getattr(one, key)} and {getattr(other, key)}" for key in differing),
                expected="one meaning of one behaviour",
                fix="Give one of the behaviours another name, or leave one of the teachers out.",
            )
