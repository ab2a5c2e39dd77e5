"""One request through a bare WSGI application, as Werkzeug's server calls it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

CONTRIB = None
CONTRIB_PACKAGE = "opentelemetry-instrumentation-wsgi"
DDTRACE = None
REQUIRES = ("werkzeug",)

ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/user/7",
    "QUERY_STRING": "q=1",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "40000",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_USER_AGENT": "benchmark/1",
    "HTTP_ACCEPT": "*/*",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": io.StringIO(),
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


def request(app: Callable[..., Any]) -> Callable[[], object]:
    """Make a call of an application as servers do it: a fresh environ, the body read and closed."""
    body = io.BytesIO()

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., Any]:
        return body.write

    def call() -> object:
        found = app({**ENVIRON, "wsgi.input": body}, start_response)
        read = [*found]
        close = getattr(found, "close", None)
        if close is not None:
            close()
        return read

    return call


def prepare() -> Callable[[], object]:
    """Give the request, to the application that a server was given."""
    from werkzeug.serving import make_server

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return [b"user"]

    server = make_server("127.0.0.1", 0, app)
    server.server_close()
    return request(server.app)
