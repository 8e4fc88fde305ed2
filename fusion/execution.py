"""Chooses how each layer is carried out: as two products in a row, or multiplied out at load. Measured, not assumed."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from itertools import chain, combinations
from typing import TYPE_CHECKING

from fusion.cost import LOBBY_PLAYERS, REPEATS, cpu_us
from fusion.export import to_onnx
from fusion.network import LAYERS
from inference.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fusion.branch import Branch
    from fusion.network import FusedNetwork
    from inference.contract.behaviours import Behaviour


@dataclass(frozen=True, slots=True)
class Execution:
    """The graph that was fastest on this machine.

    Attributes:
        model: the ONNX file's bytes.
        dense: layers that are multiplied out at load.
        cpu_us: per 64-player lobby, for each set of layers that was tried.
        float32_us: where the products are integers, what the same network would take in float32.
    """

    model: bytes
    dense: frozenset[str]
    cpu_us: dict[frozenset[str], float]
    float32_us: float | None = None

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        if self.float32_us is not None:
            return (
                f"execution form: products of integers, as the recipe says ({self.cpu_us[self.dense]:.0f} µs CPU per "
                f"lobby on this machine, the same network in float32 {self.float32_us:.0f} µs)"
            )
        factored = self.cpu_us[frozenset()]
        names = ", ".join(sorted(self.dense)) or "no layer"
        return (
            f"execution form: {names} multiplied out at load "
            f"({self.cpu_us[self.dense]:.0f} µs CPU per lobby, with all layers as factors {factored:.0f} µs)"
        )


def choose_execution(
    network: FusedNetwork,
    behaviours: Sequence[Behaviour],
    features: NDArray[np.float32],
    branches: Sequence[Branch] = (),
    *,
    repeats: int = REPEATS,
) -> Execution:
    """Time the graph of every choice of layers on one lobby and take the fastest.

    Products of integers are what a recipe asked for: they are kept, and timed beside the fastest graph in float32.

    Args:
        network: trained.
        behaviours: columns of the output.
        features: (rows, features) as the graph reads them; the first lobby of them is scored.
        branches: teachers that answer for some behaviours in the network's place.
        repeats: of the timing.
    """
    plain = _in_float32(network)
    choosable = [name for name in LAYERS if len(plain.layer(name).products) > 1]
    choices = [
        frozenset(chosen)
        for chosen in chain.from_iterable(combinations(choosable, size) for size in range(len(choosable) + 1))
    ]
    models = [to_onnx(plain, behaviours, dense=dense, branches=branches) for dense in choices]
    if plain is not network:
        models.append(to_onnx(network, behaviours, branches=branches))
    engines = [Engine.from_bytes(model) for model in models]
    lobby = features[:LOBBY_PLAYERS]
    times = cpu_us([lambda engine=engine: engine.run(lobby) for engine in engines], repeats=repeats)  # type: ignore[misc]
    if plain is not network:
        return Execution(models[-1], frozenset(), {frozenset(): times[-1]}, min(times[:-1]))
    fastest = min(range(len(choices)), key=times.__getitem__)
    return Execution(models[fastest], choices[fastest], dict(zip(choices, times, strict=True)))


def _in_float32(network: FusedNetwork) -> FusedNetwork:
    """The network itself, or a copy without integers."""
    if not network.has_integers:
        return network
    plain = deepcopy(network)
    for name in LAYERS:
        plain.layer(name).integer = None
    return plain
