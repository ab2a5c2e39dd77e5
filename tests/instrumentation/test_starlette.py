"""Starlette: routes of nested routers, errors, background tasks, and the middleware that traces by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from .conftest import Observe
from .gateways import call_asgi, make_scope
from .test_asgi import websocket

pytest.importorskip("starlette")

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.websockets import WebSocket


async def user(request: Request) -> PlainTextResponse:
    """Answer with the number."""
    return PlainTextResponse(str(request.path_params.get("number")))


class Item(HTTPEndpoint):
    """A view that is a class."""

    async def get(self, request: Request) -> PlainTextResponse:
        """Answer."""
        return PlainTextResponse("item")


async def boom(request: Request) -> PlainTextResponse:
    """Fail."""
    raise ZeroDivisionError("on purpose")


async def missing(request: Request) -> PlainTextResponse:
    """Fail in a way that has a handler."""
    raise KeyError("on purpose")


async def teapot(request: Request) -> PlainTextResponse:
    """Refuse."""
    raise HTTPException(418)


async def stream(request: Request) -> StreamingResponse:
    """Answer piece by piece, each with the span that is current then."""

    async def pieces() -> Any:
        for _ in range(2):
            yield f"{trace.get_current_span().get_span_context().span_id:x} "

    return StreamingResponse(pieces())


async def later(request: Request) -> PlainTextResponse:
    """Answer, and go on."""
    return PlainTextResponse("x", background=BackgroundTask(remind, "a"))


async def failing(request: Request) -> PlainTextResponse:
    """Answer, and then fail."""
    return PlainTextResponse("x", background=BackgroundTask(remind, ""))


def remind(whom: str) -> None:
    """Do something after the response."""
    if not whom:
        raise ZeroDivisionError("on purpose")


async def chat(connection: WebSocket) -> None:
    """Talk."""
    await connection.accept()
    await connection.receive_text()


async def handled(request: Request, error: Exception) -> PlainTextResponse:
    """Answer for an exception."""
    return PlainTextResponse("later", status_code=503)


def make_app(**more: Any) -> Starlette:
    """Make an application with something of everything."""
    routes = [
        Route("/users/{number:int}", user),
        Route("/item", Item),
        Route("/boom", boom),
        Route("/missing", missing),
        Route("/teapot", teapot),
        Route("/stream", stream),
        Route("/later", later),
        Route("/failing", failing),
        WebSocketRoute("/chat", chat),
        Mount("/shop/{shop}", routes=[Mount("/deep", app=Router([Route("/users/{number}", user)]))]),
        Mount("/app", app=Starlette(routes=[Route("/users/{number}", user), Route("/boom", boom)])),
        Host("api.example", app=Router([Route("/hosted/{number}", user)])),
    ]
    return Starlette(routes=routes, exception_handlers={KeyError: handled}, **more)


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/users/7", "/users/{number}", 200),
        ("/item", "/item", 200),
        ("/teapot", "/teapot", 418),
        ("/shop/blue/deep/users/7", "/shop/{shop}/deep/users/{number}", 200),
        ("/app/users/7", "/app/users/{number}", 200),
        ("/app/none", "/app/{path}", 404),
        ("/none", None, 404),
        ("/users/7/", None, 307),
    ],
)
def test_a_request_is_named_by_its_route(observed: Observe, path: str, route: str | None, status: int) -> None:
    """As Starlette writes it; through mounts with parameters, routers and applications within."""
    with observed("starlette") as seen:
        assert asyncio.run(call_asgi(make_app(), path)).status == status
        assert seen.span.name == (f"GET {route}" if route else "GET")
        assert seen.span.attributes.get("http.route") == route
        assert seen.span.status.status_code is StatusCode.UNSET


def test_a_route_of_a_host_is_named(observed: Observe) -> None:
    """The host is no part of the path."""
    with observed("starlette") as seen:
        asyncio.run(call_asgi(make_app(), "/hosted/1", headers=[(b"host", b"api.example")]))
        scope = make_scope("/hosted/1")
        scope["headers"] = [(b"host", b"api.example")]

        async def send(message: Any) -> None:
            pass

        asyncio.run(make_app()(scope, None, send))  # type: ignore[arg-type]
        assert seen.spans[-1].name == "GET /hosted/{number}"


def test_the_application_root_belongs_to_the_route(observed: Observe) -> None:
    """A server that is told of a prefix has it in the path as well."""
    with observed("starlette") as seen:
        asyncio.run(call_asgi(make_app(), "/v1/users/7", root_path="/v1"))
        asyncio.run(call_asgi(make_app(), "/v1/app/users/7", root_path="/v1"))
        assert [span.name for span in seen.spans] == ["GET /v1/users/{number}", "GET /v1/app/users/{number}"]


@pytest.mark.parametrize("path", ["/boom", "/app/boom"])
def test_an_exception_that_goes_through_is_recorded_once(observed: Observe, path: str) -> None:
    """Starlette answers, and then raises: the server's log needs it."""
    with observed("starlette") as seen:
        with pytest.raises(ZeroDivisionError):
            asyncio.run(call_asgi(make_app(), path))
        told = seen.span.attributes
        assert (told["error.type"], told["http.response.status_code"], told["http.route"]) == ("500", 500, path)
        (event,) = seen.span.events
        assert "in boom" in event.attributes["exception.stacktrace"]


