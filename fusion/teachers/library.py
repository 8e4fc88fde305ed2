"""Teachers at work: train a set of them and write them, ask them about a dataset, cross-fit their answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.errors import FusionError, disk_faults
from fusion.evaluate import quality
from fusion.teachers.families import FAMILIES, IMPORTED
from fusion.teachers.onnx_teacher import OnnxTeacher
from fusion.teachers.specs import TeacherSpec
from fusion.teachers.teacher import Fitted, Progress, Task, Teacher, TeacherCard, part_of, silent
from fusion.telemetry.dataset import Dataset, Split
from inference.contract import staging
from inference.contract.artifact import sha256
from inference.contract.features import FEATURE_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    TeacherProgress = Callable[[str, float, str], None]
    """Told the teacher's name, how far its fit has come (0 to 1) and a word about it."""

_SEQUENCE_CHUNK_ROWS: Final = 32_768


def train(
    dataset: Dataset,
    specs: Iterable[TeacherSpec],
    folder: Path,
    *,
    seed: int = 0,
    progress: TeacherProgress | None = None,
) -> list[OnnxTeacher]:
    """Train teachers and write each one as soon as it is ready; one of the same name in `folder` is replaced.

    Args:
        dataset: fitted on its training players, stopped by its validation players.
        specs: what to train.
        folder: made if it does not exist.
        seed: of every teacher.
        progress: told how far each one has come.

    Raises:
        FusionError: a behaviour is not in the dataset or cannot be learnt, or the folder cannot be written, or holds a
            model of the studio's own under one of the names.
    """
    specs = tuple(specs)
    for own in (folder / f"{spec.name}.yaml" for spec in specs):
        if own.exists():
            raise FusionError(
                where=str(own),
                got="a card of your own model",
                expected=f"no teacher called {own.stem} yet, or one that `playfuse train` wrote",
                fix="Give one of the two another name: training would replace your model.",
            )
    return [_train_one(dataset, spec, folder, seed, progress) for spec in specs]


def _train_one(
    dataset: Dataset, spec: TeacherSpec, folder: Path, seed: int, progress: TeacherProgress | None
) -> OnnxTeacher:
    def told(done: float, note: str) -> None:
        if progress is not None:
            progress(spec.name, done, note)

    task = Task(dataset, spec.choose(dataset.behaviours), dataset.rows(Split.TRAIN), dataset.rows(Split.VALIDATION))
    teacher = _fit(task, spec, seed, told)
    write(teacher, folder)
    return teacher


def _fit(task: Task, spec: TeacherSpec, seed: int, progress: Progress) -> OnnxTeacher:
    settings = spec.family_settings()
    capped = whole_players(task.training, task.dataset.player, settings.training_rows, seed)
    fitted: Fitted = FAMILIES[spec.family].fit(replace(task, training=capped), settings, seed, progress)
    dataset = task.dataset
    card = TeacherCard(
        name=spec.name,
        family=spec.family,
        behaviours=task.behaviours,
        features=fitted.features,
        uses_sequences=fitted.uses_sequences,
        parameters=fitted.parameters,
        seed=seed,
        settings=settings.model_dump(mode="json"),
        feature_version=FEATURE_VERSION,
        data_name=dataset.name,
        data_sha256=dataset.sha256,
        synthetic=dataset.synthetic,
        validation_quality={},
        onnx_sha256=sha256(fitted.model),
    )
    teacher = OnnxTeacher(fitted.model, card)
    reached = qualities(teacher, dataset, task.validation)
    return OnnxTeacher(fitted.model, card.model_copy(update={"validation_quality": reached}))


