"""ModelStreamInfer, refused with a sentence: the engine's front hands over every call that is a stream."""

from collections.abc import Iterator

import grpc

from service.api.health import INFERENCE


def add_refusal(server: grpc.Server) -> None:
    """Makes `server` answer ModelStreamInfer."""
    handlers = {"ModelStreamInfer": grpc.stream_stream_rpc_method_handler(_refuse)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(INFERENCE, handlers),))


def _refuse(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    context.abort(
        grpc.StatusCode.UNIMPLEMENTED, "this server has no streamed inference: send each request with ModelInfer"
    )
    return iter(())
