"""The report page: variants and their manifests in, one HTML document out. Needs the extra `report`."""

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from service.client.figures import Metric
from service.client.resources import Variant, Verdict
from service.errors import FailedPrecondition
from service.report import checks, family, findings, lineage
from service.report.front import on_front

if TYPE_CHECKING:
    from service.report.plot import Kind

_KINDS: "dict[Verdict, Kind]" = {
    Verdict.SOURCE: "source",
    Verdict.ACCEPT: "accepted",
    Verdict.REJECT: "rejected",
}
_WORDS = {
    Verdict.SOURCE: "source",
    Verdict.ACCEPT: "accepted",
    Verdict.REJECT: "rejected",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.NOT_MEASURED: "not measured here",
    Verdict.UNSPECIFIED: "unknown",
}


def check_installed() -> None:
    """Raises FailedPrecondition unless what the page needs beyond the base install is there."""
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise FailedPrecondition(
            f"the report needs {error.name}, which the base install leaves out: pip install 'stillroom[report]'"
        ) from error


def render(model: str, variants: Sequence[Variant], manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of a model, complete in itself: no script, no request to anywhere.

    `manifests` holds manifest.json of each variant by name; what is missing is left out of the lineage.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("service.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_filters())
    lineages = {variant.name: lineage.read(manifests.get(variant.name, {})) for variant in variants}
    metric = metric_name(variants)
    return environment.get_template("page.html.j2").render(
        style=resources.files("service.report").joinpath("page.css").read_text(encoding="utf-8"),
        model=model,
        variants=variants,
        words=_WORDS,
        kinds={variant.name: _kind(variant) for variant in variants},
        front=on_front(variants),
        metric=metric,
        evaluation_rows=max((variant.metric.n for variant in variants if variant.metric is not None), default=0),
        best=_best(variants),
        resolvable=resolvable(variants),
        batches=sorted({latency.batch for variant in variants for latency in variant.latencies}),
        decided=[variant for variant in variants if variant.parent is not None and variant.reason],
        lineages=lineages,
        family=family.family([(variant.name, variant.checkpoint, _kind(variant)) for variant in variants], manifests),
        box_width=family.BOX_WIDTH_PX,
        box_height=family.BOX_HEIGHT_PX,
        findings={variant.name: findings.findings(manifests.get(variant.name, {})) for variant in variants},
        checks={variant.name: checks.checks(manifests.get(variant.name, {})) for variant in variants},
        hosts=lineage.hosts(list(lineages.values())),
        newest=max((variant.created_at for variant in variants if variant.created_at is not None), default=None),
        plot=plot(model, variants),
    )


def plot(model: str, variants: Sequence[Variant]) -> str:
    """Quality against latency as an <svg> element; empty when nothing was measured."""
    from service.report.plot import Point, quality_against_latency

    metric = metric_name(variants)
    points = [
        Point(variant.name, one.p50_ms, found.value, found.low, found.high, _kind(variant))
        for variant in variants
        if (found := variant.metric) is not None and (one := variant.latency(1)) is not None
    ]
    if not points:
        return ""
    return quality_against_latency(
        points,
        x_label="median latency of one row, in milliseconds",
        y_label=f"{metric}, with its 95% interval",
        front=on_front(variants),
        description=f"{metric} against latency of the variants of {model}",
    )


def metric_name(variants: Sequence[Variant]) -> str:
    """Name of what was measured ("accuracy")."""
    return next((variant.metric.name for variant in variants if variant.metric is not None), "quality")


def resolvable(variants: Sequence[Variant]) -> float | None:
    """The smallest loss that the evaluation rows could tell from none: the widest half of a paired 95% interval."""
    differences = [variant.difference for variant in variants if variant.difference is not None]
    return max((item.value - item.low for item in differences), default=None)


def _best(variants: Sequence[Variant]) -> Variant | None:
    """The accepted variant that is fastest against the source at batch 1, or at the smallest batch measured."""
    made = [
        (variant.latencies[0].speedup.value, variant)
        for variant in variants
        if variant.verdict is Verdict.ACCEPT and variant.latencies and variant.latencies[0].speedup is not None
    ]
    return max(made, key=lambda item: item[0])[1] if made else None


def _kind(variant: Variant) -> "Kind":
    return _KINDS.get(variant.verdict, "undecided")


def _filters() -> dict[str, Any]:
    return {"interval": _interval, "milliseconds": _milliseconds, "size": _size, "percent": _percent}


def _interval(metric: Metric | None, signed: bool = False) -> str:
    """ "0.959 (0.946 to 0.971)", or a dash."""
    if metric is None:
        return "–"
    form = "+z.3f" if signed else "z.3f"
    value, low, high = (format(number, form).replace("-", "−") for number in (metric.value, metric.low, metric.high))
    return f"{value} ({low} to {high})"


def _milliseconds(value_ms: float) -> str:
    return f"{value_ms:.0f}" if value_ms >= 100 else f"{value_ms:#.3g}"


def _size(count: int) -> str:
    return f"{count / 1e6:.2f}" if count < 10e6 else f"{count / 1e6:.1f}"


def _percent(part: float) -> str:
    return f"{100 * part:.4g} %" if part else "–"
