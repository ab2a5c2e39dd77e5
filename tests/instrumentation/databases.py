"""The database servers of the tests, and the comparison of a driver with and without us."""

from __future__ import annotations

import functools
import re
import socket
import uuid
from collections.abc import Callable
from typing import Any

import pytest

HOST = "127.0.0.1"
POSTGRESQL = {"host": HOST, "port": 5432, "user": "root", "dbname": "test"}
POSTGRESQL_URL = f"postgresql://root@{HOST}:5432/test"
MARIADB = {"host": HOST, "port": 3306, "user": "root", "password": "", "database": "test"}


@functools.lru_cache
def answers(port: int) -> bool:
    """Whether a server listens on a port of loopback."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def need_postgresql() -> None:
    """Skip the test where PostgreSQL doesn't answer."""
    if not answers(5432):
        pytest.skip(
            "PostgreSQL doesn't answer on 127.0.0.1:5432: start it, with the user root (trusted) and a database test"
        )


def need_mariadb() -> None:
    """Skip the test where MariaDB doesn't answer."""
    if not answers(3306):
        pytest.skip(
            "MariaDB doesn't answer on 127.0.0.1:3306: start it, with the user root (no password) and a database test"
        )


def unique(stem: str) -> str:
    """Give a name that no other test uses."""
    return f"{stem}_{uuid.uuid4().hex[:12]}"


class Script:
    """What a sequence of operations gave, step by step, in a form that two runs can be compared in."""

    def __init__(self) -> None:
        self.steps: list[Any] = []

    def do(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a step; keep what it gave, or what it raised."""
        try:
            given = step(*args, **kwargs)
        except Exception as error:
            self.steps.append(("raised", type(error), str(error), error.args))
            return None
        self.keep(given)
        return given

    async def ado(self, awaitable: Any) -> Any:
        """Do the same with something to await."""
        try:
            given = await awaitable
        except Exception as error:
            self.steps.append(("raised", type(error), str(error), error.args))
            return None
        self.keep(given)
        return given

    def keep(self, given: Any) -> None:
        """Keep a value."""
        self.steps.append(plain(given))


def plain(value: Any) -> Any:
    """Give a value in a form that is the same in two runs: addresses and numbers of connections are left out."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, dict):
        return kind, {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return kind, [plain(inner) for inner in value]
    return kind, re.sub(r"0x[0-9a-fA-F]+|\d{3,}", "#", repr(value))
