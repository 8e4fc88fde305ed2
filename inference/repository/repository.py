"""Changes what is served: load, verify, warm up, swap, go back.

Slow work (files, hashes, the graph, the probe) is done on the calling thread, never on one that serves, and before
anything changes: a version that is no good is refused while the one that is served goes on. Operators' changes are made
one at a time. Whatever makes another version live ends both trials: they were comparisons with the version before.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from inference.models import ModelState
from inference.repository import trials
from inference.repository.changes import Changes
from inference.repository.faults import Conflict
from inference.repository.layout import Layout
from inference.repository.ledger import Ledger
from inference.repository.loader import Loader
from inference.repository.membership import Membership
from inference.repository.record import Record
from inference.repository.router import Route, Router
from inference.repository.start import start
from inference.repository.state import STATE_FILE, ModelServing, StateFile
from inference.repository.trials import Trials
from inference.repository.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from inference.models import ServedModel
    from inference.repository.router import Canary, Routes
    from inference.settings import ServerSettings

_LOG = logging.getLogger(__name__)


class Repository:
    """The models of a folder (`models.ModelControl`).

    Attributes:
        router: who answers which call (`models.Models`).
        loader: where versions come from.
        trials: versions beside the live ones.
        changes: counters.
        record: what was served last.
        member: whether it decides what is served.

    Args:
        root: `ROOT/<name>/<version>/`, each an artifact.
        settings: limits and bounds.
        others_are_coming: see `ServedModel`.
        member: what it is among several servers of the same models; none where it is alone.

    Raises:
        PlayfuseError: there is nothing to serve, or nobody knows what was served last.
    """

    def __init__(
        self,
        root: Path,
        settings: ServerSettings,
        *,
        others_are_coming: Callable[[], bool] = lambda: False,
        member: Membership | None = None,
    ) -> None:
        ledger = Ledger()
        self.member = member or Membership()
        file = StateFile(root / STATE_FILE, self.member.publish)
        self._turns = Turns()
        self.changes = Changes()
        self.router = Router(settings.default_model, ledger)
        self.loader = Loader(Layout(root), settings.limits, ledger, self.changes, others_are_coming)
        self.record = Record(self.router, file, self.member)
        self.trials = Trials(self.router, self.loader, self.record, self.changes, self._turns, settings, self.member)
        start(self, (self.member.was or file.read()).models, default=settings.default_model)

    def index(self) -> Sequence[ModelState]:
        """See `models.ModelControl`."""
        by_name, loader = self.router.routes.by_name, self.loader
        states = []
        for name in sorted({*loader.layout.names(), *by_name}):
            served = {model.version for model in by_name[name].served()} if name in by_name else set()
            there = loader.versions(name)
            for version in [*there, *sorted(served.difference(there))]:
                states.append(ModelState(name, version, version in served, loader.faults.get((name, version), "")))
            if unlisted := loader.faults.get((name, "")):
                states.append(ModelState(name, "", False, unlisted))
        return states

    def load(self, name: str, version: str = "") -> None:
        """See `models.ModelControl`."""
        with self._turns.one(f"loading {name}"):
            version = version or self.loader.layout.newest(name)
            model = self.loader.to_serve(name, version)
            route = self.router.routes.by_name.get(name)
            if route is None:
                was = self.record.not_served.get(name, ModelServing())
                previous, reads = was.previous, was.reads
            else:
                previous = route.previous if route.live.version == version else route.live.version
                reads = route.reads
            self.make_live(model, previous=previous if previous != version else "", reads=reads + 1)

    def unload(self, name: str) -> None:
        """See `models.ModelControl`."""
        with self._turns.one(f"unloading {name}"):
            route = self.router.route(name)
            self.make_away(name, ModelServing(previous=route.live.version, reads=route.reads))
            self.record.save()

    def promote(self, name: str) -> None:
        """Make the version on trial the live one.

        Raises:
            UnknownModel: there is no such model.
            Conflict: no version is on trial.
        """
        with self._turns.one(f"promoting {name}"):
            canary = self.trials.canary(name)
            route = self.router.route(name)
            self.make_live(canary.model, previous=route.live.version, reads=route.reads, on_trial=canary)

    def rollback(self, name: str) -> None:
        """Make the version live that was so before: one step, and not back again.

        Raises:
            UnknownModel: there is no such model, or the version's folder is gone.
            Conflict: there is no version before.
            ArtifactError: it must not be served any more; what is served stays.
        """
        with self._turns.one(f"rolling back {name}"):
            route = self.router.route(name)
            live, previous = route.live, route.previous
            if not previous:
                raise Conflict(
                    f"rollback of {name}",
                    got=f"version {live.version} with none before it",
                    expected="a version that was live before",
                    fix=f"Load the one you want: playfuse models load {name} VERSION",
                )
            self.make_live(self.loader.to_serve(name, previous), previous="", reads=route.reads + 1)
            self.changes.rollbacks[name, "operator"].add()

    def close(self) -> None:
        """End the threads; after the last call."""
        for route in self.router.routes.by_name.values():
            trials.close(route)

    def make_away(self, name: str, as_was: ModelServing) -> None:
        """Serve a model no more, without a turn of an operator.

        Args:
            name: of one that is served.
            as_was: what a later load has to know.
        """
        self.record.not_served[name] = as_was
        trials.close(self.router.change(lambda routes: routes.with_route(name, None)).by_name[name])
        _LOG.info("%s is served no more", name)

    def make_live(self, model: ServedModel, *, previous: str, reads: int, on_trial: Canary | None = None) -> None:
        """The swap, without a turn of an operator: from now on lookups find this version; who has found another one is
        still answered by that.

        Args:
            model: of this version.
            previous: version to go back to.
            reads: see `Route`.
            on_trial: what it was until now, where it was.

        Raises:
            Conflict: it was to be `on_trial`, and is so no more.
        """
        name = model.name

        def edit(routes: Routes) -> Mapping[str, Route]:
            if on_trial is not None:
                canary = routes.by_name[name].canary
                if canary is None or canary.model is not model:
                    raise Conflict(f"canary of {name}", got="a trial that has just ended", expected="one that goes on")
            return routes.with_route(name, Route(model, previous, reads=reads))

        before = self.router.change(edit).by_name.get(name)
        self.record.not_served.pop(name, None)
        if self.member.owns:  # several servers make one change together
            self.changes.swaps[name].add()
        _LOG.info("%s %s is live; before it %s", name, model.version, before.live.version if before else "none was")
        if before is not None:
            trials.close(before)
            if before.live.manifest.features != model.manifest.features:
                _LOG.warning("%s %s takes other features than %s", name, model.version, before.live.version)
        self.record.save()
