"""The loss of every truncation is the loss of that truncation, worked out the long way."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.lowrank import tensor_train, tucker
from fusion.lowrank.hosvd import TruncatedHosvd
from fusion.lowrank.metric import Metric


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), ranks=st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 4)))
def test_lost_is_the_error_of_projecting_on_leading_singular_vectors(seed: int, ranks: tuple[int, int, int]) -> None:
    tensor = np.random.default_rng(seed).normal(size=(6, 5, 4))
    projected = tensor
    for mode, rank in enumerate(ranks):
        unfolded = np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)
        basis = np.linalg.svd(unfolded, full_matrices=False)[0][:, :rank]
        projected = np.moveaxis(np.tensordot(basis @ basis.T, np.moveaxis(projected, mode, 0), 1), 0, mode)
    expected = np.linalg.norm(tensor - projected) ** 2 / np.linalg.norm(tensor) ** 2
    np.testing.assert_allclose(TruncatedHosvd(tensor, (0, 1, 2)).lost(ranks), expected, atol=1e-10)


def test_it_bounds_what_tucker_and_train_forms_lose() -> None:
    tensor = np.random.default_rng(0).normal(size=(6, 5, 4)) * np.linspace(3.0, 0.1, 6)[:, None, None]
    plain = Metric.plain(3)
    for rank in range(2, 6):
        found = plain.error(tensor, tucker.decompose(tensor, (rank, 2, 3), plain).to_tensor()) ** 2
        assert found <= TruncatedHosvd(tensor, (0, 1, 2)).lost((rank, 2, 3)) + 1e-9
        train = plain.error(tensor, tensor_train.decompose(tensor, (rank, 3), plain).to_tensor()) ** 2
        assert train <= TruncatedHosvd(tensor, (0, 2)).lost((rank, 3)) + 1e-9


def test_nothing_is_lost_of_nothing_nor_at_the_highest_ranks() -> None:
    assert TruncatedHosvd(np.zeros((3, 2)), (0, 1)).lost((1, 1)) == 0.0
    curve = TruncatedHosvd(np.random.default_rng(1).normal(size=(3, 7)), (0,))
    assert curve.highest == (3,)
    assert curve.lost((3,)) < 1e-12
