import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from service.wire.stillroom.v1 import model_service_pb2 as _model_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VariantState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VARIANT_STATE_UNSPECIFIED: _ClassVar[VariantState]
    VARIANT_STATE_STORED: _ClassVar[VariantState]
    VARIANT_STATE_LOADING: _ClassVar[VariantState]
    VARIANT_STATE_READY: _ClassVar[VariantState]
    VARIANT_STATE_UNAVAILABLE: _ClassVar[VariantState]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_SOURCE: _ClassVar[Verdict]
    VERDICT_ACCEPT: _ClassVar[Verdict]
    VERDICT_REJECT: _ClassVar[Verdict]
    VERDICT_INCONCLUSIVE: _ClassVar[Verdict]
    VERDICT_NOT_MEASURED: _ClassVar[Verdict]
VARIANT_STATE_UNSPECIFIED: VariantState
VARIANT_STATE_STORED: VariantState
VARIANT_STATE_LOADING: VariantState
VARIANT_STATE_READY: VariantState
VARIANT_STATE_UNAVAILABLE: VariantState
VERDICT_UNSPECIFIED: Verdict
VERDICT_SOURCE: Verdict
VERDICT_ACCEPT: Verdict
VERDICT_REJECT: Verdict
VERDICT_INCONCLUSIVE: Verdict
VERDICT_NOT_MEASURED: Verdict

class Metric(_message.Message):
    __slots__ = ("name", "value", "low", "high", "n")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    low: float
    high: float
    n: int
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ..., n: _Optional[int] = ...) -> None: ...

class Latency(_message.Message):
    __slots__ = ("batch", "p50_ms", "p95_ms", "p99_ms", "speedup", "speedup_low", "speedup_high")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    P50_MS_FIELD_NUMBER: _ClassVar[int]
    P95_MS_FIELD_NUMBER: _ClassVar[int]
    P99_MS_FIELD_NUMBER: _ClassVar[int]
    SPEEDUP_FIELD_NUMBER: _ClassVar[int]
    SPEEDUP_LOW_FIELD_NUMBER: _ClassVar[int]
    SPEEDUP_HIGH_FIELD_NUMBER: _ClassVar[int]
    batch: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    speedup: float
    speedup_low: float
    speedup_high: float
    def __init__(self, batch: _Optional[int] = ..., p50_ms: _Optional[float] = ..., p95_ms: _Optional[float] = ..., p99_ms: _Optional[float] = ..., speedup: _Optional[float] = ..., speedup_low: _Optional[float] = ..., speedup_high: _Optional[float] = ...) -> None: ...

class Against(_message.Message):
    __slots__ = ("variant", "metric", "difference")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    variant: str
    metric: Metric
    difference: Metric
    def __init__(self, variant: _Optional[str] = ..., metric: _Optional[_Union[Metric, _Mapping]] = ..., difference: _Optional[_Union[Metric, _Mapping]] = ...) -> None: ...

class Variant(_message.Message):
    __slots__ = ("name", "model", "checkpoint", "state", "accepted", "verdict", "reason", "metric", "source_metric", "difference", "latencies", "size_bytes", "peak_memory_bytes", "recipe", "parent", "digest", "files", "create_time", "traffic", "target", "against")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    SOURCE_METRIC_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    LATENCIES_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PEAK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    AGAINST_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    checkpoint: str
    state: VariantState
    accepted: bool
    verdict: Verdict
    reason: str
    metric: Metric
    source_metric: Metric
    difference: Metric
    latencies: _containers.RepeatedCompositeFieldContainer[Latency]
    size_bytes: int
    peak_memory_bytes: int
    recipe: str
    parent: str
    digest: str
    files: _containers.RepeatedCompositeFieldContainer[_model_service_pb2.File]
    create_time: _timestamp_pb2.Timestamp
    traffic: float
    target: str
    against: Against
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., checkpoint: _Optional[str] = ..., state: _Optional[_Union[VariantState, str]] = ..., accepted: _Optional[bool] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., reason: _Optional[str] = ..., metric: _Optional[_Union[Metric, _Mapping]] = ..., source_metric: _Optional[_Union[Metric, _Mapping]] = ..., difference: _Optional[_Union[Metric, _Mapping]] = ..., latencies: _Optional[_Iterable[_Union[Latency, _Mapping]]] = ..., size_bytes: _Optional[int] = ..., peak_memory_bytes: _Optional[int] = ..., recipe: _Optional[str] = ..., parent: _Optional[str] = ..., digest: _Optional[str] = ..., files: _Optional[_Iterable[_Union[_model_service_pb2.File, _Mapping]]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., traffic: _Optional[float] = ..., target: _Optional[str] = ..., against: _Optional[_Union[Against, _Mapping]] = ...) -> None: ...

class ListVariantsRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ListVariantsResponse(_message.Message):
    __slots__ = ("variants",)
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    variants: _containers.RepeatedCompositeFieldContainer[Variant]
    def __init__(self, variants: _Optional[_Iterable[_Union[Variant, _Mapping]]] = ...) -> None: ...

class GetVariantRequest(_message.Message):
    __slots__ = ("model", "variant")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    model: str
    variant: str
    def __init__(self, model: _Optional[str] = ..., variant: _Optional[str] = ...) -> None: ...

class GetVariantResponse(_message.Message):
    __slots__ = ("variant",)
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    variant: Variant
    def __init__(self, variant: _Optional[_Union[Variant, _Mapping]] = ...) -> None: ...

class DownloadVariantRequest(_message.Message):
    __slots__ = ("model", "variant", "paths")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    model: str
    variant: str
    paths: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., variant: _Optional[str] = ..., paths: _Optional[_Iterable[str]] = ...) -> None: ...

class DownloadVariantResponse(_message.Message):
    __slots__ = ("file", "data")
    FILE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    file: _model_service_pb2.File
    data: bytes
    def __init__(self, file: _Optional[_Union[_model_service_pb2.File, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...
