"""Ranks of tables: planted ones are found, the bound holds, and what is counted is what is stored."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fusion.lowrank.embedding import TrainEmbedding
from fusion.lowrank.table_ranks import TableSpectrum, factors


@given(columns=st.integers(1, 3000), parts=st.integers(2, 4))
def test_columns_are_cut_into_factors_that_multiply_to_them(columns: int, parts: int) -> None:
    found = factors(columns, parts)
    assert len(found) == parts
    assert prod(found) == columns
    assert max(found) == found[-1]


def test_a_planted_train_has_the_ranks_it_was_made_of() -> None:
    rng = np.random.default_rng(0)
    shapes = [(1, 10, 2, 3), (3, 10, 2, 5), (5, 10, 4, 1)]
    train = TrainEmbedding([rng.normal(size=shape) for shape in shapes], 1000)
    table = train(torch.arange(1000)).detach().double().numpy()
    spectrum = TableSpectrum.of(table, (2, 2, 4))
    assert spectrum.ranks(1e-4) == (3, 5)
    assert spectrum.numbers((3, 5)) == train.kept == sum(prod(shape) for shape in shapes)


@pytest.mark.parametrize("rows", [210, 203])
@pytest.mark.parametrize("bound", [0.05, 0.3, 0.8])
def test_the_error_stays_within_the_bound_and_one_rank_less_breaks_its_share(rows: int, bound: float) -> None:
    rng = np.random.default_rng(rows)
    table = rng.normal(size=(rows, 5)) @ rng.normal(size=(5, 12)) * np.linspace(0.1, 1, 12) + rng.normal(size=12)
    spectrum = TableSpectrum.of(table, (3, 4))
    (rank,) = spectrum.ranks(bound)
    train = TrainEmbedding.from_table(table, (3, 4), (rank,))
    assert train.kept == spectrum.numbers((rank,))
    error = np.linalg.norm(train(torch.arange(rows)).detach().numpy() - table) / np.linalg.norm(table)
    assert error <= bound * 1.001
    assert rank == 1 or spectrum.lost[0][rank - 1] > bound**2 * spectrum.square
