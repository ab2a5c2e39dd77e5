"""Starlette, in a server's hands."""

from __future__ import annotations

from functools import partial

from tests.instrumentation.test_starlette import make_app

from . import Request, left, messages

LIBRARIES = ("starlette", "asgi")
PATHS = (
    "/users/7",
    "/users/x",
    "/users/7/",
    "/item",
    "/boom",
    "/missing",
    "/teapot",
    "/later",
    "/failing",
    "/shop/blue/deep/users/7",
    "/app/users/7",
    "/app/boom",
    "/none",
)


def requests() -> dict[str, Request]:
    """Answers and exceptions of all kinds; a client that leaves a stream."""
    app = make_app()
    found: dict[str, Request] = {path: partial(messages, app, path) for path in PATHS}
    found |= {f"HEAD {path}": partial(messages, app, path, "HEAD") for path in PATHS}
    found["left"] = partial(left, app, "/later", 2)
    return found
