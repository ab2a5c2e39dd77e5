"""Requests to search engines that speak Elasticsearch's API: which call they are, their place and their URL.

Source: OpenTelemetry semantic conventions 1.44, docs/db/elasticsearch.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

from .db import connection
from .urls import REDACTED

SEARCHED = frozenset(("q", "source"))
"""Parameters that hold what is searched for: as much the user's data as the body of a request."""


VERBS: dict[str, str | dict[str, str]] = {
    "_doc": {"PUT": "index", "POST": "index", "GET": "get", "DELETE": "delete", "HEAD": "exists"},
    "_source": {"GET": "get_source", "HEAD": "exists_source"},
    "_mapping": {"PUT": "indices.put_mapping", "POST": "indices.put_mapping", "GET": "indices.get_mapping"},
    "_settings": {"PUT": "indices.put_settings", "GET": "indices.get_settings"},
    "_alias": {
        "PUT": "indices.put_alias",
        "GET": "indices.get_alias",
        "DELETE": "indices.delete_alias",
        "HEAD": "indices.exists_alias",
    },
    "_aliases": "indices.update_aliases",
    "_analyze": "indices.analyze",
    "_close": "indices.close",
    "_flush": "indices.flush",
    "_forcemerge": "indices.forcemerge",
    "_open": "indices.open",
    "_refresh": "indices.refresh",
    "_stats": "indices.stats",
}
"""What the segment behind the index says, by method where that matters."""

INDEX: dict[str, str] = {
    "PUT": "indices.create",
    "DELETE": "indices.delete",
    "GET": "indices.get",
    "HEAD": "indices.exists",
}
"""What a request for an index itself is."""

FIXED_NEXT = frozenset(("_cat", "_cluster", "_nodes"))
"""What follows these is part of the call's name."""

OF_DOCUMENTS = frozenset(("_create", "_doc", "_explain", "_source", "_termvectors", "_update"))
"""What follows these is a document."""

Read = tuple[str, "str | None", "str | None"]
"""Name of the call, index and document."""


@lru_cache(maxsize=1024)
def read(method: str, path: str) -> Read:
    """Read a call of the API from its request, for clients that do not say which it is."""
    parts = [part for part in path.partition("?")[0].split("/") if part]
    if not parts:
        return ("ping" if method == "HEAD" else "info"), None, None
    index = None if parts[0].startswith("_") else unquote(parts[0])
    rest = parts if index is None else parts[1:]
    if not rest:
        return INDEX.get(method, method), index, None
    document = unquote(rest[1]) if len(rest) > 1 and rest[0] in OF_DOCUMENTS else None
    return _named(method, rest), index, document


def _named(method: str, parts: list[str]) -> str:
    known = VERBS.get(parts[0])
    if known is not None:
        return known if isinstance(known, str) else known.get(method, parts[0][1:])
    if parts[0] == "_search" and len(parts) > 1:
        second = parts[1].lstrip("_")
        name = "search_template" if second == "template" else second
        return f"clear_{name}" if method == "DELETE" else name
    if parts[0] in FIXED_NEXT and len(parts) > 1:
        return f"{parts[0][1:]}.{parts[1].lstrip('_')}"
    return ".".join([part[1:] for part in parts if part.startswith("_")]) or method


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
