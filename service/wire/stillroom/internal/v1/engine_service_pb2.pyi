from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HeldVariant(_message.Message):
    __slots__ = ("tenant", "model", "variant", "model_path", "golden_path", "digest", "signature_json", "session_json", "source", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_PATH_FIELD_NUMBER: _ClassVar[int]
    GOLDEN_PATH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_JSON_FIELD_NUMBER: _ClassVar[int]
    SESSION_JSON_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    variant: str
    model_path: str
    golden_path: str
    digest: str
    signature_json: str
    session_json: str
    source: bool
    labels: _containers.ScalarMap[str, str]
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., variant: _Optional[str] = ..., model_path: _Optional[str] = ..., golden_path: _Optional[str] = ..., digest: _Optional[str] = ..., signature_json: _Optional[str] = ..., session_json: _Optional[str] = ..., source: _Optional[bool] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class TrafficArm(_message.Message):
    __slots__ = ("variant", "basis_points")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    BASIS_POINTS_FIELD_NUMBER: _ClassVar[int]
    variant: str
    basis_points: int
    def __init__(self, variant: _Optional[str] = ..., basis_points: _Optional[int] = ...) -> None: ...

class TrafficTable(_message.Message):
    __slots__ = ("tenant", "model", "generation", "arms", "salt")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    generation: int
    arms: _containers.RepeatedCompositeFieldContainer[TrafficArm]
    salt: str
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., generation: _Optional[int] = ..., arms: _Optional[_Iterable[_Union[TrafficArm, _Mapping]]] = ..., salt: _Optional[str] = ...) -> None: ...

class DesiredState(_message.Message):
    __slots__ = ("version", "variants", "traffic")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    version: int
    variants: _containers.RepeatedCompositeFieldContainer[HeldVariant]
    traffic: _containers.RepeatedCompositeFieldContainer[TrafficTable]
    def __init__(self, version: _Optional[int] = ..., variants: _Optional[_Iterable[_Union[HeldVariant, _Mapping]]] = ..., traffic: _Optional[_Iterable[_Union[TrafficTable, _Mapping]]] = ...) -> None: ...

class ServableStatus(_message.Message):
    __slots__ = ("tenant", "model", "variant", "state", "reason")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    variant: str
    state: str
    reason: str
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., variant: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class AppliedTraffic(_message.Message):
    __slots__ = ("tenant", "model", "generation")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    model: str
    generation: int
    def __init__(self, tenant: _Optional[str] = ..., model: _Optional[str] = ..., generation: _Optional[int] = ...) -> None: ...

class EngineState(_message.Message):
    __slots__ = ("engine_id", "desired_version", "servables", "applied")
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    DESIRED_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVABLES_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    engine_id: str
    desired_version: int
    servables: _containers.RepeatedCompositeFieldContainer[ServableStatus]
    applied: _containers.RepeatedCompositeFieldContainer[AppliedTraffic]
    def __init__(self, engine_id: _Optional[str] = ..., desired_version: _Optional[int] = ..., servables: _Optional[_Iterable[_Union[ServableStatus, _Mapping]]] = ..., applied: _Optional[_Iterable[_Union[AppliedTraffic, _Mapping]]] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("desired",)
    DESIRED_FIELD_NUMBER: _ClassVar[int]
    desired: DesiredState
    def __init__(self, desired: _Optional[_Union[DesiredState, _Mapping]] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: EngineState
    def __init__(self, state: _Optional[_Union[EngineState, _Mapping]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: EngineState
    def __init__(self, state: _Optional[_Union[EngineState, _Mapping]] = ...) -> None: ...

class ScrapeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ScrapeResponse(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: bytes
    def __init__(self, text: _Optional[bytes] = ...) -> None: ...
