"""aiosqlite: a statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a statement; the connection belongs to the event loop of its call."""
    aiosqlite = pytest.importorskip("aiosqlite")

    async def execute() -> None:
        async with aiosqlite.connect(":memory:") as connection, connection.execute("SELECT 1") as cursor:
            await cursor.fetchall()

    yield [Case("aiosqlite", acall=execute, many=200)]
