"""Requests to an aiohttp server that runs in the loop of the call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from tests.instrumentation.loops import ask

from . import Case


async def user(request: web.Request) -> web.Response:
    """Answer with the identifier."""
    return web.Response(text=request.match_info["id"])


async def visit() -> Any:
    """Start a server, ask it, stop it."""
    app = web.Application()
    app.add_routes([web.get("/users/{id}", user)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    answer = await ask(runner.addresses[0][1], "/users/1")
    await runner.cleanup()
    return answer


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Each call has a server of its own, so that its context is the caller's."""
    yield [Case("aiohttp_server", acall=visit, excluded="/users", many=200)]
