"""A gRPC server whose every call takes a quarter of a second: what the self-check of the load generator calls.

`python -m loadtests.slow_server` prints its port and runs until its standard input is closed.
"""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc

CALLS = 8
EACH_SECONDS = 0.5
METHOD = "/stillroom.loadtests.Slow/Wait"


class _Slow(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types.
    """Answers METHOD with its request once `wait` has returned."""

    def __init__(self, wait: Callable[[], object]) -> None:
        self._wait = wait

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._wait()
        return request


def main() -> None:
    """Serves until standard input ends, so that it never outlives the one who started it."""
    never = threading.Event()
    server = grpc.server(ThreadPoolExecutor(max_workers=CALLS))
    server.add_generic_rpc_handlers((_Slow(lambda: never.wait(EACH_SECONDS)),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
