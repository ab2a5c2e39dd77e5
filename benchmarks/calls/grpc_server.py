"""One unary gRPC call as the server's Python code sees it: finding the handler, and running it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from typing import Any, NamedTuple

CONTRIB = "opentelemetry.instrumentation.grpc:GrpcInstrumentorServer"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-grpc"
DDTRACE = "grpc"
REQUIRES = ("grpcio",)
OURS = ("grpc",)


class Metadatum(NamedTuple):
    """As gRPC gives them."""

    key: str
    value: str


METADATA = (
    Metadatum("user-agent", "grpc-python/1.85.1"),
    Metadatum("traceparent", f"00-{'1' * 32}-{'2' * 16}-01"),
)


class Context:
    """What a handler is given, without a wire behind it."""

    def invocation_metadata(self) -> tuple[Metadatum, ...]:
        """As a client sends them."""
        return METADATA

    def peer(self) -> str:
        """One connection."""
        return "ipv4:127.0.0.1:50000"

    def is_active(self) -> bool:
        """The client waits."""
        return True

    def time_remaining(self) -> float:
        """There is no deadline."""
        return float("inf")

    def code(self) -> None:
        """The handler sets none."""

    def details(self) -> None:
        """The handler sets none."""


def prepare() -> Callable[[], object]:
    """Give the call: the interceptors that a server was made with, and the handler that they give."""
    import grpc
    from grpc._server import _HandlerCallDetails

    handler = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
    server: Any = grpc.server(futures.ThreadPoolExecutor(1))
    pipeline = server._state.interceptor_pipeline
    context = Context()
    details = _HandlerCallDetails("/bench.Service/Echo", context.invocation_metadata())

    def find(_: object) -> Any:
        return handler

    def call() -> object:
        found = find(details) if pipeline is None else pipeline.execute(find, details)
        return found.unary_unary(b"x", context)

    return call
