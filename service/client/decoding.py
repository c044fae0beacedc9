"""Protocol messages to the values of service.client.resources."""

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from service.client import figures, resources
from service.wire.stillroom.v1 import model_service_pb2 as model_pb2
from service.wire.stillroom.v1 import optimization_service_pb2 as optimization_pb2
from service.wire.stillroom.v1 import traffic_service_pb2 as traffic_pb2
from service.wire.stillroom.v1 import variant_service_pb2 as variant_pb2

_Word = TypeVar("_Word", bound=StrEnum)


def _word(words: type[_Word], wire: EnumTypeWrapper, prefix: str, number: int) -> _Word:
    """The lower-case word of a protocol enumeration's number; "unspecified" for one that is newer than this client."""
    try:
        return words(wire.Name(number).removeprefix(prefix).lower())
    except ValueError:
        return words("unspecified")


def _time(message: Message, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=UTC)


def file(message: model_pb2.File) -> resources.File:
    """A file."""
    return resources.File(message.path, message.sha256, message.size_bytes)


def checkpoint(message: model_pb2.Checkpoint) -> resources.Checkpoint:
    """A checkpoint."""
    return resources.Checkpoint(
        revision=message.revision,
        format=message.format,
        digest=message.digest,
        files=tuple(file(item) for item in message.files),
        created_at=_time(message, "create_time"),
    )


def model(message: model_pb2.Model) -> resources.Model:
    """A model."""
    dataset = None
    if message.HasField("dataset"):
        dataset = resources.Dataset(
            digest=message.dataset.digest,
            files={split: file(item) for split, item in message.dataset.files.items()},
            rows=dict(message.dataset.rows),
        )
    return resources.Model(
        name=message.name,
        task=message.task,
        checkpoints=tuple(checkpoint(item) for item in message.checkpoints),
        dataset=dataset,
        created_at=_time(message, "create_time"),
    )


def plan(message: optimization_pb2.PlanOptimizationResponse) -> resources.Plan:
    """A plan."""
    return resources.Plan(
        trials=tuple(
            resources.PlannedTrial(trial.recipe, tuple(trial.steps), trial.why, trial.seconds)
            for trial in message.trials
        ),
        goes_on=message.goes_on,
        metric=message.metric,
        evaluation_rows=message.evaluation_rows,
        margin=message.margin,
        resolvable=message.resolvable if message.HasField("resolvable") else None,
        rows_needed=message.rows_needed if message.HasField("rows_needed") else None,
    )


def job_state(number: int) -> resources.JobState:
    """A job's state."""
    return _word(resources.JobState, optimization_pb2.JobState, "JOB_STATE_", number)


def job(message: optimization_pb2.Job) -> resources.Job:
    """A job with its trials."""
    return resources.Job(
        job_id=message.job_id,
        model=message.model,
        checkpoint=message.checkpoint,
        state=job_state(message.state),
        trials=tuple(
            resources.Trial(
                ordinal=trial.ordinal,
                recipe=trial.recipe,
                state=_word(resources.TrialState, optimization_pb2.TrialState, "TRIAL_STATE_", trial.state),
                variant=trial.variant,
                reason=trial.reason,
                why=trial.why,
            )
            for trial in message.trials
        ),
        error=message.error,
        created_at=_time(message, "create_time"),
        started_at=_time(message, "start_time"),
        ended_at=_time(message, "end_time"),
        sandbox=message.sandbox,
        attempts=message.attempts,
    )


def event(message: optimization_pb2.WatchOptimizationResponse) -> resources.JobEvent:
    """A job's event."""
    body = message.event
    return resources.JobEvent(
        sequence=body.sequence,
        time=_time(body, "time"),
        kind=body.kind,
        trial=body.trial,
        step=body.step,
        percent=body.percent,
        loss=body.loss if body.HasField("loss") else None,
        eta_seconds=body.eta_seconds if body.HasField("eta_seconds") else None,
        message=body.message,
        job_state=job_state(message.job_state),
    )


def _metric(message: variant_pb2.Variant, field: str) -> figures.Metric | None:
    return _figure(getattr(message, field)) if message.HasField(field) else None


def _figure(message: variant_pb2.Metric) -> figures.Metric:
    return figures.Metric(message.name, message.value, message.low, message.high, message.n)


def _against(message: variant_pb2.Variant) -> figures.Against | None:
    if not message.HasField("against"):
        return None
    found = message.against
    return figures.Against(found.variant, _figure(found.metric), _figure(found.difference))


def _latency(message: variant_pb2.Latency) -> figures.Latency:
    # The protocol has no presence here: a speed-up of 0 means that there is none, as for the source.
    speedup = figures.Speedup(message.speedup, message.speedup_low, message.speedup_high) if message.speedup else None
    return figures.Latency(message.batch, message.p50_ms, message.p95_ms, message.p99_ms, speedup)


def variant(message: variant_pb2.Variant) -> resources.Variant:
    """A variant."""
    return resources.Variant(
        name=message.name,
        model=message.model,
        checkpoint=message.checkpoint,
        state=_word(resources.VariantState, variant_pb2.VariantState, "VARIANT_STATE_", message.state),
        accepted=message.accepted,
        verdict=_word(resources.Verdict, variant_pb2.Verdict, "VERDICT_", message.verdict),
        reason=message.reason,
        metric=_metric(message, "metric"),
        source_metric=_metric(message, "source_metric"),
        difference=_metric(message, "difference"),
        latencies=tuple(sorted((_latency(item) for item in message.latencies), key=lambda item: item.batch)),
        size_bytes=message.size_bytes,
        peak_memory_bytes=message.peak_memory_bytes,
        recipe=message.recipe,
        parent=message.parent or None,
        digest=message.digest,
        files=tuple(file(item) for item in message.files),
        created_at=_time(message, "create_time"),
        traffic=message.traffic,
        target=message.target,
        against=_against(message),
    )


def traffic(message: traffic_pb2.Traffic, warnings: Iterable[str] = ()) -> resources.Traffic:
    """A split, with what the server had to say when it was set."""
    return resources.Traffic(
        model=message.model,
        generation=message.generation,
        applied_generation=message.applied_generation,
        arms=tuple(resources.Arm(arm.variant, arm.weight) for arm in message.arms),
        created_at=_time(message, "create_time"),
        warnings=tuple(warnings),
    )
