"""Which steps may stand in which order: told alike from both sides, and held by recipes."""

from __future__ import annotations

from itertools import product

import pytest

from fusion.errors import FusionError
from fusion.recipe import Recipe
from fusion.steps.registry import STEPS, check_order
from fusion.yaml_file import parse


def test_both_sides_of_every_pair_agree() -> None:
    violations = [
        f"{earlier} then {later}: {earlier} says {later in STEPS[earlier].precedes}, "
        f"{later} says {earlier in STEPS[later].follows}"
        for earlier, later in product(STEPS, repeat=2)
        if (later in STEPS[earlier].precedes) != (earlier in STEPS[later].follows)
    ]
    assert not violations, "\n".join(violations)


def test_every_step_names_only_steps_there_are() -> None:
    for step in STEPS.values():
        assert step.follows | step.precedes <= set(STEPS)


@pytest.mark.parametrize(
    "names",
    [
        ("distil",),
        ("distil", "decompose", "finetune"),
        ("distil", "prune_neurons", "finetune", "decompose", "finetune", "prune_ranks", "finetune", "quantize"),
        ("distil", "decompose", "prune_weights", "finetune", "quantize", "finetune"),
    ],
)
def test_sensible_orders_are_accepted(names: tuple[str, ...]) -> None:
    check_order(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "first step"),
        (("decompose", "distil"), "first step"),
        (("distil", "distil"), "distil may not follow distil"),
        (("distil", "quantize", "decompose"), "decompose may not follow quantize"),
        (("distil", "prune_weights", "finetune", "decompose"), "decompose may not follow prune_weights"),
        (("distil", "decompose", "finetune", "decompose"), "decompose may not follow decompose"),
        (("distil", "prune_ranks"), "prune_ranks needs a decompose step"),
    ],
)
def test_others_are_refused_with_the_pair_that_does_not_fit(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_order(names)


def test_a_recipe_in_the_wrong_order_says_which_step_and_what_it_may_follow() -> None:
    text = "steps: [{step: distil, epochs: 1}, {step: quantize}, {step: decompose}]"
    with pytest.raises(
        FusionError, match=r"recipe.yaml, steps.*decompose may not follow quantize; it may follow distil"
    ):
        parse(text, Recipe, where="recipe.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 1", "'sed'; did you mean 'seed'"),
        ("network: {hiden: 8}", "'hiden'; did you mean 'hidden'"),
        ("steps: [{step: distil, epocs: 1}]", "'epocs'; did you mean 'epochs'"),
        ("steps: [{step: distill, epochs: 1}]", "'distill'.*'distil'"),
        (
            "steps: [{step: distil, epochs: 1}, {step: decompose, input: {form: tucker, rank: [1, 2, 3]}}]",
            "'rank'; did you mean 'ranks'",
        ),
        (
            "steps: [{step: distil, epochs: 1}, {step: quantize, layers: {scheme: uniform, bit: 4}}]",
            "'bit'; did you mean 'bits'",
        ),
        (
            "steps: [{step: distil, epochs: 1}, {step: quantize, activations: {rang: mse}}]",
            "'rang'; did you mean 'range'",
        ),
    ],
)
def test_a_misspelt_key_of_a_step_names_the_nearest_one(text: str, message: str) -> None:
    with pytest.raises(FusionError, match=message):
        parse(text, Recipe, where="recipe.yaml")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("activations: {rows: 10}", "activations.rows.*256"),
        ("layers: {scheme: uniform, bits: 4}, activations: {}", "activations need layers.*'bits': 8"),
        ("layers: {scheme: float16}, activations: {}", "activations need layers.*uniform"),
        ("layers: {scheme: uniform, reduce_range: often}", "reduce_range"),
        ("layers: {scheme: uniform, bits: 2, reduce_range: true}", "leaves 1 bit out of 2; expected 2 at least"),
    ],
)
def test_what_quantization_needs_is_told(keys: str, message: str) -> None:
    text = f"steps: [{{step: distil, epochs: 1}}, {{step: quantize, {keys}}}]"
    with pytest.raises(FusionError, match=message):
        parse(text, Recipe, where="recipe.yaml")


@pytest.mark.parametrize("step", ["prune_weights", "prune_ranks"])
def test_what_has_no_activation_of_its_own_is_not_judged_by_one(step: str) -> None:
    text = "steps: [{{step: distil, epochs: 1}}, {{step: decompose}}, {{step: {}, share: 0.5, criterion: {}}}]"
    parse(text.format(step, "magnitude"), Recipe, where="recipe.yaml")
    with pytest.raises(FusionError, match=r"criterion.*activation; expected magnitude or taylor"):
        parse(text.format(step, "activation"), Recipe, where="recipe.yaml")
