"""One request through Flask, in-process: the smallest view, a prepared environ, the body closed as a server does."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.flask:FlaskInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-flask"
DDTRACE = "flask"
REQUIRES = ("flask",)


def prepare() -> Callable[[], object]:
    """Give the request."""
    from flask import Flask

    from .wsgi import request

    app = Flask("benchmark")

    @app.get("/user/<int:number>")
    def user(number: int) -> str:
        return "user"

    return request(app)
