"""Attribute values: anything an application gives, made recordable.

The types of AnyValue are kept; everything else becomes a text of bounded length. The cores call this for values
that are not plain strings, numbers or booleans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MAX_DEPTH = 16
"""Nesting at which a value is replaced by its text, so that a value that holds itself ends."""

MAX_TEXT = 4096
"""Characters kept of the text of an object of unknown type."""

INT64 = range(-(2**63), 2**63)


def clean(value: Any, limit: int | None = None, depth: int = 0) -> Any:
    """Copy a value into None, bool, int, float, str, bytes, tuple and dict, with texts cut to *limit*.

    Args:
        value: Anything. Code of the application may run (`__iter__`, `__repr__`); what it raises stays here.
        limit: Longest string in characters, longest bytes in bytes; None: no limit.
        depth: How deep in another value this one is.
    """
    kind = type(value)
    if kind is bool or kind is float or value is None:
        return value
    if kind is str:
        return value if limit is None else value[:limit]
    try:
        return _clean(value, limit, depth)
    except Exception:
        return text_of(value, limit)


def _clean(value: Any, limit: int | None, depth: int) -> Any:
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        number = int(value)
        return number if number in INT64 else text_of(number, limit)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)[:limit]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)[:limit]
    if depth < MAX_DEPTH:
        if isinstance(value, Mapping):
            return {
                key if type(key) is str else text_of(key, None): clean(item, limit, depth + 1)
                for key, item in value.items()
                if key not in ("", None)
            }
        if isinstance(value, (Sequence, set, frozenset)):
            return tuple([clean(item, limit, depth + 1) for item in value])
    return text_of(value, limit)


def text_of(value: Any, limit: int | None) -> str:
    """Describe an object in bounded text; an object that can't be described is named by its type."""
    if isinstance(value, str):  # an Enum of strings, say, whose own `__str__` gives something else
        return str.__str__(value)[:limit]
    bound = MAX_TEXT if limit is None else min(limit, MAX_TEXT)
    try:
        return str(value)[:bound]
    except Exception:
        return f"<{type(value).__qualname__}>"[:bound]


def utf8(text: str) -> bytes:
    """Encode a text; lone surrogates, which UTF-8 can't hold, become question marks."""
    return text.encode("utf-8", "replace")
