"""FastAPI: routes of included and mounted routers, errors, and its own tracing, which must not double ours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.trace import StatusCode

from .conftest import Observe
from .gateways import call_asgi
from .test_asgi import served, websocket

pytest.importorskip("fastapi")

from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse


def make_app() -> FastAPI:
    """Make an application with something of everything."""
    app = FastAPI()
    orders = APIRouter(prefix="/orders")
    items = APIRouter()

    @app.get("/users/{number}")
    async def user(number: int) -> int:
        return number

    @app.get("/threaded/{number}")
    def threaded(number: int) -> str:
        return f"{trace.get_current_span().get_span_context().span_id:x}"

    @app.get("/boom")
    async def boom() -> None:
        raise ZeroDivisionError("on purpose")

    @app.get("/missing")
    def missing() -> None:
        raise KeyError("on purpose")

    @app.exception_handler(KeyError)
    async def handled(request: Request, error: KeyError) -> PlainTextResponse:
        return PlainTextResponse("later", 503)

    @app.get("/unavailable")
    async def unavailable() -> None:
        raise HTTPException(503)

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(str(number) for number in range(3))

    @app.get("/later")
    async def later(tasks: BackgroundTasks) -> None:
        tasks.add_task(remind)

    @app.websocket("/chat/{room}")
    async def chat(connection: WebSocket, room: str) -> None:
        await connection.accept()
        await connection.close()

    @items.get("/items/{slug}")
    async def item(slug: str) -> str:
        return slug

    @orders.get("/{number}")
    async def order(number: int) -> int:
        return number

    orders.include_router(items, prefix="/{number}")
    app.include_router(orders, prefix="/shop")
    return app


def remind() -> None:
    """Do something after the response."""


@pytest.fixture(params=[("fastapi",), ("fastapi", "starlette"), ("starlette", "fastapi", "asgi")], ids="+".join)
def libraries(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """It is the same alone, with what it stands on, and in a server."""
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/users/7", "/users/{number}", 200),
        ("/users/x", "/users/{number}", 422),
        ("/shop/orders/7", "/shop/orders/{number}", 200),
        ("/shop/orders/7/items/a", "/shop/orders/{number}/items/{slug}", 200),
        ("/docs", "/docs", 200),
        ("/none", None, 404),
    ],
)
def test_a_request_is_named_by_its_route(
    observed: Observe, libraries: tuple[str, ...], path: str, route: str | None, status: int
) -> None:
    """Through routers that are included in routers; and there is one span and one measurement."""
    with observed(*libraries) as seen:
        assert asyncio.run(call_asgi(make_app(), path)).status == status
        assert seen.span.name == (f"GET {route}" if route else "GET")
        (point,) = seen.metrics()["http.server.request.duration"]
        assert (point.count, point.attributes.get("http.route")) == (1, route)


def test_a_mounted_application_is_named_below_its_mount(observed: Observe, libraries: tuple[str, ...]) -> None:
    """With the template of the mount, and one span for both."""
    app = FastAPI()
    inner = FastAPI()

    @inner.get("/users/{number}")
    async def user(number: int) -> int:
        return number

    app.mount("/tenants/{tenant}", inner)
    with observed(*libraries) as seen:
        asyncio.run(call_asgi(app, "/tenants/blue/users/7"))
        assert seen.span.name == "GET /tenants/{tenant}/users/{number}"


def test_the_root_path_belongs_to_the_route(observed: Observe, libraries: tuple[str, ...]) -> None:
    """A server that is told of a prefix has it in the path as well."""
    with observed(*libraries) as seen:
        asyncio.run(call_asgi(make_app(), "/v1/users/7", root_path="/v1"))
        assert seen.span.name == "GET /v1/users/{number}"


def test_its_own_tracing_does_not_double_ours(
    observed: Observe, libraries: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It traces and counts by itself as soon as a global provider is set: still one span, one point, no more."""
    with observed(*libraries) as seen:
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", seen.tracer_provider)
        monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", seen.meter_provider)
        app = make_app()
        app.mount("/tenants/{tenant}", make_app())
        for path in ("/users/7", "/tenants/blue/users/7"):
            seen.clear()
            asyncio.run(call_asgi(app, path))
            assert [span.instrumentation_scope.name for span in seen.spans] != ["fastapi"]
            assert len(seen.spans) == 1
        assert sum(point.count for point in seen.metrics()["http.server.request.duration"]) == 2
        assert [point.value for point in seen.metrics()["http.server.active_requests"]] == [0]


