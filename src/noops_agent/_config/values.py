"""How values are read: each function takes what a variable, a keyword or a file holds, or raises `Bad`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Parse = Callable[[Any], Any]

MOST = (1 << 31) - 1
"""Largest count; a limit above it is no limit in practice, and native code keeps it in 32 bits."""

LONGEST_S = 1e7
"""Longest duration in seconds; the locks of the interpreter take no timeout that is much longer."""

UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
UNITS_BYTES = {"": 1, "b": 1} | {
    letter + rest: 1 << shift for letter, shift in (("k", 10), ("m", 20), ("g", 30)) for rest in ("", "b", "ib")
}


class Bad(ValueError):
    """A value that a setting can't take.

    Args:
        wanted: What the setting takes.
        remedy: What is done about it.
        instead: The value that is used all the same; left out: the value is passed over.
    """

    def __init__(self, wanted: str, remedy: str = "it is ignored", *instead: Any) -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.remedy = remedy
        self.instead = instead


def text(value: Any) -> str:
    """Read any text."""
    if not isinstance(value, str):
        raise Bad("text")
    return str(value).strip()


def argument(value: Any) -> str:
    """Read a text or a number, as text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return text(value)


def path(value: Any) -> str:
    """Read the path of a file or folder, made absolute now: programs change their working folder."""
    if not isinstance(value, (str, os.PathLike)):
        raise Bad("a path")
    read = os.fspath(value)
    if not isinstance(read, str) or "\0" in read or not read.strip():
        raise Bad("a path")
    return os.path.abspath(os.path.expanduser(read.strip()))


def url(value: Any) -> str:
    """Read a URL, or the host:port that gRPC takes."""
    read = text(value)
    if not read or any(character <= " " for character in read):
        raise Bad("a URL such as http://localhost:4318")
    return read


def number(value: Any) -> float:
    """Read a number that is not negative."""
    wanted = "a number of 0 or more"
    try:
        read = float(value)
    except (TypeError, ValueError, OverflowError):
        raise Bad(wanted) from None
    if isinstance(value, bool) or not 0 <= read < float("inf"):
        raise Bad(wanted)
    return read


def whole(value: Any) -> int:
    """Read a whole number that is not negative; a larger one than `MOST` is `MOST`."""
    wanted = "a whole number of 0 or more"
    if isinstance(value, (bool, float)):
        raise Bad(wanted)
    try:
        read = int(value)
    except (TypeError, ValueError):
        raise Bad(wanted) from None
    if read < 0:
        raise Bad(wanted)
    return min(read, MOST)


def positive(value: Any) -> int:
    """Read a whole number above 0."""
    try:
        read = whole(value)
    except Bad:
        read = 0
    if not read:
        raise Bad("a whole number above 0")
    return read


def boolean(value: Any) -> bool:
    """Read a truth; of texts only `true`, in any case, is true; other ones than `false` are complained of."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else None
    if word is None:
        raise Bad("true or false")
    if word not in ("true", "false"):
        raise Bad("true or false", "it is taken as false", False)
    return word == "true"


def inverted(value: Any) -> bool:
    """Read the opposite of a truth."""
    try:
        return not boolean(value)
    except Bad as bad:
        raise Bad(bad.wanted, bad.remedy, *[not read for read in bad.instead]) from None


def scaled(value: str, units: Mapping[str, float]) -> float:
    """Read a number and its unit, as a multiple of the unit with factor 1."""
    word = value.strip().lower()
    digits = word.rstrip("abcdefghijklmnopqrstuvwxyz")
    factor = units.get(word[len(digits) :])
    if factor is None:
        raise Bad("a number with one of the units " + ", ".join(filter(None, units)))
    return number(digits) * factor


def seconds(value: Any) -> float:
    """Read a duration, "500ms", "5s", "1m" or a number of seconds; in seconds."""
    try:
        return min(scaled(value, UNITS_S) if isinstance(value, str) else number(value), LONGEST_S)
    except Bad:
        raise Bad("a duration such as 500ms, 5s or 1m") from None


def interval(value: Any) -> float:
    """Read a duration above 0, in seconds; one so short that it would keep a processor busy is made 10 ms."""
    read = seconds(value)
    if not read:
        raise Bad("a duration above 0")
    return max(read, 0.01)


def milliseconds(value: Any) -> float:
    """Read a duration above 0 in milliseconds, as the variables of the specification have it; in seconds."""
    read = number(value)
    if not read:
        raise Bad("a number of milliseconds above 0")
    return max(min(read / 1000, LONGEST_S), 0.01)


def request_milliseconds(value: Any) -> float:
    """Read the time of a request as `milliseconds` does; values that were meant as seconds are complained of.

    opentelemetry-python 1.45 reads `OTEL_EXPORTER_OTLP_TIMEOUT` in seconds, against the specification.
    """
    read = milliseconds(value)
    if read < 0.1:
        remedy = "it is taken as the specification says, and few requests are that fast"
        raise Bad("more than 100 milliseconds (a value meant as seconds?)", remedy, read)
    return read


def size(value: Any) -> int:
    """Read a number of bytes: "64MiB", "512k" or plain; k, m and g are powers of 1024."""
    wanted = "a size such as 64MiB"
    try:
        read = int(scaled(value, UNITS_BYTES) if isinstance(value, str) else number(value))
    except Bad:
        raise Bad(wanted) from None
    if not read:
        raise Bad(wanted)
    return min(read, 1 << 50)


def segment_size(value: Any) -> int:
    """Read the size of a segment, which is a file mapped as a whole."""
    read = size(value)
    if not 1 << 12 <= read <= 1 << 28:
        raise Bad("a size from 4KiB to 256MiB")
    return read


def names(value: Any) -> tuple[str, ...]:
    """Read a list of names, separated by commas where it is a text; a name counts once."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple, set, frozenset)) or not all(isinstance(item, str) for item in items):
        raise Bad("a list of names")
    return tuple(dict.fromkeys(item.strip() for item in items if item.strip()))


