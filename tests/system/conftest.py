"""An OTLP/HTTP collector on loopback that decodes with the official messages; examples can be imported."""

from __future__ import annotations

import gzip
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))


class Received(NamedTuple):
    """A span and the `service.name` of the resource that it came with."""

    service: str
    span: Span


class Collector:
    """What a collector at *endpoint* has received so far."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._received: list[Received] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def received(self) -> list[Received]:
        with self.changed:
            return list(self._received)

    def await_spans(self, condition: Callable[[list[Received]], bool], timeout_s: float = 30.0) -> bool:
        """Wait until *condition* holds for all that was received; False where it doesn't in time."""
        deadline = time.monotonic() + timeout_s
        with self.changed:
            while not condition(list(self._received)):
                if not self.changed.wait(deadline - time.monotonic()):
                    return condition(list(self._received))
            return True

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        spans = [
            Received(next(a.value.string_value for a in part.resource.attributes if a.key == "service.name"), span)
            for part in request.resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]
        with self.changed:
            self._received.extend(spans)
            self.changed.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that takes everything."""
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()
