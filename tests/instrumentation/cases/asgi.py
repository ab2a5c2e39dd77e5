"""Requests to a bare ASGI application, as uvicorn has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.instrumentation.gateways import Answer, call_asgi

from . import Case


async def app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Answer at once."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


async def get() -> Answer:
    """Make a request."""
    config = uvicorn.Config(app, log_config=None, proxy_headers=False)
    config.load()
    return await call_asgi(config.loaded_app, "/users")


@contextmanager
def cases() -> Iterator[list[Case]]:
    """The application is loaded anew each time."""
    yield [Case("asgi", acall=get, excluded="/users", many=300)]
