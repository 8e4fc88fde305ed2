"""What is served, as the state file has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference.repository.state import ModelServing, Serving, Share

if TYPE_CHECKING:
    from inference.repository.membership import Membership
    from inference.repository.router import Route, Router
    from inference.repository.state import StateFile


class Record:
    """Writes down what a router serves, and what it does not serve any more or not now.

    Args:
        router: tells what is served.
        file: to write to.
        member: only an owner writes.
    """

    def __init__(self, router: Router, file: StateFile, member: Membership) -> None:
        self._router = router
        self._file = file
        self._member = member
        self.not_served: dict[str, ModelServing] = {}
        """Models that were unloaded, or of which no version is good now, as they were."""

    @property
    def fault(self) -> str:
        """Why the last change is not on the disk; empty where it is."""
        return self._file.fault

    def save(self) -> None:
        """Write it, and tell the others; where writing fails the server goes on, and `fault` tells."""
        if self._member.owns:
            self._file.save(self._now)

    def take_over(self) -> None:
        """Tell the others what is served here from now on; a file that the owner before has left says so too then.

        Where there is none, nothing was changed yet: the next start shall take the newest versions as this one did.
        """
        self._file.save(self._now, create=False)

    def _now(self) -> Serving:
        served = {name: _serving(route) for name, route in self._router.routes.by_name.items()}
        return Serving(models={**self.not_served, **served})


def _serving(route: Route) -> ModelServing:
    canary, shadow = route.canary, route.shadow
    return ModelServing(
        live=route.live.version,
        previous=route.previous,
        reads=route.reads,
        canary=Share(version=canary.model.version, percent=canary.split.percent) if canary else None,
        shadow=Share(version=shadow.model.version, percent=shadow.percent) if shadow else None,
    )
