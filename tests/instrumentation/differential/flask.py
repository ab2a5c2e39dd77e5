"""Flask, below the server of the standard library."""

from __future__ import annotations

from functools import partial

from tests.instrumentation.gateways import call_wsgi
from tests.instrumentation.test_flask import make_app

from . import Request, wire

LIBRARIES = ("flask", "wsgi")
PATHS = ("/users/7", "/users/x", "/abort", "/boom", "/missing", "/items/3", "/shop/orders/a/items/b", "/none")


def requests() -> dict[str, Request]:
    """Answers of all kinds; exceptions that are made an answer, and those that go through."""
    app, strict = make_app(), make_app(PROPAGATE_EXCEPTIONS=True)
    app.add_url_rule("/chunks", "chunks", lambda: app.response_class(str(number) for number in range(3)))
    app.add_url_rule("/file", "file", lambda: app.send_static_file("missing"))
    found: dict[str, Request] = {path: partial(wire, app, path) for path in (*PATHS, "/chunks", "/file")}
    found |= {f"HEAD {path}": partial(wire, app, path, "HEAD") for path in PATHS}
    found["through"] = partial(call_wsgi, strict, "/boom")
    return found
