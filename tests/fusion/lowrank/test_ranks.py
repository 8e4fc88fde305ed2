"""Ranks that a recipe asks for are brought down to what the tensor can have, and no further."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusion.lowrank import cp, tensor_train, tucker
from fusion.lowrank.metric import Metric
from fusion.lowrank.ranks import lowered_cp, lowered_train, lowered_tucker


def test_feasible_ranks_are_left_alone() -> None:
    assert lowered_tucker((24, 6, 12), (256, 12, 41)) == (24, 6, 12)
    assert lowered_tucker((None, 8, 12), (8, 16, 128)) == (None, 8, 12)
    assert lowered_cp(16, (128, 256)) == 16
    assert lowered_train((24, 12), (256, 12, 41)) == (24, 12)


def test_few_behaviours_or_features_bring_ranks_down() -> None:
    assert lowered_tucker((None, 8, 12), (1, 16, 128)) == (None, 8, 8)
    assert lowered_tucker((24, 6, 12), (256, 12, 3)) == (18, 6, 3)
    assert lowered_cp(16, (4, 256)) == 4
    assert lowered_train((24, 12), (256, 2, 3)) == (6, 3)


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    ranks=st.tuples(*[st.one_of(st.none(), st.integers(1, 9))] * 3),
    rank=st.integers(1, 9),
    bonds=st.tuples(*[st.integers(1, 40)] * 2),
)
def test_lowered_ranks_are_always_accepted(
    shape: tuple[int, ...], ranks: tuple[int | None, ...], rank: int, bonds: tuple[int, ...]
) -> None:
    tensor = np.random.default_rng(0).normal(size=shape)
    plain = Metric.plain(3)
    assert tucker.decompose(tensor, lowered_tucker(ranks, shape), plain).to_tensor().shape == shape
    assert cp.decompose(tensor, lowered_cp(rank, shape), plain).to_tensor().shape == shape
    train = tensor_train.decompose(tensor, lowered_train(bonds, shape), plain)
    assert train.to_tensor().shape == shape
