"""The models that a server answers for."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple, Protocol

from inference import engine as engines
from inference.batching import Batcher
from inference.core import Core
from inference.metrics import ModelMetrics
from inference.refusals import UnknownModel
from inference.transport.codec import Codec
from inference.transport.tensors import TensorCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from inference.batching import Answer
    from inference.contract.artifact import Manifest
    from inference.core import Request, Scorer
    from inference.settings import Limits

    Tap = Callable[[Sequence[Answer]], None]
    """Hears of every run's answers on the thread that made them, hence does next to nothing itself."""

_LOG = logging.getLogger(__name__)


class _Scoring:
    """The core, and who listens. Apart from `ServedModel`, so that the batcher holds this and not its owner: a model
    that is replaced goes as soon as its last call is answered, without waiting for the garbage collector.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.tap: Tap | None = None

    def predict(self, requests: Sequence[Request]) -> list[Answer]:
        answers = self._core.predict(requests)
        if (tap := self.tap) is not None:
            try:
                tap(answers)
            except Exception:  # whatever it is, the callers get their answers
                _LOG.exception("a listener to answers failed")
        return answers


class ServedModel:
    """One version of one model, ready to answer.

    Args:
        manifest: of its artifact.
        engine: its graph.
        limits: of requests and of the queue before it.
        others_are_coming: whether other calls have reached the server that have not reached the batcher yet.
        metrics: to count in; new ones, unless this version has been served before.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: Scorer,
        limits: Limits,
        *,
        others_are_coming: Callable[[], bool] = lambda: False,
        metrics: ModelMetrics | None = None,
    ) -> None:
        self.manifest = manifest
        self.metrics = metrics or ModelMetrics(len(manifest.behaviours))
        self.codec = Codec(manifest, limits)
        self.tensors = TensorCodec(manifest, limits)
        self._scoring = _Scoring(Core(engine, manifest))
        self.batcher = Batcher(
            self._scoring.predict,
            max_batch_rows=limits.max_batch_rows,
            max_queue_rows=limits.max_queue_rows,
            observer=self.metrics,
            others_are_coming=others_are_coming,
        )

    @classmethod
    def load(cls, path: Path, limits: Limits, *, others_are_coming: Callable[[], bool] = lambda: False) -> ServedModel:
        """Read an artifact, verify all of it, warm it up.

        Raises:
            ArtifactError: it must not be served.
        """
        artifact, engine = engines.load(path)
        return cls(artifact.manifest, engine, limits, others_are_coming=others_are_coming)

    @property
    def name(self) -> str:
        """As the manifest has it."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """As the manifest has it."""
        return self.manifest.version

    def predict(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer requests in one run, in order; any thread may."""
        return self._scoring.predict(requests)

    def listen(self, tap: Tap | None) -> None:
        """Let somebody hear of all answers from now on, or nobody."""
        self._scoring.tap = tap


class Counted(NamedTuple):
    """What one version of a model has counted since the server started.

    Attributes:
        model: its name.
        version: of it.
        behaviours: what it predicts.
        metrics: the counters.
    """

    model: str
    version: str
    behaviours: tuple[str, ...]
    metrics: ModelMetrics


class Models(Protocol):
    """Who answers what. Lookups take no lock; what they find goes on answering, even where it has been replaced."""

    @property
    def generation(self) -> int:
        """Another number whenever a lookup may find another model than before."""
        ...

    def find(self, name: str = "", version: str = "", routing_key: str = "") -> ServedModel:
        """The model for a request.

        Args:
            name: empty where the caller leaves it to the server.
            version: empty for the live one, or the one on trial for this key.
            routing_key: who is asked about; without one nobody meets a version on trial.

        Raises:
            UnknownModel: there is none.
        """
        ...

    def candidates(self, name: str = "", version: str = "") -> Sequence[ServedModel]:
        """All that `find` gives, whatever the routing key, until the generation changes.

        Raises:
            UnknownModel: there is none.
        """
        ...

    def served(self) -> Sequence[ServedModel]:
        """All of them."""
        ...

    def counted(self) -> Sequence[Counted]:
        """The counters of all of them, and of some that were served before."""
        ...


class ModelState(NamedTuple):
    """One version of one model, as far as the server knows it.

    Attributes:
        name: of the model.
        version: of it; empty: all of them, where the model's folder cannot be listed.
        is_ready: whether it answers.
        reason: why it does not; empty where it does, or was not asked to.
    """

    name: str
    version: str
    is_ready: bool
    reason: str = ""


class ModelControl(Protocol):
    """Changes what is served, where that can be changed. Slow: files are read and verified on the calling thread."""

    def index(self) -> Sequence[ModelState]:
        """Every version that there is, served or not."""
        ...

    def load(self, name: str, version: str = "") -> None:
        """Read, verify, warm up and serve a version, the newest unless told; one that is served already is read anew.

        Raises:
            UnknownModel: there is no such folder.
            ArtifactError: it must not be served; what was served before still is.
        """
        ...

    def unload(self, name: str) -> None:
        """Serve a model no more; calls that it has taken are still answered.

        Raises:
            UnknownModel: it is not served.
        """
        ...


class OneModel:
    """A server of one model in one version."""

    generation = 0

    def __init__(self, model: ServedModel) -> None:
        self._model = model

    def find(self, name: str = "", version: str = "", routing_key: str = "") -> ServedModel:
        """See `Models`."""
        model = self._model
        if name not in ("", model.name) or version not in ("", model.version):
            msg = f"got model {name or 'any'} version {version or 'any'}, expected {model.name} {model.version}"
            raise UnknownModel(msg)
        return model

    def candidates(self, name: str = "", version: str = "") -> Sequence[ServedModel]:
        """See `Models`."""
        return (self.find(name, version),)

    def served(self) -> Sequence[ServedModel]:
        """See `Models`."""
        return (self._model,)

    def counted(self) -> Sequence[Counted]:
        """See `Models`."""
        model = self._model
        return (Counted(model.name, model.version, model.manifest.behaviour_names, model.metrics),)