def test_its_own_tracing_leaves_excluded_requests_alone(observed: Observe, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user excludes from ours is not meant to come back from elsewhere."""
    with observed("fastapi", excluded_urls="/users") as seen:
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", seen.tracer_provider)
        asyncio.run(call_asgi(make_app(), "/users/7"))
        assert not seen.spans


def test_an_exception_that_goes_through_is_recorded_once(observed: Observe, libraries: tuple[str, ...]) -> None:
    """FastAPI answers, and then raises."""
    with observed(*libraries) as seen:
        with pytest.raises(ZeroDivisionError):
            asyncio.run(call_asgi(make_app(), "/boom"))
        assert seen.span.attributes["error.type"] == "500"
        (event,) = seen.span.events
        assert "in boom" in event.attributes["exception.stacktrace"]


@pytest.mark.parametrize(
    ("path", "error"),
    [("/missing", "KeyError"), ("/unavailable", "fastapi.exceptions.HTTPException")],
)
def test_an_exception_that_became_a_server_error_is_recorded(
    observed: Observe, libraries: tuple[str, ...], path: str, error: str
) -> None:
    """By a handler of the application, or by FastAPI's own."""
    with observed(*libraries) as seen:
        assert asyncio.run(call_asgi(make_app(), path)).status == 503
        assert seen.span.status.status_code is StatusCode.ERROR
        (event,) = seen.span.events
        assert event.attributes["exception.type"] == error


def test_a_function_in_a_thread_has_the_span(observed: Observe, libraries: tuple[str, ...]) -> None:
    """Endpoints that are no coroutines run in a pool."""
    with observed(*libraries) as seen:
        body = asyncio.run(call_asgi(make_app(), "/threaded/7")).body
        assert int(body.strip(b'"'), 16) == seen.span.context.span_id


def test_a_stream_has_its_true_size(observed: Observe) -> None:
    """The span ends with its last piece."""
    with observed("fastapi") as seen:
        asyncio.run(call_asgi(make_app(), "/stream"))
        assert seen.span.attributes["http.response.body.size"] == 3


def test_a_background_task_has_a_span_of_its_own(observed: Observe) -> None:
    """From the framework that FastAPI stands on."""
    with observed("fastapi", "starlette") as seen:
        asyncio.run(call_asgi(make_app(), "/later"))
        assert [span.name for span in seen.spans] == ["GET /later", "background remind"]


def test_a_websocket_is_named_by_its_route(observed: Observe, libraries: tuple[str, ...]) -> None:
    """One span for the connection."""
    app = FastAPI()

    @app.websocket("/{room}")
    async def chat(connection: WebSocket, room: str) -> None:
        await connection.accept()
        await connection.close()

    with observed(*libraries) as seen:
        websocket(app, [{"type": "websocket.connect"}])
        assert seen.span.name == "GET /{room}"


def test_hooks_of_all_are_called_under_a_server(observed: Observe) -> None:
    """The span is the server's, the route FastAPI's, and both hooks see the request."""
    shown: list[Any] = []
    hooks = {
        "request_hook": lambda span, scope: shown.append(scope["path"]),
        "response_hook": lambda span, scope, message: shown.append(message["status"]),
    }
    with observed("fastapi", "starlette", "asgi", **hooks) as seen:
        asyncio.run(call_asgi(served(make_app()), "/users/7"))
        assert shown == ["/users/7", 200]
        assert seen.span.name == "GET /users/{number}"


def test_what_fastapi_excludes_the_server_leaves_alone(observed: Observe) -> None:
    """The server has begun already when FastAPI is asked; nothing of that is left."""
    with observed("fastapi", "starlette", "asgi", excluded_urls="/users") as seen:
        assert asyncio.run(call_asgi(served(make_app()), "/users/7")).body == b"7"
        assert not seen.spans
        assert "http.server.request.duration" not in seen.metrics()


def test_a_call_of_another_application_in_the_process_is_a_request_of_its_own(observed: Observe) -> None:
    """Unlike a mount, it has a scope of its own."""
    outer, inner = FastAPI(), make_app()

    @outer.get("/ask")
    async def ask() -> int:
        return (await call_asgi(inner, "/users/7")).status

    with observed("fastapi") as seen:
        asyncio.run(call_asgi(outer, "/ask"))
        one, two = seen.spans
        assert (one.name, two.name) == ("GET /users/{number}", "GET /ask")
        assert one.parent.span_id == two.context.span_id
