"""What a low-rank form is: named arrays and subscripts, whose einsum is the weight tensor.

Everything else follows from the subscripts: how a layer is carried out, what can be pruned, what a refit may change.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final, Protocol, Self, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MODES: Final = "abcdefg"
"""Subscripts of a tensor's modes, in their order; any other letter is summed over and counts components."""


class Form(Protocol):
    """A weight tensor in some form, float64."""

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """What is stored."""
        ...

    @property
    def subscripts(self) -> dict[str, str]:
        """Per array its letters in the einsum that gives the tensor: of `MODES`, or of `components`."""
        ...

    @property
    def components(self) -> dict[str, str]:
        """Per letter that is summed over, what people call what it counts."""
        ...

    def with_arrays(self, arrays: Mapping[str, NDArray[np.float64]]) -> Self:
        """The same form of other numbers; the arrays may also have become smaller."""
        ...

    def to_tensor(self) -> NDArray[np.float64]:
        """The tensor that the arrays stand for."""
        ...

    def balanced(self) -> Self:
        """The same tensor from arrays that train well together: large beside small ones, they would diverge."""
        ...


@runtime_checkable
class Summed(Protocol):
    """A form whose tensor is not one einsum, but the sum of several."""

    @property
    def terms(self) -> tuple[tuple[str, ...], ...]:
        """Names of the arrays of each einsum; one that lacks a mode counts for all of it."""
        ...


@dataclass(frozen=True, slots=True)
class Dense:
    """The tensor itself: the form that everything starts from.

    Attributes:
        tensor: any order.
    """

    tensor: NDArray[np.float64]

    @property
    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """The tensor."""
        return {"tensor": self.tensor}

    @property
    def subscripts(self) -> dict[str, str]:
        """All modes."""
        return {"tensor": MODES[: self.tensor.ndim]}

    @property
    def components(self) -> dict[str, str]:
        """None."""
        return {}

    def with_arrays(self, arrays: Mapping[str, NDArray[np.float64]]) -> Dense:
        """Another tensor."""
        return Dense(arrays["tensor"])

    def to_tensor(self) -> NDArray[np.float64]:
        """The tensor."""
        return self.tensor

    def balanced(self) -> Dense:
        """Itself."""
        return self


@dataclass(frozen=True, slots=True)
class Term:
    """One einsum: `einsum(equation, *arrays)`.

    Attributes:
        operands: subscripts of each array.
        arrays: names of the stored arrays, in the operands' order.
        result: subscripts of what it gives.
        shape: of what it gives, 1 along what other terms have and it lacks.
    """

    operands: tuple[str, ...]
    arrays: tuple[str, ...]
    result: str
    shape: tuple[int, ...]

    @property
    def equation(self) -> str:
        """The einsum over the arrays."""
        return f"{','.join(self.operands)}->{self.result}"


@dataclass(frozen=True, slots=True)
class Product:
    """One matrix of the chain `x @ down @ up`: the sum of its terms, reshaped.

    Attributes:
        terms: one, but for forms that are sums.
        rows: subscripts that the matrix's rows run over.
        columns: subscripts that its columns run over.
        shape: (in, out) of the matrix.
    """

    terms: tuple[Term, ...]
    rows: str
    columns: str
    shape: tuple[int, int]

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays of all terms."""
        return tuple(name for term in self.terms for name in term.arrays)

    def matrix(self, arrays: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """(in, out) from the stored arrays."""
        found = [
            np.einsum(term.equation, *(arrays[name] for name in term.arrays), optimize=True).reshape(term.shape)
            for term in self.terms
        ]
        return np.asarray(sum(found[1:], start=found[0]).reshape(self.shape))


def numbers(form: Form) -> int:
    """How many numbers are stored."""
    return sum(array.size for array in form.arrays.values())


def sizes(form: Form) -> dict[str, int]:
    """Length of every letter."""
    return {
        letter: size
        for name, array in form.arrays.items()
        for letter, size in zip(form.subscripts[name], array.shape, strict=True)
    }


def plan(form: Form, out_modes: int) -> tuple[Product, ...]:
    """The chain of one or two matrices that a layer multiplies by.

    One where an array has modes of both sides, or the form is a sum: nothing narrow lies between its factors that all
    behaviours have in common.

    Args:
        form: of a tensor (output modes..., input modes...).
        out_modes: how many modes are output modes.
    """
    size = sizes(form)
    modes = "".join(sorted(letter for letter in size if letter in MODES))
    outputs, inputs = modes[:out_modes], modes[out_modes:]
    if isinstance(form, Summed):
        return (_product(form, form.terms, inputs, outputs, size),)
    sides: dict[str, list[str]] = {"in": [], "out": [], "either": []}
    for name, letters in form.subscripts.items():
        reads, writes = set(letters) & set(inputs), set(letters) & set(outputs)
        if reads and writes:
            return (_product(form, [tuple(form.arrays)], inputs, outputs, size),)
        sides["in" if reads else "out" if writes else "either"].append(name)
    # What belongs to neither side goes where it leaves the chain narrowest.
    choices = [(sides["in"], sides["either"] + sides["out"]), (sides["either"] + sides["in"], sides["out"])]
    inner, down, up = min(
        ((_shared(form, down, up), down, up) for down, up in choices),
        key=lambda choice: prod(size[letter] for letter in choice[0]),
    )
    return _product(form, [down], inputs, inner, size), _product(form, [up], inner, outputs, size)


def _shared(form: Form, some: Sequence[str], others: Sequence[str]) -> str:
    """Letters that both have, in a fixed order."""
    return "".join(
        sorted({x for name in some for x in form.subscripts[name]} & {x for n in others for x in form.subscripts[n]})
    )


def _product(form: Form, terms: Sequence[Sequence[str]], rows: str, columns: str, size: dict[str, int]) -> Product:
    shape = (prod(size[letter] for letter in rows), prod(size[letter] for letter in columns))
    return Product(tuple(_term(form, names, rows + columns, size) for names in terms), rows, columns, shape)


def _term(form: Form, names: Sequence[str], wanted: str, size: dict[str, int]) -> Term:
    operands = tuple(form.subscripts[name] for name in names)
    known = set("".join(operands))
    result = "".join(letter for letter in wanted if letter in known)
    return Term(operands, tuple(names), result, tuple(size[letter] if letter in known else 1 for letter in wanted))


def equation(form: Form) -> str:
    """The einsum of all arrays, in their order, that gives the tensor."""
    modes = "".join(sorted(letter for letter in sizes(form) if letter in MODES))
    return f"{','.join(form.subscripts[name] for name in form.arrays)}->{modes}"
