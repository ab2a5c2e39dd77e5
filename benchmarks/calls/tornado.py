"""One request to a Tornado application, over a kept connection on loopback, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

CONTRIB = "opentelemetry.instrumentation.tornado:TornadoInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-tornado"
DDTRACE = "tornado"
REQUIRES = ("tornado",)

REQUEST = b"GET /users/7?q=1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: benchmark\r\n\r\n"


async def prepare() -> Callable[[], Awaitable[object]]:
    """Start the application, and connect to it by a bare stream."""
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application, RequestHandler

    class User(RequestHandler):
        def get(self, id: str) -> None:
            self.write(id)

    server = HTTPServer(Application([(r"/users/(?P<id>\d+)", User)], log_function=lambda handler: None))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    reader, writer = await asyncio.open_connection(*sockets[0].getsockname()[:2])

    async def call() -> object:
        writer.write(REQUEST)
        return await reader.readuntil(b"\r\n\r\n7")

    return call
