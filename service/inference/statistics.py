"""ModelStatistics: a servable's sums in the protocol's words."""

from service.models.servable import Servable
from service.wire.open_inference import grpc_service_pb2 as wire


def statistics_of(servable: Servable) -> wire.ModelStatistics:
    """What was counted since the variant was loaded."""
    totals = servable.recorder.totals()
    executions = sum(figures.count for figures in totals.by_batch.values())

    def duration(count: int, ns: int) -> wire.StatisticDuration:
        return wire.StatisticDuration(count=count, ns=ns)

    return wire.ModelStatistics(
        name=servable.description.model,
        version=servable.description.variant,
        last_inference=totals.last_ms,
        inference_count=totals.rows,
        execution_count=executions,
        inference_stats=wire.InferStatistics(
            success=duration(totals.successes, totals.success_ns),
            fail=duration(totals.failures, totals.failure_ns),
            queue=duration(totals.successes, totals.queue_ns),
            compute_input=duration(totals.successes, totals.batch_ns),
            compute_infer=duration(totals.successes, totals.compute_ns),
            compute_output=duration(totals.successes, totals.answer_ns),
            cache_hit=duration(0, 0),
            cache_miss=duration(0, 0),
        ),
        batch_stats=[
            wire.InferBatchStatistics(
                batch_size=rows,
                compute_input=duration(figures.count, figures.batch_ns),
                compute_infer=duration(figures.count, figures.compute_ns),
                compute_output=duration(figures.count, figures.answer_ns),
            )
            for rows, figures in sorted(totals.by_batch.items())
        ],
    )
