"""pymysql: statements of a cursor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ..databases import MARIADB, need_mariadb
from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a statement."""
    driver = pytest.importorskip("pymysql")
    need_mariadb()
    connection = driver.connect(**MARIADB)
    cursor = connection.cursor()

    def call() -> None:
        cursor.execute("SELECT 1")
        cursor.fetchall()

    def fails() -> None:
        cursor.execute("SELECT * FROM nowhere")

    yield [Case("pymysql", call=call, fails=fails, many=1000)]
    cursor.close()
    connection.close()
