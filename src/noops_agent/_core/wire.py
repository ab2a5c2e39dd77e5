"""The encoded halves of a request around its records: resource and scope."""

from __future__ import annotations

from typing import Any

from . import encode_attributes
from .segment import varint
from .values import utf8


def field(number: int, payload: bytes) -> bytes:
    """Encode a length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def resource_fields(resource: Any) -> bytes:
    """Encode a resource and its schema URL as `ResourceSpans` has them (fields 1 and 3)."""
    encoded = field(1, encode_attributes(0x0A, dict(resource.attributes)))
    return encoded + (field(3, utf8(resource.schema_url)) if resource.schema_url else b"")


def scope_fields(scope: Any) -> bytes:
    """Encode a scope and its schema URL as `ScopeSpans` has them (fields 1 and 3)."""
    named = b"".join(field(number, utf8(text)) for number, text in ((1, scope.name), (2, scope.version)) if text)
    encoded = field(1, named + encode_attributes(0x1A, dict(scope.attributes or {})))
    return encoded + (field(3, utf8(scope.schema_url)) if scope.schema_url else b"")
