"""Ranks that a recipe asks for are brought down to what the tensor can have, and no further."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fusion.lowrank import cp, tucker
from fusion.lowrank.metric import Metric
from fusion.lowrank.ranks import lowered


def test_feasible_ranks_are_left_alone() -> None:
    assert lowered((24, 6, 12), (256, 12, 41)) == (24, 6, 12)
    assert lowered((None, 8, 12), (8, 16, 128)) == (None, 8, 12)
    assert lowered(16, (128, 256)) == 16


def test_few_behaviours_or_features_bring_ranks_down() -> None:
    assert lowered((None, 8, 12), (1, 16, 128)) == (None, 8, 8)
    assert lowered((24, 6, 12), (256, 12, 3)) == (18, 6, 3)
    assert lowered(16, (4, 256)) == 4


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    ranks=st.tuples(*[st.one_of(st.none(), st.integers(1, 9))] * 3),
    rank=st.integers(1, 9),
)
def test_lowered_ranks_are_always_accepted(shape: tuple[int, ...], ranks: tuple[int | None, ...], rank: int) -> None:
    tensor = np.random.default_rng(0).normal(size=shape)
    wanted = lowered(ranks, shape)
    assert isinstance(wanted, tuple)
    assert tucker.decompose(tensor, wanted, Metric.plain(3)).to_tensor().shape == shape
    components = lowered(rank, shape)
    assert isinstance(components, int)
    assert cp.decompose(tensor, components, Metric.plain(3)).to_tensor().shape == shape
