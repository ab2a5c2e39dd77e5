"""One query of an SQLite database in memory by aiosqlite."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

CONTRIB = None
CONTRIB_PACKAGE = None
DDTRACE = None
REQUIRES = ("aiosqlite",)


async def prepare() -> Callable[[], Awaitable[object]]:
    """Give the call: a statement on an open cursor."""
    import aiosqlite

    cursor = await (await aiosqlite.connect(":memory:")).cursor()
    return lambda: cursor.execute("SELECT 1 WHERE 1 = ?", (1,))
