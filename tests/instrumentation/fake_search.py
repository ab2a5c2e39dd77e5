"""A search engine on the loopback that speaks as much of Elasticsearch's API as a client's tests need.

An index named `missing` isn't there, and a search in one that ends in `refused` can't be read.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HITS: dict[str, Any] = {"took": 1, "timed_out": False, "hits": {"total": {"value": 0, "relation": "eq"}, "hits": []}}


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        """Answer a request by its path."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers, body))
        path = self.path.partition("?")[0]
        if "missing" in path:
            self.reply(404, {"error": {"type": "index_not_found_exception", "reason": "no such index"}, "status": 404})
        elif "refused" in path:
            reason = f"Failed to parse query [{body.decode()}]"
            error = {"type": "parsing_exception", "reason": reason, "root_cause": [{"type": "x", "reason": reason}]}
            self.reply(400, {"error": error, "status": 400})
        elif path.endswith("_bulk"):
            self.reply(200, {"took": 1, "errors": False, "items": []})
        elif path.endswith("_search"):
            self.reply(200, HITS)
        else:
            self.reply(200, {"acknowledged": True, "_index": "products", "_id": "1", "result": "created"})

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

    def reply(self, status: int, answer: Any) -> None:
        """Send an answer."""
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("x-found-handling-cluster", "cluster-1")
        self.send_header("x-found-handling-instance", "instance-1")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """The search engine."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: deque[tuple[str, str, dict[str, str], bytes]] = deque(maxlen=16)
        """Method, path, headers and body of the last requests."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving() -> Iterator[Server]:
    """Run the search engine for as long as the block lasts."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
