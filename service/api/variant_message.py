"""A published variant as VariantService shows it."""

from optimizer.artifact.manifest import BatchLatency, Estimate, Manifest, Verdict
from service.fleet.board import Serving, Standing
from service.registry import tables
from service.wire.stillroom.v1 import model_service_pb2
from service.wire.stillroom.v1 import variant_service_pb2 as wire

_STATES = {
    Serving.LOADING: wire.VARIANT_STATE_LOADING,
    Serving.READY: wire.VARIANT_STATE_READY,
    Serving.UNAVAILABLE: wire.VARIANT_STATE_UNAVAILABLE,
}
_VERDICTS = {
    Verdict.SOURCE: wire.VERDICT_SOURCE,
    Verdict.ACCEPT: wire.VERDICT_ACCEPT,
    Verdict.REJECT: wire.VERDICT_REJECT,
    Verdict.INCONCLUSIVE: wire.VERDICT_INCONCLUSIVE,
    Verdict.NOT_MEASURED: wire.VERDICT_NOT_MEASURED,
}


def message(row: tables.Variant, model: str, standing: Standing | None, share: float) -> wire.Variant:
    """`standing`: what engines say of it, None when nobody asked for it to be served; `share`: of traffic, 0 to 1."""
    manifest = Manifest.model_validate(row.manifest)
    variant = wire.Variant(
        name=row.name,
        model=model,
        checkpoint=row.checkpoint.name,
        state=wire.VARIANT_STATE_STORED if standing is None else _STATES[standing.serving],
        accepted=row.accepted,
        verdict=_VERDICTS[manifest.verdict],
        reason=(standing.reason if standing else "") or manifest.reason,
        size_bytes=manifest.size_bytes,
        recipe=manifest.lineage.recipe,
        parent=manifest.lineage.parent or "",
        digest=row.digest,
        files=[
            model_service_pb2.File(path=file["path"], sha256=file["sha256"], size_bytes=file["size_bytes"])
            for file in row.files
        ],
        traffic=share,
        target=manifest.target,
    )
    variant.create_time.FromDatetime(row.created_at)
    for measurement in manifest.measurements[:1]:
        variant.metric.CopyFrom(_metric(measurement.metric))
        if measurement.source_metric is not None:
            variant.source_metric.CopyFrom(_metric(measurement.source_metric))
        if measurement.difference is not None:
            variant.difference.CopyFrom(_metric(measurement.difference))
        if (against := measurement.against) is not None:
            variant.against.CopyFrom(
                wire.Against(
                    variant=against.name, metric=_metric(against.metric), difference=_metric(against.difference)
                )
            )
        variant.latencies.extend(_latency(batch) for batch in measurement.latencies)
        variant.peak_memory_bytes = measurement.peak_memory_bytes
    return variant


def _metric(estimate: Estimate) -> wire.Metric:
    return wire.Metric(name=estimate.name, value=estimate.value, low=estimate.low, high=estimate.high, n=estimate.n)


def _latency(batch: BatchLatency) -> wire.Latency:
    latency = wire.Latency(
        batch=batch.batch,
        p50_ms=batch.latency.p50_ms,
        p95_ms=batch.latency.p95_ms,
        p99_ms=batch.latency.p99_ms,
    )
    if batch.speedup is not None:
        latency.speedup = batch.speedup.value
        latency.speedup_low = batch.speedup.low
        latency.speedup_high = batch.speedup.high
    return latency
