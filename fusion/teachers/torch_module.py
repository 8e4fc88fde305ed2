"""A torch module, in process, as a teacher: exported to ONNX, and proven to say there what it says in torch.

The exporter is torch's own that traces. Its successor needs two more packages and ten times as long for a network of
this size, and gives the same graph; torch calls the older one deprecated, which is no news for who calls this.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from fusion import yaml_file
from fusion.errors import FusionError
from fusion.teachers.foreign import ForeignModel
from fusion.teachers.import_card import ImportCard
from fusion.teachers.importer import import_model
from fusion.teachers.parity import check_close
from fusion.telemetry.dataset import Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fusion.teachers.import_card import Scale
    from fusion.teachers.onnx_teacher import OnnxTeacher
    from fusion.telemetry.dataset import Dataset

_OPSET: Final = 17
_INPUT: Final = "features"
_OUTPUT: Final = "answers"
_PROBE_ROWS: Final = 512


def from_module(
    module: nn.Module,
    dataset: Dataset,
    *,
    name: str,
    features: Sequence[str],
    behaviours: Mapping[str, Scale | str],
    missing: float | None = None,
) -> OnnxTeacher:
    """Make a teacher of a torch module; `fusion.teachers.library.write` puts it beside the others.

    Args:
        module: from (rows, features) to (rows, behaviours) or (rows,); it is copied, and used in its evaluation mode.
        dataset: with the features that it reads and the behaviours that it predicts.
        name: of the teacher.
        features: columns of its input, in order, as the dataset names them.
        behaviours: behaviour → kind of its column ("probability", "logit", "value" or "log1p"), in order.
        missing: what the module wants where a feature is unknown; None passes NaN on.

    Raises:
        FusionError: the module cannot be exported, its graph departs from it by more than 1e-4, or something of it does
            not fit the dataset.
    """
    where = f"module {name}"
    answers = [{"name": behaviour, "kind": kind} for behaviour, kind in behaviours.items()]
    try:
        card = ImportCard.model_validate({"features": features, "behaviours": answers, "missing": missing})
    except ValidationError as error:
        raise yaml_file.explain(error, ImportCard, where) from error
    module = copy.deepcopy(module).cpu().eval()
    # ONNX Runtime lacks many operators in double precision.
    content = _export(copy.deepcopy(module).float(), len(card.features), where)
    teacher = import_model(name, content, card, dataset, where=where)
    rows = dataset.rows(Split.VALIDATION)[:_PROBE_ROWS]
    probe = dataset.features[rows][:, [dataset.feature_names.index(feature) for feature in card.features]]
    known = np.ascontiguousarray(probe if missing is None else np.where(np.isnan(probe), np.float32(missing), probe))
    check_close(ForeignModel(content, where).run({_INPUT: known})[_OUTPUT], _answers(module, known), where=where)
    return teacher


def _answers(module: nn.Module, features: NDArray[np.float32]) -> NDArray[np.float64]:
    dtype = next((weight.dtype for weight in module.parameters()), torch.float32)
    with torch.no_grad():
        answers = module(torch.from_numpy(features).to(dtype))
    return np.asarray(answers.double().numpy().reshape(len(features), -1))


def _export(module: nn.Module, features: int, where: str) -> bytes:
    try:
        with warnings.catch_warnings(), TemporaryDirectory() as folder:
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            path = Path(folder) / "module.onnx"
            torch.onnx.export(
                module,
                (torch.zeros(2, features),),
                path,
                input_names=[_INPUT],
                output_names=[_OUTPUT],
                dynamic_axes={_INPUT: {0: "rows"}, _OUTPUT: {0: "rows"}},
                opset_version=_OPSET,
                dynamo=False,
            )
            return path.read_bytes()
    except Exception as error:  # whatever the module itself raises
        raise FusionError(
            where,
            got=f"{type(error).__name__}: {error}",
            expected=f"a module that takes (rows, {features}) and that torch can write as ONNX",
            fix="Write it as ONNX by other means, and give it a card: docs/bring_your_models.md.",
        ) from error
