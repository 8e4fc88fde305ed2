"""The loss at a temperature, against its definition and its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusion.distill.temperature import heat

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINKS = st.floats(-12, 12, width=32)


def sigmoid(links: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-links)))


def divergence(taught: NDArray[np.float64], links: NDArray[np.float64]) -> NDArray[np.float64]:
    p, q = sigmoid(taught), sigmoid(links)
    return np.asarray(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))


def gradient(links: float, taught: float, temperature: float) -> float:
    """Of cross-entropy and heat together, by the links."""
    value = torch.tensor(links, dtype=torch.float64, requires_grad=True)
    wanted = torch.tensor(taught, dtype=torch.float64)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(value, torch.sigmoid(wanted))
    (found,) = torch.autograd.grad(entropy + heat(value, wanted, temperature), value)
    return float(found)


def test_it_is_the_difference_of_two_divergences() -> None:
    rng = np.random.default_rng(0)
    links, taught = rng.normal(0, 3, (2, 500))
    found = heat(torch.from_numpy(links), torch.from_numpy(taught), 3.0).numpy()
    expected = 9.0 * divergence(taught / 3.0, links / 3.0) - divergence(taught, links)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(LINKS, LINKS)
def test_without_a_temperature_nothing_is_added(links: float, taught: float) -> None:
    assert not heat(torch.tensor(links), torch.tensor(taught), 1.0).any()


@given(LINKS, LINKS, st.floats(1, 10))
def test_the_gradient_is_the_one_of_the_paper(links: float, taught: float, temperature: float) -> None:
    """Equation 2 of the paper, times T²."""
    soft, wanted = sigmoid(np.array([links, taught]) / temperature)
    assert abs(gradient(links, taught, temperature) - temperature * (soft - wanted)) < 1e-9


@given(LINKS, LINKS)
def test_at_high_temperature_links_are_matched(links: float, taught: float) -> None:
    """Equation 4 of the paper. |sigmoid'''| ≤ 1/8, so the remainder is at most (|a|³ + |b|³) / (48 T²)."""
    bound = (abs(links) ** 3 + abs(taught) ** 3) / (48 * 20.0**2)
    assert abs(gradient(links, taught, 20.0) - (links - taught) / 4) <= bound + 1e-9
