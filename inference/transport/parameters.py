"""Request parameters of the Open Inference Protocol that mean something here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from inference.contract.errors import InvalidRequest
from inference.core import Priority
from inference.transport import checks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inference.pb.inference.grpc_service_pb2 import InferParameter
    from inference.settings import Limits

NAN_IS_MISSING: Final = "nan_is_missing"
PRIORITY: Final = "priority"
ROUTING_KEY: Final = "routing_key"
TIMEOUT: Final = "timeout"
KNOWN: Final = (NAN_IS_MISSING, PRIORITY, ROUTING_KEY, TIMEOUT)
IDLE: Final = frozenset({"binary_data", "binary_data_output", "content_type", "headers"})
"""What clients and proxies send along that changes nothing here: how HTTP carries tensors, and notes of their own."""

_MICROSECONDS: Final = 1e-6
_INTEGERS: Final = ("int64_param", "uint64_param")


class Parameters(NamedTuple):
    """What was set.

    Attributes:
        nan_is_missing: NaN marks a missing value.
        priority: what the answer is for.
        routing_key: who is asked about; empty where that was not said.
        timeout_seconds: from its arrival on; infinite where none was set.
    """

    nan_is_missing: bool = False
    priority: Priority = Priority.LIVE_MATCH
    routing_key: str = ""
    timeout_seconds: float = math.inf


def read(sent: Mapping[str, InferParameter], limits: Limits) -> Parameters:
    """Check and convert the parameters of a request.

    Raises:
        InvalidRequest: an unknown name, another type, a value out of range.
    """
    for name in sent:
        if name not in KNOWN and name not in IDLE:
            raise checks.unknown("parameters", name, KNOWN, "a parameter of this server")
    nan_is_missing = bool(_value(sent, NAN_IS_MISSING, ("bool_param",), default=False))
    priority = int(_value(sent, PRIORITY, _INTEGERS, default=0))
    if not 0 <= priority <= len(Priority):
        raise InvalidRequest(
            f"parameters[{PRIORITY}]",
            got=priority,
            expected=f"1, the most urgent, to {len(Priority)}, or 0: the default",
        )
    routing_key = str(_value(sent, ROUTING_KEY, ("string_param",), default=""))
    checks.check_size(f"parameters[{ROUTING_KEY}]", routing_key, limits)
    timeout = int(_value(sent, TIMEOUT, _INTEGERS, default=0))
    if timeout < 0:
        raise InvalidRequest(f"parameters[{TIMEOUT}]", got=timeout, expected="microseconds, or 0: none")
    return Parameters(
        nan_is_missing,
        Priority(max(0, priority - 1)),
        routing_key,
        timeout * _MICROSECONDS if timeout else math.inf,
    )


def refuse_others(where: str, sent: Mapping[str, InferParameter]) -> None:
    """Tensors take no parameters: shared memory and classification are what clients would ask for with them.

    Raises:
        InvalidRequest: there is one.
    """
    for name in sent:
        if name not in IDLE:
            raise InvalidRequest(
                f"{where}.parameters",
                got=checks.quoted(name),
                expected="none: tensors travel in the message (no shared memory) and as they are (no classification)",
            )


def _value(
    sent: Mapping[str, InferParameter], name: str, kinds: tuple[str, ...], *, default: bool | int | str
) -> bool | int | str:
    if name not in sent:
        return default
    kind = sent[name].WhichOneof("parameter_choice")
    if kind not in kinds:
        raise InvalidRequest(f"parameters[{name}]", got=kind or "no value", expected=" or ".join(kinds))
    value: bool | int | str = getattr(sent[name], kind)
    return value
