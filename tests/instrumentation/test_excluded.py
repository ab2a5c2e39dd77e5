"""Requests that the user excludes: neither they nor anything that they call is told of, in every kind of server."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Observe
from .gateways import call_asgi, call_wsgi

pytest.importorskip("flask")
pytest.importorskip("starlette")


def ask_database(seen: Any) -> None:
    """Make what would be a span of a library, and a measurement."""
    with sqlite3.connect(":memory:") as database:
        database.execute("SELECT 1").fetchall()


def silent(seen: Any) -> bool:
    """Whether nothing at all was recorded."""
    return not seen.spans and not any(name.endswith(".duration") for name in seen.metrics())


@pytest.fixture
def bare(observed: Observe) -> Any:
    """A WSGI application in a server of the standard library's kind, one that answers piece by piece."""
    from noops_agent.instrument.wsgi import application_class

    def make(seen: Any, body: Any) -> Any:
        def app(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            ask_database(seen)
            return body()

        return application_class(seen.handle.live)(app)

    return make


def test_the_body_of_an_excluded_response_makes_nothing(observed: Observe, bare: Any) -> None:
    """It is made after the application has returned, piece by piece."""
    with observed("wsgi", "sqlite3", excluded_urls=["/health"]) as seen:

        def body() -> Iterator[bytes]:
            ask_database(seen)
            yield b"a"
            ask_database(seen)
            yield b"b"

        assert call_wsgi(bare(seen, body), "/health").body == b"ab"
        assert silent(seen)
        ask_database(seen)
        assert len(seen.spans) == 1  # nothing of it stays


def test_what_the_framework_excludes_makes_nothing_in_its_views_and_bodies(observed: Observe) -> None:
    """The server's exchange has begun, and is current, when the framework is asked."""
    import flask

    from noops_agent.instrument.wsgi import application_class

    app = flask.Flask("excluded")
    with observed("flask", "wsgi", "sqlite3", excluded_urls="/stream") as seen:

        @app.get("/stream")
        def stream() -> Any:
            ask_database(seen)

            def body() -> Iterator[str]:
                ask_database(seen)
                yield "a"

            return flask.Response(body())

        from noops_agent.instrument import registry

        served = application_class(registry._enabled["wsgi"].live)(app)
        assert call_wsgi(served, "/stream").body == b"a"
        assert silent(seen)
        ask_database(seen)
        assert len(seen.spans) == 1


def test_an_excluded_asgi_request_makes_nothing(observed: Observe) -> None:
    """Nor do its background tasks, which run when the response is gone."""
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    with observed("starlette", "sqlite3", excluded_urls="/health") as seen:

        async def health(request: Any) -> Any:
            ask_database(seen)
            return PlainTextResponse("ok", background=BackgroundTask(ask_database, seen))

        app = Starlette(routes=[Route("/health", health)])
        assert asyncio.run(call_asgi(app, "/health")).body == b"ok"
        assert silent(seen)
