"""Versions beside the live one: on trial with a part of the callers, or with copies of their calls."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from inference.repository.canary import Judge, Verdict, Watch
from inference.repository.faults import Conflict
from inference.repository.router import Canary
from inference.repository.shadow import Shadow
from inference.repository.split import Split, checked_percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inference.models import ServedModel
    from inference.repository.changes import Changes
    from inference.repository.loader import Loader
    from inference.repository.membership import Membership
    from inference.repository.record import Record
    from inference.repository.router import Route, Router, Routes
    from inference.repository.turns import Turns
    from inference.settings import ServerSettings

_LOG = logging.getLogger(__name__)


class Trials:
    """Starts and ends them.

    Args:
        router: what is served.
        loader: where versions come from.
        record: told of every change.
        changes: counts what is taken back.
        turns: of operators.
        settings: bounds.
        member: only an owner takes a version back by itself; others tell it.
    """

    def __init__(
        self,
        router: Router,
        loader: Loader,
        record: Record,
        changes: Changes,
        turns: Turns,
        settings: ServerSettings,
        member: Membership,
    ) -> None:
        self._router = router
        self._loader = loader
        self._record = record
        self._changes = changes
        self._turns = turns
        self._member = member
        self._bounds = settings.canary
        self._max_shadow_rows = settings.max_shadow_rows
        self.endings: dict[str, str] = {}
        """Model → why its last version on trial was taken back."""

    def start_canary(self, name: str, version: str, percent: float) -> None:
        """Let a version answer a part of the calls; one that does already gets another part.

        Raises:
            UnknownModel: there is no such model or version.
            ArtifactError: it must not be served, or does not take and answer what the live one does.
            InvalidRequest: the percentage is none.
            Conflict: the version was taken back this very moment.
        """
        checked_percent(percent)
        with self._turns.one(f"a trial of {name} {version}"):
            self.put_on_trial(name, version, percent)
            self._record.save()

    def stop_canary(self, name: str) -> None:
        """Take the version on trial back.

        Raises:
            UnknownModel: there is no such model.
            Conflict: no version is on trial.
        """
        with self._turns.one(f"ending the trial of {name}"):
            model = self.canary(name).model
            self._take_back(name, model, "operator", "an operator ended the trial")

    def canary(self, name: str) -> Canary:
        """The version on trial. Raises as `stop_canary`."""
        canary = self._router.route(name).canary
        if canary is None:
            last = f" any more: the last one was {self.endings[name]}" if name in self.endings else ""
            raise Conflict(f"canary of {name}", got=f"none{last}", expected="a version on trial")
        return canary

    def start_shadow(self, name: str, version: str, percent: float) -> None:
        """Have a version answer copies of a part of the live version's calls, and compare; from nothing, each time.

        Raises:
            UnknownModel: there is no such model or version.
            ArtifactError: it must not be served, or does not take and answer what the live one does.
            InvalidRequest: the percentage is none.
        """
        checked_percent(percent)
        with self._turns.one(f"a shadow of {name}"):
            self.put_in_shadow(name, version, percent)
            self._record.save()

    def stop_shadow(self, name: str) -> None:
        """Compare no more.

        Raises:
            UnknownModel: there is no such model.
            Conflict: no version answers copies.
        """
        with self._turns.one(f"ending the shadow of {name}"):
            if self._router.route(name).shadow is None:
                raise Conflict(f"shadow of {name}", got="none", expected="a version that answers copies")
            self.end_shadow(name)
            self._record.save()

    def put_on_trial(self, name: str, version: str, percent: float) -> None:
        """As `start_canary`, without a turn of an operator and without writing it down."""
        split = Split(name, version, percent)
        on_trial = self._router.route(name).canary
        if on_trial is not None and on_trial.model.version == version:
            self._give(name, on_trial, split)
        else:
            self._start_canary(name, version, split)
        _LOG.info("%s %s answers %g %% of the calls on trial", name, version, percent)

    def end_trial(self, name: str) -> None:
        """End a trial that ended elsewhere; the reason is told there."""
        canary = self._router.edit(name, lambda route: route._replace(canary=None)).canary
        if canary is not None:
            canary.watch.stop()
            _LOG.info("%s %s is on trial no more", name, canary.model.version)

    def put_in_shadow(self, name: str, version: str, percent: float) -> None:
        """As `start_shadow`, without a turn of an operator and without writing it down."""
        route = self._router.route(name)
        live, old = route.live, route.shadow
        if old is not None and old.model.version == version:
            model = old.model
        else:
            model = self._loader.to_compare(name, version, beside=live.manifest)
        shadow = Shadow(live.manifest.behaviours, model, percent, self._max_shadow_rows)
        self._router.edit(name, lambda route: route._replace(shadow=shadow))
        live.listen(shadow.tap)
        if old is not None:
            old.close()
        _LOG.info("%s %s answers copies of %g %% of the calls", name, version, percent)

    def end_shadow(self, name: str) -> None:
        """As `stop_shadow`, without a turn of an operator and without writing it down."""
        route = self._router.edit(name, lambda route: route._replace(shadow=None))
        route.live.listen(None)
        if route.shadow is not None:
            route.shadow.close()

    def take_back(self, name: str, version: str, verdict: Verdict) -> None:
        """Take a version back that does too badly in another server, if it is still on trial."""
        route = self._router.routes.by_name.get(name)
        if route is not None and route.canary is not None and route.canary.model.version == version:
            self._take_back(name, route.canary.model, *verdict)

    def look(self, name: str, model: ServedModel, judge: Judge) -> bool:
        """Take a version back if it does too badly, or have the owner do so; whether it is still on trial."""
        canary = self._router.route(name).canary if name in self._router.routes.by_name else None
        if canary is None or canary.model is not model:
            return False
        verdict = judge.look(time.monotonic())
        if verdict is None:
            return True
        if not self._member.owns:
            self._member.report(name, model.version, verdict)
            return True  # told again until it is taken back: an owner may die before it hears
        self._take_back(name, model, *verdict)
        return False

    def _start_canary(self, name: str, version: str, split: Split) -> None:
        live = self._router.route(name).live
        model = self._loader.to_serve(name, version, beside=live.manifest)
        judge = Judge(self._bounds, live.metrics, model.metrics, time.monotonic())
        watch = Watch(lambda: self.look(name, model, judge), self._bounds.look_every_seconds)
        canary = Canary(model, split, judge, watch)
        before = self._router.edit(name, lambda route: route._replace(canary=canary))
        if before.canary is not None:
            before.canary.watch.stop()
        watch.start()

    def _give(self, name: str, canary: Canary, split: Split) -> None:
        def edit(route: Route) -> Route:
            if route.canary is None or route.canary.model is not canary.model:
                raise Conflict(f"canary of {name}", got="a trial that has just ended", expected="one that goes on")
            return route._replace(canary=route.canary._replace(split=split))

        self._router.edit(name, edit)

    def _take_back(self, name: str, model: ServedModel, reason: str, text: str) -> None:
        """Unless something else has ended the trial meanwhile."""

        def edit(routes: Routes) -> Mapping[str, Route]:
            if not _is_on_trial(routes.by_name.get(name), model):
                return routes.by_name
            return routes.with_route(name, routes.by_name[name]._replace(canary=None))

        before = self._router.change(edit).by_name.get(name)
        if before is None or before.canary is None or not _is_on_trial(before, model):
            return
        before.canary.watch.stop()
        self.endings[name] = f"{model.version}, taken back: {text}"
        level = logging.INFO if reason == "operator" else logging.ERROR
        _LOG.log(level, "%s %s is taken back (%s): %s", name, model.version, reason, text)
        self._changes.rollbacks[name, reason].add()
        self._record.save()


def close(route: Route) -> None:
    """End what runs beside a route that is no more."""
    route.live.listen(None)
    if route.canary is not None:
        route.canary.watch.stop()
    if route.shadow is not None:
        route.shadow.close()


def _is_on_trial(route: Route | None, model: ServedModel) -> bool:
    return route is not None and route.canary is not None and route.canary.model is model
