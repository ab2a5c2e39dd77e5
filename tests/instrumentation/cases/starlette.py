"""Requests through Starlette."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from tests.instrumentation.gateways import call_asgi

from . import Case


async def user(request: Request) -> PlainTextResponse:
    """Answer with the number."""
    return PlainTextResponse(str(request.path_params["number"]))


async def boom(request: Request) -> PlainTextResponse:
    """Fail."""
    raise ZeroDivisionError("on purpose")


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A route behind a mount, and one that fails."""
    app = Starlette(routes=[Mount("/shop", routes=[Route("/users/{number:int}", user)]), Route("/boom", boom)])
    yield [
        Case(
            "starlette",
            acall=lambda: call_asgi(app, "/shop/users/7"),
            fails=lambda: asyncio.run(call_asgi(app, "/boom")),
            excluded="/users",
        )
    ]
