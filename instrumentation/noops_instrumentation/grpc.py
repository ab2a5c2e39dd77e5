"""gRPC: clients and servers, of threads and of asyncio, of all four shapes of a call.

Source: OpenTelemetry semantic conventions 1.44, docs/rpc/grpc.md and docs/rpc/rpc-metrics.md.

A client's call ends when its status arrives: of a stream or a future that is after the last answer was taken, or when
it is cancelled, by hand or because nobody holds it any more. For the client any status but OK is an error.

A server's span is current in the handler and in the user's interceptors around it, for all of a stream. Which status
codes are errors is the convention's choice: what the client did wrong is none, nor is that it left. The option
`excluded_services` names services to leave alone, such as "grpc.health.v1.Health". A server that was made before gRPC
was enabled is not observed. The context that gRPC gives to a plain function on a server of asyncio doesn't tell which
status the function chose: an exception of such a function is UNKNOWN, and all else OK.
"""

from __future__ import annotations

from noops_agent.instrument import After, Instrumentation
from noops_agent.instrument.grpc import aio_later, hook, later, made
from noops_agent.instrument.grpc_server import Serve

INSTRUMENTATION = Instrumentation(
    library="grpc",
    distribution="grpcio",
    versions=">=1.46",
    options=("excluded_services",),
    hooks=(
        After("grpc._channel:Channel.__init__", made),
        After("grpc.aio._channel:Channel.__init__", made),
        hook("grpc._channel:_UnaryUnaryMultiCallable.__call__"),
        hook("grpc._channel:_UnaryUnaryMultiCallable.with_call"),
        later("grpc._channel:_UnaryUnaryMultiCallable.future"),
        later("grpc._channel:_UnaryStreamMultiCallable.__call__"),
        later("grpc._channel:_SingleThreadedUnaryStreamMultiCallable.__call__", optional=True),
        hook("grpc._channel:_StreamUnaryMultiCallable.__call__"),
        hook("grpc._channel:_StreamUnaryMultiCallable.with_call"),
        later("grpc._channel:_StreamUnaryMultiCallable.future"),
        later("grpc._channel:_StreamStreamMultiCallable.__call__"),
        aio_later("grpc.aio._call:UnaryUnaryCall.__init__"),
        aio_later("grpc.aio._call:UnaryStreamCall.__init__"),
        aio_later("grpc.aio._call:StreamUnaryCall.__init__"),
        aio_later("grpc.aio._call:StreamStreamCall.__init__"),
        Serve("grpc:server"),
        Serve("grpc.aio:server", asynchronous=True),
    ),
)
