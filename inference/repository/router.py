"""Who answers which call: an immutable picture of what is served, replaced as a whole.

Lookups take no lock: they read one reference. Whoever has looked up a model keeps it alive until its call is answered,
however often the picture has been replaced meanwhile; after that nothing refers to it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from inference.refusals import UnknownModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from inference.models import Counted, ServedModel
    from inference.repository.canary import Judge, Watch
    from inference.repository.ledger import Ledger
    from inference.repository.shadow import Shadow
    from inference.repository.split import Split

_MAX_LISTED: Final = 20


class Canary(NamedTuple):
    """A version on trial.

    Attributes:
        model: it.
        split: whose calls it answers.
        judge: compares it with the live version.
        watch: has that done again and again.
    """

    model: ServedModel
    split: Split
    judge: Judge
    watch: Watch


class Route(NamedTuple):
    """How one model is served.

    Attributes:
        live: its version for everybody.
        previous: the version that was live before; empty where there is none to go back to.
        canary: a version on trial.
        shadow: a version that answers copies.
        reads: how often a version was read to be made live; another number: read anew, be the version the same or not.
    """

    live: ServedModel
    previous: str = ""
    canary: Canary | None = None
    shadow: Shadow | None = None
    reads: int = 0

    def served(self) -> tuple[ServedModel, ...]:
        """The versions that callers may meet."""
        return (self.live,) if self.canary is None else (self.live, self.canary.model)


class Routes(NamedTuple):
    """What is served at one moment.

    Attributes:
        generation: another one for every picture.
        by_name: model → how it is served.
    """

    generation: int
    by_name: Mapping[str, Route]

    def with_route(self, name: str, route: Route | None) -> dict[str, Route]:
        """The same models, one of them served otherwise or no more."""
        others = {other: known for other, known in self.by_name.items() if other != name}
        return others if route is None else {**others, name: route}


class Router:
    """Looks up models (`models.Models`).

    Args:
        default: the model for calls that name none; without it, the only one.
        ledger: counters of the versions.
    """

    def __init__(self, default: str, ledger: Ledger) -> None:
        self._default = default
        self._ledger = ledger
        self._routes = Routes(0, {})
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    @property
    def routes(self) -> Routes:
        """What is served now."""
        return self._routes

    @property
    def generation(self) -> int:
        """See `models.Models`."""
        return self._routes.generation

    def find(self, name: str = "", version: str = "", routing_key: str = "") -> ServedModel:
        """See `models.Models`."""
        routes = self._routes
        route = routes.by_name.get(name or self._default_name(routes))
        if route is None:
            raise _unknown(routes, name, version)
        live, _, canary, _, _ = route
        if version:
            for model in route.served():
                if model.version == version:
                    return model
            raise _unknown(routes, name, version)
        return canary.model if canary is not None and routing_key and canary.split.takes(routing_key) else live

    def candidates(self, name: str = "", version: str = "") -> Sequence[ServedModel]:
        """See `models.Models`."""
        routes = self._routes
        route = routes.by_name.get(name or self._default_name(routes))
        return (self.find(name, version),) if version or route is None else route.served()

    def served(self) -> Sequence[ServedModel]:
        """See `models.Models`."""
        return [model for _, route in sorted(self._routes.by_name.items()) for model in route.served()]

    def counted(self) -> Sequence[Counted]:
        """See `models.Models`."""
        return self._ledger.counted()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Let somebody know, after every change, that what was looked up before may be worth forgetting."""
        self._listeners.append(listener)

    def change(self, edit: Callable[[Routes], Mapping[str, Route]]) -> Routes:
        """Replace the picture; one change at a time.

        Args:
            edit: gives the new routes from the old ones; quick. What it raises leaves everything as it is.

        Returns:
            The picture before.
        """
        with self._lock:
            before = self._routes
            self._routes = Routes(before.generation + 1, edit(before))
            self._ledger.retire({(model.name, model.version) for model in self.served()})
        for listener in self._listeners:
            listener()
        return before

    def route(self, name: str) -> Route:
        """How a model is served, by its full name.

        Raises:
            UnknownModel: it is not.
        """
        routes = self._routes
        if name not in routes.by_name:
            raise _unknown(routes, name, "")
        return routes.by_name[name]

    def edit(self, name: str, edit: Callable[[Route], Route]) -> Route:
        """Change how one model is served, as `change`; the route before."""
        return self.change(lambda routes: routes.with_route(name, edit(routes.by_name[name]))).by_name[name]

    def _default_name(self, routes: Routes) -> str:
        if self._default or len(routes.by_name) != 1:
            return self._default
        return next(iter(routes.by_name))


def _unknown(routes: Routes, name: str, version: str) -> UnknownModel:
    served = [
        f"{model.name} {model.version}" for _, route in sorted(routes.by_name.items()) for model in route.served()
    ]
    listed = ", ".join(served[:_MAX_LISTED]) + (", …" if len(served) > _MAX_LISTED else "")
    got = f"model {name[:64]!r}" if name else "no model's name"
    asked = f" version {version[:64]!r}" if version else ""
    return UnknownModel(f"got {got}{asked}, expected one that is served: {listed or 'none is'}")
