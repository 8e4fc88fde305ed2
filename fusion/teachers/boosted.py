"""Gradient-boosted trees by LightGBM (Ke et al., NeurIPS 2017), one ensemble per behaviour, written as ONNX trees."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import Field

from fusion.errors import FusionError
from fusion.onnx_graph import ML_DOMAIN, Graph
from fusion.teachers.onnx_teacher import FEATURES, LINKS
from fusion.teachers.parity import check_parity
from fusion.teachers.teacher import Fitted, Progress, Settings, Task, part_of

if TYPE_CHECKING:
    import lightgbm
    from numpy.typing import NDArray

    from inference.contract.behaviours import Behaviour

_PARITY_ROWS: Final = 2048
_ZERO: Final = float(np.float32(1e-35))
"""LightGBM's `kZeroThreshold`."""
_NODE_LISTS: Final = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_modes",
    "nodes_featureids",
    "nodes_values",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
)
_LEAF_LISTS: Final = ("target_treeids", "target_nodeids", "target_ids", "target_weights")


class BoostedSettings(Settings):
    """Settings of boosted trees."""

    trees: int = Field(default=250, ge=1, description="at most, per behaviour")
    leaves: int = Field(default=31, ge=2, description="per tree, at most")
    learning_rate: float = Field(default=0.05, gt=0)
    patience_trees: int = Field(default=30, ge=1, description="stop after so many without a better validation loss")
    least_rows_per_leaf: int = Field(default=100, ge=1)
    feature_share: float = Field(default=0.6, gt=0, le=1, description="of the features, drawn anew for every tree")
    row_share: float = Field(default=0.8, gt=0, le=1, description="of the rows, drawn anew for every tree")
    l2: float = Field(default=5.0, ge=0, description="penalty on leaf values")


@dataclass(frozen=True, slots=True)
class BoostedTrainer:
    """Trainer of the boosted family."""

    settings_type: type[BoostedSettings] = BoostedSettings
    memorises: bool = True
    uses_sequences: bool = False

    def fit(self, task: Task, settings: BoostedSettings, seed: int, progress: Progress) -> Fitted:
        """Train one ensemble per behaviour, write them as one graph, and prove that it says what LightGBM says.

        Raises:
            FusionError: a behaviour has only one label, or the graph departs from LightGBM by more than 1e-4.
        """
        names = task.usable_features()
        parts = len(task.behaviours)
        boosters = [
            _boost(task, names, index, settings, seed, part_of(progress, index, parts)) for index in range(parts)
        ]
        model, parameters = to_onnx(boosters, len(names))
        probe = task.features(task.validation[:_PARITY_ROWS], names)
        expected = np.stack([booster.predict(probe, raw_score=True) for booster in boosters], axis=1)
        check_parity(model, probe, None, expected)
        return Fitted(model=model, features=names, uses_sequences=False, parameters=parameters)


def _boost(
    task: Task, names: tuple[str, ...], index: int, settings: BoostedSettings, seed: int, progress: Progress
) -> lightgbm.Booster:
    import lightgbm  # here, because it takes a second that only training needs

    behaviour = task.behaviours[index]
    training, target = _known(task, task.training, index)
    validation, validation_target = _known(task, task.validation, index)
    _check_labels(behaviour, target, len(validation))
    rows = lightgbm.Dataset(task.features(training, names), target)

    def told(env: Any) -> None:
        progress((env.iteration + 1) / settings.trees, f"{behaviour.name}: tree {env.iteration + 1}")

    booster = lightgbm.train(
        {
            "objective": "binary" if behaviour.is_binary else "regression",
            "num_leaves": settings.leaves,
            "learning_rate": settings.learning_rate,
            "min_data_in_leaf": settings.least_rows_per_leaf,
            "feature_fraction": settings.feature_share,
            "bagging_fraction": settings.row_share,
            "bagging_freq": 1,
            "lambda_l2": settings.l2,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        },
        rows,
        num_boost_round=settings.trees,
        valid_sets=[lightgbm.Dataset(task.features(validation, names), validation_target, reference=rows)],
        callbacks=[lightgbm.early_stopping(settings.patience_trees, verbose=False), told],
    )
    progress(1.0, f"{behaviour.name}: {booster.best_iteration} trees")
    return booster


