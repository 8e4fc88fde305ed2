"""The search: Optuna proposes recipes, several at a time; what each one measured is kept in a SQLite file, so that a
search that was interrupted goes on where it stood.

Multi-objective tree-structured Parzen estimator [Ozaki et al. 2022, doi:10.1613/jair.1.13188] under the budget's
constraints: quality up, bytes and CPU time down.
"""

from __future__ import annotations

import math
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import optuna
import torch
from optuna.trial import TrialState

from fusion.errors import FusionError
from fusion.recipe import Recipe
from fusion.search.budget import Measured
from fusion.search.space import FIRST, VERSION, propose, quick
from inference.contract import staging
from inference.contract.artifact import sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fusion.search.budget import Budget
    from fusion.search.candidate import Bench

_DIRECTIONS: Final = ("maximize", "minimize", "minimize")
_FIRST_AT_RANDOM: Final = 12
_HOPELESS: Final = 0.02
"""A candidate whose mean change after fine-tuning is this much below the budget's is not trained on."""


class _Stopped(Exception):  # noqa: N818 - no fault
    """The search is over: this trial is not carried on, and leaves nothing behind."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A recipe and what it measured.

    Attributes:
        number: of the trial.
        recipe: as proposed.
        found: after short training; None where it was given up early.
        reason: why it was given up.
        trained: after all of its training; None where it had none.
    """

    number: int
    recipe: Recipe
    found: Measured | None
    reason: str = ""
    trained: Measured | None = None


def search(
    bench: Bench,
    base: Recipe,
    budget: Budget,
    file: Path,
    told: Callable[[float, str], None],
    *,
    most_trials: int | None = None,
) -> list[Tried]:
    """Try recipes until the budget's time is up.

    Args:
        bench: to try them on.
        base: recipe that all of them start from.
        budget: what has to hold, and for how long to search.
        file: SQLite; a search for the same players, teachers, base and budget goes on from what is in it.
        told: told how much of the time is over, and the best so far.
        most_trials: stop after so many more, whatever the time.

    Returns:
        Everything that was ever tried, in order.

    Raises:
        FusionError: the file cannot be used, or the disk is full; what was tried until then is kept.
        KeyboardInterrupt: likewise.
    """
    study = _study(bench, base, budget, file)
    started, seconds = time.monotonic(), 60.0 * budget.search_minutes
    over = threading.Event()

    def report(study: optuna.Study, _trial: optuna.trial.FrozenTrial) -> None:
        told(min(1.0, (time.monotonic() - started) / seconds), _best_so_far(study, budget))

    def go_on(done: float = 0.0, note: str = "") -> None:
        if over.is_set():
            raise _Stopped

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        go_on()
        return _try(trial, bench, base, budget, go_on)

    def optimise(trials: int | None, jobs: int) -> None:
        left_seconds = max(0.0, started + seconds - time.monotonic())
        study.optimize(objective, n_trials=trials, timeout=left_seconds, n_jobs=jobs, callbacks=[report])

    def all_trials() -> None:
        # What waits goes before and alone: Optuna lets two threads take the same waiting trial from SQLite.
        if waiting := len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,))):
            optimise(waiting if most_trials is None else min(waiting, most_trials), 1)
        more = None if most_trials is None else most_trials - min(waiting, most_trials)
        if more != 0:
            optimise(more, os.cpu_count() or 1)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # In a thread of its own: Ctrl-C then finds this one free to stop the trials under way at their next epoch.
        with _using(file), ThreadPoolExecutor(1) as pool:
            found = pool.submit(all_trials)
            try:
                found.result()
            finally:
                over.set()
    finally:
        torch.set_num_threads(threads)
    return tried(study)


def remember(bench: Bench, base: Recipe, budget: Budget, file: Path, number: int, trained: Measured) -> list[Tried]:
    """Keep what a recipe measured after all of its training; the search goes on knowing it.

    Args:
        bench: as of the search, like `base`, `budget` and `file`.
        base: recipe that all of them start from.
        budget: what has to hold.
        file: of the search.
        number: of the trial.
        trained: what it measured.

    Returns:
        Everything that was ever tried, in order.

    Raises:
        FusionError: the file cannot be used, or the disk is full.
    """
    study = _study(bench, base, budget, file)
    with _using(file):
        study.set_user_attr(_trained(number), trained.model_dump_json())
    return tried(study)


