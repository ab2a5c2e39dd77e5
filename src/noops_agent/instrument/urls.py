"""URLs as telemetry may show them: taken apart, without secrets, and left alone where the user says so.

Source: OpenTelemetry semantic conventions 1.44, docs/registry/attributes/url.md, `url.full` and `url.query`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

from .._diagnostics import say

REDACTED = "REDACTED"

SECRET_KEYS = frozenset(
    (
        "X-Amz-Signature",
        "X-Amz-Credential",
        "X-Amz-Security-Token",
        "x-amz-security-token",  # how AWS signature version 2 spells it
        "AWSAccessKeyId",
        "Signature",
        "sig",
        "X-Goog-Signature",
    )
)
"""Keys of a query whose values are secrets; compared with their case, as the convention says."""

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

CACHED_LENGTH = 256
"""Longest URL, in characters, whose verdict is remembered: what is kept stays small whatever URLs there are."""

Parts = tuple[str, str, "int | None", str, str]
"""Scheme, host, port where the URL names one, path and query."""


def redacted_query(query: str) -> str:
    """Replace the secret values of a query string; the keys stay, and so does everything else."""
    if "ig" not in query and "mz-" not in query and "AWS" not in query and "%" not in query:
        return query  # no secret key can be in it
    parts = query.split("&")
    changed = False
    for at, part in enumerate(parts):
        key, equals, value = part.partition("=")
        if value and (unquote(key) if "%" in key else key) in SECRET_KEYS:
            parts[at] = f"{key}{equals}{REDACTED}"
            changed = True
    return "&".join(parts) if changed else query


def redacted_url(url: str) -> str:
    """Replace the credentials before the host, and the secret values of the query."""
    if "@" in url:
        url = _without_credentials(url)
    if "ig" not in url and "mz-" not in url and "AWS" not in url and "%" not in url:
        return url  # no secret key can be in it
    start = url.find("?")
    if start < 0:
        return url
    end = url.find("#", start)
    if end < 0:
        end = len(url)
    query = url[start + 1 : end]
    redacted = redacted_query(query)
    return url if redacted is query else f"{url[: start + 1]}{redacted}{url[end:]}"


def _without_credentials(url: str) -> str:
    """Replace user and password. One alone is replaced by both: a lone name is a token more often than a name."""
    start = url.find("//") + 2
    if start < 2:
        return url
    end = _authority_end(url, start)
    at = url.rfind("@", start, end)
    return url if at < 0 else f"{url[:start]}{REDACTED}:{REDACTED}{url[at:]}"


def _authority_end(url: str, start: int) -> int:
    """Find where the authority that begins at *start* ends."""
    end = url.find("/", start)
    if end < 0:
        end = len(url)
    for mark in "?#":
        found = url.find(mark, start, end)
        if found >= 0:
            end = found
    return end


def split(url: str) -> Parts:
    """Take a URL apart. What can't be understood is empty; never raises.

    Hosts are in lower case and without brackets, credentials and fragments are left out.
    """
    mark = url.find("//")
    if mark < 0:
        scheme, host, port, end = "", "", None, 0
    else:
        end = _authority_end(url, mark + 2)
        scheme, host, port = origin(url[:end])
    path, _, query = url[end:].partition("#")[0].partition("?")
    return scheme, host, port, path, query


@lru_cache(maxsize=512)
def origin(text: str) -> tuple[str, str, int | None]:
    """Read `scheme://user:password@host:port`."""
    scheme, _, authority = text.partition("//")
    authority = authority.rpartition("@")[2]
    if authority.startswith("["):
        host, _, rest = authority[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = authority.partition(":")
    return scheme.removesuffix(":").lower(), host.lower(), port_number(port)


def port_number(text: str) -> int | None:
    """Read a port; None where there is none, or none that could be."""
    if text.isascii() and text.isdigit() and len(text) <= 5:
        number = int(text)
        return number if number < 65536 else None
    return None


class Excluded:
    """Says whether a URL is one that the user wants left alone: one of the regular expressions is found in it.

    Without patterns it is false, so that a caller needn't even make the URL: `if excluded and excluded(url)`.
    """

    __slots__ = ("_remembered", "_searches", "patterns")

    def __init__(self, patterns: str | Iterable[str] = ()) -> None:
        compiled = expressions("excluded URLs", patterns.split(",") if isinstance(patterns, str) else patterns)
        self.patterns = tuple(expression.pattern for expression in compiled)
        self._searches = [expression.search for expression in compiled]
        self._remembered = lru_cache(maxsize=512)(self._found)

    def __bool__(self) -> bool:
        return bool(self._searches)

    def __call__(self, url: str) -> bool:
        if not self._searches:
            return False
        return self._remembered(url) if len(url) <= CACHED_LENGTH else self._found(url)

    def _found(self, url: str) -> bool:
        return any(search(url) for search in self._searches)


def expressions(place: str, patterns: Iterable[str], flags: int = 0) -> list[re.Pattern[str]]:
    """Compile the patterns that are regular expressions; of the others it is said that they are passed over.

    Args:
        place: Where they come from, for the message.
        patterns: Regular expressions.
        flags: Of `re.compile`.
    """
    found = []
    for pattern in patterns:
        if text := pattern.strip():
            try:
                found.append(re.compile(text, flags))
            except (re.error, RecursionError, OverflowError) as error:
                say("pattern.bad", key=text, place=place, pattern=text, error=str(error))
    return found
