"""A real gRPC server on loopback that takes OTLP and can be told to refuse."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from .collector import spans_of

Step = Callable[[Any], ExportTraceServiceResponse | None]


class GrpcCollector(TraceServiceServicer):
    """Takes spans; each call first does the next step of the script, which may abort it or give the response."""

    def __init__(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> None:
        self.spans: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        self.script: list[Step] = []
        self.changed = threading.Condition()
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        add_TraceServiceServicer_to_server(self, self._server)
        address = f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        """Take a request, or do as told."""
        with self.changed:
            self.metadata.append(dict(context.invocation_metadata()))
            step = self.script.pop(0) if self.script else lambda context: None
            self.changed.notify_all()
        response = step(context)
        with self.changed:
            self.spans.extend(spans_of(request))
            self.changed.notify_all()
        return response or ExportTraceServiceResponse()

    def span_ids(self) -> Counter[bytes]:
        """How often each span was acknowledged."""
        return Counter(span.span_id for span in self.spans)

    def close(self) -> None:
        """Stop the server."""
        self._server.stop(0).wait()
