"""Every compression method alone, and the best combination of each pair of families:
`python -m benchmarks.methods [--game NAME] [--teachers DIR]`.

All start from a dense network, distilled once (in the way that the method says), and get the same training afterwards;
quality is judged on test players. A dense network of the same size, distilled from the same targets, stands beside
them. Results in `benchmarks/results/methods.json`. Needs the real logs (`PLAYFUSE_DATA`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.fusion import GAMES
from benchmarks.logs import read_game
from benchmarks.method_list import EPOCHS, PLAIN, Method, every_method
from benchmarks.teachers import teachers_for
from fusion import recipe as recipes
from fusion.distill import statistics
from fusion.material import Material
from fusion.passport import machine
from fusion.pipeline import part
from fusion.progress import stages
from fusion.search.candidate import Bench
from fusion.steps.distil import Distil
from fusion.telemetry.dataset import Dataset, Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fusion.pipeline import Told
    from fusion.teachers.onnx_teacher import OnnxTeacher

RESULT: Final = Path(__file__).resolve().parent / "results" / "methods.json"
SMALL: Final = recipes.Network(bins=4, hidden=28, trunk=14, behaviour=4)
"""A dense network of about as many numbers as the low-rank one has."""
DRAWN_ROWS: Final = 150_000
"""Of the data-free network: as many as a recipe fills a log up to."""


@dataclass
class Benches:
    """Dense networks to start from, each trained when it is first asked for.

    Attributes:
        material: players, teachers, targets.
        base: recipe with the plain first step.
        told: told how far it has come.
    """

    material: Material
    base: recipes.Recipe
    told: Told
    _made: dict[str, Bench] = field(default_factory=dict)

    def measured(self, method: Method) -> dict[str, Any]:
        """What a method comes to."""
        distil = method.distil or PLAIN
        key = "data-free" if method.data_free else distil.model_dump_json()
        if key not in self._made:
            self._made[key] = self._data_free() if method.data_free else self._dense(distil)
        steps = self.base.model_copy(update={"steps": (distil, *method.steps)})
        return self._made[key].measure(steps, lambda step, changes: None).model_dump(mode="json")

    def _dense(self, distil: Distil) -> Bench:
        start = self.base.model_copy(update={"steps": (distil,)})
        return Bench.prepare(self.material, start, part(self.told, "dense"), judged_on=Split.TEST)

    def _data_free(self) -> Bench:
        """From statistics of the training players and the teachers that read no sessions; judged on real players."""
        plain = self._made.get(PLAIN.model_dump_json()) or self._dense(PLAIN)
        drawn = statistics.draw(statistics.measure(self.material.dataset), DRAWN_ROWS)
        teachers = [teacher for teacher in self.material.teachers if not teacher.card.uses_sequences]
        blind = Material.prepare(drawn, teachers, self.base, part(self.told, "data-free targets"))
        dense = Bench.prepare(blind, self.base, part(self.told, "data-free"), judged_on=Split.TEST).dense
        return replace(plain, dense=dense)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="gran_turismo_sport", choices=GAMES)
    parser.add_argument("--teachers", type=Path, help="folder of trained teachers; without it they are trained anew")
    arguments = parser.parse_args()
    dataset = read_game(arguments.game, parser)
    with stages() as told, tempfile.TemporaryDirectory() as scratch:
        teachers = teachers_for(dataset, arguments.teachers, Path(scratch), told)
        measure_all(dataset, teachers, arguments.game, told)
    print(f"\nWritten to {RESULT}. Next: python -m benchmarks.render")


def measure_all(
    dataset: Dataset, teachers: Sequence[OnnxTeacher], game: str, told: Told, result: Path = RESULT
) -> None:
    """Measure every method, and write what is known after each one."""
    base = recipes.Recipe(steps=(PLAIN,))
    material = Material.prepare(dataset, teachers, base, part(told, "targets"))
    small = base.model_copy(update={"network": SMALL, "steps": (Distil(epochs=2 * EPOCHS),)})
    alone = Bench.prepare(material, small, part(told, "dense, small"), judged_on=Split.TEST)
    benches = Benches(material, base, told)
    rows = {
        "dense": benches.measured(Method(())),
        "dense, small from the start": alone.measure(small, lambda step, changes: None).model_dump(mode="json"),
    }
    methods = every_method()
    for number, (families, name, method) in enumerate(methods):
        told("methods", number / len(methods), name)
        rows[f"{' + '.join(families)}: {name}"] = {**benches.measured(method), "families": families}
        result.write_text(json.dumps({"game": game, "machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
