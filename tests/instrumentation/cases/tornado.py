"""Requests to a Tornado server that runs in the loop of the call, and by Tornado's client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.instrumentation.http_origin import serve_plainly
from tests.instrumentation.loops import ask, looping

from . import Case


class User(RequestHandler):
    """Answers with the identifier."""

    def get(self, id: str) -> None:
        """Answer."""
        self.write(id)


async def visit() -> Any:
    """Start a server, ask it, stop it."""
    server = HTTPServer(Application([(r"/users/(?P<id>\d+)", User)], log_function=lambda handler: None))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    answer = await ask(sockets[0].getsockname()[1], "/users/1")
    server.stop()
    await server.close_all_connections()
    return answer


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Each visit has a server of its own, so that its context is the caller's; the client asks another server."""
    with serve_plainly() as origin, looping() as loop:

        async def fetch(path: str) -> bytes:
            return (await AsyncHTTPClient().fetch(origin.url + path)).body

        yield [
            Case("tornado", acall=visit, excluded="/users", name="server", many=200),
            Case(
                "tornado",
                call=lambda: loop.run(fetch("/status/200")),
                acall=lambda: fetch("/status/200"),
                fails=lambda: loop.run(fetch("/status/500")),
                excluded="/status",
                name="client",
                many=200,
            ),
        ]
