"""psycopg2: statements of a cursor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from ..databases import POSTGRESQL, need_postgresql
from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a statement. Connections are made in the calls: one made before the patch stays plain."""
    psycopg2 = pytest.importorskip("psycopg2")
    need_postgresql()

    def call() -> None:
        with closing(psycopg2.connect(**POSTGRESQL)) as connection:
            connection.cursor().execute("SELECT 1")

    def fails() -> None:
        with closing(psycopg2.connect(**POSTGRESQL)) as connection:
            connection.cursor().execute("SELECT * FROM nowhere")

    yield [Case("psycopg2", call=call, fails=fails, many=50)]
