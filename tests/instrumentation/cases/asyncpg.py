"""asyncpg: a statement, and a prepared one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ..databases import POSTGRESQL_URL, need_postgresql
from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield both; a connection belongs to the event loop of its call."""
    asyncpg = pytest.importorskip("asyncpg")
    need_postgresql()

    async def fetch() -> None:
        connection = await asyncpg.connect(POSTGRESQL_URL)
        try:
            await connection.fetchval("SELECT 1")
        finally:
            await connection.close()

    async def prepared() -> None:
        connection = await asyncpg.connect(POSTGRESQL_URL)
        try:
            statement = await connection.prepare("SELECT $1::int")
            await statement.fetchval(1)
            await statement.executemany([(1,), (2,)])
        finally:
            await connection.close()

    yield [
        Case("asyncpg", acall=fetch, many=40),
        Case("asyncpg", acall=prepared, spans=2, name="prepared", many=40),
    ]