def _known(task: Task, rows: NDArray[np.int64], index: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    target = task.targets(rows)[:, index]
    known = ~np.isnan(target)
    return rows[known], target[known]


def _check_labels(behaviour: Behaviour, target: NDArray[np.float32], validation_rows: int) -> None:
    if validation_rows == 0 or len(target) == 0 or target.min() == target.max():
        raise FusionError(
            where=f"labels of {behaviour.name}",
            got=f"{len(np.unique(target))} different one(s) in {len(target)} training rows, "
            f"{validation_rows} validation rows",
            expected="at least two different ones to learn from, and rows to validate on",
            fix="Give a longer log or more players, or leave this behaviour out.",
        )


@dataclass(slots=True)
class _Trees:
    """The flat attribute lists of a TreeEnsembleRegressor."""

    nodes: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _NODE_LISTS})
    leaves: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in _LEAF_LISTS})
    trees: int = 0

    def add(self, structure: dict[str, Any], target: int) -> None:
        """One tree as LightGBM dumps it."""
        # (node, its own number); children are numbered as they are met.
        waiting, count = [(structure, 0)], 1
        while waiting:
            node, number = waiting.pop()
            if "leaf_value" in node:
                self._leaf(number, node["leaf_value"], target)
                continue
            waiting += [(node["left_child"], count), (node["right_child"], count + 1)]
            self._split(number, node, count)
            count += 2
        self.trees += 1

    def _split(self, number: int, node: dict[str, Any], left: int) -> None:
        if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
            raise FusionError(
                where="LightGBM tree",
                got=f"a split '{node['decision_type']}' with missing values as {node['missing_type']}",
                expected="numeric splits '<=', missing values None or NaN",
            )
        # LightGBM takes NaN for 0 where training saw none, and sends it to the default side where it did.
        nan_left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0.0
        self._node(
            number, "BRANCH_LEQ", node["split_feature"], exact_threshold(node["threshold"]), left, left + 1, nan_left
        )

    def _leaf(self, number: int, value: float, target: int) -> None:
        self._node(number, "LEAF", 0, 0.0, 0, 0, False)
        for name, entry in zip(_LEAF_LISTS, (self.trees, number, target, value), strict=True):
            self.leaves[name].append(entry)

    def _node(self, number: int, mode: str, feature: int, threshold: float, left: int, right: int, nan: bool) -> None:
        entries = (self.trees, number, mode, feature, threshold, left, right, int(nan))
        for name, entry in zip(_NODE_LISTS, entries, strict=True):
            self.nodes[name].append(entry)


def to_onnx(boosters: list[lightgbm.Booster], features: int) -> tuple[bytes, int]:
    """Several ensembles over the same features as one graph of one operator.

    Args:
        boosters: one per output column.
        features: width of the input.

    Returns:
        The ONNX file's bytes and the number of split thresholds and leaf values in it.
    """
    trees = _Trees()
    for target, booster in enumerate(boosters):
        for tree in booster.dump_model(num_iteration=booster.best_iteration)["tree_info"]:
            trees.add(tree["tree_structure"], target)
    attributes: dict[str, Any] = {"n_targets": len(boosters), "aggregate_function": "SUM", "post_transform": "NONE"}
    attributes |= trees.nodes | trees.leaves
    graph = Graph("teacher")
    links = graph.op("TreeEnsembleRegressor", graph.input(FEATURES, (features,)), domain=ML_DOMAIN, **attributes)
    # Every node is either a split, with one threshold, or a leaf, with one value.
    return graph.serialise(links, LINKS, len(boosters)), len(trees.nodes["nodes_values"])


def exact_threshold(threshold: float) -> float:
    """The float32 t for which `x <= t` decides every float32 x as LightGBM decides it by `threshold`.

    That is the largest one ≤ threshold; but LightGBM takes all |x| up to `_ZERO` for 0.
    """
    if -_ZERO <= threshold < _ZERO:
        return _ZERO if threshold >= 0 else _below(np.float32(-_ZERO))
    # A split between known and unknown values has a threshold beyond single precision.
    with np.errstate(over="ignore"):
        rounded = np.float32(threshold)
    return _below(rounded) if float(rounded) > threshold else float(rounded)


def _below(value: np.float32) -> float:
    """The next lower float32."""
    return float(np.nextafter(value, np.float32(-math.inf)))


TRAINER: Final = BoostedTrainer()
