"""One query over the loopback by asyncpg."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

CONTRIB = "opentelemetry.instrumentation.asyncpg:AsyncPGInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-asyncpg"
DDTRACE = "asyncpg"
REQUIRES = ("asyncpg",)


async def prepare() -> Callable[[], Awaitable[object]]:
    """Give the call: a statement on an open connection to a real server."""
    import asyncpg

    connection = await asyncpg.connect("postgresql://root@127.0.0.1/test")
    return lambda: connection.fetch("SELECT 1 WHERE 1 = $1::int", 1)