def check_file(file: Path) -> None:
    """Refuse, before hours of work, a file that no search can be kept in.

    Raises:
        FusionError: it holds something else, or cannot be written.
    """
    _storage(file)


def _try(
    trial: optuna.Trial, bench: Bench, base: Recipe, budget: Budget, go_on: Callable[[float, str], None]
) -> tuple[float, float, float]:
    """Measure what a trial proposes: quality, bytes, CPU microseconds."""
    recipe = propose(trial, base)
    trial.set_user_attr("recipe", recipe.model_dump_json())

    def hopeless(step: str, changes: list[float]) -> None:
        floor = (budget.mean_change or 0.0) - _HOPELESS
        mean = sum(changes) / len(changes)
        if step == "finetune" and mean < floor:
            trial.set_user_attr("reason", f"mean change {mean:+.4f} after {step}, hopeless below {floor:+.4f}")
            raise optuna.TrialPruned

    try:
        found = bench.measure(quick(recipe), hopeless, go_on)
    except FusionError as error:
        trial.set_user_attr("reason", str(error))
        raise optuna.TrialPruned from error
    trial.set_user_attr("found", found.model_dump_json())
    for name, beyond in budget.costs.margins(found).items():
        trial.set_constraint(name, beyond)
    return found.mean_change, found.file_bytes, found.cpu_us_per_lobby


def tried(study: optuna.Study) -> list[Tried]:
    """What a study holds, given up ones included."""
    known = study.user_attrs
    return [
        Tried(
            trial.number,
            Recipe.model_validate_json(trial.user_attrs["recipe"]),
            _read(trial.user_attrs.get("found")),
            trial.user_attrs.get("reason", ""),
            _read(known.get(_trained(trial.number))),
        )
        for trial in study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    ]


def _read(measured: str | None) -> Measured | None:
    return None if measured is None else Measured.model_validate_json(measured)


def _trained(number: int) -> str:
    """Where it is kept: in the study, for a trial that has ended takes nothing more."""
    return f"trained {number}"


def _study(bench: Bench, base: Recipe, budget: Budget, file: Path) -> optuna.Study:
    # Trials that end early are told by us.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    bound = budget.model_dump_json(exclude={"search_minutes"})
    known = [bench.material.dataset.sha256, *sorted(teacher.card.onnx_sha256 for teacher in bench.material.teachers)]
    name = sha256("".join((base.model_dump_json(), bound, *known, f"space {VERSION}")).encode())[:16]
    with _using(file):
        study = optuna.create_study(
            storage=_storage(file), study_name=name, directions=_DIRECTIONS, load_if_exists=True
        )
        trials = study.get_trials(deepcopy=False)
        if not trials:
            study.enqueue_trial(FIRST)
        # From one seed, a search that goes on would propose once more what it began with.
        study.sampler = optuna.samplers.TPESampler(seed=base.seed + len(trials), n_startup_trials=_FIRST_AT_RANDOM)
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                # Of a process that was killed: nobody works on it any more.
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    return study


def _storage(file: Path) -> optuna.storages.RDBStorage:
    # SQLAlchemy's exceptions share no root with Optuna's.
    with _using(file, Exception):
        if not file.exists():
            # Optuna never makes up for tables whose indices are missing: no such file may come to be.
            with staging.beside(file) as place:
                made = place / file.name
                optuna.storages.RDBStorage(f"sqlite:///{made}").engine.dispose()
                made.replace(file)
        return optuna.storages.RDBStorage(f"sqlite:///{file}")


@contextmanager
def _using(file: Path, faults: type[Exception] = optuna.exceptions.OptunaError) -> Iterator[None]:
    """Tell of the file what SQLite or the disk have to say of it."""
    try:
        yield
    except faults as error:
        # Optuna wraps what SQLAlchemy says of SQLite.
        cause = error.__cause__ or error
        raise FusionError(
            where=str(file),
            got=f"{type(cause).__name__}: {cause}".splitlines()[0],
            expected="a SQLite file of a search with room to grow, or a place where one can be made",
            fix="Free some space, or name another file with --study.",
        ) from error


def _best_so_far(study: optuna.Study, budget: Budget) -> str:
    every = tried(study)
    holding = [one.found for one in every if one.found is not None and not budget.costs.excess(one.found)]
    best = max((found.mean_change for found in holding), default=math.nan)
    said = f", best mean change {best:+.4f} after short training" if holding else ""
    return f"{len(every)} tried, {len(holding)} within the costs{said}"
