"""aiohttp, on a real socket."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.instrumentation.loops import ask
from tests.instrumentation.test_aiohttp_server import visit

from . import Request, undated

LIBRARIES = ("aiohttp_server",)
PATHS = (
    "/users/7",
    "/users/7?a=b",
    "/boom",
    "/stream",
    "/refuse/302",
    "/refuse/403",
    "/refuse/500",
    "/part/orders/x",
    "/talk",
    "/none",
)


def get(path: str, method: str = "GET") -> bytes:
    """Give the bytes that a server sends."""

    async def there(session: Any, url: str) -> bytes:
        return await ask(int(url.rpartition(":")[2]), path, method)

    return undated(visit(there))


def requests() -> dict[str, Request]:
    """Answers of all kinds, and exceptions that are made one."""
    found: dict[str, Request] = {path: partial(get, path) for path in PATHS}
    found |= {f"{method} {path}": partial(get, path, method) for path in PATHS[:4] for method in ("HEAD", "BREW")}
    return found
