"""A linear layer whose weight tensor is kept in a low-rank form, and how it is carried out.

Whatever the form, the layer is one matrix product or a chain of two: `x @ down @ up`. Each matrix is an einsum over the
stored arrays, so that torch and ONNX follow the same plan: torch trains the arrays, ONNX Runtime folds the einsum at
load.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fusion.errors import FusionError
from fusion.lowrank import cp, tucker
from fusion.lowrank.cp import Cp
from fusion.lowrank.tucker import Tucker
from fusion.prune.unit import Units
from fusion.weight import Weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fusion.lowrank.metric import Metric
    from fusion.lowrank.ranks import Ranks
    from fusion.prune.unit import Slice

Form = Tucker | Cp


@dataclass(frozen=True, slots=True)
class Product:
    """One matrix of the chain: `einsum(equation, *arrays)`, reshaped.

    Attributes:
        equation: over the named arrays.
        arrays: names of the stored arrays, in the equation's order.
        shape: (in, out) of the matrix.
    """

    equation: str
    arrays: tuple[str, ...]
    shape: tuple[int, int]


class LowRankLayer(nn.Module):
    """y = x @ down @ up + bias, from the arrays of a dense tensor, a Tucker or a CP form.

    Output modes come first in the tensor, input modes last; both are flattened row by row.

    Args:
        form: the weight tensor (output modes..., input modes...), dense or decomposed.
        out_modes: how many modes are output modes.
        bias: (output modes...), zeros where left out.
    """

    def __init__(
        self, form: NDArray[np.float64] | Form, *, out_modes: int, bias: NDArray[np.float32] | None = None
    ) -> None:
        super().__init__()
        self.out_modes = out_modes
        self.arrays = nn.ModuleDict({name: Weight(array) for name, array in _arrays(form).items()})
        self.bias = Weight(np.zeros(_shape(form)[:out_modes]) if bias is None else bias)
        self.products = _plan(form, out_modes)
        self._form = type(form)
        self._whole = tuple(factor is None for factor in form.factors) if isinstance(form, Tucker) else ()

    def matrices(self) -> list[Tensor]:
        """The chain, each (in, out)."""
        return [
            torch.einsum(product.equation, *(self.arrays[name]() for name in product.arrays)).reshape(product.shape)
            for product in self.products
        ]

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in) → (rows, out)."""
        for matrix in self.matrices():
            x = x @ matrix
        bias: Tensor = self.bias()
        return x + bias.flatten()

    def form(self) -> NDArray[np.float64] | Form:
        """The weight tensor as it stands now, in float64."""
        arrays: dict[str, NDArray[np.float64]] = {
            name: weight.numpy().astype(np.float64) for name, weight in self.weights()
        }
        if self._form is Cp:
            return Cp(tuple(arrays[f"factor{mode}"] for mode in range(len(arrays))))
        if self._form is Tucker:
            factors = (None if whole else arrays[f"factor{mode}"] for mode, whole in enumerate(self._whole))
            return Tucker(arrays["core"], tuple(factors))
        return arrays["tensor"]

    def weights(self) -> Iterator[tuple[str, Weight]]:
        """Name and weight of every array of the form."""
        for name, weight in self.arrays.items():
            assert isinstance(weight, Weight)
            yield name, weight

    @property
    def kept(self) -> int:
        """Numbers stored."""
        return sum(weight.kept for _, weight in self.weights()) + self.bias.kept

    def mode_slice(self, mode: int) -> Slice:
        """The array, and its axis, along which a mode of the tensor lies."""
        arrays = dict(self.weights())
        if f"factor{mode}" in arrays:
            return arrays[f"factor{mode}"], 0
        return arrays["core" if self._form is Tucker else "tensor"], mode

    def components(self, name: str) -> tuple[Units, ...]:
        """What ranks count: the components of a CP form, or those of each mode of a Tucker form."""
        arrays = dict(self.weights())
        if self._form is Cp:
            (first, *others) = ((weight, 1) for weight in arrays.values())
            return (Units(f"{name}: components", first, tuple(others)),)
        return tuple(
            Units(f"{name}: components of mode {mode}", (arrays[f"factor{mode}"], 1), ((arrays["core"], mode),))
            for mode in range(len(self._whole))
            if f"factor{mode}" in arrays
        )

    def replan(self) -> None:
        """Work out the products anew: to be called when arrays have become smaller."""
        self.products = _plan(self.form(), self.out_modes)

    def tensor(self) -> NDArray[np.float64]:
        """The weight tensor (output modes..., input modes...) that the arrays stand for."""
        form = self.form()
        return form if isinstance(form, np.ndarray) else form.to_tensor()


