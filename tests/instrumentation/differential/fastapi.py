"""FastAPI, with what it stands on."""

from __future__ import annotations

from functools import partial

from tests.instrumentation.test_fastapi import make_app

from . import Request, left, messages

LIBRARIES = ("fastapi", "starlette", "asgi")
PATHS = (
    "/users/7",
    "/users/x",
    "/boom",
    "/missing",
    "/unavailable",
    "/stream",
    "/later",
    "/shop/orders/7",
    "/shop/orders/7/items/a",
    "/docs",
    "/openapi.json",
    "/none",
)


def requests() -> dict[str, Request]:
    """Answers and exceptions of all kinds; a client that leaves a stream."""
    app = make_app()
    found: dict[str, Request] = {path: partial(messages, app, path) for path in PATHS}
    found |= {f"POST {path}": partial(messages, app, path, "POST") for path in PATHS}
    found["left"] = partial(left, app, "/stream", 2)
    return found
