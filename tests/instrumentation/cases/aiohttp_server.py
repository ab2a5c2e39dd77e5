"""Requests to an aiohttp server."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from aiohttp import web

from tests.instrumentation.loops import looping

from . import Case


async def user(request: web.Request) -> web.Response:
    """Answer with the identifier."""
    return web.Response(text=request.match_info["id"])


async def started() -> tuple[web.AppRunner, int]:
    """Start a server on a free port."""
    app = web.Application()
    app.add_routes([web.get("/users/{id}", user)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A client that is not instrumented asks."""
    with looping() as loop:
        runner, port = loop.run(started())
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:

            def get() -> Any:
                connection.request("GET", "/users/1")
                body = connection.getresponse().read()
                loop.settle()
                return body

            yield [Case("aiohttp_server", call=get, excluded="/users", many=1000)]
        loop.run(runner.cleanup())
