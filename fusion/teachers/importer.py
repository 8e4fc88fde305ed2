"""Turns a studio's own model and its short card into a teacher like any other: one graph from features to links.

Nodes are put around the model: before it, unknown features become what it wants for them; after it, its numbers go to
the link scale. So nothing that comes later (hashes, costs, fusion) knows where a teacher is from.
"""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx

from fusion.errors import FusionError
from fusion.onnx_graph import Graph
from fusion.teachers.families import IMPORTED
from fusion.teachers.foreign import ForeignModel
from fusion.teachers.import_card import Scale, add_links
from fusion.teachers.library import qualities
from fusion.teachers.onnx_teacher import FEATURES, LINKS, OnnxTeacher
from fusion.teachers.parity import check_close
from fusion.teachers.teacher import TeacherCard
from fusion.telemetry.dataset import Split
from fusion.yaml_file import nearest
from inference.contract.artifact import sha256
from inference.contract.behaviours import NAME_PATTERN, from_link
from inference.contract.features import FEATURE_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from fusion.teachers.import_card import Answer, ImportCard
    from fusion.telemetry.dataset import Dataset
    from inference.contract.behaviours import Behaviour

    Places = Mapping[Answer, tuple[str, int]]
    """Where each behaviour's number stands: output and column."""

_PROBE_ROWS: Final = 2048
_ROUNDING: Final = 1e-4
"""By how much a probability may leave 0 to 1: sums of single-precision numbers do."""


def import_model(name: str, content: bytes, card: ImportCard, dataset: Dataset, *, where: str = "") -> OnnxTeacher:
    """Make a teacher of an ONNX model, and judge it on the dataset's validation players.

    Args:
        name: of the teacher.
        content: the ONNX file's bytes.
        card: what they hold.
        dataset: with the features that it reads and the behaviours that it predicts.
        where: names the model in errors; the teacher's name where left out.

    Returns:
        A teacher of the family "imported". Its graph is the model's, with the nodes around it; its hash is of that.

    Raises:
        FusionError: the model is damaged, or not what the card says, or the dataset lacks a feature or a behaviour.
    """
    where = where or f"teacher {name}"
    _check_name(name, where)
    behaviours = tuple(_behaviour(answer, dataset, where) for answer in card.behaviours)
    columns = _feature_columns(card, dataset, where)
    validation = dataset.rows(Split.VALIDATION)
    dataset.require(validation, "validation")
    model = ForeignModel(content, where)
    _check_inputs(model, card)
    probe = dataset.features[validation[:_PROBE_ROWS]][:, columns]
    said = model.run(_feed(model, card, probe))
    places = {answer: _place(answer, card, said, where) for answer in card.behaviours}
    _check_numbers(places, said, model)
    wrapped = _wrap(model, card, places, {output: values.shape[1] for output, values in said.items()})
    made = TeacherCard(
        name=name,
        family=IMPORTED,
        behaviours=behaviours,
        features=card.features,
        uses_sequences=False,
        parameters=model.parameters,
        seed=0,
        settings=card.model_dump(mode="json", exclude_none=True) | {"source_sha256": sha256(content)},
        feature_version=FEATURE_VERSION,
        data_name=dataset.name,
        data_sha256=dataset.sha256,
        synthetic=dataset.synthetic,
        validation_quality={},
        onnx_sha256=sha256(wrapped),
    )
    teacher = OnnxTeacher(wrapped, made)
    _check_parity(teacher, probe, places, said)
    reached = qualities(teacher, dataset, validation)
    return OnnxTeacher(wrapped, made.model_copy(update={"validation_quality": reached}))


