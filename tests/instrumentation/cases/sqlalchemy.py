"""SQLAlchemy on SQLite, whose driver isn't observed here: the spans are its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a statement, in both flavours where the asyncio one is installed."""
    sa = pytest.importorskip("sqlalchemy")
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)

    def ask(statement: str = "SELECT 1 WHERE 1 = :a") -> Any:
        with engine.connect() as connection:
            return connection.execute(sa.text(statement), {"a": 1}).all()

    async def ask_asyncio() -> Any:
        from sqlalchemy.ext.asyncio import create_async_engine

        other = create_async_engine("sqlite+aiosqlite://", poolclass=sa.pool.StaticPool)
        async with other.connect() as connection:
            result = await connection.execute(sa.text("SELECT 1 WHERE 1 = :a"), {"a": 1})
        await other.dispose()
        return result.all()

    def write() -> Any:
        with engine.begin() as connection:
            return connection.exec_driver_sql("CREATE TEMPORARY TABLE IF NOT EXISTS t (a INT)").rowcount

    def refused() -> Any:
        return ask("SELECT a FROM nosuch")

    both = importable("aiosqlite") and importable("greenlet")
    yield [
        Case("sqlalchemy", call=ask, acall=ask_asyncio if both else None, fails=refused, many=3000),
        Case("sqlalchemy", call=write, name="write", many=3000),
    ]
    engine.dispose()


def importable(name: str) -> bool:
    """Whether a module can be imported."""
    return find_spec(name) is not None
