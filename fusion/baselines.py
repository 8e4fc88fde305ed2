"""The honest rivals of a fused network: other ways to serve the same behaviours.

- separate networks: one per behaviour, all of them together no larger than the fused one. They come from the same
  targets, players and schedule; what they lack is what the behaviours have in common.
- the best teachers only: what is left of the teachers where nobody serves those that are never the best.

The third one, all teachers as they are, is in every passport.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from fusion import export
from fusion.cost import LOBBY_PLAYERS
from fusion.execution import choose_execution
from fusion.passport import Rival, teachers_rival
from fusion.steps.decompose import Decompose
from fusion.steps.distil import Distil, Finetune
from fusion.steps.prune import PruneFeatures
from fusion.steps.quantize import Quantize
from fusion.steps.registry import STEPS
from inference.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fusion.encoding import PiecewiseLinearEncoding
    from fusion.material import Material
    from fusion.passport import Jury
    from fusion.recipe import Recipe
    from fusion.steps.registry import AnySpec

SEPARATE: Final = "separate networks, same size"
BEST_TEACHERS: Final = "best teachers only"

_REPEATS: Final = 3
"""Of timing a network's execution forms: there are many networks to time."""
_ENCODING_SHARE: Final = 1 / 3
"""Of a separate network's numbers. On Forza Horizon 4 fewer bins did worse, and so did more features at lower ranks."""


@dataclass(frozen=True, slots=True)
class _Alone:
    """One behaviour's network, trained: its graph, the dataset's features it reads, its links of the judged players."""

    model: bytes
    parameters: int
    columns: NDArray[np.int64]
    links: NDArray[np.float32]


def rivals(
    material: Material, recipe: Recipe, parameters: int, jury: Jury, told: Callable[[float, str], None]
) -> tuple[list[Rival], str]:
    """Train the separate networks, and stand the best teachers beside them.

    Args:
        material: that the fused network was made from.
        recipe: that it followed.
        parameters: of the fused network.
        jury: of test players.
        told: told how far this has come.

    Returns:
        The rivals, to be timed beside the fused network; and what each separate network reached, in words.

    Raises:
        FusionError: so few parameters cannot be divided among the behaviours.
    """
    behaviours = material.dataset.behaviours
    encoding = material.encoding(recipe.network.bins)
    own = divided(recipe, parameters, len(behaviours), len(encoding.features))
    trained = []
    for number, behaviour in enumerate(behaviours):

        def part(done: float, note: str, number: int = number, name: str = behaviour.name) -> None:
            told((number + done) / len(behaviours), f"{name}: {note}")

        trained.append(_train(material.of_behaviour(behaviour.name), own, encoding, jury.rows, part))
    changes = jury.changes(np.concatenate([one.links for one in trained], axis=1))
    features = material.dataset.features[jury.rows[:LOBBY_PLAYERS]]
    separate = Rival(
        name=SEPARATE,
        mean_change=float(np.mean(changes)),
        worst_change=min(changes),
        parameters=sum(one.parameters for one in trained),
        file_bytes=sum(len(one.model) for one in trained),
        score_lobby=_scorer(trained, features),
    )
    reached = "; ".join(
        f"{behaviour.name} {change:+.4f} with {one.parameters:,} parameters and {len(one.columns)} features"
        for behaviour, change, one in zip(behaviours, changes, trained, strict=True)
    )
    best = {name for name, _, _ in jury.best.values()}
    only = [teacher for teacher in material.teachers if teacher.card.name in best]
    served = teachers_rival(BEST_TEACHERS, only, material.dataset, jury.rows[:LOBBY_PLAYERS])
    return [separate, served], f"separate networks (change against the best teacher): {reached}"


def divided(recipe: Recipe, parameters: int, behaviours: int, features: int) -> Recipe:
    """The recipe of each of several networks that share the parameters of one.

    Args:
        recipe: of the fused network.
        parameters: of the fused network.
        behaviours: one network for each.
        features: that its encoding has.

    Returns:
        The same encoding and the same training, from random numbers and without hints, in layers narrower by the number
        of behaviours. After the first training each keeps the features that tell most about its behaviour, as many as a
        third of its share of the parameters can encode, and its tensors are decomposed into what is left of the share.
        That takes the place of the recipe's own pruning and decomposition; fewer bits per number remain.
    """
    share, sizes = parameters // behaviours, recipe.network
    distil, *later = recipe.steps
    assert isinstance(distil, Distil)
    distil = distil.model_copy(update={"hints": None})
    readable = max(1, int(_ENCODING_SHARE * share) // (sizes.bins + 2))
    shrink: list[AnySpec] = []
    if readable < features:
        shrink.append(PruneFeatures(share=1.0 - readable / features))
    shrink.append(_decompose(later, share))
    rest = [spec for spec in later if isinstance(spec, Finetune | Quantize)]
    if not any(isinstance(spec, Finetune) for spec in rest):
        # What was decomposed has to be trained on, also where the fused network was not.
        rest.insert(0, Finetune(**distil.model_dump(exclude={"step", "hints"})))
    narrow = {"hidden": -(-sizes.hidden // behaviours), "trunk": -(-sizes.trunk // behaviours), "start": "random"}
    return recipe.model_copy(update={"network": sizes.model_copy(update=narrow), "steps": (distil, *shrink, *rest)})


def _decompose(steps: Sequence[AnySpec], share: int) -> Decompose:
    """The recipe's forms within the share; no tensor stays dense by decree."""
    default = Decompose()
    given = next((spec for spec in steps if isinstance(spec, Decompose)), default)
    forms = {name: getattr(given, name) or getattr(default, name) for name in ("input", "trunk", "layers")}
    return given.model_copy(update={**forms, "energy": None, "budget_parameters": share})


def _train(
    material: Material,
    recipe: Recipe,
    encoding: PiecewiseLinearEncoding,
    judged: NDArray[np.int64],
    told: Callable[[float, str], None],
) -> _Alone:
    torch.manual_seed(recipe.seed)
    work = material.start(recipe, encoding)
    for number, spec in enumerate(recipe.steps):

        def part(done: float, note: str, number: int = number, step: str = spec.step) -> None:
            told((number + done) / len(recipe.steps), f"{step}, {note}")

        STEPS[spec.step].run(spec, work, part)
    rows = np.ascontiguousarray(material.dataset.features[judged][:, work.columns])
    model = choose_execution(work.network, work.behaviours, rows, repeats=_REPEATS).model
    export.check_parity(export.served(work.network, rows, work.behaviours), Engine.from_bytes(model).run(rows))
    return _Alone(model, work.network.parameter_count, work.columns, export.predict_links(work.network, rows))


def _scorer(trained: Sequence[_Alone], features: NDArray[np.float32]) -> Callable[[], None]:
    """Score players with every network in turn, each in a session of its own: features (players, dataset's)."""
    engines = [Engine.from_bytes(one.model) for one in trained]
    inputs = [np.ascontiguousarray(features[:, one.columns]) for one in trained]

    def score() -> None:
        for engine, rows in zip(engines, inputs, strict=True):
            engine.run(rows)

    return score
