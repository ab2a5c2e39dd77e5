"""Requests through Django, below WSGI and below ASGI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.instrumentation import django_project
from tests.instrumentation.gateways import call_asgi, call_wsgi

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """One view in both; Django itself makes a response of what a view raises."""
    wsgi, asgi = django_project.wsgi(), django_project.asgi()
    yield [
        Case(
            "django",
            call=lambda: call_wsgi(wsgi, "/users/7"),
            acall=lambda: call_asgi(asgi, "/users/7"),
            excluded="/users",
            many=3000,
        ),
        Case("django", call=lambda: call_wsgi(wsgi, "/stream"), excluded="/stream", many=1000, name="stream"),
    ]
