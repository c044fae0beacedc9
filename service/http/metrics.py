"""The metrics port: one scrape sees control and all engines of the host; probes for those who keep it running."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from service.errors import Unavailable
from service.http.exposition import merge

_TEXT = "text/plain; version=0.0.4; charset=utf-8"

# Label to put on every sample (empty: none), and what to ask for the text. It raises Unavailable.
Source = tuple[str, Callable[[], bytes]]


def metrics_app(registry: CollectorRegistry, engines: Sequence[Source], ready: Callable[[], bool]) -> Starlette:
    """GET /metrics, /healthz (this process answers) and /readyz (`ready` says that inference can be had here)."""

    def metrics(_request: Request) -> Response:
        texts = [("", generate_latest(registry).decode())]
        for label, scrape in engines:
            try:
                texts.append((label, scrape().decode()))
            except Unavailable:
                continue  # Its absence shows in stillroom_engine_connected.
        return Response(merge(texts), media_type=_TEXT)

    def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    def readyz(_request: Request) -> Response:
        return PlainTextResponse("ready\n") if ready() else PlainTextResponse("not ready\n", status_code=503)

    # Plain functions: starlette runs them in threads, and asking an engine blocks.
    return Starlette(
        routes=[Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)],
    )
