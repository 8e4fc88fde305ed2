from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_LIVE_MATCH: _ClassVar[Priority]
    PRIORITY_PREFETCH: _ClassVar[Priority]
    PRIORITY_ANALYTICS: _ClassVar[Priority]
PRIORITY_UNSPECIFIED: Priority
PRIORITY_LIVE_MATCH: Priority
PRIORITY_PREFETCH: Priority
PRIORITY_ANALYTICS: Priority

class PredictRequest(_message.Message):
    __slots__ = ("request_id", "behaviours", "packed_rows", "named_features", "histories", "nan_is_missing", "model_name", "model_version", "priority", "routing_key")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    BEHAVIOURS_FIELD_NUMBER: _ClassVar[int]
    PACKED_ROWS_FIELD_NUMBER: _ClassVar[int]
    NAMED_FEATURES_FIELD_NUMBER: _ClassVar[int]
    HISTORIES_FIELD_NUMBER: _ClassVar[int]
    NAN_IS_MISSING_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ROUTING_KEY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    behaviours: _containers.RepeatedScalarFieldContainer[str]
    packed_rows: PackedRows
    named_features: NamedFeatures
    histories: SessionHistories
    nan_is_missing: bool
    model_name: str
    model_version: str
    priority: Priority
    routing_key: str
    def __init__(self, request_id: _Optional[str] = ..., behaviours: _Optional[_Iterable[str]] = ..., packed_rows: _Optional[_Union[PackedRows, _Mapping]] = ..., named_features: _Optional[_Union[NamedFeatures, _Mapping]] = ..., histories: _Optional[_Union[SessionHistories, _Mapping]] = ..., nan_is_missing: _Optional[bool] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., priority: _Optional[_Union[Priority, str]] = ..., routing_key: _Optional[str] = ...) -> None: ...

class PackedRows(_message.Message):
    __slots__ = ("rows", "values")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    rows: int
    values: bytes
    def __init__(self, rows: _Optional[int] = ..., values: _Optional[bytes] = ...) -> None: ...

class NamedFeatures(_message.Message):
    __slots__ = ("columns",)
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[FeatureColumn]
    def __init__(self, columns: _Optional[_Iterable[_Union[FeatureColumn, _Mapping]]] = ...) -> None: ...

class FeatureColumn(_message.Message):
    __slots__ = ("name", "values")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    name: str
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...

class SessionHistories(_message.Message):
    __slots__ = ("players",)
    PLAYERS_FIELD_NUMBER: _ClassVar[int]
    players: _containers.RepeatedCompositeFieldContainer[SessionHistory]
    def __init__(self, players: _Optional[_Iterable[_Union[SessionHistory, _Mapping]]] = ...) -> None: ...

class SessionHistory(_message.Message):
    __slots__ = ("start_seconds", "duration_seconds", "coop", "as_of_seconds")
    START_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DURATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COOP_FIELD_NUMBER: _ClassVar[int]
    AS_OF_SECONDS_FIELD_NUMBER: _ClassVar[int]
    start_seconds: _containers.RepeatedScalarFieldContainer[int]
    duration_seconds: _containers.RepeatedScalarFieldContainer[int]
    coop: _containers.RepeatedScalarFieldContainer[bool]
    as_of_seconds: int
    def __init__(self, start_seconds: _Optional[_Iterable[int]] = ..., duration_seconds: _Optional[_Iterable[int]] = ..., coop: _Optional[_Iterable[bool]] = ..., as_of_seconds: _Optional[int] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("request_id", "model_name", "model_version", "behaviours", "rows", "values", "degraded", "dropped_sessions")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    BEHAVIOURS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_SESSIONS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_name: str
    model_version: str
    behaviours: _containers.RepeatedScalarFieldContainer[str]
    rows: int
    values: bytes
    degraded: bool
    dropped_sessions: int
    def __init__(self, request_id: _Optional[str] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., behaviours: _Optional[_Iterable[str]] = ..., rows: _Optional[int] = ..., values: _Optional[bytes] = ..., degraded: _Optional[bool] = ..., dropped_sessions: _Optional[int] = ...) -> None: ...

class DescribeModelRequest(_message.Message):
    __slots__ = ("model_name", "model_version")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class DescribeModelResponse(_message.Message):
    __slots__ = ("model_name", "model_version", "features", "behaviours", "synthetic", "max_rows_per_request")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    BEHAVIOURS_FIELD_NUMBER: _ClassVar[int]
    SYNTHETIC_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_PER_REQUEST_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    features: _containers.RepeatedScalarFieldContainer[str]
    behaviours: _containers.RepeatedCompositeFieldContainer[BehaviourDescription]
    synthetic: bool
    max_rows_per_request: int
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., behaviours: _Optional[_Iterable[_Union[BehaviourDescription, _Mapping]]] = ..., synthetic: _Optional[bool] = ..., max_rows_per_request: _Optional[int] = ...) -> None: ...

class BehaviourDescription(_message.Message):
    __slots__ = ("name", "kind", "unit", "description", "prior")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PRIOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    unit: str
    description: str
    prior: float
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., unit: _Optional[str] = ..., description: _Optional[str] = ..., prior: _Optional[float] = ...) -> None: ...