def whole_players(rows: NDArray[np.int64], player: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """At most `most` of the rows (of at least one player), all of a player's or none: players drawn by chance."""
    if len(rows) <= most:
        return rows
    players, counts = np.unique(player[rows], return_counts=True)
    order = np.random.default_rng(seed).permutation(len(players))
    kept = max(1, int(np.searchsorted(np.cumsum(counts[order]), most, side="right")))
    return rows[np.isin(player[rows], players[order[:kept]])]


def links_of(teacher: Teacher, dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """What a teacher predicts for some rows of a dataset.

    Returns:
        (len(rows), len(teacher.card.behaviours)) float32 on the link scale.

    Raises:
        FusionError: the dataset lacks one of its features, or means something else by one of its behaviours, or was
            computed by another version of the features; or an answer is no number.
    """
    card = teacher.card
    parts = [teacher.links(features, sequences) for features, sequences in inputs_of(card, dataset, rows)]
    links = np.concatenate([np.empty((0, len(card.behaviours)), dtype=np.float32), *parts])
    strange = int((~np.isfinite(links)).any(axis=1).sum())
    if strange:
        raise FusionError(
            where=f"teacher {card.name} on dataset {dataset.name}",
            got=f"NaN or infinity for {strange} of {len(links)} rows",
            expected="a number for every row",
            fix="Unknown features are NaN: a model of your own says in its card what it wants for them (`missing`)."
            if card.family == IMPORTED
            else "Its weights are no numbers, so its training has diverged: train it again.",
        )
    return links


def inputs_of(
    card: TeacherCard, dataset: Dataset, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
    """What a teacher reads of some rows, part by part: features, and sequences where it reads them.

    Raises:
        FusionError: the teacher does not fit the dataset, see `links_of`.
    """
    _check_fits(card, dataset)
    position = {name: index for index, name in enumerate(dataset.feature_names)}
    columns = [position[name] for name in card.features]
    for start in range(0, len(rows), _SEQUENCE_CHUNK_ROWS):
        chunk = rows[start : start + _SEQUENCE_CHUNK_ROWS]
        yield dataset.features[chunk][:, columns], dataset.sequences(chunk) if card.uses_sequences else None


def _check_fits(card: TeacherCard, dataset: Dataset) -> None:
    missing = [name for name in card.features if name not in dataset.feature_names]
    strange = [behaviour.name for behaviour in card.behaviours if behaviour not in dataset.behaviours]
    if missing or strange or card.feature_version != FEATURE_VERSION:
        raise FusionError(
            where=f"teacher {card.name} on dataset {dataset.name}",
            got=f"unknown features {missing}, unknown behaviours {strange}, feature version {card.feature_version}",
            expected=f"features and behaviours as the dataset defines them, feature version {FEATURE_VERSION}",
            fix="Train the teacher on this dataset.",
        )


def qualities(teacher: Teacher, dataset: Dataset, rows: NDArray[np.int64]) -> dict[str, float]:
    """Behaviour → AUC or R² on those rows; a behaviour whose quality is not defined there is left out."""
    links = links_of(teacher, dataset, rows)
    position = {behaviour.name: index for index, behaviour in enumerate(dataset.behaviours)}
    reached = {
        behaviour.name: quality(links[:, column], dataset.labels[rows, position[behaviour.name]], behaviour)
        for column, behaviour in enumerate(teacher.card.behaviours)
    }
    return {name: value for name, value in reached.items() if np.isfinite(value)}


def best(teachers: Sequence[Teacher]) -> dict[str, Teacher]:
    """Behaviour → the teacher of the highest validation quality; the earlier one where two are level."""
    chosen: dict[str, Teacher] = {}
    for teacher in teachers:
        for name, value in teacher.card.validation_quality.items():
            if name not in chosen or value > chosen[name].card.validation_quality[name]:
                chosen[name] = teacher
    return chosen


def cross_fit(dataset: Dataset, card: TeacherCard, *, progress: Progress = silent) -> NDArray[np.float32]:
    """What a teacher would say of the training players had it never seen them.

    Trees fit the rows they were trained on better than any others; a student that learns from such answers learns the
    noise. So a teacher of the same family, settings and seed is trained on each half of the training players
    (`dataset.fold`) and asked about the other half.

    Args:
        dataset: the one the teacher was trained on.
        card: of the teacher.
        progress: told how far both fits have come.

    Returns:
        (training rows, behaviours) float32 links, in the order of `dataset.rows(Split.TRAIN)`.

    Raises:
        FusionError: the teacher does not fit the dataset, or a half cannot be learnt from.
    """
    _check_fits(card, dataset)
    spec = TeacherSpec(name=card.name, family=card.family, behaviours=card.behaviour_names, settings=card.settings)
    rows = dataset.rows(Split.TRAIN)
    fold = dataset.fold[rows]
    links = np.empty((len(rows), len(card.behaviours)), dtype=np.float32)
    for half in (0, 1):
        task = Task(dataset, card.behaviours, rows[fold != half], dataset.rows(Split.VALIDATION))
        stand_in = _fit(task, spec, card.seed, part_of(progress, half, 2))
        links[fold == half] = links_of(stand_in, dataset, rows[fold == half])
    return links


def write(teacher: OnnxTeacher, folder: Path) -> None:
    """Write `<name>.onnx` and `<name>.json`: both or neither, whatever interrupts.

    Raises:
        FusionError: the folder cannot be written, for want of space say.
    """
    model, card = (folder / f"{teacher.card.name}{suffix}" for suffix in (".onnx", ".json"))
    contents = {model: teacher.model, card: (teacher.card.model_dump_json(indent=1) + "\n").encode()}
    expected, fix = "a writable folder with room for the teachers", "Free some space or name another folder."
    with disk_faults(folder, expected=expected, fix=fix), staging.beside(folder / teacher.card.name) as place:
        for path, content in contents.items():
            staging.write_flushed(place / path.name, content)
        _put(place / model.name, model, place / card.name, card)


def _put(made_model: Path, model: Path, made_card: Path, card: Path) -> None:
    """The card goes first and comes last: a model without a card is no teacher, and `load` says so."""
    old_card = made_card.with_name("old")
    try:
        if card.is_file():
            card.rename(old_card)
        made_model.replace(model)
    finally:
        if not made_model.exists():
            _put_card(made_card, card, model)
        elif old_card.exists():
            old_card.replace(card)


def _put_card(made_card: Path, card: Path, model: Path) -> None:
    try:
        made_card.replace(card)
    except OSError:
        model.unlink()
        raise
