"""From a folder to a version that is ready to answer, or to the reason why it must not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from inference.contract.errors import ArtifactError
from inference.models import ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.contract.artifact import Manifest
    from inference.engine import Engine
    from inference.repository.changes import Changes
    from inference.repository.layout import Layout
    from inference.repository.ledger import Ledger
    from inference.settings import Limits

_LOG = logging.getLogger(__name__)


class Loader:
    """Reads, verifies and warms up on the calling thread.

    Args:
        layout: where the versions are.
        limits: see `ServedModel`.
        ledger: their counters.
        changes: counts failures.
        others_are_coming: see `ServedModel`.
    """

    def __init__(
        self,
        layout: Layout,
        limits: Limits,
        ledger: Ledger,
        changes: Changes,
        others_are_coming: Callable[[], bool],
    ) -> None:
        self.layout = layout
        self.faults: dict[tuple[str, str], str] = {}
        """(name, version) → why it could not be loaded when that was last tried; of all its versions: (name, "")."""
        self._limits = limits
        self._ledger = ledger
        self._changes = changes
        self._others_are_coming = others_are_coming

    def versions(self, name: str) -> list[str]:
        """Versions of a model, the newest first; none where its folder cannot be listed, which is among the faults."""
        try:
            versions = self.layout.versions(name)
        except ArtifactError as error:
            if self.faults.get((name, "")) != str(error):  # once, however often somebody asks
                _LOG.error("no version of %s can be found: %s", name, error)
            self.faults[name, ""] = str(error)
            return []
        self.faults.pop((name, ""), None)
        return versions

    def to_serve(self, name: str, version: str, *, beside: Manifest | None = None) -> ServedModel:
        """A version that callers may meet, with the counters that it had when it was served before.

        Args:
            name: of the model.
            version: of it.
            beside: the version that answers the same callers.

        Raises:
            UnknownModel: there is no such folder.
            ArtifactError: it must not be served.
        """
        manifest, engine = self._read(name, version, beside)
        return ServedModel(
            manifest,
            engine,
            self._limits,
            others_are_coming=self._others_are_coming,
            metrics=self._ledger.metrics_of(manifest),
        )

    def to_compare(self, name: str, version: str, *, beside: Manifest) -> ServedModel:
        """A version that nobody meets: its counters are its own. Raises as `to_serve`."""
        return ServedModel(*self._read(name, version, beside), self._limits)

    def _read(self, name: str, version: str, beside: Manifest | None) -> tuple[Manifest, Engine]:
        try:
            artifact, engine = self.layout.read(name, version)
            if beside is not None:
                _check_alike(artifact.manifest, beside)
        except ArtifactError as error:
            self._changes.know(name)
            self._changes.load_failures[name].add()
            self.faults[name, version] = str(error)
            _LOG.error("%s %s is not served: %s", name, version, error)
            raise
        self._changes.know(name)
        self.faults.pop((name, version), None)
        return artifact.manifest, engine


def _check_alike(candidate: Manifest, live: Manifest) -> None:
    """Whether a version can answer any call that the live one can.

    Raises:
        ArtifactError: it cannot.
    """
    missing = set(live.behaviour_names).difference(candidate.behaviour_names)
    where = f"{candidate.name} {candidate.version} beside {live.version}"
    if candidate.version == live.version:
        raise ArtifactError(where, got="the live version", expected="another one")
    if candidate.features != live.features:
        raise ArtifactError(
            where,
            got=f"{len(candidate.features)} features, not the same or in another order",
            expected=f"the {len(live.features)} features that the live version takes, in their order",
            fix="Callers send what the live version takes: make it live with `playfuse models load` instead.",
        )
    if missing:
        raise ArtifactError(
            where,
            got=f"no {', '.join(sorted(missing))}",
            expected="every behaviour that the live version predicts",
            fix="Make it live with `playfuse models load` instead.",
        )
