"""Requests through Flask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, Response

from tests.instrumentation.gateways import call_wsgi

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """A body that is there, and one that is generated."""
    app = Flask("cases")
    app.config["PROPAGATE_EXCEPTIONS"] = True

    @app.get("/users/<int:number>")
    def user(number: int) -> str:
        return f"user {number}"

    @app.get("/stream")
    def stream() -> Response:
        return Response(piece for piece in ("a", "b"))

    @app.get("/boom")
    def boom() -> str:
        raise ZeroDivisionError("on purpose")

    yield [
        Case(
            "flask",
            call=lambda: call_wsgi(app, "/users/7"),
            fails=lambda: call_wsgi(app, "/boom"),
            excluded="/users",
        ),
        Case("flask", call=lambda: call_wsgi(app, "/stream"), excluded="/stream", name="stream"),
    ]
