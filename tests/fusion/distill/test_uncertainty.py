"""Learned weights, against where they have to come to rest."""

from __future__ import annotations

import numpy as np
import torch

from fusion.distill.uncertainty import UncertaintyWeights

LOSSES = torch.tensor([0.2, 0.5, 1.0, 2.0])


def test_training_starts_from_equal_weights() -> None:
    weights = UncertaintyWeights(4)
    assert torch.equal(weights(LOSSES), LOSSES)
    assert weights.weights() == [1.0] * 4


def test_loss_and_gradient_are_those_of_the_paper() -> None:
    weights = UncertaintyWeights(4)
    s = np.array([-1.0, 0.3, 0.0, 0.8])
    with torch.no_grad():
        weights.log_variance.copy_(torch.from_numpy(s))
    losses = LOSSES.clone().requires_grad_()
    value = weights(losses).mean()
    by_weight, by_loss = torch.autograd.grad(value, (weights.log_variance, losses))
    known = LOSSES.numpy()
    np.testing.assert_allclose(value.detach(), np.mean(np.exp(-s) * known + s / 2), rtol=1e-6)
    np.testing.assert_allclose(by_weight, (0.5 - np.exp(-s) * known) / 4, rtol=1e-5)
    np.testing.assert_allclose(by_loss, np.exp(-s) / 4, rtol=1e-6)
    np.testing.assert_allclose(weights.weights(), np.exp(-s) / np.exp(-s).mean(), rtol=1e-6)


def test_they_rest_at_one_over_twice_the_loss() -> None:
    weights = UncertaintyWeights(4)
    optimiser = torch.optim.Adam(weights.parameters(), lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        weights(LOSSES).mean().backward()
        optimiser.step()
    np.testing.assert_allclose(np.exp(-weights.log_variance.detach().numpy()), 1 / (2 * LOSSES.numpy()), rtol=1e-3)
