"""Jobs for workers of RQ."""

from __future__ import annotations

import redis


def look(key: str) -> object:
    """Ask the database, as an application does."""
    with redis.Redis(host="127.0.0.1", port=6379, db=5) as client:
        return client.get(key)


def fail() -> None:
    """Fail."""
    raise KeyError("no such thing")


def nothing() -> None:
    """Do nothing."""
