"""Closed-form refit: after a decomposition each array is solved anew by weighted least squares, the others held.

A decomposition sees one metric per mode, and one for all behaviours. The cost of an error, ‖R (W - W') L‖² summed over
all outputs, is known more exactly: L Lᵀ is the whole covariance of the inputs, and every behaviour has its own RᵀR. In
each single array W' is linear, so that array's best values follow from one linear system [as Basis Sharing and SVD-LLM
update one factor: Wang et al. 2025, arXiv:2410.03765, arXiv:2403.07378]. What a mean input still sees of the error goes
into the bias: that is why the covariance counts here, not the second moment.

No step increases the cost: each moves to the minimum of a quadratic, or, damped, towards it.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_letters
from typing import TYPE_CHECKING, Final

import numpy as np

from fusion.lowrank.form import Product, plan, sizes
from fusion.lowrank.metric import SHRINKAGE
from fusion.lowrank.sensitivity import Statistics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from fusion.lowrank.form import Form

_DAMPING: Final = 1e-10
"""Share of a system's mean eigenvalue added to every eigenvalue: arrays that leave directions open make it singular."""


def refit(
    form: Form, tensor: NDArray[np.float64], statistics: Statistics, out_modes: int, sweeps: int
) -> tuple[Form, list[float]]:
    """Solve every array of a form again, `sweeps` times over.

    Args:
        form: of `tensor`, decomposed.
        tensor: (output modes..., input modes...) that it stands for.
        statistics: of the layer.
        out_modes: how many modes are output modes.
        sweeps: 1 or 2 are enough.

    Returns:
        The refitted form, and the cost before and after every sweep as a share of that of losing the whole tensor.
    """
    problem = _Problem(form, tensor, statistics, out_modes)
    costs = [problem.cost()]
    for _ in range(sweeps):
        problem.sweep()
        costs.append(problem.cost())
    return problem.form, costs


