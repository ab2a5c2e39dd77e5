"""A collector on loopback that can be told to misbehave. It decodes what it takes with the official messages."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

MESSAGES = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}

Behaviour = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """One connection; each request is answered by the next behaviour of the collector's script."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    collector: Collector

    def do_POST(self) -> None:
        """Read the request, then behave."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.collector.requests.append((self.path, dict(self.headers), len(body)))
        behave = self.collector.next_behaviour()
        behave(self, body)

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Send a complete response."""
        self.send_response(status)
        for name, value in {"Content-Type": "application/x-protobuf", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Collector:
    """Takes OTLP over HTTP in a thread of its own.

    Attributes:
        spans: Every span that was acknowledged, in order.
        requests: (path, headers, body bytes) of every request, acknowledged or not.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.spans: list[Any] = []
        self.messages: list[tuple[str, Any]] = []
        self.requests: list[tuple[str, dict[str, str], int]] = []
        self.script: list[Behaviour] = []
        self.default: Behaviour = accept
        self.changed = threading.Condition()
        handler = type("BoundHandler", (Handler,), {"collector": self})
        kind = type("Server6", (Server,), {"address_family": socket.AF_INET6}) if ":" in host else Server
        self._server = kind((host, port), handler)
        if tls is not None:
            self._server.tls = tls
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.endpoint = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def next_behaviour(self) -> Behaviour:
        """Take the next step of the script, or the default."""
        with self.changed:
            self.changed.notify_all()
            return self.script.pop(0) if self.script else self.default

    def take(self, path: str, headers: Any, body: bytes) -> Any:
        """Decode and keep a request, as a real collector would."""
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        message = MESSAGES[path]()
        if headers.get("Content-Type") == "application/json":
            parse_otlp_json(body, message)
        else:
            message.ParseFromString(body)
        with self.changed:
            self.messages.append((path, message))
            self.spans.extend(spans_of(message))
            self.changed.notify_all()
        return message

    def span_ids(self) -> Counter[bytes]:
        """How often each span was acknowledged."""
        return Counter(span.span_id for span in self.spans)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
        """Wait for something to become true of this collector."""
        with self.changed:
            return self.changed.wait_for(condition, timeout_s)

    def close(self) -> None:
        """Stop listening, and cut what is connected."""
        self._server.shutdown()
        self._server.server_close()
        self._server.cut()
        self._thread.join()


class Server(ThreadingHTTPServer):
    """An HTTP server that can cut its connections, and speaks TLS where it has a context."""

    tls: ssl.SSLContext | None = None
    request_queue_size = 64

    def __init__(self, *args: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*args)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        try:
            if self.tls is not None:
                request = self.tls.wrap_socket(request, server_side=True)
        except OSError:
            request.close()
            return
        self.connections.add(request)
        super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away is nothing to print."""

    def cut(self) -> None:
        """Cut every connection."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def spans_of(message: Any) -> Iterator[Any]:
    """Walk the spans of a trace request; nothing for other signals."""
    for resource in getattr(message, "resource_spans", ()):
        for scope in resource.scope_spans:
            yield from scope.spans


def parse_otlp_json(body: bytes, message: Any) -> None:
    """Parse OTLP/JSON: identifiers are hexadecimal there, base64 in the JSON of protobuf."""
    import base64

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: base64.b64encode(bytes.fromhex(inner)).decode()
                if key in ("traceId", "spanId", "parentSpanId")
                else convert(inner)
                for key, inner in value.items()
            }
        return [convert(inner) for inner in value] if isinstance(value, list) else value

    json_format.ParseDict(convert(json.loads(body)), message)


# -- behaviours --------------------------------------------------------------------------------------------


def accept(handler: Handler, body: bytes) -> None:
    """Take the request and acknowledge it."""
    handler.collector.take(handler.path, handler.headers, body)
    handler.answer(200)


def status(code: int, text: bytes = b"", **headers: str) -> Behaviour:
    """Answer with a status; header names are written with underscores."""

    def behave(handler: Handler, body: bytes) -> None:
        handler.answer(code, text, {name.replace("_", "-"): value for name, value in headers.items()})

    return behave


def partial(rejected: int, message: str) -> Behaviour:
    """Acknowledge, but for some spans."""

    def behave(handler: Handler, body: bytes) -> None:
        handler.collector.take(handler.path, handler.headers, body)
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = message
        handler.answer(200, response.SerializeToString())

    return behave


def hang(handler: Handler, body: bytes) -> None:
    """Say nothing until the other side is gone."""
    handler.connection.settimeout(60)
    with contextlib.suppress(OSError):
        handler.connection.recv(1)
    handler.close_connection = True


def drip(handler: Handler, body: bytes) -> None:
    """Answer one byte at a time, for ever, without taking the request."""
    with contextlib.suppress(OSError):
        for byte in b"HTTP/1.1 200 OK\r\nX-Filler: " + b"x" * 60000:
            handler.connection.sendall(bytes([byte]))
            time.sleep(0.05)
    handler.close_connection = True


def drip_body(handler: Handler, body: bytes) -> None:
    """Take the request, then drip a body that never ends."""
    handler.collector.take(handler.path, handler.headers, body)
    with contextlib.suppress(OSError):
        handler.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
        for _ in range(60000):
            handler.connection.sendall(b"x")
            time.sleep(0.05)
    handler.close_connection = True


def reset(handler: Handler, body: bytes) -> None:
    """Cut the connection hard, without an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def close(handler: Handler, body: bytes) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


def garbage(data: bytes) -> Behaviour:
    """Answer with bytes that are no HTTP/1.1."""

    def behave(handler: Handler, body: bytes) -> None:
        handler.connection.sendall(data)
        handler.close_connection = True

    return behave


def claim_length(length: int, body: bytes) -> Behaviour:
    """Take the request, then lie about the length of the answer, and close."""

    def behave(handler: Handler, request: bytes) -> None:
        handler.collector.take(handler.path, handler.headers, request)
        handler.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + body)
        handler.close_connection = True

    return behave


def taken(answer: bytes) -> Behaviour:
    """Take the request, answer with these bytes, and close."""

    def behave(handler: Handler, body: bytes) -> None:
        handler.collector.take(handler.path, handler.headers, body)
        handler.connection.sendall(answer)
        handler.close_connection = True

    return behave


def too_much(handler: Handler, body: bytes) -> None:
    """Take the request, acknowledge it, then send more than was announced and stay connected."""
    handler.collector.take(handler.path, handler.headers, body)
    handler.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 No\r\n\r\n" + b"z" * 100)


def endless(handler: Handler, body: bytes) -> None:
    """Take the request, then answer with a body that is larger than any client should read."""
    handler.collector.take(handler.path, handler.headers, body)
    handler.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(4096):
            handler.connection.sendall(b"\0" * 65536)
    handler.close_connection = True


def refuse_above(most: int) -> Behaviour:
    """Answer 413 to more spans at once than *most*, else accept."""

    def behave(handler: Handler, body: bytes) -> None:
        message = ExportTraceServiceRequest.FromString(body)
        if sum(1 for _ in spans_of(message)) > most:
            handler.answer(413)
        else:
            accept(handler, body)

    return behave


def free_port() -> int:
    """Find a port of loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