def decomposed(layer: LowRankLayer, ranks: Ranks, metric: Metric, seed: int) -> LowRankLayer:
    """The layer with its tensor decomposed: to CP where `ranks` is one number, to Tucker where it is one per mode."""
    tensor = layer.tensor()
    form: Form
    if isinstance(ranks, int):
        form = cp.decompose(tensor, ranks, metric, seed)
    else:
        form = tucker.decompose(tensor, ranks, metric)
    return LowRankLayer(form.balanced(), out_modes=layer.out_modes, bias=layer.bias.numpy())


def _shape(form: NDArray[np.float64] | Form) -> tuple[int, ...]:
    if isinstance(form, np.ndarray):
        return form.shape
    core = form.core.shape if isinstance(form, Tucker) else (0,) * len(form.factors)
    return tuple(size if factor is None else len(factor) for size, factor in zip(core, form.factors, strict=True))


def _arrays(form: NDArray[np.float64] | Form) -> dict[str, NDArray[np.float64]]:
    if isinstance(form, np.ndarray):
        return {"tensor": form}
    factors = {f"factor{mode}": factor for mode, factor in enumerate(form.factors) if factor is not None}
    return {"core": form.core, **factors} if isinstance(form, Tucker) else factors


def _plan(form: NDArray[np.float64] | Form, out_modes: int) -> tuple[Product, ...]:
    if isinstance(form, np.ndarray):
        modes = "abcdefg"[: form.ndim]
        shape = (prod(form.shape[out_modes:]), prod(form.shape[:out_modes]))
        return (Product(f"{modes}->{modes[out_modes:]}{modes[:out_modes]}", ("tensor",), shape),)
    if isinstance(form, Cp):
        return _plan_cp(form, out_modes)
    return _plan_tucker(form, out_modes)


def _plan_cp(form: Cp, out_modes: int) -> tuple[Product, ...]:
    sizes = [len(factor) for factor in form.factors]
    rank = form.factors[0].shape[1]
    modes = "abcdefg"[: len(sizes)]
    names = tuple(f"factor{mode}" for mode in range(len(sizes)))

    def operands(letters: str) -> str:
        return ",".join(f"{letter}r" for letter in letters)

    inputs, outputs = modes[out_modes:], modes[:out_modes]
    return (
        Product(f"{operands(inputs)}->{inputs}r", names[out_modes:], (prod(sizes[out_modes:]), rank)),
        Product(f"{operands(outputs)}->r{outputs}", names[:out_modes], (rank, prod(sizes[:out_modes]))),
    )


def _plan_tucker(form: Tucker, out_modes: int) -> tuple[Product, ...]:
    sides = {"in": range(out_modes, len(form.factors)), "out": range(out_modes)}
    core_side = _core_side(form, sides)
    modes = "abcdefg"[: len(form.factors)]
    ranks = "".join(mode if factor is None else mode.upper() for mode, factor in zip(modes, form.factors, strict=True))
    inner_modes = sides["out" if core_side == "in" else "in"]
    inner = "".join(ranks[mode] for mode in inner_modes)
    inner_size = prod(form.core.shape[mode] for mode in inner_modes)

    def product(side: str) -> Product:
        decomposed = [mode for mode in sides[side] if form.factors[mode] is not None]
        operands = [f"{modes[mode]}{ranks[mode]}" for mode in decomposed]
        names = [f"factor{mode}" for mode in decomposed]
        if side == core_side:
            operands, names = [ranks, *operands], ["core", *names]
        outer = "".join(modes[mode] for mode in sides[side])
        size = prod(len(factor) if (factor := form.factors[m]) is not None else form.core.shape[m] for m in sides[side])
        if side == "in":
            return Product(f"{','.join(operands)}->{outer}{inner}", tuple(names), (size, inner_size))
        return Product(f"{','.join(operands)}->{inner}{outer}", tuple(names), (inner_size, size))

    return product("in"), product("out")


def _core_side(form: Tucker, sides: dict[str, range]) -> str:
    """The side that takes the core: one with a whole mode must; otherwise that which leaves the chain narrowest."""
    whole = [side for side, modes in sides.items() if any(form.factors[mode] is None for mode in modes)]
    if len(whole) == 2:
        raise FusionError(
            "Tucker form", got="whole modes among inputs and outputs", expected="whole modes on one side at most"
        )
    if whole:
        return whole[0]
    width = {side: prod(form.core.shape[mode] for mode in modes) for side, modes in sides.items()}
    return "in" if width["in"] > width["out"] else "out"
