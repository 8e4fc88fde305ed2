"""AdamW [Loshchilov and Hutter 2019, arXiv:1711.05101] by torch's function of that name.

`torch.optim.AdamW` takes the same steps to the bit, but its first one imports torch's compiler: two seconds of every
command that trains, for nothing that is used here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.optim.adamw import adamw

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class AdamW:
    """Takes steps against the gradients.

    Args:
        parameters: changed in place.
        weight_decay: per step and unit of learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float) -> None:
        self._parameters = list(parameters)
        self._means = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._steps = [torch.zeros(()) for _ in self._parameters]
        self._weight_decay = weight_decay

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One step; a parameter without a gradient stays where it is."""
        moved = [(index, one.grad) for index, one in enumerate(self._parameters) if one.grad is not None]

        def those(of: list[Tensor]) -> list[Tensor]:
            return [of[index] for index, _ in moved]

        adamw(
            [self._parameters[index] for index, _ in moved],
            [gradient for _, gradient in moved],
            those(self._means),
            those(self._squares),
            [],
            those(self._steps),
            foreach=False,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=learning_rate,
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            maximize=False,
        )