def _check_name(name: str, where: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise FusionError(
            where,
            got=f"the name {name}",
            expected="lower-case letters, digits and underscores, a letter first",
            fix="Rename the files.",
        )


def _check_parity(
    teacher: OnnxTeacher, probe: NDArray[np.float32], places: Places, said: Mapping[str, NDArray[np.float64]]
) -> None:
    """The nodes around the model have to compute what `Answer.links` computes of its own numbers."""
    got = teacher.links(probe).astype(np.float64)
    for (answer, (output, column)), behaviour, ours in zip(places.items(), teacher.card.behaviours, got.T, strict=True):
        theirs = answer.links(said[output][:, column], behaviour)
        if answer.kind is Scale.PROBABILITY:
            # The last bit of a probability near 1 is much of its logit: such are compared as the model gives them.
            ours, theirs = from_link(ours, behaviour), from_link(theirs, behaviour)
        check_close(ours, theirs, where=f"teacher {teacher.card.name}")


def _behaviour(answer: Answer, dataset: Dataset, where: str) -> Behaviour:
    known = {behaviour.name: behaviour for behaviour in dataset.behaviours}
    if answer.name not in known:
        raise FusionError(
            f"{where}, behaviours",
            got=f"{answer.name}{nearest(answer.name, known)}",
            expected=f"some of {', '.join(known)}, which the dataset has",
        )
    behaviour = known[answer.name]
    if answer.kind.is_binary != behaviour.is_binary:
        kinds = [scale.value for scale in Scale if scale.is_binary == behaviour.is_binary]
        raise FusionError(
            f"{where}, kind of {answer.name}",
            got=answer.kind.value,
            expected=f"{' or '.join(kinds)}: the dataset has a {behaviour.kind} in {behaviour.unit}",
        )
    return behaviour


def _feature_columns(card: ImportCard, dataset: Dataset, where: str) -> list[int]:
    position = {name: index for index, name in enumerate(dataset.feature_names)}
    unknown = [name for name in card.features if name not in position]
    if unknown:
        raise FusionError(
            f"{where}, features",
            got=f"{unknown[0]}{nearest(unknown[0], position)}",
            expected=f"some of {', '.join(position)}, which the dataset has",
        )
    return [position[name] for name in card.features]


def _check_inputs(model: ForeignModel, card: ImportCard) -> None:
    """One input of all features, or, as exports of data frames have it, one of each feature, called so."""
    names = [value.name for value in model.inputs]
    shapes = ", ".join(f"{value.name} of {value.shape[1] or 'any number of'} columns" for value in model.inputs)
    fault = FusionError(
        f"{model.where}, inputs",
        got=shapes,
        expected=f"{card.input or 'one input'} of {len(card.features)} columns, the card's features"
        + ("" if card.input else ", or an input of each, called so"),
        fix="List the features in the card as the model was trained on them.",
    )
    if len(names) > 1 or names == list(card.features):
        if card.input or sorted(names) != sorted(card.features) or any(value.shape[1] != 1 for value in model.inputs):
            raise fault
    elif model.inputs[0].shape[1] not in (None, len(card.features)) or card.input not in (None, *names):
        raise fault
    whole = [value.name for value in model.inputs if value.is_integer]
    if whole and card.missing is None:
        raise FusionError(
            f"{model.where}, missing",
            got="nan",
            expected=f"a number: the input {whole[0]} takes whole numbers, and unknown features are NaN",
            fix="Say in the card what stands for an unknown value, `missing: 0` say.",
        )


def _feed(model: ForeignModel, card: ImportCard, features: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    known = features if card.missing is None else np.where(np.isnan(features), np.float32(card.missing), features)
    if len(model.inputs) == 1:
        return {model.inputs[0].name: known.astype(model.inputs[0].dtype)}
    return {value.name: known[:, [card.features.index(value.name)]].astype(value.dtype) for value in model.inputs}


def _place(answer: Answer, card: ImportCard, said: Mapping[str, NDArray[np.float64]], where: str) -> tuple[str, int]:
    """Output and column of a behaviour, found out as far as the card leaves it open."""
    where = f"{where}, {answer.name}"
    output = answer.output or (next(iter(said)) if len(said) == 1 else "")
    if output not in said:
        raise FusionError(
            where,
            got=f"output {output}{nearest(output, said)}" if output else f"no `output`, and {len(said)} to choose from",
            expected=f"an output of numbers, one of {', '.join(said)}",
        )
    width = said[output].shape[1]
    if answer.column is not None:
        if answer.column < width:
            return output, answer.column
        raise FusionError(where, got=f"column {answer.column}", expected=f"one of the {width} columns of {output}")
    beside = [other for other in card.behaviours if other.output == answer.output and other.column is None]
    if len(beside) == width:
        return output, beside.index(answer)
    if len(beside) == 1 and width == 2 and answer.kind is Scale.PROBABILITY:
        # A binary classifier: the probability of no, then that of yes.
        return output, 1
    raise FusionError(
        where,
        got=f"{len(beside)} behaviour(s) for the {width} columns of {output}",
        expected="one column for each behaviour",
        fix="Say in the card which `column` is meant, from 0.",
    )


def _check_numbers(places: Places, said: Mapping[str, NDArray[np.float64]], model: ForeignModel) -> None:
    for answer, (output, column) in places.items():
        values, where = said[output][:, column], f"{model.where}, {answer.name}"
        if not np.isfinite(values).all():
            fix = "Unknown features are NaN: say in the card what the model wants for them, `missing: 0` say."
            if model.infinite:
                fix = f"Its weight {model.infinite[0]} holds infinity: if training has diverged, train it again. {fix}"
            raise FusionError(
                where,
                got=f"NaN or infinity for {int((~np.isfinite(values)).sum())} of {len(values)} validation rows",
                expected="a number for every row",
                fix=fix,
            )
        low, high = float(values.min()), float(values.max())
        if answer.kind is Scale.PROBABILITY and not -_ROUNDING <= low <= high <= 1 + _ROUNDING:
            raise FusionError(
                where,
                got=f"values from {low:.3g} to {high:.3g}",
                expected="probabilities, from 0 to 1",
                fix="Say `kind: logit` in the card where the last layer has no sigmoid.",
            )


def _wrap(model: ForeignModel, card: ImportCard, places: Places, widths: Mapping[str, int]) -> bytes:
    """The model as a graph of ours: "features" in, "links" out; `widths` are those of its outputs."""
    graph = Graph("teacher")
    features = graph.input(FEATURES, (len(card.features),))
    if card.missing is not None:
        features = graph.op("Where", graph.op("IsNaN", features), graph.constant(card.missing), features)
    feeds = {}
    for value in model.inputs:
        feeds[value.name] = features
        if len(model.inputs) > 1:
            index = graph.constant([card.features.index(value.name)], np.int64)
            feeds[value.name] = graph.op("Gather", features, index, axis=1)
        feeds[value.name] = graph.op("Cast", feeds[value.name], to=value.element_type)
    # An output may be one number per row without a second axis.
    rows = {
        output: graph.op("Reshape", value, graph.constant([-1, widths[output]], np.int64))
        for output, value in model.add_to(graph, feeds).items()
    }
    links = []
    # Columns that are alike in all else go together: one node for all of them instead of one for each.
    for (output, kind, calibration), alike in groupby(places, lambda a: (places[a][0], a.kind, a.calibration)):
        columns = [places[answer][1] for answer in alike]
        values = rows[output]
        if columns != list(range(widths[output])):
            values = graph.op("Gather", values, graph.constant(columns, np.int64), axis=1)
        links.append(add_links(graph, values, kind, calibration))
    together = graph.op("Concat", *links, axis=1) if len(links) > 1 else links[0]
    try:
        return graph.serialise(together, LINKS, len(places))
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise FusionError(
            model.where, got=str(error), expected="a model that follows the ONNX specification"
        ) from error
