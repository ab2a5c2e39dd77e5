"""What the contract suite calls: one file for each library, with `cases()`.

`cases()` is a context manager that opens what the calls need and gives a list of `Case`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple


class Case(NamedTuple):
    """One way to call a library."""

    library: str
    """Name of the integration."""
    call: Callable[[], Any] | None = None
    """Makes exactly `spans` spans of the library."""
    acall: Callable[[], Awaitable[Any]] | None = None
    """The same in its asyncio flavour."""
    spans: int = 1
    fails: Callable[[], Any] | None = None
    """Raises an error of the library's."""
    excluded: str = ""
    """A pattern for `excluded_urls` that leaves `call` out; empty where the library has no URLs."""
    name: str = ""
    """Which of several cases of the library it is."""
    many: int = 10000
    """Calls after which memory must be as before; fewer where a call takes long."""
