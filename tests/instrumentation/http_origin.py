"""A small HTTP/1.1 server on loopback that behaves, or misbehaves, as the path of a request says.

/status/418                    that status
/redirect/3[?to=/path]         so many redirects, then `to`, else /status/200
/echo                          the request's headers, as JSON
/stream                        a chunked body of three parts
/slow                          no answer until the server stops
/abort                         a closed connection in place of an answer
/broken                        a body that breaks off
/auth                          401 without credentials, else 200
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


class Origin:
    """A running server: where it is, and what reached it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.requests: deque[tuple[str, str, list[tuple[str, str]]]] = deque(maxlen=64)
        """Method, target and headers of the latest requests."""
        self.stopped = threading.Event()

    def headers(self, name: str, at: int = -1) -> list[str]:
        """All values of a header of one request."""
        return [value for key, value in self.requests[at][2] if key.lower() == name]


class Handler(BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    origin: Origin

    def handle_request(self) -> None:
        """Answer one request, whatever its method."""
        self.body = self.read_body()
        self.origin.requests.append((self.command, self.path, list(self.headers.items())))
        parts = urlsplit(self.path)
        word, _, argument = parts.path.strip("/").partition("/")
        getattr(self, f"on_{word}", self.on_status)(argument, parse_qs(parts.query))

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = do_BREW = handle_request

    def read_body(self) -> bytes:
        """Read what comes with a request."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a whole response."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def on_status(self, argument: str, query: Any) -> None:
        """Answer with a status."""
        self.answer(int(argument) if argument.isdigit() else 200, b"ok", X_Answer="42")

    def on_echo(self, argument: str, query: Any) -> None:
        """Answer with what was sent."""
        self.answer(200, json.dumps({"headers": self.headers.items(), "body": self.body.decode()}).encode())

    def on_redirect(self, argument: str, query: Any) -> None:
        """Answer with a redirect to the next one."""
        left = int(argument) - 1
        self.answer(302, b"", Location=f"/redirect/{left}" if left else query.get("to", ["/status/200"])[0])

    def on_stream(self, argument: str, query: Any) -> None:
        """Answer in parts."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in (b"one", b"two", b"three", b""):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.flush()

    def on_slow(self, argument: str, query: Any) -> None:
        """Wait until the server stops."""
        self.origin.stopped.wait(30)
        self.close_connection = True

    def on_abort(self, argument: str, query: Any) -> None:
        """Close the connection."""
        self.close_connection = True

    def on_broken(self, argument: str, query: Any) -> None:
        """Promise more than is sent."""
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def on_auth(self, argument: str, query: Any) -> None:
        """Ask for credentials."""
        if self.headers.get("Authorization"):
            self.answer(200)
        else:
            self.answer(401, b"", WWW_Authenticate='Basic realm="x"')

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is said."""


class Server(ThreadingHTTPServer):
    """Serves each connection on a thread that ends with the test."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are part of the tests."""


@contextmanager
def serve() -> Iterator[Origin]:
    """Run a server on a free port of loopback."""
    handler: Any = type("OwnHandler", (Handler,), {})
    server = Server(("127.0.0.1", 0), handler)
    origin = handler.origin = Origin(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield origin
    finally:
        origin.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serve_plainly() -> Iterator[Origin]:
    """Run a server that remembers nothing, not even for a while: for tests that count what is left in memory."""
    listener = socket.create_server(("127.0.0.1", 0))
    origin = Origin(listener.getsockname()[1])
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    try:
        yield origin
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        while request := connection.recv(65536):
            path = request.split(b" ", 2)[1]
            if path == b"/abort":
                return
            status = b"500 Failed" if path == b"/status/500" else b"200 OK"
            connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\nok" % status)


def free_port() -> int:
    """Give a port of loopback where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
