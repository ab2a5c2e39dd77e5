"""sqlite3: statements of a connection and of a cursor."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield two. A connection is made in each call: one that was made before the patch stays plain."""

    def call() -> None:
        connection = sqlite3.connect(":memory:")
        connection.execute("SELECT 1").fetchall()
        connection.close()

    def kinds() -> None:
        connection = sqlite3.connect(":memory:")
        connection.executescript("CREATE TABLE pets (name TEXT)")
        connection.cursor().executemany("INSERT INTO pets VALUES (?)", [("a",), ("b",)])
        connection.close()

    def fails() -> None:
        sqlite3.connect(":memory:").execute("SELECT * FROM nowhere")

    yield [Case("sqlite3", call=call, fails=fails), Case("sqlite3", call=kinds, spans=2, name="kinds", many=300)]
