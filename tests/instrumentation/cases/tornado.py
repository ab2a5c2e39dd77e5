"""Requests to a Tornado server, and by its client."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from tests.instrumentation.http_origin import serve
from tests.instrumentation.loops import looping

from . import Case


class User(RequestHandler):
    """Answers with the identifier."""

    def get(self, id: str) -> None:
        """Answer."""
        self.write(id)


async def started() -> tuple[HTTPServer, int]:
    """Start a server on a free port."""
    server = HTTPServer(Application([(r"/users/(?P<id>\d+)", User)], log_function=lambda handler: None))
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    return server, sockets[0].getsockname()[1]


async def stopped(server: HTTPServer) -> None:
    """Stop a server."""
    server.stop()
    await server.close_all_connections()


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A client that is not instrumented asks the server; Tornado's client asks another server."""
    with looping() as loop, serve() as origin:
        server, port = loop.run(started())
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:

            def get() -> Any:
                connection.request("GET", "/users/1")
                body = connection.getresponse().read()
                loop.settle()
                return body

            async def fetch(path: str) -> bytes:
                return (await AsyncHTTPClient().fetch(origin.url + path)).body

            yield [
                Case("tornado", call=get, excluded="/users", name="server", many=500),
                Case(
                    "tornado",
                    call=lambda: loop.run(fetch("/status/200")),
                    acall=lambda: fetch("/status/200"),
                    fails=lambda: loop.run(fetch("/status/500")),
                    excluded="/status",
                    name="client",
                    many=300,
                ),
            ]
        loop.run(stopped(server))
