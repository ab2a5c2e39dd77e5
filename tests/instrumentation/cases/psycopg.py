"""psycopg: a statement in both flavours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ..databases import POSTGRESQL, need_postgresql
from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a statement, and a copy."""
    psycopg = pytest.importorskip("psycopg")
    need_postgresql()
    connection = psycopg.connect(**POSTGRESQL, autocommit=True)

    async def execute() -> None:
        async with await psycopg.AsyncConnection.connect(**POSTGRESQL, autocommit=True) as other:
            await other.execute("SELECT 1")

    def copied() -> None:
        with connection.cursor() as cursor, cursor.copy("COPY (SELECT 1) TO STDOUT") as copy:
            list(copy)

    async def acopied() -> None:
        other = await psycopg.AsyncConnection.connect(**POSTGRESQL, autocommit=True)
        async with other, other.cursor() as cursor, cursor.copy("COPY (SELECT 1) TO STDOUT") as copy:
            async for _ in copy:
                pass

    def fails() -> None:
        connection.execute("SELECT * FROM nowhere")

    yield [
        Case("psycopg", call=lambda: connection.execute("SELECT 1"), acall=execute, fails=fails, many=1000),
        Case("psycopg", call=copied, acall=acopied, name="copy", many=300),
    ]
    connection.close()
