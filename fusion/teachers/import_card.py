"""The short card that a studio writes beside a model of its own: what goes in, what comes out, on which scale."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import TensorProto
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from inference.contract.behaviours import Identifier, to_link

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.onnx_graph import Graph
    from inference.contract.behaviours import Behaviour

_LEAST_PROBABILITY: Final = 1e-7
"""As `inference.contract.behaviours.to_link` has it."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scale(StrEnum):
    """The kind of number that a model answers."""

    PROBABILITY = "probability"
    LOGIT = "logit"
    VALUE = "value"
    """An amount in the behaviour's unit."""
    LOG1P = "log1p"
    """log(1 + amount)."""

    @property
    def is_binary(self) -> bool:
        """Whether it speaks of a binary behaviour, not of an amount."""
        return self in (Scale.PROBABILITY, Scale.LOGIT)

    @property
    def is_link(self) -> bool:
        """Whether it is the link scale already."""
        return self in (Scale.LOGIT, Scale.LOG1P)


class Calibration(_Part):
    """Corrects a model that is too sure or too timid: logit / temperature + bias.

    Temperature scaling (Guo et al., ICML 2017) with Platt's bias (Platt 1999).
    """

    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="above 1 for a model too sure")
    bias: float = Field(default=0.0, allow_inf_nan=False, description="added to every logit")


class Answer(_Part):
    """One behaviour: where its number stands among the model's outputs, and what it means."""

    name: Identifier = Field(description="of the behaviour, as the dataset names it")
    kind: Scale
    output: str | None = Field(default=None, description="name of the ONNX output; needed where it has several")
    column: int | None = Field(default=None, ge=0, description="of that output, from 0; needed where it has others")
    calibration: Calibration | None = None

    @model_validator(mode="after")
    def _calibrates_probabilities(self) -> Answer:
        if self.calibration is not None and not self.kind.is_binary:
            msg = f"calibration is for probabilities and logits, not for a {self.kind}"
            raise ValueError(msg)
        return self

    def links(self, values: NDArray[np.float64], behaviour: Behaviour) -> NDArray[np.float64]:
        """The model's numbers on the link scale."""
        links = values if self.kind.is_link else to_link(values, behaviour)
        if self.calibration is None:
            return links
        return links / self.calibration.temperature + self.calibration.bias


def add_links(graph: Graph, values: str, kind: Scale, calibration: Calibration | None) -> str:
    """`Answer.links` of some columns as nodes of a graph.

    In double precision, where anything is computed: a probability close to 1 has no logit in single.
    """
    if kind.is_link and calibration is None:
        return graph.op("Cast", values, to=TensorProto.FLOAT)

    def number(value: float) -> str:
        return graph.constant(value, np.float64)

    links = graph.op("Cast", values, to=TensorProto.DOUBLE)
    if kind is Scale.PROBABILITY:
        likely = graph.op("Max", links, number(_LEAST_PROBABILITY))
        likely = graph.op("Min", likely, number(1.0 - _LEAST_PROBABILITY))
        links = graph.op("Log", graph.op("Div", likely, graph.op("Sub", number(1.0), likely)))
    elif kind is Scale.VALUE:
        links = graph.op("Log", graph.op("Add", graph.op("Max", links, number(0.0)), number(1.0)))
    if calibration is not None:
        links = graph.op("Div", links, number(calibration.temperature))
        links = graph.op("Add", links, number(calibration.bias))
    return graph.op("Cast", links, to=TensorProto.FLOAT)


class ImportCard(_Part):
    """`<name>.yaml`: what there is to know about the model in `<name>.onnx`."""

    features: tuple[Identifier, ...] = Field(
        min_length=1, description="columns of the model's input, in order, as the dataset names them"
    )
    behaviours: tuple[Answer, ...] = Field(min_length=1, description="what it predicts, in the order of its columns")
    missing: float | None = Field(
        default=None,
        description="what the model wants where a feature is unknown: a number, or nan, which is None here",
    )
    input: str | None = Field(default=None, description="name of the ONNX input, to make sure it is the one meant")

    @field_validator("missing")
    @classmethod
    def _nan_or_a_number(cls, missing: float | None) -> float | None:
        if missing is not None and math.isinf(missing):
            msg = "nan or a number"
            raise ValueError(msg)
        return None if missing is None or math.isnan(missing) else missing

    @model_validator(mode="after")
    def _each_once(self) -> ImportCard:
        for what, names in (("features", self.features), ("behaviours", [answer.name for answer in self.behaviours])):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                msg = f"{what} named twice: {', '.join(twice)}"
                raise ValueError(msg)
        return self
