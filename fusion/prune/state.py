"""What a unit of a recurrent state, or a channel of a temporal convolution, is worth: judged on the whole roll-out.

A unit of the state is read at every step, by the steps that follow and by what comes after. So the criteria of
`fusion.prune.criteria` are taken through time, but for the first, which looks at the numbers alone:

- magnitude: norm of all that reads a unit times norm of all that writes it (every gate's rows); no data needed.
- taylor: how much the loss changes to first order when all that reads a unit is removed; the gradient is that of
  back-propagation through time.
- activation: how much of a signal passes: at each reader, the unit's mean square over all steps that reach a
  prediction, times the squared norm of what reads it.
- second_order: what the predictions lose when all that reads a unit reads zero, in the metric of the decompositions
  (optimal brain damage, LeCun et al. 1989).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from fusion.prune.criteria import Criterion, loss_gradients, unit_changes, unit_norms
from fusion.training import MaskedLoss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusion.lowrank.tower import LowRankTower
    from fusion.prune.unit import Units
    from fusion.teachers.examples import Examples
    from inference.contract.behaviours import Behaviour

SECOND_ORDER: Final = "second_order"


def state_scores(
    tower: LowRankTower,
    units: Units,
    criterion: Criterion | Literal["second_order"],
    examples: Examples,
    behaviours: tuple[Behaviour, ...],
) -> NDArray[np.float64]:
    """Worth of every unit of a tower's state.

    Args:
        tower: with an encoder.
        units: of its state.
        criterion: how worth is judged.
        examples: that it is judged on; Taylor needs their labels, magnitude nothing of them.
        behaviours: what the tower predicts.

    Returns:
        (units,) not negative.

    Raises:
        FusionError: Taylor, and a behaviour has no two different labels in the examples.
    """
    if criterion == Criterion.MAGNITUDE:
        return unit_norms(units)
    if criterion == Criterion.TAYLOR:
        gradients = loss_gradients(tower, examples, MaskedLoss(behaviours, examples.targets))
        return unit_changes([units], gradients)[0]
    if criterion == Criterion.ACTIVATION:
        return _signals(tower, examples)
    return tower.unit_costs(tower.statistics(examples))


def _signals(tower: LowRankTower, examples: Examples) -> NDArray[np.float64]:
    """Root of the sum over readers of mean square of the unit times squared norm of what reads it."""
    statistics = tower.statistics(examples)
    total: NDArray[np.float64] = np.zeros(1)
    for name, layer in tower.state_readers().items():
        # The readers' inputs: the state, or steps of a kernel with the channels of each.
        inputs = layer.shape[layer.out_modes :]
        read = np.square(layer.tensor()).reshape(-1, *inputs).sum(axis=0)
        signal = np.diagonal(statistics[name].inputs).reshape(inputs) * read
        total = total + signal.reshape(-1, inputs[-1]).sum(axis=0)
    return np.sqrt(total)
