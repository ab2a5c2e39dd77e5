"""Providers that record into memory, and parts that others would give to them."""

from __future__ import annotations

import gzip
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.sdk import trace as theirs
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags, TraceState

from noops_agent import _core, sdk
from noops_agent._core import segment

FAR = SpanContext(0xABC, 0xDEF, True, TraceFlags(1), TraceState([("vendor", "x")]))


class Recorded:
    """A provider of ours that records into memory, and what the recorder holds, by the official decoder."""

    def __init__(self, **arguments: Any) -> None:
        self.provider = sdk.TracerProvider(shutdown_on_exit=False, **arguments)
        self.recorder = _core.Recorder(None, 1 << 20, bytes(16))
        self.provider.record_into(self.recorder)
        self.tracer = self.provider.get_tracer("test", "1.0")

    def request(self) -> Any:
        """What would be sent."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        newest = self.recorder.segments()[-1]
        body, _, _ = _core.collect(
            newest.memory, segment.HEADER_BYTES, newest.used, segment.SPAN, 1 << 30, 1 << 30
        )
        return ExportTraceServiceRequest.FromString(body)

    def spans(self) -> list[Any]:
        """All recorded spans, oldest first."""
        if not self.recorder.segments():
            return []
        return [
            span for part in self.request().resource_spans for scope in part.scope_spans for span in scope.spans
        ]

    def only(self) -> Any:
        """The one recorded span."""
        (span,) = self.spans()
        return span


def attributes(span: Any) -> dict[str, Any]:
    """Plain attributes of a decoded span."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


def fill(span: Any) -> None:
    """Set one of everything on a span."""
    span.set_attributes({"text": "ä", "number": 5, "ratio": 0.5, "yes": True, "many": ["a", "b"]})
    span.add_event("seen", {"x": "y", "n": [1, 2]}, timestamp=1_700_000_000_000_000_005)
    span.add_link(FAR, {"why": "batch"})
    span.set_status(StatusCode.ERROR, "no")


def run(program: str) -> str:
    """Run a program in a fresh interpreter; gives what it printed."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Sink:
    """An HTTP server on loopback that keeps the bodies of what is posted."""

    def __init__(self) -> None:
        bodies = self.bodies = []  # type: list[bytes]

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/spans"


class Changing(theirs.SpanProcessor):
    """A processor that does to each span, when it is ending or has ended, what it is told."""

    def __init__(self, ending: Any = None, end: Any = None) -> None:
        self.ending, self.end = ending, end

    def _on_ending(self, span: Any) -> None:
        if self.ending is not None:
            self.ending(span)

    def on_end(self, span: Any) -> None:
        if self.end is not None:
            self.end(span)


class Custom(sampling.Sampler):
    """Decides as told, and adds an attribute and a trace state."""

    def __init__(self, decision: sampling.Decision) -> None:
        self.decision = decision
        self.asked: list[tuple[Any, ...]] = []

    def should_sample(self, parent_context: Any, trace_id: int, name: str, kind: Any = None,
                      attributes: Any = None, links: Any = None, trace_state: Any = None) -> sampling.SamplingResult:
        self.asked.append((parent_context, trace_id, name, kind, attributes, links))
        return sampling.SamplingResult(self.decision, {**(attributes or {}), "rule": 7}, TraceState([("s", "1")]))

    def get_description(self) -> str:
        return "custom"
