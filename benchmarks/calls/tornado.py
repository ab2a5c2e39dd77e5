"""One request through a Tornado application, handed over as its HTTP server does, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

CONTRIB = "opentelemetry.instrumentation.tornado:TornadoInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-tornado"
DDTRACE = "tornado"
REQUIRES = ("tornado",)


async def prepare() -> Callable[[], Awaitable[object]]:
    """Set the application up."""
    from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
    from tornado.web import Application, RequestHandler

    class User(RequestHandler):
        def get(self, id: str) -> None:
            self.write(id)

    class Context:
        remote_ip, protocol, address = "127.0.0.1", "http", ("127.0.0.1", 40000)

    class Connection:
        context, stream, no_keep_alive = Context(), None, False

        def __init__(self) -> None:
            self.answered: asyncio.Future[None] = loop.create_future()

        def set_close_callback(self, callback: Any) -> None:
            """Nobody closes it."""

        def write_headers(self, start_line: Any, headers: Any, chunk: Any = None) -> Any:
            return self.answered

        def finish(self) -> None:
            self.answered.set_result(None)

    app = Application([(r"/users/(?P<id>\d+)", User)], log_function=lambda handler: None)
    loop = asyncio.get_running_loop()
    start = RequestStartLine("GET", "/users/7?q=1", "HTTP/1.1")
    headers = HTTPHeaders({"Host": "127.0.0.1:8080", "User-Agent": "benchmark"})

    async def call() -> object:
        connection: Any = Connection()
        request = HTTPServerRequest(connection=connection, start_line=start, headers=headers)
        app.find_handler(request).finish()
        await connection.answered
        return await asyncio.sleep(0)  # the handler's own task ends

    return call
