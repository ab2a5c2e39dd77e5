"""A bare ASGI application, as uvicorn has it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn

from . import Request, left, messages

LIBRARIES = ("asgi",)


async def streaming(scope: Any, receive: Any, send: Any) -> None:
    """Answers piece by piece."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-type", scope["type"].encode())]})
    for number in range(3):
        await send({"type": "http.response.body", "body": b"%d" % number, "more_body": number < 2})


async def failing(scope: Any, receive: Any, send: Any) -> None:
    """Fails in the midst of the response."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise ZeroDivisionError("on purpose") from KeyError("before")


async def wrong(scope: Any, receive: Any, send: Any) -> None:
    """Sends what is no message."""
    await send({"type": "http.response.start"})
    await send({})


def given(app: Callable[..., Any]) -> Callable[..., Any]:
    """Give an application to a server that is made now, with the agent or without."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        config = uvicorn.Config(app, log_config=None, proxy_headers=False)
        config.load()
        await config.loaded_app(scope, receive, send)

    return call


def requests() -> dict[str, Request]:
    """Good and bad applications; a client that leaves."""
    apps = (streaming, failing, wrong)
    found: dict[str, Request] = {app.__name__: partial(messages, given(app), "/") for app in apps}
    found["left"] = partial(left, given(streaming), "/", 2)
    return found
