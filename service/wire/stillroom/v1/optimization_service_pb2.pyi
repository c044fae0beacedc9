import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class TrialState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRIAL_STATE_UNSPECIFIED: _ClassVar[TrialState]
    TRIAL_STATE_QUEUED: _ClassVar[TrialState]
    TRIAL_STATE_RUNNING: _ClassVar[TrialState]
    TRIAL_STATE_PUBLISHED: _ClassVar[TrialState]
    TRIAL_STATE_FAILED: _ClassVar[TrialState]
    TRIAL_STATE_SKIPPED: _ClassVar[TrialState]
    TRIAL_STATE_STUDIED: _ClassVar[TrialState]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
TRIAL_STATE_UNSPECIFIED: TrialState
TRIAL_STATE_QUEUED: TrialState
TRIAL_STATE_RUNNING: TrialState
TRIAL_STATE_PUBLISHED: TrialState
TRIAL_STATE_FAILED: TrialState
TRIAL_STATE_SKIPPED: TrialState
TRIAL_STATE_STUDIED: TrialState

class Trial(_message.Message):
    __slots__ = ("ordinal", "recipe", "state", "variant", "reason", "why")
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    ordinal: int
    recipe: str
    state: TrialState
    variant: str
    reason: str
    why: str
    def __init__(self, ordinal: _Optional[int] = ..., recipe: _Optional[str] = ..., state: _Optional[_Union[TrialState, str]] = ..., variant: _Optional[str] = ..., reason: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("job_id", "model", "checkpoint", "state", "trials", "error", "create_time", "start_time", "end_time", "sandbox", "attempts")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    model: str
    checkpoint: str
    state: JobState
    trials: _containers.RepeatedCompositeFieldContainer[Trial]
    error: str
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    sandbox: str
    attempts: int
    def __init__(self, job_id: _Optional[str] = ..., model: _Optional[str] = ..., checkpoint: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., trials: _Optional[_Iterable[_Union[Trial, _Mapping]]] = ..., error: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sandbox: _Optional[str] = ..., attempts: _Optional[int] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ("sequence", "time", "kind", "trial", "step", "percent", "loss", "eta_seconds", "message")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    ETA_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    kind: str
    trial: str
    step: str
    percent: float
    loss: float
    eta_seconds: float
    message: str
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[str] = ..., trial: _Optional[str] = ..., step: _Optional[str] = ..., percent: _Optional[float] = ..., loss: _Optional[float] = ..., eta_seconds: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...

class CreateOptimizationRequest(_message.Message):
    __slots__ = ("model", "checkpoint", "recipes_yaml", "max_accuracy_drop", "budget_seconds", "seed", "request_id", "prefer", "max_p95_ms", "max_size_bytes")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    RECIPES_YAML_FIELD_NUMBER: _ClassVar[int]
    MAX_ACCURACY_DROP_FIELD_NUMBER: _ClassVar[int]
    BUDGET_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREFER_FIELD_NUMBER: _ClassVar[int]
    MAX_P95_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    model: str
    checkpoint: str
    recipes_yaml: _containers.RepeatedScalarFieldContainer[str]
    max_accuracy_drop: float
    budget_seconds: float
    seed: int
    request_id: str
    prefer: str
    max_p95_ms: float
    max_size_bytes: int
    def __init__(self, model: _Optional[str] = ..., checkpoint: _Optional[str] = ..., recipes_yaml: _Optional[_Iterable[str]] = ..., max_accuracy_drop: _Optional[float] = ..., budget_seconds: _Optional[float] = ..., seed: _Optional[int] = ..., request_id: _Optional[str] = ..., prefer: _Optional[str] = ..., max_p95_ms: _Optional[float] = ..., max_size_bytes: _Optional[int] = ...) -> None: ...

class CreateOptimizationResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class PlanOptimizationRequest(_message.Message):
    __slots__ = ("optimization",)
    OPTIMIZATION_FIELD_NUMBER: _ClassVar[int]
    optimization: CreateOptimizationRequest
    def __init__(self, optimization: _Optional[_Union[CreateOptimizationRequest, _Mapping]] = ...) -> None: ...

class PlannedTrial(_message.Message):
    __slots__ = ("recipe", "steps", "why", "seconds")
    RECIPE_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    recipe: str
    steps: _containers.RepeatedScalarFieldContainer[str]
    why: str
    seconds: float
    def __init__(self, recipe: _Optional[str] = ..., steps: _Optional[_Iterable[str]] = ..., why: _Optional[str] = ..., seconds: _Optional[float] = ...) -> None: ...

class PlanOptimizationResponse(_message.Message):
    __slots__ = ("trials", "goes_on", "metric", "evaluation_rows", "margin", "resolvable", "rows_needed")
    TRIALS_FIELD_NUMBER: _ClassVar[int]
    GOES_ON_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_ROWS_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    RESOLVABLE_FIELD_NUMBER: _ClassVar[int]
    ROWS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    trials: _containers.RepeatedCompositeFieldContainer[PlannedTrial]
    goes_on: bool
    metric: str
    evaluation_rows: int
    margin: float
    resolvable: float
    rows_needed: int
    def __init__(self, trials: _Optional[_Iterable[_Union[PlannedTrial, _Mapping]]] = ..., goes_on: _Optional[bool] = ..., metric: _Optional[str] = ..., evaluation_rows: _Optional[int] = ..., margin: _Optional[float] = ..., resolvable: _Optional[float] = ..., rows_needed: _Optional[int] = ...) -> None: ...

class GetOptimizationRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetOptimizationResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ListOptimizationsRequest(_message.Message):
    __slots__ = ("model", "page_size")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    model: str
    page_size: int
    def __init__(self, model: _Optional[str] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListOptimizationsResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class CancelOptimizationRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class CancelOptimizationResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class WatchOptimizationRequest(_message.Message):
    __slots__ = ("job_id", "after_sequence")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    after_sequence: int
    def __init__(self, job_id: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class WatchOptimizationResponse(_message.Message):
    __slots__ = ("event", "job_state")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    JOB_STATE_FIELD_NUMBER: _ClassVar[int]
    event: JobEvent
    job_state: JobState
    def __init__(self, event: _Optional[_Union[JobEvent, _Mapping]] = ..., job_state: _Optional[_Union[JobState, str]] = ...) -> None: ...
