"""One request through a bare ASGI application, as uvicorn calls it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

CONTRIB = None
CONTRIB_PACKAGE = "opentelemetry-instrumentation-asgi"
DDTRACE = None
REQUIRES = ("uvicorn",)

SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/user/7",
    "raw_path": b"/user/7",
    "query_string": b"q=1",
    "root_path": "",
    "headers": [(b"host", b"127.0.0.1:8000"), (b"user-agent", b"benchmark/1"), (b"accept", b"*/*")],
    "client": ("127.0.0.1", 40000),
    "server": ("127.0.0.1", 8000),
}


def request(app: Callable[..., Awaitable[None]]) -> Callable[[], Awaitable[object]]:
    """Make a call of an application as servers do it: a fresh scope, messages taken and dropped."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        pass

    async def call() -> object:
        return await app({**SCOPE, "headers": list(SCOPE["headers"])}, receive, send)

    return call


async def prepare() -> Callable[[], Awaitable[object]]:
    """Give the request, to the application that a server was given."""
    from uvicorn import Config

    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
    body = {"type": "http.response.body", "body": b"user"}

    async def app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        await send(start)
        await send(body)

    config = Config(app, log_config=None, proxy_headers=False)
    config.load()
    return request(config.loaded_app)
