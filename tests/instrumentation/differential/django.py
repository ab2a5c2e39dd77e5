"""Django, below both interfaces."""

from __future__ import annotations

from functools import partial

from tests.instrumentation import django_project

from . import Request, messages, wire

LIBRARIES = ("django", "wsgi", "asgi")
PATHS = ("/users/7", "/users/x", "/later", "/boom", "/missing", "/file", "/shop/orders/a", "/old/3", "/none")


def requests() -> dict[str, Request]:
    """Answers and exceptions of all kinds."""
    wsgi, asgi = django_project.wsgi(), django_project.asgi()
    found: dict[str, Request] = {path: partial(wire, wsgi, path) for path in PATHS}
    found |= {f"ASGI {path}": partial(messages, asgi, path) for path in PATHS if path != "/file"}
    return found