@dataclass(frozen=True, slots=True)
class Drift:
    """How a layer's inputs have changed because the layers before it are approximations by now.

    What the layer should answer is still W x, but what it gets is x'. The best linear guess of one from the other is
    (W + W (E[x x'ᵀ] - E[x' x'ᵀ]) E[x' x'ᵀ]⁻¹) x', moments about the means: a later layer makes up for earlier ones.

    Attributes:
        mean: (in,) of x.
        correction: (in, in), what W is multiplied by on top of itself.
        statistics: of the layer as it is now, of x'.
    """

    mean: NDArray[np.float64]
    correction: NDArray[np.float64]
    statistics: Statistics

    @classmethod
    def none(cls, statistics: Statistics) -> Drift:
        """The layer's inputs are what they were."""
        return cls(statistics.mean, np.zeros_like(statistics.inputs), statistics)

    @classmethod
    def between(cls, before: NDArray[np.float64], now: NDArray[np.float64], statistics: Statistics) -> Drift:
        """Measure it.

        Args:
            before: (rows, in) inputs of the layer in the network that is decomposed.
            now: (rows, in) in the network as far as it is done.
            statistics: of the layer before; the gradients count on.
        """
        mean, centred = now.mean(axis=0), now - now.mean(axis=0)
        covariance = centred.T @ centred / len(now)
        excess = (before - before.mean(axis=0)).T @ centred / len(now) - covariance
        correction = damped(shrunk(covariance), excess.T).T
        moment = now.T @ now / len(now)
        return cls(before.mean(axis=0), correction, Statistics(moment, mean, statistics.gradients))

    def target(self, tensor: NDArray[np.float64], out_modes: int) -> NDArray[np.float64]:
        """What a tensor (output modes..., input modes...) should be, given its new inputs."""
        matrix = tensor.reshape(int(np.prod(tensor.shape[:out_modes])), -1)
        return np.asarray((matrix + matrix @ self.correction).reshape(tensor.shape))

    def bias(
        self, bias: NDArray[np.float32], tensor: NDArray[np.float64], approximation: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """The bias with which the approximation answers the mean input as the layer did: b + W E[x] - W' E[x'].

        Args:
            bias: (output modes...).
            tensor: (output modes..., input modes...), W.
            approximation: of the tensor, W'.
        """
        was = tensor.reshape(bias.size, -1) @ self.mean
        answers = approximation.reshape(bias.size, -1) @ self.statistics.mean
        return np.asarray(bias + (was - answers).reshape(bias.shape), dtype=np.float32)


class _Problem:
    """Wᵀ ≈ down @ up, and what an error of either costs. Matrices are (in, out), as a layer multiplies."""

    def __init__(self, form: Form, tensor: NDArray[np.float64], statistics: Statistics, out_modes: int) -> None:
        self.form = form
        self._products = plan(form, out_modes)
        covariance = statistics.inputs - np.outer(statistics.mean, statistics.mean)
        self._inputs, self._outputs = shrunk(covariance), shrunk(statistics.gradients)
        self._target = tensor.reshape(len(self._outputs), len(self._inputs)).T
        self._whole = self._norm(self._target) or 1.0

    def cost(self) -> float:
        """Of the error as it stands, as a share of that of losing everything."""
        return self._norm(self._error()) / self._whole

    def sweep(self) -> None:
        """Solve every array once, those nearest to the output first."""
        if len(self._products) == 1:
            if len(self.form.arrays) > 1:
                self._sweep_one(self._products[0])
            return
        down, up = self._products
        for name in up.arrays:
            reads = self._matrix(down)
            gradient = reads.T @ self._inputs @ self._error() @ self._outputs
            self._solve(up, name, gradient, reads.T @ self._inputs @ reads, self._outputs)
        for name in down.arrays:
            writes = self._matrix(up)
            gradient = self._inputs @ self._error() @ self._outputs @ writes.T
            self._solve(down, name, gradient, self._inputs, writes @ self._outputs @ writes.T)

    def _sweep_one(self, product: Product) -> None:
        """The same where the arrays make up one matrix."""
        for name in product.arrays:
            gradient = self._inputs @ self._error() @ self._outputs
            self._solve(product, name, gradient, self._inputs, self._outputs)

    def _norm(self, error: NDArray[np.float64]) -> float:
        return float(np.vdot(self._inputs @ error, error @ self._outputs))

    def _matrix(self, product: Product) -> NDArray[np.float64]:
        return product.matrix(self.form.arrays)

    def _error(self) -> NDArray[np.float64]:
        chain = [self._matrix(product) for product in self._products]
        return np.asarray(self._target - (chain[0] if len(chain) == 1 else chain[0] @ chain[1]))

    def _solve(
        self,
        product: Product,
        name: str,
        gradient: NDArray[np.float64],
        rows: NDArray[np.float64],
        columns: NDArray[np.float64],
    ) -> None:
        """Move one array to the minimum of the cost.

        Args:
            product: the matrix of the chain that the array is part of.
            name: of the array.
            gradient: (in, out) of the matrix: half the slope of minus the cost.
            rows: (in, in) what errors along the matrix's rows cost.
            columns: (out, out) likewise, its columns.
        """
        arrays = self.form.arrays
        term = next(term for term in product.terms if name in term.arrays)
        operands = dict(zip(term.arrays, term.operands, strict=True))
        letters = operands.pop(name)
        others: list[_Term] = [(tuple(operand), arrays[other]) for other, operand in operands.items()]
        size = sizes(self.form)

        def shaped(matrix: NDArray[np.float64], symbols: str) -> NDArray[np.float64]:
            return matrix.reshape([size[letter] for letter in symbols])

        # A side that no other array speaks of drops out: the best values are the same in any metric of that side.
        spoken_of = set("".join(operands.values()))
        open_to = set(letters) - spoken_of
        free = next((side for side in (product.columns, product.rows) if set(side) <= open_to), "")
        terms = list(others)
        for side, metric in ((product.rows, rows), (product.columns, columns)):
            if side != free:
                terms.append(((*side, *_primed(side)), shaped(metric, side * 2)))
            elif side == product.rows:
                gradient = damped(metric, gradient)
            else:
                gradient = damped(metric, gradient.T).T
        bound = "".join(letter for letter in letters if letter not in free)
        system = _einsum((*bound, *_primed(bound)), *terms, *((_primed(symbols), array) for symbols, array in others))
        both = product.rows + product.columns
        slope = _einsum((*bound, *free), *others, (tuple(both), shaped(gradient, both)))
        unknowns = int(np.prod([size[letter] for letter in bound], dtype=np.int64))
        step = shaped(damped(system.reshape(unknowns, unknowns), slope.reshape(unknowns, -1)), bound + free)
        moved = arrays[name] + np.transpose(step, [(bound + free).index(letter) for letter in letters])
        self.form = self.form.with_arrays({**arrays, name: moved})


_Term = tuple[tuple[str, ...], "NDArray[np.float64]"]
"""Symbols of an array's axes, and the array."""


def _primed(symbols: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{symbol}'" for symbol in symbols)


def _einsum(result: tuple[str, ...], *terms: _Term) -> NDArray[np.float64]:
    """An einsum over any symbols."""
    letters = dict(zip(dict.fromkeys(x for symbols, _ in terms for x in symbols), ascii_letters, strict=False))

    def spelled(symbols: tuple[str, ...]) -> str:
        return "".join(letters[symbol] for symbol in symbols)

    equation = f"{','.join(spelled(symbols) for symbols, _ in terms)}->{spelled(result)}"
    return np.asarray(np.einsum(equation, *(array for _, array in terms), optimize=True))


def damped(system: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """The solution of a positive semi-definite system, short of directions that it leaves open."""
    size = len(system)
    damping = _DAMPING * float(np.trace(system)) / size
    if damping == 0.0:
        return np.zeros_like(right)
    return np.asarray(np.linalg.solve(0.5 * (system + system.T) + damping * np.eye(size), right))


def shrunk(moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """As in the metric: a little of every direction, so that none is free for good."""
    size = len(moment)
    return np.asarray(moment + SHRINKAGE * float(np.trace(moment)) / size * np.eye(size))
