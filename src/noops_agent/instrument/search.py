"""Requests to search engines that speak Elasticsearch's API: their place and their URL.

Source: OpenTelemetry semantic conventions 1.44, docs/db/elasticsearch.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from .db import connection
from .urls import REDACTED

SEARCHED = frozenset(("q", "source"))
"""Parameters that hold what is searched for: as much the user's data as the body of a request."""


@lru_cache(maxsize=256)
def place(system: str, host: str, port: int | None) -> dict[str, Any]:
    """Give the attributes of a server; they are shared, so the caller takes them over into its own."""
    return connection(system, None, host, port)


@lru_cache(maxsize=256)
def parameter(name: str) -> str:
    """Name the attribute of a part of the path."""
    return f"db.operation.parameter.{name}"


def query(params: Mapping[str, Any], unsent: frozenset[str] = frozenset()) -> str:
    """Write the query of a URL, question mark included, without what is searched for.

    Args:
        params: Names and values as the user gave them.
        unsent: Names that the client keeps to itself.
    """
    shown = [f"{name}={_value(name, value)}" for name, value in params.items() if name not in unsent]
    return "?" + "&".join(shown) if shown else ""


def _value(name: str, value: Any) -> str:
    """Write a value as the clients do."""
    if name in SEARCHED:
        return REDACTED
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    elif isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, (list, tuple)):
        value = ",".join(map(str, value))
    return quote(str(value), ",*")
