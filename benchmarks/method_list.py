"""What `benchmarks.methods` measures: every method of the four families alone, and candidates for each pair of them.

Candidates of one pair come to about the same size, so that the best of them is the one of the best quality.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from fusion.distill.hints import Hints
from fusion.prune.criteria import Criterion
from fusion.quantize.codebook import KMeansCodebook, PowerOfTwo
from fusion.quantize.half import Half
from fusion.quantize.static import Activations
from fusion.quantize.uniform import Uniform
from fusion.steps.decompose import Anchored, Basis, Cp, Decompose, PerModelSvd, TensorTrain, Tucker
from fusion.steps.distil import Distil, Finetune
from fusion.steps.prune import PruneFeatures, PruneNeurons, PruneRanks, PruneWeights
from fusion.steps.quantize import Quantize

if TYPE_CHECKING:
    from fusion.steps.registry import AnySpec


class Method(NamedTuple):
    """What is done after the dense network was distilled; `distil` where that is done in another way too."""

    steps: tuple[AnySpec, ...]
    distil: Distil | None = None
    data_free: bool = False
    """Whether the dense network was distilled on rows drawn from statistics, labels unknown."""


EPOCHS: Final = 12
PLAIN: Final = Distil(epochs=EPOCHS)
WARM: Final = Distil(epochs=EPOCHS, temperature=2.0)
UNCERTAIN: Final = Distil(epochs=EPOCHS, weighting="uncertainty")
HINTED: Final = Distil(epochs=EPOCHS, hints=Hints())
TRAIN: Final = Finetune(epochs=EPOCHS, learning_rate=5e-3)
TRAIN_WARM: Final = TRAIN.model_copy(update={"temperature": 2.0})
TRAIN_UNCERTAIN: Final = TRAIN.model_copy(update={"weighting": "uncertainty"})
ROUND: Final = Finetune(epochs=EPOCHS // 4, learning_rate=5e-4)
ROUND_WARM: Final = ROUND.model_copy(update={"temperature": 2.0})
ROUND_UNCERTAIN: Final = ROUND.model_copy(update={"weighting": "uncertainty"})
TUCKER: Final = Decompose()
CP: Final = Decompose(input=Cp(rank=14), layers=Cp(rank=14))
BITS_8: Final = Quantize(layers=Uniform(bits=8))
BITS_4: Final = Quantize(layers=Uniform(bits=4))
K_MEANS: Final = Quantize(layers=KMeansCodebook(bits=4))

DISTILLATION, LOW_RANK, PRUNING, QUANTIZATION = "distillation", "low rank", "pruning", "quantization"

ALONE: Final[dict[str, dict[str, Method]]] = {
    DISTILLATION: {
        "temperature 2": Method((), WARM),
        "weights by uncertainty": Method((), UNCERTAIN),
        "hints": Method((), HINTED),
        "data-free": Method((), data_free=True),
    },
    LOW_RANK: {
        "Tucker, two-sided metric": Method((TUCKER, TRAIN)),
        "Tucker, input metric": Method((Decompose(metric="input"), TRAIN)),
        "Tucker, plain": Method((Decompose(metric="plain"), TRAIN)),
        "Tucker, refitted": Method((Decompose(refit_sweeps=1), TRAIN)),
        "CP": Method((CP, TRAIN)),
        "tensor train": Method(
            (Decompose(input=TensorTrain(ranks=(12, 10)), layers=TensorTrain(ranks=(6, 10))), TRAIN)
        ),
        "basis per behaviour": Method((Decompose(layers=Basis(rank=8)), TRAIN)),
        "anchor and deltas": Method((Decompose(layers=Anchored(rank=1)), TRAIN)),
        "SVD per behaviour": Method((Decompose(layers=PerModelSvd(rank=1)), TRAIN)),
    },
    PRUNING: {
        "weights 92 %": Method((PruneWeights(share=0.92, rounds=3), TRAIN)),
        "weights 92 %, magnitude": Method((PruneWeights(share=0.92, rounds=3, criterion=Criterion.MAGNITUDE), TRAIN)),
        "neurons 80 %": Method((PruneNeurons(share=0.8, rounds=3), TRAIN)),
        "neurons 80 %, magnitude": Method((PruneNeurons(share=0.8, rounds=3, criterion=Criterion.MAGNITUDE), TRAIN)),
        "neurons 80 %, activation": Method((PruneNeurons(share=0.8, rounds=3, criterion=Criterion.ACTIVATION), TRAIN)),
        "features 40 %": Method((PruneFeatures(share=0.4), TRAIN)),
    },
    QUANTIZATION: {
        "8 bits": Method((BITS_8,)),
        "8 bits, per tensor, affine": Method((Quantize(layers=Uniform(per_channel=False, symmetric=False)),)),
        "8 bits, products of integers": Method((Quantize(layers=Uniform(bits=8), activations=Activations()),)),
        "4 bits": Method((BITS_4,)),
        "4 bits, trained": Method((BITS_4, ROUND)),
        "k-means 4 bits": Method((K_MEANS,)),
        "powers of two, 4 bits": Method((Quantize(layers=PowerOfTwo(bits=4)),)),
        "float16": Method((Quantize(layers=Half()),)),
    },
}
"""Family → method → what it does."""

PAIRS: Final[dict[tuple[str, str], dict[str, Method]]] = {
    (DISTILLATION, LOW_RANK): {
        "temperature 2 throughout, Tucker": Method((TUCKER, TRAIN_WARM), WARM),
        "weights by uncertainty throughout, Tucker": Method((TUCKER, TRAIN_UNCERTAIN), UNCERTAIN),
        "hints, Tucker": Method((TUCKER, TRAIN), HINTED),
    },
    (DISTILLATION, PRUNING): {
        "neurons 80 %, temperature 2": Method((PruneNeurons(share=0.8, rounds=3), TRAIN_WARM)),
        "neurons 80 %, weights by uncertainty": Method((PruneNeurons(share=0.8, rounds=3), TRAIN_UNCERTAIN)),
    },
    (DISTILLATION, QUANTIZATION): {
        "4 bits, trained at temperature 2": Method((BITS_4, ROUND_WARM)),
        "4 bits, trained with weights by uncertainty": Method((BITS_4, ROUND_UNCERTAIN)),
    },
    (LOW_RANK, PRUNING): {
        "neurons 25 %, Tucker": Method((PruneNeurons(share=0.25), ROUND, TUCKER, TRAIN)),
        "features 25 %, Tucker": Method((PruneFeatures(share=0.25), ROUND, TUCKER, TRAIN)),
        "Tucker, ranks 25 %": Method(
            (
                Decompose(input=Tucker(ranks=(16, 5, 16)), trunk=Cp(rank=13), layers=Tucker(ranks=(None, 8, 13))),
                ROUND,
                PruneRanks(share=0.25),
                TRAIN,
            )
        ),
        "Tucker, weights 30 %": Method((TUCKER, TRAIN, PruneWeights(share=0.3), ROUND)),
    },
    (LOW_RANK, QUANTIZATION): {
        "Tucker, 8 bits": Method((TUCKER, TRAIN, BITS_8, ROUND)),
        "CP, 8 bits": Method((CP, TRAIN, BITS_8, ROUND)),
        "Tucker, k-means 4 bits": Method((TUCKER, TRAIN, K_MEANS, ROUND)),
    },
    (PRUNING, QUANTIZATION): {
        "weights 80 %, 8 bits": Method((PruneWeights(share=0.8, rounds=3), TRAIN, BITS_8, ROUND)),
        "neurons 70 %, 8 bits": Method((PruneNeurons(share=0.7, rounds=3), TRAIN, BITS_8, ROUND)),
    },
}
"""Two families → candidates for their best combination."""


def every_method() -> list[tuple[tuple[str, ...], str, Method]]:
    """Families, name and what is done, those that need another dense network beside each other."""
    found: list[tuple[tuple[str, ...], str, Method]] = [
        ((family,), name, method) for family, methods in ALONE.items() for name, method in methods.items()
    ]
    found += [(pair, name, method) for pair, methods in PAIRS.items() for name, method in methods.items()]
    return found
