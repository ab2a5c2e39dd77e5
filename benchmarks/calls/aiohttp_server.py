"""One request to an aiohttp application, over a kept connection on loopback, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

CONTRIB = "opentelemetry.instrumentation.aiohttp_server:AioHttpServerInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-aiohttp-server"
DDTRACE = "aiohttp"
REQUIRES = ("aiohttp",)

REQUEST = b"GET /users/7?q=1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: benchmark\r\n\r\n"


async def prepare() -> Callable[[], Awaitable[object]]:
    """Start the application, and connect to it by a bare stream."""
    from aiohttp import web

    async def user(request: web.Request) -> web.Response:
        return web.Response(text=request.match_info["id"])

    app = web.Application()
    app.add_routes([web.get("/users/{id}", user)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])

    async def call() -> object:
        writer.write(REQUEST)
        return await reader.readuntil(b"\r\n\r\n7")

    return call
