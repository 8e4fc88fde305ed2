"""Distillation at a temperature [Hinton, Vinyals, Dean 2015, arXiv:1503.02531].

At a temperature T above 1, teachers and student are compared by sigmoid(link / T): how sure a teacher is among the
nearly certain then counts as well. The loss is multiplied by T², so that its gradients stay as large as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def heat(links: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """What a temperature adds to the cross-entropy with the teachers' probabilities, number by number.

    T² KL(sigmoid(taught / T), sigmoid(links / T)) - KL(sigmoid(taught), sigmoid(links)), 0 for T = 1. Divergences, not
    cross-entropies: these differ by the entropy of what is taught, which nothing can change, and which would grow with
    T², so that losses at different temperatures (and of behaviours that have none) could not be compared.

    Args:
        links: of the student.
        taught: of the teachers.
        temperature: T.

    Returns:
        The same shape. Its gradient together with the cross-entropy's: T (sigmoid(links / T) - sigmoid(taught / T)).
    """
    warm = _divergence(links / temperature, taught / temperature)
    return temperature**2 * warm - _divergence(links, taught)


def _divergence(links: Tensor, taught: Tensor) -> Tensor:
    """KL(sigmoid(taught), sigmoid(links))."""
    wanted = torch.sigmoid(taught)
    entropy = functional.binary_cross_entropy_with_logits(taught, wanted, reduction="none")
    return functional.binary_cross_entropy_with_logits(links, wanted, reduction="none") - entropy
