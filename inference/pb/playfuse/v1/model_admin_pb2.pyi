from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VersionRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERSION_ROLE_UNSPECIFIED: _ClassVar[VersionRole]
    VERSION_ROLE_LIVE: _ClassVar[VersionRole]
    VERSION_ROLE_CANARY: _ClassVar[VersionRole]
    VERSION_ROLE_SHADOW: _ClassVar[VersionRole]
VERSION_ROLE_UNSPECIFIED: VersionRole
VERSION_ROLE_LIVE: VersionRole
VERSION_ROLE_CANARY: VersionRole
VERSION_ROLE_SHADOW: VersionRole

class ModelStatus(_message.Message):
    __slots__ = ("name", "live_version", "previous_version", "versions", "canary", "shadow", "last_canary")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIVE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    LAST_CANARY_FIELD_NUMBER: _ClassVar[int]
    name: str
    live_version: str
    previous_version: str
    versions: _containers.RepeatedCompositeFieldContainer[VersionStatus]
    canary: CanaryStatus
    shadow: ShadowStatus
    last_canary: str
    def __init__(self, name: _Optional[str] = ..., live_version: _Optional[str] = ..., previous_version: _Optional[str] = ..., versions: _Optional[_Iterable[_Union[VersionStatus, _Mapping]]] = ..., canary: _Optional[_Union[CanaryStatus, _Mapping]] = ..., shadow: _Optional[_Union[ShadowStatus, _Mapping]] = ..., last_canary: _Optional[str] = ...) -> None: ...

class VersionStatus(_message.Message):
    __slots__ = ("version", "role", "fault")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    version: str
    role: VersionRole
    fault: str
    def __init__(self, version: _Optional[str] = ..., role: _Optional[_Union[VersionRole, str]] = ..., fault: _Optional[str] = ...) -> None: ...

class CanaryStatus(_message.Message):
    __slots__ = ("version", "percent", "live_tally", "canary_tally")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    LIVE_TALLY_FIELD_NUMBER: _ClassVar[int]
    CANARY_TALLY_FIELD_NUMBER: _ClassVar[int]
    version: str
    percent: float
    live_tally: Tally
    canary_tally: Tally
    def __init__(self, version: _Optional[str] = ..., percent: _Optional[float] = ..., live_tally: _Optional[_Union[Tally, _Mapping]] = ..., canary_tally: _Optional[_Union[Tally, _Mapping]] = ...) -> None: ...

class Tally(_message.Message):
    __slots__ = ("calls", "errors", "mean_seconds")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    MEAN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    calls: int
    errors: int
    mean_seconds: float
    def __init__(self, calls: _Optional[int] = ..., errors: _Optional[int] = ..., mean_seconds: _Optional[float] = ...) -> None: ...

class ShadowStatus(_message.Message):
    __slots__ = ("version", "percent", "compared", "dropped", "failed", "differences")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    version: str
    percent: float
    compared: int
    dropped: int
    failed: int
    differences: _containers.RepeatedCompositeFieldContainer[BehaviourDifference]
    def __init__(self, version: _Optional[str] = ..., percent: _Optional[float] = ..., compared: _Optional[int] = ..., dropped: _Optional[int] = ..., failed: _Optional[int] = ..., differences: _Optional[_Iterable[_Union[BehaviourDifference, _Mapping]]] = ...) -> None: ...

class BehaviourDifference(_message.Message):
    __slots__ = ("behaviour", "unit", "players", "mean", "largest")
    BEHAVIOUR_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    PLAYERS_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    LARGEST_FIELD_NUMBER: _ClassVar[int]
    behaviour: str
    unit: str
    players: int
    mean: float
    largest: float
    def __init__(self, behaviour: _Optional[str] = ..., unit: _Optional[str] = ..., players: _Optional[int] = ..., mean: _Optional[float] = ..., largest: _Optional[float] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "warning")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    warning: str
    def __init__(self, models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ..., warning: _Optional[str] = ...) -> None: ...

class LoadVersionRequest(_message.Message):
    __slots__ = ("model_name", "version")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    version: str
    def __init__(self, model_name: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class LoadVersionResponse(_message.Message):
    __slots__ = ("model", "warning")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    warning: str
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ..., warning: _Optional[str] = ...) -> None: ...

class UnloadModelRequest(_message.Message):
    __slots__ = ("model_name",)
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    def __init__(self, model_name: _Optional[str] = ...) -> None: ...

class UnloadModelResponse(_message.Message):
    __slots__ = ("model", "warning")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    warning: str
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ..., warning: _Optional[str] = ...) -> None: ...

class PromoteRequest(_message.Message):
    __slots__ = ("model_name",)
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    def __init__(self, model_name: _Optional[str] = ...) -> None: ...

class PromoteResponse(_message.Message):
    __slots__ = ("model", "warning")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    warning: str
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ..., warning: _Optional[str] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("model_name",)
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    def __init__(self, model_name: _Optional[str] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("model", "warning")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    warning: str
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ..., warning: _Optional[str] = ...) -> None: ...

class StartCanaryRequest(_message.Message):
    __slots__ = ("model_name", "version", "percent")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    version: str
    percent: float
    def __init__(self, model_name: _Optional[str] = ..., version: _Optional[str] = ..., percent: _Optional[float] = ...) -> None: ...

class StartCanaryResponse(_message.Message):
    __slots__ = ("model", "warning")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    warning: str
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ..., warning: _Optional[str] = ...) -> None: ...

class StopCanaryRequest(_message.Message):
    __slots__ = ("model_name",)
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    def __init__(self, model_name: _Optional[str] = ...) -> None: ...

class StopCanaryResponse(_message.Message):
    __slots__ = ("model", "warning")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    warning: str
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ..., warning: _Optional[str] = ...) -> None: ...

class StartShadowRequest(_message.Message):
    __slots__ = ("model_name", "version", "percent")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    version: str
    percent: float
    def __init__(self, model_name: _Optional[str] = ..., version: _Optional[str] = ..., percent: _Optional[float] = ...) -> None: ...

class StartShadowResponse(_message.Message):
    __slots__ = ("model", "warning")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    warning: str
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ..., warning: _Optional[str] = ...) -> None: ...

class StopShadowRequest(_message.Message):
    __slots__ = ("model_name",)
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    def __init__(self, model_name: _Optional[str] = ...) -> None: ...

class StopShadowResponse(_message.Message):
    __slots__ = ("model", "warning")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    model: ModelStatus
    warning: str
    def __init__(self, model: _Optional[_Union[ModelStatus, _Mapping]] = ..., warning: _Optional[str] = ...) -> None: ...
