"""Requests to applications in-process, as servers make them: nothing stands between a test and the protocol."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What a client would get."""

    status: int
    headers: list[tuple[Any, Any]]
    body: bytes


ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "10.0.0.9",
    "REMOTE_PORT": "40000",
    "HTTP_HOST": "shop.example:8000",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


def make_environ(path: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None, **more: Any) -> Any:
    """Make an environ; a query may follow the path."""
    plain, _, query = path.partition("?")
    environ = {**ENVIRON, "PATH_INFO": plain, "QUERY_STRING": query, "REQUEST_METHOD": method}
    environ |= {"wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO()}
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()}
    return {**environ, **more}


class Responder:
    """A server's `start_response`."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.written = bytearray()

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        if exc_info is not None and self.written:
            raise exc_info[1].with_traceback(exc_info[2])
        self.status = int(status.split()[0])
        self.headers = headers
        return self.written.extend


def call_wsgi(app: Callable[..., Any], path: str = "/", method: str = "GET", **more: Any) -> Answer:
    """Make one request, read the body to its end and close it."""
    start_response = Responder()
    body = app(make_environ(path, method, **more), start_response)
    try:
        read = b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    return Answer(start_response.status, start_response.headers, bytes(start_response.written) + read)


def make_scope(
    path: str = "/", method: str = "GET", headers: Iterable[tuple[bytes, bytes]] = (), **more: Any
) -> dict[str, Any]:
    """Make a scope; a query may follow the path."""
    plain, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": plain,
        "raw_path": plain.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"shop.example:8000"), *headers],
        "client": ("10.0.0.9", 40000),
        "server": ("127.0.0.1", 8000),
        **more,
    }


async def call_asgi(app: Callable[..., Awaitable[Any]], path: str = "/", method: str = "GET", **more: Any) -> Answer:
    """Make one request, and take the messages of the response."""
    sent: list[dict[str, Any]] = []
    body = [{"type": "http.request", "body": more.pop("body", b""), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not body:
            await asyncio.Event().wait()  # the client stays
        return body.pop()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(make_scope(path, method, **more), receive, send)
    start = next((message for message in sent if message["type"] == "http.response.start"), None)
    if start is None:
        return Answer(0, [], b"")
    return Answer(start["status"], list(start["headers"]), b"".join(message.get("body", b"") for message in sent))