def test_an_exception_that_a_handler_made_a_server_error_is_recorded(observed: Observe) -> None:
    """With its traceback, which Starlette drops once it has answered."""
    with observed("starlette") as seen:
        assert asyncio.run(call_asgi(make_app(), "/missing")).status == 503
        (event,) = seen.span.events
        assert event.attributes["exception.type"] == "KeyError"
        assert "in missing" in event.attributes["exception.stacktrace"]


def test_a_stream_runs_in_the_span(observed: Observe) -> None:
    """Generators of endpoints run after the endpoint."""
    with observed("starlette") as seen:
        body = asyncio.run(call_asgi(make_app(), "/stream")).body.decode()
        assert {int(number, 16) for number in body.split()} == {seen.span.context.span_id}


def test_a_background_task_has_a_span_of_its_own(observed: Observe) -> None:
    """It runs after the response, which it doesn't make longer."""
    with observed("starlette") as seen:
        asyncio.run(call_asgi(make_app(), "/later"))
        request, task = seen.spans
        assert (request.name, task.name) == ("GET /later", "background remind")
        assert task.parent.span_id == request.context.span_id
        assert task.start_time >= request.end_time
        assert task.attributes["code.function.name"] == f"{__name__}.remind"


def test_a_background_task_that_fails_is_its_own_failure(observed: Observe) -> None:
    """The client has had its answer."""
    with observed("starlette") as seen:
        with pytest.raises(ZeroDivisionError):
            asyncio.run(call_asgi(make_app(), "/failing"))
        request, task = seen.spans
        assert request.status.status_code is StatusCode.UNSET
        assert task.status.status_code is StatusCode.ERROR


def test_a_middleware_of_the_users_changes_nothing(observed: Observe) -> None:
    """`BaseHTTPMiddleware` runs the application in another task."""

    async def dispatch(request: Request, call_next: Any) -> Any:
        assert trace.get_current_span().is_recording()
        return await call_next(request)

    app = make_app(middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)])
    with observed("starlette") as seen:
        body = asyncio.run(call_asgi(app, "/stream")).body.decode()
        assert seen.span.name == "GET /stream"
        assert {int(number, 16) for number in body.split()} == {seen.span.context.span_id}
        assert seen.span.attributes["http.response.body.size"] == len(body)


def test_the_middleware_that_traces_by_itself_keeps_quiet(observed: Observe) -> None:
    """Starlette ships it; an application that has added it still has one span a request."""
    native = pytest.importorskip("starlette.middleware.opentelemetry")
    with observed("starlette") as seen:
        middleware = [Middleware(native.OpenTelemetryMiddleware, tracer_provider=seen.tracer_provider)]
        asyncio.run(call_asgi(make_app(middleware=middleware), "/users/7"))
        assert seen.span.name == "GET /users/{number}"
        asyncio.run(call_asgi(make_app(middleware=middleware), "/app/users/7"))
        assert len(seen.spans) == 2


def test_a_websocket_is_named_by_its_route(observed: Observe) -> None:
    """A client that leaves in the midst of it is no error."""
    received = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
    with observed("starlette") as seen:
        with pytest.raises(Exception, match="1001"):
            websocket(make_app(), received)
        assert seen.span.name == "GET /chat"
        assert seen.span.status.status_code is StatusCode.UNSET


def test_a_client_that_leaves_while_it_sends_is_no_error(observed: Observe) -> None:
    """Starlette raises `ClientDisconnect` in the application then."""

    async def upload(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await request.body())

    async def run() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        await Starlette(routes=[Route("/", upload)])(make_scope(), receive, send)

    with observed("starlette") as seen:
        with pytest.raises(Exception) as caught:
            asyncio.run(run())
        assert type(caught.value).__name__ == "ClientDisconnect"
        assert not seen.span.events


def test_the_lifespan_is_no_request(observed: Observe) -> None:
    """Nothing is told of it, and it runs."""
    states: list[str] = []

    class Lifespan:
        def __init__(self, app: Any) -> None:
            pass

        async def __aenter__(self) -> None:
            states.append("up")

        async def __aexit__(self, *error: Any) -> None:
            states.append("down")

    async def run() -> None:
        messages = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

        async def receive() -> Any:
            return messages.pop()

        async def send(message: Any) -> None:
            states.append(message["type"])

        await make_app(lifespan=Lifespan)({"type": "lifespan", "state": {}}, receive, send)

    with observed("starlette") as seen:
        asyncio.run(run())
        assert states == ["up", "lifespan.startup.complete", "down", "lifespan.shutdown.complete"]
        assert not seen.spans
