"""Requests through FastAPI."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from tests.instrumentation.gateways import call_asgi

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A coroutine, and one that fails."""
    app = FastAPI()

    @app.get("/users/{number}")
    async def user(number: int) -> int:
        return number

    @app.get("/boom")
    async def boom() -> None:
        raise ZeroDivisionError("on purpose")

    yield [
        Case(
            "fastapi",
            acall=lambda: call_asgi(app, "/users/7"),
            fails=lambda: asyncio.run(call_asgi(app, "/boom")),
            excluded="/users",
            many=3000,
        )
    ]
