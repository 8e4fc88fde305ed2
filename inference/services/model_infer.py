"""`inference.GRPCInferenceService/ModelInfer`: the Open Inference Protocol's way to score players."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inference.calls import Asked
from inference.pb.inference import grpc_service_pb2 as pb
from inference.repository.split import RoutingKeys
from inference.services.learning import learn
from inference.transport import checks, parameters
from inference.transport.raw_shapes import RawShapes

if TYPE_CHECKING:
    from inference.core import Response
    from inference.models import Models, ServedModel
    from inference.settings import Limits

SERVICE: Final = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class ModelInfer:
    """`ModelInfer`: takes and gives bytes, so that every fault in them is a proper status."""

    path = f"/{SERVICE}/ModelInfer"

    def __init__(self, models: Models, limits: Limits) -> None:
        self._models = models
        self._limits = limits
        self._keys = RoutingKeys()
        self._shapes = RawShapes(models.generation)

    def quick(self, message: bytes) -> Asked | None:
        """See `calls.ScoringMethod`."""
        return self._known_shapes().recognise(message)

    def decode(self, message: bytes) -> Asked:
        """See `calls.ScoringMethod`."""
        shapes = self._known_shapes()  # before the lookup: what is learnt must not outlive the model that it names
        if (known := shapes.recognise(message)) is not None:
            return known
        sent = checks.parse(pb.ModelInferRequest, message)
        asked = parameters.read(sent.parameters, self._limits)
        key = self._keys.of(asked.routing_key, sent.id)
        model = self._models.find(sent.model_name, sent.model_version, key)
        found = Asked(model, model.tensors.decode(sent, asked), asked.timeout_seconds)
        if not asked.routing_key:  # a key stands anywhere among the parameters
            named = sent.model_name, sent.model_version
            learn(
                self._models,
                self._keys,
                named,
                found,
                lambda other: other.tensors.decode(sent, asked),
                lambda same, choose: shapes.learn(message, sent, same, choose),
            )
        return found

    def encode(self, model: ServedModel, response: Response) -> bytes:
        """See `calls.ScoringMethod`."""
        return model.tensors.encode(response)

    def forget(self) -> None:
        """Let go of models that are served no more."""
        self._known_shapes()

    def _known_shapes(self) -> RawShapes:
        shapes, generation = self._shapes, self._models.generation
        if shapes.generation != generation:
            shapes = self._shapes = RawShapes(generation)
        return shapes
