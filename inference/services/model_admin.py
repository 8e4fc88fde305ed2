"""`playfuse.v1.ModelAdmin`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc

from inference.contract.errors import ArtifactError, InvalidRequest, PlayfuseError
from inference.pb.playfuse.v1 import model_admin_pb2 as pb
from inference.pb.playfuse.v1 import model_admin_pb2_grpc
from inference.refusals import UnknownModel
from inference.repository.faults import Busy, Conflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.repository.canary import Tally
    from inference.repository.repository import Repository
    from inference.repository.router import Canary, Route
    from inference.repository.shadow import Shadow

SERVICE: Final = pb.DESCRIPTOR.services_by_name["ModelAdmin"].full_name

_CODES: Final = (
    (UnknownModel, grpc.StatusCode.NOT_FOUND),
    (InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (Busy, grpc.StatusCode.ABORTED),
    (Conflict, grpc.StatusCode.FAILED_PRECONDITION),
    (ArtifactError, grpc.StatusCode.FAILED_PRECONDITION),
    (PlayfuseError, grpc.StatusCode.FAILED_PRECONDITION),
)
_LOG = logging.getLogger(__name__)

Reply = TypeVar("Reply")


class ModelAdmin(model_admin_pb2_grpc.ModelAdminServicer):
    """The methods; each on a thread of the admin server, which may be busy with files for a while.

    Who may call them is checked before (`security.guard`).

    Args:
        repository: to change.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def ListModels(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:  # noqa: N802 - the proto's
        """See the proto, as of all below."""

        def listed() -> pb.ListModelsResponse:
            repository = self._repository
            names = {*repository.loader.layout.names(), *repository.router.routes.by_name}
            return pb.ListModelsResponse(
                models=[_status(repository, name) for name in sorted(names)], warning=repository.record.fault
            )

        return self._answered(context, listed)

    def LoadVersion(self, request: pb.LoadVersionRequest, context: grpc.ServicerContext) -> pb.LoadVersionResponse:  # noqa: N802
        """Forward."""
        change = self._repository.load
        return self._changed(context, pb.LoadVersionResponse, change, request.model_name, request.version)

    def UnloadModel(self, request: pb.UnloadModelRequest, context: grpc.ServicerContext) -> pb.UnloadModelResponse:  # noqa: N802
        """Away."""
        return self._changed(context, pb.UnloadModelResponse, self._repository.unload, request.model_name)

    def Promote(self, request: pb.PromoteRequest, context: grpc.ServicerContext) -> pb.PromoteResponse:  # noqa: N802
        """From trial to live."""
        return self._changed(context, pb.PromoteResponse, self._repository.promote, request.model_name)

    def Rollback(self, request: pb.RollbackRequest, context: grpc.ServicerContext) -> pb.RollbackResponse:  # noqa: N802
        """Back."""
        return self._changed(context, pb.RollbackResponse, self._repository.rollback, request.model_name)

    def StartCanary(self, request: pb.StartCanaryRequest, context: grpc.ServicerContext) -> pb.StartCanaryResponse:  # noqa: N802
        """On trial."""
        change, asked = self._repository.trials.start_canary, (request.model_name, request.version, request.percent)
        return self._changed(context, pb.StartCanaryResponse, change, *asked)

    def StopCanary(self, request: pb.StopCanaryRequest, context: grpc.ServicerContext) -> pb.StopCanaryResponse:  # noqa: N802
        """Off trial."""
        return self._changed(context, pb.StopCanaryResponse, self._repository.trials.stop_canary, request.model_name)

    def StartShadow(self, request: pb.StartShadowRequest, context: grpc.ServicerContext) -> pb.StartShadowResponse:  # noqa: N802
        """Compared."""
        change, asked = self._repository.trials.start_shadow, (request.model_name, request.version, request.percent)
        return self._changed(context, pb.StartShadowResponse, change, *asked)

    def StopShadow(self, request: pb.StopShadowRequest, context: grpc.ServicerContext) -> pb.StopShadowResponse:  # noqa: N802
        """No more compared."""
        return self._changed(context, pb.StopShadowResponse, self._repository.trials.stop_shadow, request.model_name)

    def _changed(
        self, context: grpc.ServicerContext, reply: Callable[..., Reply], change: Callable[..., None], *asked: Any
    ) -> Reply:
        """Make a change; the reply tells how the model is served after it."""

        def made() -> Reply:
            change(*asked)
            return reply(model=_status(self._repository, asked[0]), warning=self._repository.record.fault)

        return self._answered(context, made)

    def _answered(self, context: grpc.ServicerContext, reply: Callable[[], Reply]) -> Reply:
        try:
            return reply()
        except (PlayfuseError, UnknownModel) as error:
            code = next(code for kind, code in _CODES if isinstance(error, kind))
            context.abort(code, str(error))
        except Exception:  # a fault of ours: the log has it
            _LOG.exception("an admin's call failed")
            context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log tells more")


def _status(repository: Repository, name: str) -> pb.ModelStatus:
    route = repository.router.routes.by_name.get(name)
    there = repository.loader.versions(name)
    unlisted = [""] if (name, "") in repository.loader.faults else []
    roles = {} if route is None else _roles(route)
    was = repository.record.not_served.get(name)
    previous = was.previous if route is None and was is not None else ""
    return pb.ModelStatus(
        name=name,
        live_version=route.live.version if route else "",
        previous_version=route.previous if route else previous,
        versions=[
            pb.VersionStatus(
                version=version,
                role=roles.get(version, pb.VERSION_ROLE_UNSPECIFIED),
                fault=repository.loader.faults.get((name, version), ""),
            )
            for version in [*there, *(version for version in roles if version not in there), *unlisted]
        ],
        canary=_canary(route.canary) if route and route.canary else None,
        shadow=_shadow(route.shadow) if route and route.shadow else None,
        last_canary=repository.trials.endings.get(name, ""),
    )


def _roles(route: Route) -> dict[str, pb.VersionRole]:
    roles = {route.live.version: pb.VERSION_ROLE_LIVE}
    if route.shadow is not None:
        roles[route.shadow.model.version] = pb.VERSION_ROLE_SHADOW
    if route.canary is not None:
        roles[route.canary.model.version] = pb.VERSION_ROLE_CANARY
    return roles


def _canary(canary: Canary) -> pb.CanaryStatus:
    live, own = canary.judge.window(time.monotonic())
    return pb.CanaryStatus(
        version=canary.model.version,
        percent=canary.split.percent,
        live_tally=_tally(live),
        canary_tally=_tally(own),
    )


def _tally(tally: Tally) -> pb.Tally:
    return pb.Tally(calls=int(tally.calls), errors=int(tally.errors), mean_seconds=tally.mean_seconds)


def _shadow(shadow: Shadow) -> pb.ShadowStatus:
    return pb.ShadowStatus(
        version=shadow.model.version,
        percent=shadow.percent,
        compared=int(shadow.compared.value),
        dropped=int(shadow.dropped.value),
        failed=int(shadow.failed.value),
        differences=[
            pb.BehaviourDifference(
                behaviour=difference.behaviour,
                unit=difference.unit,
                players=sum(difference.distribution.counts),
                mean=difference.mean,
                largest=difference.largest,
            )
            for difference in shadow.differences.read()
        ],
    )
