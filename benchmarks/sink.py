"""A collector on loopback that answers 200, and counts the spans that it was given when it is asked.

It speaks OTLP over HTTP and ddtrace's protocol to its agent. Prints its port; ends when its stdin closes.
Bodies are kept as they come and decoded after the run, so that decoding takes no processor from a peer.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

received: list[tuple[str, bytes]] = []


class Answer(BaseHTTPRequestHandler):
    """Takes everything; `/bench/count` and `/bench/reset` are for the driver."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        """Keep a body."""
        body = self.body()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        received.append((self.path, body))
        if self.path.startswith("/v1/"):
            self.answer(b"", "application/x-protobuf")
        else:
            self.answer(b'{"rate_by_service": {}}', "application/json")

    do_PUT = do_POST

    def do_GET(self) -> None:
        """Answer the driver; and ddtrace, which asks what its agent can do."""
        if self.path == "/bench/reset":
            received.clear()
        known: dict[str, Any] = {
            "/bench/count": count,
            "/info": lambda: {"endpoints": ["/v0.4/traces", "/v0.5/traces"], "client_drop_p0s": False},
        }
        self.answer(json.dumps(known.get(self.path, dict)()).encode(), "application/json")

    def body(self) -> bytes:
        """Read the body, of known length or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, body: bytes, kind: str) -> None:
        """Send 200 with a body."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def count() -> dict[str, int]:
    """Count requests, bytes and spans since the last reset."""
    bodies = list(received)
    return {
        "requests": len(bodies),
        "bytes": sum(len(body) for _, body in bodies),
        "spans": sum(spans_in(path, body) for path, body in bodies),
    }


def spans_in(path: str, body: bytes) -> int:
    """Count the spans of one body, by decoders that we did not write."""
    if path == "/v1/traces":
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        request = ExportTraceServiceRequest.FromString(body)
        return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)
    if path in ("/v0.4/traces", "/v0.5/traces"):
        import msgpack

        traces = msgpack.unpackb(body, strict_map_key=False)
        return sum(len(trace) for trace in (traces[1] if path == "/v0.5/traces" else traces))
    return 0


def main() -> None:
    """Serve until stdin closes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    os._exit(0)  # connections that peers keep open are not waited for


if __name__ == "__main__":
    main()
