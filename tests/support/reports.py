"""A passport that holds everything that a report can show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference.contract.behaviours import COOP_BEHAVIOUR, DEFAULT_BEHAVIOURS
from inference.contract.features import FEATURE_NAMES
from inference.contract.passport import Calibration, Candidate, Curve, LayerCost, Search, StageQuality
from tests.support.artifacts import build_graph, make_manifest, make_passport

if TYPE_CHECKING:
    from inference.contract.artifact import Manifest
    from inference.contract.passport import Passport

_LONG_NAME = "next_session_in_the_longest_mode_of_the_game_with_all_of_friends"[:63]
BEHAVIOURS = (
    *list(DEFAULT_BEHAVIOURS.values())[:5],
    COOP_BEHAVIOUR.model_copy(update={"name": _LONG_NAME}),
    *list(DEFAULT_BEHAVIOURS.values())[5:],
)


def full_report() -> tuple[Manifest, Passport]:
    """Nine behaviours, seven stages, baselines and a search, long names everywhere."""
    manifest = make_manifest(build_graph(len(FEATURE_NAMES), BEHAVIOURS), FEATURE_NAMES, BEHAVIOURS)
    bare = make_passport(BEHAVIOURS)
    stages = ("distil", "prune_neurons", "decompose", "finetune", "prune_weights", "finetune 2", "quantize")
    lineage = bare.lineage.model_copy(
        update={
            "data_notice": "A notice that a licence asks for. " * 8,
            "teachers_sha256": {f"boosted_next_session_coop_{number}": f"{number:064x}" for number in range(19)},
        }
    )
    parts = ("encoding", "input", "trunk", "layers", "readout")
    return manifest, bare.model_copy(
        update={
            "stages": tuple(
                StageQuality(
                    stage=stage,
                    parameters=60_000 // (number + 1),
                    mean_change=-0.01 / (number + 1),
                    worst_change=-0.05 / (number + 1),
                )
                for number, stage in enumerate(stages)
            ),
            "layers": tuple(
                LayerCost(layer=part, parameters=1_200, file_bytes=4_800 - number, cpu_share=0.2)
                for number, part in enumerate(parts)
            ),
            "calibration": tuple(
                Calibration(behaviour=b.name, teacher=curve(scale), fused=curve(0.9 * scale))
                for b in BEHAVIOURS
                for scale in [1.0 if b.is_binary else 40.0]
            ),
            "decisions": (
                "targets (weights chosen on validation players): churn_7d from 1.00 mlp; return_24h from 1.00 gru",
                "layers: kept dense, as the recipe says",
                "execution form: trunk multiplied out at load (92 µs; all as factors 111 µs)",
            ),
            "recipe": {"steps": [{"epochs": 3, "step": "distil"}, {"metric": "a_very_long_word" * 9}], "name": "net"},
            "lineage": lineage,
            "baselines": tuple(
                candidate(name, 8_000) for name in ("separate networks, same size", "best teachers only")
            ),
            "search": Search(
                trials=40,
                judged_on="validation",
                front=tuple(candidate(f"trial {number}", 4_000 + 900 * number) for number in range(7)),
                chosen="trial 5",
            ),
        }
    )


def curve(scale: float) -> Curve:
    """Ten bins, observed a little above predicted."""
    predicted = tuple(scale * (bin + 0.5) / 11 for bin in range(10))
    observed = tuple(1.05 * value for value in predicted)
    low, high = (tuple(factor * value for value in observed) for factor in (0.9, 1.1))
    return Curve(predicted=predicted, observed=observed, low=low, high=high, rows=(100,) * 10, error=0.0234)


def candidate(name: str, parameters: int) -> Candidate:
    """Better and slower the more parameters it has."""
    return Candidate(
        name=name,
        mean_change=-40.0 / parameters,
        worst_change=-90.0 / parameters,
        parameters=parameters,
        file_bytes=4 * parameters,
        cpu_us_per_lobby=parameters / 100,
    )
