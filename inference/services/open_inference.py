"""`inference.GRPCInferenceService` but for `ModelInfer`: what the server and its models are, and how they fare.

Each method is a function from its request to its reply; `methods` makes them what a transport carries.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from inference.contract.errors import InvalidRequest
from inference.core import Priority
from inference.pb.inference import grpc_service_pb2 as pb
from inference.pb.inference import model_config_pb2 as config_pb
from inference.refusals import UnknownModel
from inference.services.model_infer import SERVICE
from inference.services.model_repository import ModelRepository
from inference.transport import checks
from inference.transport.tensors import DATATYPE, FEATURES, PREDICTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from inference.calls import Call, Method
    from inference.models import ModelControl, Models, ServedModel
    from inference.settings import ServerSettings

PLATFORM: Final = "onnx_onnxv1"
_EXTENSIONS: Final = ("model_configuration", "parameters", "schedule_policy", "statistics")
_CONTROL_EXTENSION: Final = "model_repository"
_NANOSECONDS: Final = 1_000_000_000


class UnaryMethod:
    """A method made of a function from its request to its reply.

    Args:
        name: without its service.
        kind: of the request.
        reply: makes the answer.
    """

    def __init__(self, name: str, kind: type[Message], reply: Callable[[Any], Message]) -> None:
        self.path = f"/{SERVICE}/{name}"
        self._kind = kind
        self._reply = reply

    def answer(self, call: Call) -> bytes:
        """See `calls.Method`."""
        return self._reply(checks.parse(self._kind, call.message)).SerializeToString()


class Information:
    """Answers about one server.

    Args:
        models: what it serves.
        settings: its limits, and whether its repository can be controlled from here.
        is_ready: whether it takes calls.
        can_control: whether there is a repository to control.
    """

    def __init__(
        self, models: Models, settings: ServerSettings, is_ready: Callable[[], bool], *, can_control: bool
    ) -> None:
        self._models = models
        self._limits = settings.limits
        self._is_ready = is_ready
        controlled = can_control and settings.allow_repository_control
        self._extensions = sorted([*_EXTENSIONS, *[_CONTROL_EXTENSION] * controlled])

    def server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """It answers, so it lives."""
        return pb.ServerLiveResponse(live=True)

    def server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """Whether a model answers calls here, and will go on doing so."""
        return pb.ServerReadyResponse(ready=self._is_ready() and bool(self._models.served()))

    def model_ready(self, asked: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """Whether a model answers; one that is unknown does not: clients poll this until it comes."""
        try:
            self._models.find(asked.name, asked.version)
        except UnknownModel:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._is_ready())

    def server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """Name, version and extensions, those only that are really there."""
        return pb.ServerMetadataResponse(name="playfuse", version=version("playfuse"), extensions=self._extensions)

    def model_metadata(self, asked: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """Tensors of a model: one matrix in, one out. Columns by name are there besides (see `model_config`)."""
        model = self._models.find(asked.name, asked.version)
        manifest = model.manifest
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[other.version for other in self._models.served() if other.name == model.name],
            platform=PLATFORM,
            inputs=[tensor(name=FEATURES, datatype=DATATYPE, shape=[-1, len(manifest.features)])],
            outputs=[tensor(name=PREDICTIONS, datatype=DATATYPE, shape=[-1, len(manifest.behaviours)])],
        )

    def model_config(self, asked: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """Triton's view of a model; `parameters` names the columns of both matrices, as JSON lists."""
        manifest = self._models.find(asked.name, asked.version).manifest
        limits = self._limits
        fp32 = config_pb.DataType.TYPE_FP32
        queue = config_pb.ModelQueuePolicy(
            timeout_action=config_pb.ModelQueuePolicy.REJECT,
            default_timeout_microseconds=round(limits.max_wait_seconds * 1_000_000),
            allow_timeout_override=True,
        )
        named = {
            "features": json.dumps(manifest.features),
            "behaviours": json.dumps(manifest.behaviour_names),
            "version": manifest.version,
            "synthetic": json.dumps(manifest.synthetic),
        }
        return pb.ModelConfigResponse(
            config=config_pb.ModelConfig(
                name=manifest.name,
                platform=PLATFORM,
                backend="playfuse",
                max_batch_size=limits.max_rows_per_request,
                input=[config_pb.ModelInput(name=FEATURES, data_type=fp32, dims=[len(manifest.features)])],
                output=[config_pb.ModelOutput(name=PREDICTIONS, data_type=fp32, dims=[len(manifest.behaviours)])],
                dynamic_batching=config_pb.ModelDynamicBatching(
                    priority_levels=len(Priority), default_priority_level=1, default_queue_policy=queue
                ),
                parameters={key: config_pb.ModelParameter(string_value=value) for key, value in named.items()},
            )
        )

    def model_statistics(self, asked: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """What was measured since the start: of every model, or of those that are named."""
        if asked.version and not asked.name:
            raise InvalidRequest("name", got="nothing", expected="the model whose version is asked for")
        models = [
            model
            for model in self._models.served()
            if asked.name in ("", model.name) and asked.version in ("", model.version)
        ]
        if asked.name and not models:
            models = [self._models.find(asked.name, asked.version)]
        return pb.ModelStatisticsResponse(model_stats=[_statistics(model) for model in models])


def _statistics(model: ServedModel) -> pb.ModelStatistics:
    """Durations that are not measured per model (the codec's) are left out rather than sent as zero."""
    sums = model.metrics.runs.read()
    return pb.ModelStatistics(
        name=model.name,
        version=model.version,
        last_inference=int(sums.last_run_epoch_seconds * 1_000),
        inference_count=sums.rows,
        execution_count=sums.runs,
        inference_stats=pb.InferStatistics(
            success=_duration(sums.answered, sums.waited_seconds + sums.computed_seconds),
            fail=_duration(sums.faulty, sums.faulty_seconds),
            queue=_duration(sums.answered, sums.waited_seconds),
            compute_infer=_duration(sums.answered, sums.computed_seconds),
        ),
    )


def _duration(count: int, seconds: float) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=max(0, round(seconds * _NANOSECONDS)))


def methods(
    models: Models, settings: ServerSettings, *, is_ready: Callable[[], bool], control: ModelControl | None = None
) -> tuple[Method, ...]:
    """Every method of the service but `ModelInfer`.

    Args:
        models: what is served.
        settings: limits, and whether the repository can be controlled over this port.
        is_ready: whether the server takes calls.
        control: loads and unloads; none where the server has one artifact for good.
    """
    about = Information(models, settings, is_ready, can_control=control is not None)
    repository = ModelRepository(models, control, is_allowed=settings.allow_repository_control)
    return (
        UnaryMethod("ServerLive", pb.ServerLiveRequest, about.server_live),
        UnaryMethod("ServerReady", pb.ServerReadyRequest, about.server_ready),
        UnaryMethod("ModelReady", pb.ModelReadyRequest, about.model_ready),
        UnaryMethod("ServerMetadata", pb.ServerMetadataRequest, about.server_metadata),
        UnaryMethod("ModelMetadata", pb.ModelMetadataRequest, about.model_metadata),
        UnaryMethod("ModelConfig", pb.ModelConfigRequest, about.model_config),
        UnaryMethod("ModelStatistics", pb.ModelStatisticsRequest, about.model_statistics),
        UnaryMethod("RepositoryIndex", pb.RepositoryIndexRequest, repository.index),
        UnaryMethod("RepositoryModelLoad", pb.RepositoryModelLoadRequest, repository.load),
        UnaryMethod("RepositoryModelUnload", pb.RepositoryModelUnloadRequest, repository.unload),
    )