def names_of(*choices: str) -> Parse:
    """Make the reader of a list of names that are known; the others are complained of."""

    def parse(value: Any) -> tuple[str, ...]:
        read = tuple(name.lower() for name in names(value))
        known = tuple(name for name in read if name in choices)
        if known != read:
            raise Bad("a list of " + ", ".join(choices), "the other names are ignored", known)
        return read

    return parse


def one_of(*choices: str) -> Parse:
    """Make the reader of an enumeration; capitals don't matter."""

    def parse(value: Any) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in choices:
            raise Bad("one of " + ", ".join(choices))
        return word

    return parse


def rules(value: Any) -> str:
    """Read sampling rules: their text, or a table or list of them as a file may have."""
    if isinstance(value, Mapping):
        return ",".join(f"{pattern}={ratio}" for pattern, ratio in value.items())
    return ",".join(names(value)) if isinstance(value, (list, tuple)) else text(value)


def attributes(value: Any) -> dict[str, Any]:
    """Read resource attributes: key=value pairs in the form of W3C Baggage, or a mapping."""
    return chosen(split(value), lambda key, item: isinstance(item, (str, bool, int, float, list, tuple)))


def headers(value: Any) -> dict[str, str]:
    """Read headers: key=value pairs in the form of W3C Baggage, or a mapping of texts."""
    return chosen(split(value), lambda key, item: is_token(key) and isinstance(item, str) and is_line(item))


def split(value: Any) -> Iterable[tuple[Any, Any]]:
    """Give the pairs of a mapping, or of a text after percent-decoding; a text may lack the value."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, str):
        for member in value.split(","):
            key, separator, item = member.partition("=")
            if member.strip():
                yield unquote(key.strip()), unquote(item.strip()) if separator else None
    else:
        raise Bad("a list of key=value pairs")


def chosen(pairs: Iterable[tuple[Any, Any]], valid: Callable[[str, Any], bool]) -> dict[str, Any]:
    """Keep the pairs that have a key and are valid; complain of the others."""
    found: dict[str, Any] = {}
    refused = 0
    for key, item in pairs:
        if isinstance(key, str) and key and valid(key, item):
            found[key] = item
        else:
            refused += 1
    if refused:
        raise Bad("a list of key=value pairs", f"{refused} of its parts left out", found)
    return found


def is_token(name: str) -> bool:
    """Whether a text can be the name of a header (RFC 9110, section 5.6.2)."""
    return name.isascii() and not any(mark <= " " or mark in '"(),/:;<=>?@[\\]{}\x7f' for mark in name)


def is_line(value: str) -> bool:
    """Whether a text can be the value of a header: control characters would begin another one."""
    return not any((mark < " " and mark != "\t") or mark == "\x7f" for mark in value)


def unquote(value: str) -> str:
    """Decode percent-encoding; what is no valid encoding stays as it is."""
    if "%" not in value:
        return value
    head, *rest = value.encode("utf-8", "replace").split(b"%")
    out = [head]
    for part in rest:
        digits = part[:2]
        try:
            if len(digits) < 2 or not digits.isalnum():
                raise ValueError
            out += [bytes.fromhex(digits.decode("ascii")), part[2:]]
        except ValueError:
            out += [b"%", part]
    return b"".join(out).decode("utf-8", "replace")


def mask_url(value: Any) -> Any:
    """Hide the user and password of a URL."""
    if not isinstance(value, str) or "@" not in value:
        return value
    scheme, separator, rest = value.rpartition("://")
    authority, slash, tail = rest.partition("/")
    _, at, host = authority.rpartition("@")
    return f"{scheme}{separator}{'****' if at else ''}{at}{host}{slash}{tail}"
