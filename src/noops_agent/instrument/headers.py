"""HTTP headers that the user asked for, as attributes, without what is secret in them.

Source: OpenTelemetry semantic conventions 1.44, docs/registry/attributes/http.md, `http.request.header.<key>` and
`http.response.header.<key>`; the variables are `OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_*`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from .urls import expressions

REQUEST = "http.request.header."
RESPONSE = "http.response.header."
REDACTED = "[REDACTED]"

SECRET = (
    r"authori[sz]ation|authenticat|(^|[-_])auth([-_]|$)|cookie|token|secret|passw|credential|signature"
    r"|session|csrf|xsrf|jwt|(api|access|private|subscription|functions?)[-_]?key"
)
"""Names of headers whose values never leave, whatever is asked for: there is no switch that could be left on."""

MAX_NAMES = 256
"""Names of headers that one plan remembers; a client that makes names up is looked at name by name beyond."""

Headers = Mapping[Any, Any] | Iterable[tuple[Any, Any]] | Callable[[], Any]


class Plan:
    """What one list of wanted headers means: for each name its attribute, worked out once."""

    __slots__ = ("_known", "_prefix", "_secret", "_wanted")

    def __init__(self, prefix: str, wanted: tuple[str, ...], secret: tuple[str, ...]) -> None:
        self._prefix = prefix
        self._wanted = expressions("captured headers", wanted, re.IGNORECASE)
        self._secret = expressions("redacted headers", (SECRET, *secret), re.IGNORECASE)
        self._known: dict[Any, tuple[str, bool] | None] = {}

    def attribute(self, name: Any) -> tuple[str, bool] | None:
        """Give the attribute of a header, and whether its value is secret; None where it isn't wanted."""
        try:
            return self._known[name]
        except KeyError:
            pass
        text = _text(name).strip().lower()
        found = None
        if any(wanted.fullmatch(text) for wanted in self._wanted):
            found = self._prefix + text, any(secret.search(text) for secret in self._secret)
        if len(self._known) < MAX_NAMES:
            self._known[name] = found
        return found


def captured(prefix: str, wanted: tuple[str, ...], headers: Headers, secret: tuple[str, ...] = ()) -> dict[str, Any]:
    """Give the attributes of the wanted headers, each a list of its values in their order.

    Args:
        prefix: `REQUEST` or `RESPONSE`.
        wanted: Names, or regular expressions for whole names; case doesn't matter.
        headers: A mapping, whose values may be lists, or pairs, or a function that gives them; text, or bytes in
            Latin-1.
        secret: More names or regular expressions, found anywhere in the name, whose values are replaced.
    """
    found: dict[str, Any] = {}
    if not wanted:
        return found
    attribute = _plan(prefix, wanted, secret).attribute
    for name, value in _pairs(headers):
        known = attribute(name)
        if known is not None:
            values = value if isinstance(value, (list, tuple)) else (value,)
            found.setdefault(known[0], []).extend(REDACTED if known[1] else _text(one) for one in values)
    return found


def _pairs(headers: Any) -> Iterable[tuple[Any, Any]]:
    if callable(headers):
        headers = headers()
    for name in ("multi_items", "items"):  # the first is how httpx gives each value of a name
        give = getattr(headers, name, None)
        if give is not None:
            return give()  # type: ignore[no-any-return]
    return headers  # type: ignore[no-any-return]


@lru_cache(maxsize=64)
def _plan(prefix: str, wanted: tuple[str, ...], secret: tuple[str, ...]) -> Plan:
    return Plan(prefix, wanted, secret)


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
