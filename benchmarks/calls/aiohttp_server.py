"""One request through an aiohttp application: bytes into its protocol, bytes out of it, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

CONTRIB = "opentelemetry.instrumentation.aiohttp_server:AioHttpServerInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-aiohttp-server"
DDTRACE = "aiohttp"
REQUIRES = ("aiohttp",)

REQUEST = b"GET /users/7?q=1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: benchmark\r\n\r\n"
KNOWN = {"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 8080)}


class Wire(asyncio.Transport):
    """Takes what a server writes, until a response is whole."""

    answered: asyncio.Future[None]

    def write(self, data: Any) -> None:
        """Take a piece."""
        if data[-1:] == b"7":
            self.answered.set_result(None)

    def writelines(self, pieces: Any) -> None:
        """Take several."""
        self.write(b"".join(pieces))

    def is_closing(self) -> bool:
        """Never."""
        return False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Tell of both ends."""
        return KNOWN.get(name, default)


async def prepare() -> Callable[[], Awaitable[object]]:
    """Set the application up, and connect to it."""
    from aiohttp import web

    async def user(request: web.Request) -> web.Response:
        return web.Response(text=request.match_info["id"])

    app = web.Application()
    app.add_routes([web.get("/users/{id}", user)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    assert runner.server is not None
    protocol, wire, loop = runner.server(), Wire(), asyncio.get_running_loop()
    protocol.connection_made(wire)

    async def call() -> object:
        wire.answered = loop.create_future()
        protocol.data_received(REQUEST)
        return await wire.answered

    return call
