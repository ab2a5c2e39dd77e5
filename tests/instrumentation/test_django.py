"""Django below WSGI and ASGI: the same project, the same spans."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from .conftest import Observe
from .gateways import Answer, call_asgi, call_wsgi

pytest.importorskip("django")

from . import django_project

Ask = Callable[..., Answer]


@pytest.fixture(params=["wsgi", "asgi"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Make requests to the project through either interface."""
    if request.param == "wsgi":
        wsgi = django_project.wsgi()
        return lambda *args, **kwargs: call_wsgi(wsgi, *args, **kwargs)
    asgi = django_project.asgi()
    return lambda *args, **kwargs: asyncio.run(call_asgi(asgi, *args, **kwargs))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Django logs each failure that the tests ask for."""
    logger = logging.getLogger("django.request")
    logger.disabled = True
    yield
    logger.disabled = False


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/users/7", "/users/<int:number>", 200),
        ("/later", "/later", 200),
        ("/shop/orders/a-b", "/shop/orders/<slug:slug>", 200),
        ("/shop/archive/1999/", "/shop/archive/(?P<number>[0-9]{4})/", 200),
        ("/old/7", "/old/(?P<number>[0-9]+)", 200),
        ("/file", "/file", 200),
        ("/none", None, 404),
    ],
)
def test_a_request_is_named_by_its_pattern(
    observed: Observe, ask: Ask, path: str, route: str | None, status: int
) -> None:
    """Paths, regular expressions, includes and class-based views; a path that nobody has is no name."""
    with observed("django") as seen:
        answer = ask(path)
        assert answer.status == status
        assert seen.span.name == (f"GET {route}" if route else "GET")
        assert seen.span.attributes.get("http.route") == route
        assert seen.span.status.status_code is StatusCode.UNSET
        assert seen.span.attributes["http.response.body.size"] == len(answer.body)


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [("/boom", 500, "ZeroDivisionError"), ("/missing", 503, "KeyError")],
)
def test_an_exception_that_became_a_server_error_is_recorded(
    observed: Observe, ask: Ask, path: str, status: int, error: str
) -> None:
    """Django's own 500, and that of a middleware."""
    with observed("django") as seen:
        assert ask(path).status == status
        told = seen.span.attributes
        assert (told["error.type"], told["http.route"]) == (str(status), path)
        (event,) = seen.span.events
        assert event.attributes["exception.type"] == error
        assert "on purpose" in event.attributes["exception.stacktrace"]


def test_a_stream_runs_in_the_span(observed: Observe, ask: Ask) -> None:
    """Its pieces are made while the server sends."""
    with observed("django") as seen:
        body = ask("/stream").body.decode()
        assert {int(number, 16) for number in body.split()} == {seen.span.context.span_id}


def test_the_application_root_belongs_to_the_route(observed: Observe) -> None:
    """Where a server has mounted the project below a path."""
    with observed("django") as seen:
        call_wsgi(django_project.wsgi(), "/users/7", SCRIPT_NAME="/site")
        asyncio.run(call_asgi(django_project.asgi(), "/site/users/7", root_path="/site"))
        assert [span.name for span in seen.spans] == ["GET /site/users/<int:number>"] * 2


def test_requests_are_measured(observed: Observe, ask: Ask) -> None:
    """One point a request, with its route."""
    with observed("django") as seen:
        ask("/users/7")
        (point,) = seen.metrics()["http.server.request.duration"]
        assert (point.count, point.attributes["http.route"]) == (1, "/users/<int:number>")


def test_a_file_stays_what_the_server_knows(observed: Observe) -> None:
    """A server sends its own wrapper's files by itself."""
    from wsgiref.util import FileWrapper

    from .gateways import Responder, make_environ

    environ: Any = make_environ("/file", **{"wsgi.file_wrapper": FileWrapper})
    with observed("django") as seen:
        body = django_project.wsgi()(environ, Responder())
        assert type(body) is FileWrapper
        assert not seen.spans
        body.close()
        assert seen.span.name == "GET /file"


def test_an_excluded_url_is_left_alone(observed: Observe, ask: Ask) -> None:
    """No span, no measurement."""
    with observed("django", excluded_urls="/users") as seen:
        assert ask("/users/7").body == b"user 7"
        assert not seen.spans


def test_it_takes_part_in_the_span_of_a_server(observed: Observe) -> None:
    """One span and one measurement, named by the pattern."""
    from .test_asgi import served as asgi_served
    from .test_wsgi import served

    with observed("django", "wsgi", "asgi") as seen:
        call_wsgi(served(django_project.wsgi()), "/users/7")
        asyncio.run(call_asgi(asgi_served(django_project.asgi()), "/users/7"))
        assert [span.name for span in seen.spans] == ["GET /users/<int:number>"] * 2
        assert sum(point.count for point in seen.metrics()["http.server.request.duration"]) == 2
