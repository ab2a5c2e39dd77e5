"""One GET by an aiohttp session over a kept connection to a server on loopback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from http_origin import start

CONTRIB = "opentelemetry.instrumentation.aiohttp_client:AioHttpClientInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-aiohttp-client"
DDTRACE = "aiohttp"
REQUIRES = ("aiohttp",)


async def prepare() -> Callable[[], Awaitable[object]]:
    """Connect."""
    import aiohttp

    session = aiohttp.ClientSession()
    url = f"http://127.0.0.1:{start()}/"

    async def call() -> object:
        async with session.get(url) as response:
            return await response.read()

    return call
