"""Do the servers read literals as we do? What one of them takes as a string, we hide."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noops_agent.instrument.sql import described
from tests.fuzz.test_sql import SECRET, inside, writers

from .databases import MARIADB, POSTGRESQL_URL, need_mariadb, need_postgresql

Ask = Callable[[str], Any]


@contextmanager
def postgresql() -> Iterator[Ask]:
    """Ask without a parameter: the driver leaves such a text alone."""
    need_postgresql()
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(POSTGRESQL_URL, autocommit=True) as connection:
        yield lambda text: connection.execute(text).fetchone()[0]


@contextmanager
def mysql() -> Iterator[Ask]:
    """Do the same."""
    need_mariadb()
    pymysql = pytest.importorskip("pymysql")
    connection = pymysql.connect(**MARIADB, charset="utf8mb4")

    def ask(text: str) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchone()[0]

    yield ask
    connection.close()


@contextmanager
def sqlite() -> Iterator[Ask]:
    """Do the same."""
    connection = sqlite3.connect(":memory:")
    yield lambda text: connection.execute(text).fetchone()[0]
    connection.close()


SERVERS = {"postgresql": postgresql, "mysql": mysql, "sqlite": sqlite}
COMMENTS = {"postgresql": "/* /* ' */ it's */", "mysql": "# it's\n", "sqlite": "/* /* it's */"}
REFUSED = {"postgresql": ("U&",), "mysql": (), "sqlite": ("N",)}
"""Prefixes that a server has not, or after which it refuses a backslash that escapes nothing."""


@pytest.mark.parametrize("dialect", list(SERVERS))
def test_what_a_server_takes_as_a_string_is_hidden(dialect: str) -> None:
    """The ways to write one that the fuzz tests know are those of the servers, not our own idea of them."""
    ways = [write for write in writers(dialect) if not write("x").startswith(REFUSED[dialect])]
    comment = COMMENTS[dialect]

    with SERVERS[dialect]() as ask:

        @settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(ways), inside, inside, inside)
        def check(write: Callable[[str], str], before: str, after: str, other: str) -> None:
            content = before + SECRET + after
            text = f"SELECT {comment} {write(content)} AS a, {write(other)} AS b {comment}"
            assert ask(text) == content
            assert described(text, dialect).text == "SELECT ? AS a, ? AS b"

        check()
