"""The repository methods of `inference.GRPCInferenceService` (Triton's extension)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inference.contract.errors import InvalidRequest, PlayfuseError
from inference.models import ModelState
from inference.pb.inference import grpc_service_pb2 as pb
from inference.refusals import NotPossible, PermissionDenied
from inference.transport import checks

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from inference.models import ModelControl, Models

ALLOW_SETTING: Final = "allow_repository_control"
_UNLOAD_DEPENDENTS: Final = "unload_dependents"
"""Sent by Triton's client with every unload; nothing here depends on another model."""
_NOT_LOADED: Final = "it could not be loaded; the server's log and its admin's port tell why"
"""Who may only predict learns neither of the server's paths nor of what its libraries say."""


class ModelRepository:
    """Lists, loads and unloads.

    Args:
        models: what is served.
        control: changes that; none where the server has one artifact for good.
        is_allowed: whether it may be changed over this port.
    """

    def __init__(self, models: Models, control: ModelControl | None, *, is_allowed: bool) -> None:
        self._models = models
        self._control = control
        self._is_allowed = is_allowed

    def index(self, asked: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """Every version that there is, or those that answer."""
        _check(asked.repository_name, {}, ())
        if self._control is None:
            states = [ModelState(model.name, model.version, True) for model in self._models.served()]
        else:
            states = list(self._control.index())
        entry = pb.RepositoryIndexResponse.ModelIndex
        return pb.RepositoryIndexResponse(
            models=[
                entry(
                    name=name,
                    version=version,
                    state="READY" if is_ready else "UNAVAILABLE",
                    reason=reason and _NOT_LOADED,
                )
                for name, version, is_ready, reason in states
                if is_ready or not asked.ready
            ]
        )

    def load(self, asked: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Serve a model, or read anew the one that is served."""
        control = self._permitted()
        _check(asked.repository_name, asked.parameters, ())
        name = _named(asked.model_name)
        try:
            control.load(name)
        except PlayfuseError as error:
            msg = f"{error} What was served before still is."
            raise NotPossible(msg) from error
        return pb.RepositoryModelLoadResponse()

    def unload(self, asked: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        """Serve a model no more."""
        control = self._permitted()
        _check(asked.repository_name, asked.parameters, (_UNLOAD_DEPENDENTS,))
        name = _named(asked.model_name)
        try:
            control.unload(name)
        except PlayfuseError as error:
            raise NotPossible(str(error)) from error
        return pb.RepositoryModelUnloadResponse()

    def _permitted(self) -> ModelControl:
        if not self._is_allowed:
            msg = (
                f"models are not loaded or unloaded over this port; the server's setting {ALLOW_SETTING} would allow it"
            )
            raise PermissionDenied(msg)
        if self._control is None:
            msg = "this server serves one artifact for good; start it with a model repository to load and unload models"
            raise NotPossible(msg)
        return self._control


def _check(repository_name: str, parameters: Mapping[str, object], known: Collection[str]) -> None:
    if repository_name:
        raise InvalidRequest(
            "repository_name", got=checks.quoted(repository_name), expected="nothing: there is one repository"
        )
    for name in parameters:
        if name not in known:
            raise InvalidRequest(
                "parameters",
                got=checks.quoted(name),
                expected="none: models are loaded from the repository as they are",
            )


def _named(name: str) -> str:
    if not name:
        raise InvalidRequest("model_name", got="nothing", expected="the name of a model")
    return name
