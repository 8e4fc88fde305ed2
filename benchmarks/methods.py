"""Every compression method alone, and pairs of them: `python -m benchmarks.methods [--game NAME] [--teachers DIR]`.

All start from one dense network, distilled once, and get the same training afterwards; quality is judged on test
players. A dense network of the same size, distilled from the same targets, stands beside them. Results in
`benchmarks/results/methods.json`. Needs the real logs (`PLAYFUSE_DATA`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.fusion import GAMES
from fusion import recipe as recipes
from fusion.material import Material
from fusion.passport import machine
from fusion.pipeline import part
from fusion.progress import stages
from fusion.prune.criteria import Criterion
from fusion.quantize.codebook import KMeansCodebook, PowerOfTwo
from fusion.quantize.half import Half
from fusion.quantize.uniform import Uniform
from fusion.search.candidate import Bench
from fusion.steps.decompose import Cp, Decompose, Tucker
from fusion.steps.distil import Distil, Finetune
from fusion.steps.prune import PruneFeatures, PruneNeurons, PruneRanks, PruneWeights
from fusion.steps.quantize import Quantize
from fusion.teachers import specs
from fusion.teachers.folder import load
from fusion.teachers.library import train
from fusion.telemetry.dataset import Split
from fusion.telemetry.read import read
from fusion.telemetry.sources import data_folder, find_log
from fusion.telemetry.spec import load_any_spec

if TYPE_CHECKING:
    from fusion.steps.registry import AnySpec

RESULT: Final = Path(__file__).resolve().parent / "results" / "methods.json"
EPOCHS: Final = 12
TRAIN: Final = Finetune(epochs=EPOCHS, learning_rate=5e-3)
ROUND: Final = Finetune(epochs=EPOCHS // 4, learning_rate=5e-4)
TUCKER: Final = Decompose()
METHODS: Final[dict[str, tuple[AnySpec, ...]]] = {
    "low rank: Tucker, two-sided metric": (TUCKER, TRAIN),
    "low rank: Tucker, input metric": (Decompose(metric="input"), TRAIN),
    "low rank: Tucker, plain": (Decompose(metric="plain"), TRAIN),
    "low rank: CP": (Decompose(input=Cp(rank=14), layers=Cp(rank=14)), TRAIN),
    "pruning: weights 92 %": (PruneWeights(share=0.92, rounds=3), TRAIN),
    "pruning: weights 92 %, magnitude": (PruneWeights(share=0.92, rounds=3, criterion=Criterion.MAGNITUDE), TRAIN),
    "pruning: neurons 80 %": (PruneNeurons(share=0.8, rounds=3), TRAIN),
    "pruning: neurons 80 %, activation": (PruneNeurons(share=0.8, rounds=3, criterion=Criterion.ACTIVATION), TRAIN),
    "pruning: features 40 %": (PruneFeatures(share=0.4), TRAIN),
    "quantization: 8 bits": (Quantize(layers=Uniform(bits=8)),),
    "quantization: 4 bits": (Quantize(layers=Uniform(bits=4)),),
    "quantization: 4 bits, trained": (Quantize(layers=Uniform(bits=4)), ROUND),
    "quantization: k-means 4 bits": (Quantize(layers=KMeansCodebook(bits=4)),),
    "quantization: powers of two, 4 bits": (Quantize(layers=PowerOfTwo(bits=4)),),
    "quantization: float16": (Quantize(layers=Half()),),
    "neurons 25 % + low rank": (PruneNeurons(share=0.25), ROUND, TUCKER, TRAIN),
    "features 25 % + low rank": (PruneFeatures(share=0.25), ROUND, TUCKER, TRAIN),
    "low rank + ranks 25 %": (
        Decompose(input=Tucker(ranks=(16, 5, 16)), trunk=Cp(rank=13), layers=Tucker(ranks=(None, 8, 13))),
        ROUND,
        PruneRanks(share=0.25),
        TRAIN,
    ),
    "low rank + weights 30 %": (TUCKER, TRAIN, PruneWeights(share=0.3), ROUND),
    "low rank + 8 bits": (TUCKER, TRAIN, Quantize(layers=Uniform(bits=8)), ROUND),
    "low rank + k-means 4 bits": (TUCKER, TRAIN, Quantize(layers=KMeansCodebook(bits=4)), ROUND),
    "weights 80 % + 8 bits": (PruneWeights(share=0.8, rounds=3), TRAIN, Quantize(layers=Uniform(bits=8)), ROUND),
    "neurons 70 % + 8 bits": (PruneNeurons(share=0.7, rounds=3), TRAIN, Quantize(layers=Uniform(bits=8)), ROUND),
}
"""Name → steps after `distil`."""
SMALL: Final = recipes.Network(bins=4, hidden=28, trunk=14, behaviour=4)
"""A dense network of about as many numbers as the low-rank one has."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="gran_turismo_sport", choices=GAMES)
    parser.add_argument("--teachers", type=Path, help="folder of trained teachers; without it they are trained anew")
    arguments = parser.parse_args()
    log = find_log(arguments.game)
    if log is None:
        parser.error(f"no log of {arguments.game} in {data_folder()}: set PLAYFUSE_DATA")
    dataset = read(log, load_any_spec(arguments.game))
    base = recipes.Recipe(steps=(Distil(epochs=EPOCHS),))
    with stages() as told, tempfile.TemporaryDirectory() as scratch:
        if arguments.teachers is None:
            teacher_set = specs.preset(specs.Preset.FULL, dataset.behaviours, sessions=dataset.recorded is not None)
            teachers = train(dataset, teacher_set.teachers, Path(scratch), progress=told)
        else:
            teachers = load(arguments.teachers, dataset)
        material = Material.prepare(dataset, teachers, base, part(told, "targets"))
        bench = Bench.prepare(material, base, part(told, "dense"), judged_on=Split.TEST)
        rows = {"dense": _measured(bench, base)}
        small = base.model_copy(update={"network": SMALL, "steps": (Distil(epochs=2 * EPOCHS),)})
        alone = Bench.prepare(material, small, part(told, "dense, small"), judged_on=Split.TEST)
        rows["dense, small from the start"] = _measured(alone, small)
        for number, (name, steps) in enumerate(METHODS.items()):
            told("methods", number / len(METHODS), name)
            rows[name] = _measured(bench, base.model_copy(update={"steps": (*base.steps, *steps)}))
            RESULT.write_text(json.dumps({"game": arguments.game, "machine": machine(), "rows": rows}, indent=1) + "\n")
    print(f"\nWritten to {RESULT}. Next: python -m benchmarks.render")


def _measured(bench: Bench, recipe: recipes.Recipe) -> dict[str, Any]:
    return bench.measure(recipe, lambda step, changes: None).model_dump(mode="json")


if __name__ == "__main__":
    main()
