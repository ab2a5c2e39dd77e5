"""What the headers of a request tell of its client, its host and its scheme, whatever somebody has put into them.

Nothing here raises, and nothing reads more of a header than `MAX_HEADER`.

Source: RFC 9110, section 7.2; RFC 7239, section 4; OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md,
"Setting server.address and server.port attributes".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from .urls import DEFAULT_PORTS, port_number

MAX_HEADER = 512
"""Longest header of a proxy that is read, in characters; what is longer was made to be a burden."""
SCHEMES = frozenset(("http", "https", "ws", "wss"))


def text(value: Any) -> str:
    """Give a header's value as text."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def whole(value: Any) -> int | None:
    """Read a length or a port; None where it isn't one."""
    if type(value) is int:
        return value
    return int(value) if len(value) < 20 and value.isdigit() and value.isascii() else None


@lru_cache(maxsize=512)
def authority(value: Any, scheme: str) -> tuple[str, int | None]:
    """Read a `Host` header or a proxy's equal: the host, in lower case and without brackets, and the port.

    Args:
        value: Text or bytes, of at most `MAX_HEADER` characters.
        scheme: Tells the port where the header doesn't.
    """
    host = text(value).partition(",")[0].strip().rpartition("@")[2]
    if host.startswith("["):
        address, _, rest = host[1:].partition("]")
        port = rest[1:]
    else:
        address, _, port = host.partition(":")
    return address.lower(), port_number(port) or DEFAULT_PORTS.get(scheme)


def first_scheme(value: Any, default: str) -> str:
    """Read the scheme that a proxy says; a value that is no scheme of HTTP is passed over."""
    scheme = text(value[:64]).partition(",")[0].strip().lower()
    if scheme not in SCHEMES:
        return default
    return {"http": "ws", "https": "wss"}.get(scheme, scheme) if default in ("ws", "wss") else scheme


def first_address(value: Any) -> str:
    """Read the first address of a proxy's list: the client's. Empty where it is hidden or unknown."""
    address = text(value[:MAX_HEADER]).partition(",")[0].strip().strip('"')
    if address.startswith("["):
        return address[1:].partition("]")[0]
    if address.count(":") == 1:
        address = address.partition(":")[0]
    return "" if address.startswith("_") or address.lower() == "unknown" else address


def forwarding(value: Any) -> tuple[str, str, str]:
    """Read `for`, `host` and `proto` of the first element of a `Forwarded` header.

    Source: RFC 7239, section 4. Quoted commas and semicolons are not understood: no host has them.
    """
    found = dict.fromkeys(("for", "host", "proto"), "")
    for pair in text(value[:MAX_HEADER]).partition(",")[0].split(";"):
        name, _, said = pair.partition("=")
        name = name.strip().lower()
        if name in found:
            found[name] = said.strip().strip('"')
    return found["for"], found["host"], found["proto"]
