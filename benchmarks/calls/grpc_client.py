"""One unary gRPC call as the client's Python code sees it: the wire beneath answers at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CONTRIB = "opentelemetry.instrumentation.grpc:GrpcInstrumentorClient"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-grpc"
DDTRACE = "grpc"
REQUIRES = ("grpcio",)
OURS = ("grpc",)


class Done:
    """An operation of gRPC's core that is done, of whichever type; what it tells is that all went well."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def type(self) -> Any:
        """Its type."""
        return self._kind

    def initial_metadata(self) -> tuple[()]:
        """What the server sent first."""
        return ()

    trailing_metadata = initial_metadata

    def message(self) -> bytes:
        """What the server answered."""
        return b"x"

    def code(self) -> int:
        """OK."""
        return 0

    def details(self) -> bytes:
        """Nothing to say."""
        return b""

    error_string = details


class Core:
    """gRPC's core for one channel, and for its calls, and the event that they end with."""

    def __init__(self) -> None:
        from grpc import _channel

        self.batch_operations = [Done(kind) for kind in _channel._UNARY_UNARY_INITIAL_DUE]

    def segregated_call(self, *_: Any) -> Core:
        """Make a call."""
        return self

    def next_event(self) -> Core:
        """Wait for what comes next."""
        return self

    def get_registered_call_handle(self, _: Any) -> int:
        """None is registered."""
        return 0

    def target(self) -> bytes:
        """Where it goes."""
        return b"127.0.0.1:50051"


def prepare() -> Callable[[], object]:
    """Give the call: a real multi-callable of a real channel, on a core that is not."""
    import grpc

    channel: Any = grpc.insecure_channel("127.0.0.1:50051")
    inner = getattr(channel, "_channel", channel)
    while hasattr(getattr(inner, "_channel", None), "_channel"):  # interceptors are around it
        inner = inner._channel
    if type(inner).__module__ != "grpc._channel":
        inner = channel
    inner._channel = Core()
    echo = channel.unary_unary("/bench.Service/Echo")
    return lambda: echo(b"x")
