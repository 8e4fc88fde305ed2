"""What the torch families share: a network over scaled inputs that can write itself into an ONNX graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from fusion.onnx_graph import Graph
from fusion.teachers.examples import Examples
from fusion.teachers.onnx_teacher import LINKS
from fusion.teachers.parity import check_parity
from fusion.teachers.scaled import ScaledInputs
from fusion.teachers.teacher import Fitted, Progress, Settings, Task
from fusion.training import Learner, Schedule, predict, train
from inference.contract.features import SEQUENCE_CHANNELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PARITY_ROWS: Final = 512


class NetworkSettings(Settings, Schedule):
    """What all torch families can be told."""

    hidden: tuple[PositiveInt, ...] = Field(description="widths of the ReLU layers before the output")
    batch_rows: PositiveInt = 1024
    dropout: float = Field(default=0.0, ge=0, lt=1)


NetworkSettingsT = TypeVar("NetworkSettingsT", bound=NetworkSettings)


class Encoder(nn.Module, ABC):
    """Reads sessions in their order: causal, and blind to the padding before the first session."""

    width: int
    """Length of the state."""

    @abstractmethod
    def forward(self, sequences: Tensor) -> Tensor:
        """(windows, steps, channels) scaled → (windows, steps, width), the state after each session."""

    @abstractmethod
    def add_to(self, graph: Graph, sequences: str) -> str:
        """Nodes of a graph from (rows, T, channels), scaled, to (rows, width), the state after the newest session."""


class GraphLearner(Learner[Examples]):
    """A learner that can write itself into a graph."""

    @abstractmethod
    def add_to(self, graph: Graph, features: str, sequences: str | None) -> str:
        """The same, without dropout, as nodes of a graph from scaled inputs to links: every row with its own window."""


class Network(GraphLearner):
    """Features, and the encoded sequence where there is an encoder, through ReLU layers to one link per behaviour.

    Args:
        features: number of tabular inputs.
        hidden: widths of the layers; empty makes it linear.
        behaviours: number of outputs.
        encoder: of the sequences.
        dropout: share of the hidden activations that is dropped in training.
    """

    def __init__(
        self, features: int, hidden: tuple[int, ...], behaviours: int, encoder: Encoder | None, dropout: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        widths = (features + (encoder.width if encoder else 0), *hidden)
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.output = nn.Linear(widths[-1], behaviours)
        self.dropout = nn.Dropout(dropout)

    @property
    def output_bias(self) -> nn.Parameter:
        """(behaviours,) bias of the last layer."""
        return self.output.bias

    def forward(self, examples: Examples) -> Tensor:
        """(rows, behaviours) links of scaled inputs."""
        value = examples.features
        if self.encoder is not None and examples.sequences is not None:
            states = self.encoder(examples.sequences)
            value = torch.cat((states[examples.window, examples.place], value), dim=1)
        for layer in self.hidden:
            value = self.dropout(torch.relu(layer(value)))
        links: Tensor = self.output(value)
        return links

    def add_to(self, graph: Graph, features: str, sequences: str | None) -> str:
        """See `GraphLearner`."""
        value = features
        if self.encoder is not None and sequences is not None:
            value = graph.op("Concat", self.encoder.add_to(graph, sequences), features, axis=1)
        for layer in self.hidden:
            value = graph.op("Relu", add_linear(graph, value, layer))
        return add_linear(graph, value, self.output)


def add_linear(graph: Graph, value: str, layer: nn.Module) -> str:
    """A linear layer of torch as a node of a graph."""
    return graph.linear(value, array(layer.weight), array(layer.bias))


def array(tensor: Tensor | nn.Module) -> NDArray[np.float32]:
    """A parameter as NumPy sees it. (To the type checker, any attribute of a module may be a module.)"""
    assert isinstance(tensor, Tensor)
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class NetworkTrainer(Generic[NetworkSettingsT]):
    """Trainer of one torch family.

    Attributes:
        settings_type: what the family can be told.
        encoder: makes the sequence encoder from the number of channels; None where the family reads features alone.
        memorises: early stopping keeps a network from it.
    """

    settings_type: type[NetworkSettingsT]
    encoder: Callable[[NetworkSettingsT, int], Encoder] | None = None
    memorises: bool = False

    @property
    def uses_sequences(self) -> bool:
        """Whether it reads the last sessions one by one."""
        return self.encoder is not None

    def fit(self, task: Task, settings: NetworkSettingsT, seed: int, progress: Progress) -> Fitted:
        """Scale, train, write the graph, and prove that it computes what torch computes.

        Raises:
            FusionError: the training rows lack labels, or the graph departs from torch by more than 1e-4.
        """
        inputs = ScaledInputs.measure(task, sequences=self.encoder is not None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = self.encoder(settings, len(SEQUENCE_CHANNELS)) if self.encoder else None
            network = Network(len(inputs.names), settings.hidden, len(task.behaviours), encoder, settings.dropout)
            training, validation = (inputs.shared(task, rows)[0] for rows in (task.training, task.validation))
            train(network, task.behaviours, training, validation, settings, progress)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        return write(network, inputs, task, parameters)


def write(network: GraphLearner, inputs: ScaledInputs, task: Task, parameters: int) -> Fitted:
    """The graph of a trained network, proven to compute what torch computes on rows of the validation players.

    Raises:
        FusionError: the graph departs from torch by more than 1e-4.
    """
    graph = Graph("teacher")
    model = graph.serialise(network.add_to(graph, *inputs.add_to(graph)), LINKS, len(task.behaviours))
    probe = task.validation[:_PARITY_ROWS]
    expected = predict(network, inputs.own(task, probe))
    sequences = task.dataset.sequences(probe) if inputs.sequences is not None else None
    check_parity(model, task.features(probe, inputs.names), sequences, expected)
    return Fitted(model, inputs.names, inputs.sequences is not None, parameters)
