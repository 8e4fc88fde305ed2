"""`playfuse.v1.PlayerBehavior`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from inference.calls import Asked
from inference.pb.playfuse.v1 import player_behavior_pb2 as pb
from inference.repository.split import RoutingKeys
from inference.services.learning import learn
from inference.transport import checks
from inference.transport.codec import parse
from inference.transport.shapes import Shapes

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.calls import Call
    from inference.contract.artifact import Manifest
    from inference.core import Response
    from inference.models import Models, ServedModel
    from inference.settings import Limits

SERVICE: Final = pb.DESCRIPTOR.services_by_name["PlayerBehavior"].full_name


class Predict:
    """`Predict`: takes and gives bytes, so that every fault in them is a proper status."""

    path = f"/{SERVICE}/Predict"

    def __init__(self, models: Models) -> None:
        self._models = models
        self._keys = RoutingKeys()
        self._shapes = Shapes(models.generation)

    @property
    def quick(self) -> Callable[[bytes], Asked | None]:
        """See `calls.ScoringMethod`."""
        return self._known_shapes().recognise

    def decode(self, message: bytes) -> Asked:
        """See `calls.ScoringMethod`."""
        shapes = self._known_shapes()  # before the lookup: what is learnt must not outlive the model that it names
        if (known := shapes.recognise(message)) is not None:
            return known
        parsed = parse(message)
        key = self._keys.of(parsed.routing_key, parsed.request_id)
        model = self._models.find(parsed.model_name, parsed.model_version, key)
        asked = Asked(model, model.codec.decode(parsed))
        if parsed.HasField("packed_rows"):
            named = parsed.model_name, parsed.model_version
            learn(
                self._models,
                self._keys,
                named,
                asked,
                lambda other: other.codec.decode(parsed),
                lambda same, choose: shapes.learn(message, parsed, same, choose),
            )
        return asked

    def encode(self, model: ServedModel, response: Response) -> bytes:
        """See `calls.ScoringMethod`."""
        return model.codec.encode(response)

    def forget(self) -> None:
        """Let go of models that are served no more."""
        self._known_shapes()

    def _known_shapes(self) -> Shapes:
        shapes, generation = self._shapes, self._models.generation
        if shapes.generation != generation:
            shapes = self._shapes = Shapes(generation)
        return shapes


class DescribeModel:
    """`DescribeModel`."""

    path = f"/{SERVICE}/DescribeModel"

    def __init__(self, models: Models, limits: Limits) -> None:
        self._models = models
        self._limits = limits

    def answer(self, call: Call) -> bytes:
        """See `calls.Method`."""
        asked = checks.parse(pb.DescribeModelRequest, call.message)
        model = self._models.find(asked.model_name, asked.model_version)
        return _describe(model.manifest, self._limits).SerializeToString()


def _describe(manifest: Manifest, limits: Limits) -> pb.DescribeModelResponse:
    return pb.DescribeModelResponse(
        model_name=manifest.name,
        model_version=manifest.version,
        features=manifest.features,
        behaviours=[
            pb.BehaviourDescription(
                name=behaviour.name,
                kind=behaviour.kind.value,
                unit=behaviour.unit,
                description=behaviour.description,
                prior=manifest.priors[behaviour.name],
            )
            for behaviour in manifest.behaviours
        ],
        synthetic=manifest.synthetic,
        max_rows_per_request=limits.max_rows_per_request,
    )
