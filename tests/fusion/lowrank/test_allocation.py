"""Ranks by energy and by budget: planted ranks, bounds, the budget that is never exceeded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion.errors import FusionError
from fusion.lowrank.allocation import RankChoice, allocate
from fusion.lowrank.form import numbers
from fusion.lowrank.metric import Metric
from fusion.steps.forms import Cp, FormSpec, TensorTrain, Tucker

FORMS: list[FormSpec] = [Tucker(ranks=(1, 1, 1)), Tucker(ranks=(None, 1, 1)), Cp(rank=1), TensorTrain(ranks=(1, 1))]


def _choice(spec: FormSpec, tensor: NDArray[np.float64], worth: float = 1.0) -> RankChoice:
    return spec.choice("tensor", tensor, Metric.plain(tensor.ndim), worth, 0)


def _decaying(seed: int, shape: tuple[int, ...] = (8, 6, 5)) -> NDArray[np.float64]:
    tensor = np.random.default_rng(seed).normal(size=shape)
    for mode, size in enumerate(shape):
        tensor = np.moveaxis(np.moveaxis(tensor, mode, -1) * 0.6 ** np.arange(size), -1, mode)
    return tensor


def test_planted_ranks_are_found_by_energy() -> None:
    rng = np.random.default_rng(0)
    core, factors = rng.normal(size=(3, 2, 4)), [rng.normal(size=(n, r)) for n, r in ((9, 3), (7, 2), (8, 4))]
    tensor = np.einsum("ABC,aA,bB,cC->abc", core, *factors)
    assert _choice(FORMS[0], tensor).by_energy(1.0 - 1e-12) == (3, 2, 4)
    assert _choice(FORMS[1], tensor).by_energy(1.0 - 1e-12) == (2, 4)
    assert _choice(FORMS[3], tensor).by_energy(1.0 - 1e-12) == (3, 4)
    matrix = rng.normal(size=(9, 3)) @ rng.normal(size=(3, 7))
    assert _choice(Cp(rank=1), matrix).by_energy(1.0 - 1e-12) == (3,)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.5, 0.999), form=st.sampled_from(FORMS))
def test_ranks_by_energy_lose_at_most_the_sum_over_modes_and_none_could_be_less(
    seed: int, share: float, form: FormSpec
) -> None:
    tensor = _decaying(seed)
    choice = _choice(form, tensor)
    ranks = choice.by_energy(share)
    found = form.with_slots(ranks).fit(tensor, Metric.plain(3), 0)
    lost = Metric.plain(3).error(tensor, found.to_tensor()) ** 2
    # A rank of CP is chosen on a coarse grid of measured ones.
    assert lost <= len(ranks) * (1.0 - share) * (1.5 if isinstance(form, Cp) else 1.0) + 1e-9
    if isinstance(form, Tucker):
        for slot, rank in enumerate(ranks):
            less = (*choice.highest[:slot], rank - 1, *choice.highest[slot + 1 :])
            assert rank == 1 or choice.lost(less) > 1.0 - share


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.15, 1.2))
def test_a_budget_is_never_exceeded_and_the_numbers_are_those_of_the_form(seed: int, share: float) -> None:
    tensors = [_decaying(seed), _decaying(seed + 1, (4, 5, 12)), _decaying(seed + 2)]
    specs = [FORMS[0], FORMS[1], FORMS[3]]
    choices = [_choice(spec, tensor) for spec, tensor in zip(specs, tensors, strict=True)]
    budget = int(share * sum(tensor.size for tensor in tensors))
    ranks = allocate(choices, [choice.highest for choice in choices], budget)
    stored = 0
    for spec, choice, tensor, slots in zip(specs, choices, tensors, ranks, strict=True):
        form = spec.with_slots(slots).fit(tensor, Metric.plain(3), 0)
        assert numbers(form) == choice.numbers(slots) == spec.with_slots(slots).numbers(tensor.shape)
        stored += min(numbers(form), tensor.size)
    assert stored <= budget


def test_a_larger_budget_never_loses_more() -> None:
    choices = [_choice(FORMS[0], _decaying(0)), _choice(Cp(rank=1), _decaying(1, (20, 30)))]
    lost = []
    for budget in range(100, 500, 50):
        ranks = allocate(choices, [choice.highest for choice in choices], budget)
        lost.append(sum(choice.lost(slots) for choice, slots in zip(choices, ranks, strict=True)))
    assert lost == sorted(lost, reverse=True)


def test_what_is_worth_more_keeps_more() -> None:
    tensor = _decaying(0, (20, 30))
    cheap, dear = _choice(Cp(rank=1), tensor, 1.0), _choice(Cp(rank=1), tensor, 100.0)
    ranks = allocate([cheap, dear], [(20,), (20,)], 600)
    assert ranks[1] > ranks[0]


def test_on_matrices_of_one_shape_greedy_is_optimal() -> None:
    matrices = [_decaying(seed, (12, 14)) * scale for seed, scale in enumerate((1.0, 1.5, 0.7))]
    choices = [_choice(Cp(rank=1), matrix, float(np.linalg.norm(matrix) ** 2)) for matrix in matrices]
    # Every component costs 26 numbers: the best choice are the largest singular values of all, at least one of each.
    ranks = allocate(choices, [(12,)] * 3, 26 * 9)
    kept = sum(sum(np.linalg.svd(m, compute_uv=False)[: r[0]] ** 2) for m, r in zip(matrices, ranks, strict=True))
    best = max(
        sum(sum(np.linalg.svd(m, compute_uv=False)[:r] ** 2) for m, r in zip(matrices, split, strict=True))
        for split in np.ndindex(10, 10, 10)
        if min(split) >= 1 and sum(split) == 9
    )
    assert sum(r[0] for r in ranks) == 9
    assert kept == pytest.approx(best, rel=1e-12)


def test_a_budget_below_rank_one_everywhere_is_refused_with_the_least_there_is() -> None:
    choice = _choice(Cp(rank=1), _decaying(0, (20, 30)))
    with pytest.raises(FusionError, match="at least 50"):
        allocate([choice], [choice.highest], 49)
