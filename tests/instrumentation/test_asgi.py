"""ASGI: one span from the first byte to the last message, and nothing that the host notices."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, StatusCode

from noops_agent._signals.propagation import TraceContextPropagator
from noops_agent.instrument.http_server import KEY

from .conftest import Observe
from .gateways import call_asgi, call_wsgi, make_scope

uvicorn = pytest.importorskip("uvicorn")

TRACEPARENT = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

App = Callable[..., Any]


def served(app: App) -> App:
    """Give an application to a server, and take what the server calls."""
    config = uvicorn.Config(app, log_config=None, proxy_headers=False)
    config.load()
    return config.loaded_app  # type: ignore[no-any-return]


def answering(*messages: dict[str, Any], status: int = 200, **start: Any) -> App:
    """Make an application that sends messages; text stands for a body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [], **start})
        for message in messages or ({"type": "http.response.body", "body": b"here"},):
            await send(message)

    return app


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    """Make a message with a piece of a body."""
    return {"type": "http.response.body", "body": data, "more_body": more}


# ---- what a request tells --------------------------------------------------------------------------------


def test_a_request_is_described_by_the_conventions(observed: Observe) -> None:
    """Every attribute that the conventions recommend for a server, and no other; no span for messages."""
    with observed("asgi") as seen:
        asyncio.run(call_asgi(served(answering()), "/shop/1?q=2", headers=[(b"user-agent", b"tests/1")]))
        span = seen.span
        assert (span.name, span.kind, span.status.status_code) == ("GET", SpanKind.SERVER, StatusCode.UNSET)
        told = dict(span.attributes)
        assert told.pop("http.response.time_to_first_byte") > 0
        assert told == {
            "client.address": "10.0.0.9",
            "http.request.method": "GET",
            "http.response.body.size": 4,
            "http.response.status_code": 200,
            "network.peer.address": "10.0.0.9",
            "network.peer.port": 40000,
            "network.protocol.version": "1.1",
            "server.address": "shop.example",
            "server.port": 8000,
            "url.path": "/shop/1",
            "url.query": "q=2",
            "url.scheme": "http",
            "user_agent.original": "tests/1",
        }


def test_the_remote_parent_is_the_parent(observed: Observe) -> None:
    """Trace and parent are those of the header."""
    with observed("asgi") as seen:
        asyncio.run(call_asgi(served(answering()), headers=[TRACEPARENT]))
        assert seen.span.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
        assert seen.span.parent.is_remote


def test_two_parents_are_none(observed: Observe, monkeypatch: pytest.MonkeyPatch) -> None:
    """W3C Trace Context: several `traceparent` headers are invalid, and the trace begins here."""
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", TraceContextPropagator())
    with observed("asgi") as seen:
        asyncio.run(call_asgi(served(answering()), headers=[TRACEPARENT, TRACEPARENT]))
        assert seen.span.parent is None


HOSTILE: list[dict[str, Any]] = [
    {"headers": [(b"host", b"[::1")]},
    {"headers": [(b"host", b"\xff" * 10_000)]},
    {"headers": [(b"user-agent", b"\xff\x00")]},
    {"headers": [(b"content-length", b"-1")]},
    {"headers": [(b"forwarded", b"=;,=")]},
    {"headers": [(b"x-forwarded-proto", b"\xff")]},
    {"query_string": b"\xff&sig=\xff"},
    {"path": "/\udcff"},
    {"client": None},
    {"client": ("/run/socket", None)},
    {"server": None, "headers": []},
    {"server": ("/run/socket", None), "headers": []},
    {"http_version": "3"},
]


@pytest.mark.parametrize("more", HOSTILE, ids=lambda more: next(iter(more)))
def test_no_input_raises_or_costs_the_span(observed: Observe, more: dict[str, Any]) -> None:
    """Anyone can send anything; the request is served and told all the same."""

    async def run() -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await served(answering())(make_scope() | more, None, send)
        return sent

    with observed("asgi") as seen:
        assert len(asyncio.run(run())) == 2
        assert seen.span.attributes["http.response.status_code"] == 200


def test_headers_that_were_asked_for_are_told(observed: Observe) -> None:
    """Those of both directions, each value for itself."""
    headers = [(b"x-shop", b"1"), (b"x-shop", b"2")]
    with observed("asgi", request_headers=["x-shop"], response_headers=["x-answer"]) as seen:
        asyncio.run(call_asgi(served(answering(headers=[(b"x-answer", b"a")])), headers=headers))
        assert seen.span.attributes["http.request.header.x-shop"] == ("1", "2")
        assert seen.span.attributes["http.response.header.x-answer"] == ("a",)


def test_hooks_see_the_scope_and_the_first_message(observed: Observe) -> None:
    """They may rename the span, and add to it."""
    shown: list[Any] = []
    hooks = {
        "request_hook": lambda span, scope: shown.append(scope["path"]),
        "response_hook": lambda span, scope, message: (shown.append(message["status"]), span.update_name("mine")),
    }
    with observed("asgi", **hooks) as seen:
        asyncio.run(call_asgi(served(answering()), "/a"))
        assert (shown, seen.span.name) == (["/a", 200], "mine")


# ---- when it ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "messages", "size"),
    [
        ({}, [body(b"ab", True), body(b"c", True), body(b"")], 3),
        ({"trailers": True}, [body(b"ab"), {"type": "http.response.trailers", "headers": []}], 2),
        (
            {"headers": [(b"content-length", b"9")]},
            [{"type": "http.response.pathsend", "path": "/etc/hostname"}],
            9,
        ),
    ],
    ids=["chunks", "trailers", "path"],
)
def test_the_span_ends_with_the_last_message(
    observed: Observe, start: dict[str, Any], messages: list[dict[str, Any]], size: int
) -> None:
    """Streams have their true length; what follows the response doesn't count."""
    ended: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering(*messages, **start)(scope, receive, send)
        ended.append(len(seen.spans))

    async def run() -> None:
        async def send(message: Any) -> None:
            ended.append(len(seen.spans))

        await served(app)(make_scope(), None, send)

    with observed("asgi") as seen:
        asyncio.run(run())
        assert ended == [0] * (1 + len(messages)) + [1]
        assert seen.span.attributes["http.response.body.size"] == size


def test_the_span_is_current_after_its_end_for_what_follows(observed: Observe) -> None:
    """A background task belongs to the request that asked for it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answering()(scope, receive, send)
        with seen.tracer.start_as_current_span("later"):
            pass

    with observed("asgi") as seen:
        asyncio.run(call_asgi(served(app)))
        request, later = seen.spans
        assert later.parent.span_id == request.context.span_id
        assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_client_that_leaves_is_no_error(observed: Observe) -> None:
    """A server tells an application so by an `OSError` from `send`."""

    async def run() -> None:
        async def send(message: Any) -> None:
            if message.get("body"):
                raise OSError("gone")

        await served(answering())(make_scope(), None, send)

    with observed("asgi") as seen:
        with pytest.raises(OSError, match="gone"):
            asyncio.run(run())
        assert seen.span.status.status_code is StatusCode.UNSET
        assert not seen.span.events


def test_an_application_that_returns_early_ends_its_span(observed: Observe) -> None:
    """A client has left, and the application has noticed."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    with observed("asgi") as seen:
        asyncio.run(call_asgi(served(app)))
        assert seen.span.attributes["http.response.status_code"] == 200


def test_cancellation_goes_through_and_is_no_error(observed: Observe) -> None:
    """Servers cancel what a client has left behind."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        task = asyncio.create_task(call_asgi(served(app)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    with observed("asgi") as seen:
        asyncio.run(run())
        assert seen.span.status.status_code is StatusCode.UNSET
        assert "error.type" not in seen.span.attributes


@pytest.mark.parametrize("begun", [False, True])
def test_an_exception_reaches_the_server_and_the_span(observed: Observe, begun: bool) -> None:
    """Before the response or in the midst of it."""
    raised = ZeroDivisionError("on purpose")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise raised

    with observed("asgi") as seen:
        with pytest.raises(ZeroDivisionError) as caught:
            asyncio.run(call_asgi(served(app)))
        assert caught.value is raised
        assert seen.span.attributes["error.type"] == "ZeroDivisionError"
        assert len(seen.span.events) == 1


@pytest.mark.parametrize(("status", "error"), [(404, None), (500, "500")])
def test_only_server_errors_are_errors(observed: Observe, status: int, error: str | None) -> None:
    """A client's mistake is no failure of the server."""
    with observed("asgi") as seen:
        asyncio.run(call_asgi(served(answering(status=status))))
        assert seen.span.attributes.get("error.type") == error


def test_requests_are_measured(observed: Observe) -> None:
    """One point a request, and nobody active afterwards."""
    with observed("asgi") as seen:
        asyncio.run(call_asgi(served(answering())))
        metrics = seen.metrics()
        assert [point.count for point in metrics["http.server.request.duration"]] == [1]
        assert [point.value for point in metrics["http.server.active_requests"]] == [0]


# ---- other scopes ----------------------------------------------------------------------------------------


def websocket(app: App, received: list[dict[str, Any]] | None = None, **more: Any) -> list[dict[str, Any]]:
    """Make a connection to an application; gives what it sent."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return (received or [{"type": "websocket.disconnect", "code": 1000}]).pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = make_scope("/chat", type="websocket", scheme="ws", subprotocols=[], **more)
    del scope["method"]
    asyncio.run(app(scope, receive, send))
    return sent


def test_a_websocket_has_one_span_and_no_measurement(observed: Observe) -> None:
    """Its handshake is a request; minutes of a connection are no request's duration."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        for _ in range(3):
            await send({"type": "websocket.send", "text": "x"})
        await send({"type": "websocket.close", "code": 1000})

    with observed("asgi") as seen:
        assert len(websocket(served(app))) == 5
        told = seen.span.attributes
        assert (seen.span.name, told["network.protocol.name"], told["url.scheme"]) == ("GET", "websocket", "ws")
        assert told["http.response.status_code"] == 101
        assert "http.response.body.size" not in told
        assert not seen.metrics()


def test_a_websocket_that_is_refused_is_forbidden(observed: Observe) -> None:
    """A server makes 403 of it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close", "code": 1000})

    with observed("asgi") as seen:
        websocket(served(app))
        assert seen.span.attributes["http.response.status_code"] == 403
        assert seen.span.status.status_code is StatusCode.UNSET


def test_the_lifespan_is_no_request(observed: Observe) -> None:
    """It is passed on as it is, with the server's own functions."""
    given: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given.extend((scope, receive, send))

    async def send(message: Any) -> None:
        pass

    scope = {"type": "lifespan", "state": {}}
    with observed("asgi") as seen:
        asyncio.run(served(app)(scope, None, send))
        assert given == [scope, None, send]
        assert not seen.spans


def test_the_scope_is_afterwards_as_it_was(observed: Observe) -> None:
    """What stood in it would keep the request alive."""
    scope = make_scope()

    async def send(message: Any) -> None:
        pass

    with observed("asgi"):
        asyncio.run(served(answering())(scope, None, send))
    assert scope == make_scope()
    assert KEY not in scope


# ---- servers, and applications within --------------------------------------------------------------------


def test_uvicorn_serves_it(observed: Observe) -> None:
    """An application of nobody's framework, and not a line of code for it."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with observed("asgi") as seen:
            config = uvicorn.Config(answering(), log_config=None, lifespan="off")
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
            thread.start()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/a", timeout=10) as response:
                assert response.read() == b"here"
            server.should_exit = True
            thread.join()
            assert seen.span.attributes["url.path"] == "/a"
            assert seen.span.attributes["server.port"] == port


def test_gunicorn_serves_it(observed: Observe) -> None:
    """Its own worker for ASGI loads the application."""
    gasgi = pytest.importorskip("gunicorn.workers.gasgi")
    worker = gasgi.ASGIWorker.__new__(gasgi.ASGIWorker)
    worker.app = type("App", (), {"wsgi": staticmethod(answering)})
    with observed("asgi") as seen:
        worker.load_wsgi()
        asyncio.run(call_asgi(worker.asgi))
        assert seen.span.name == "GET"


def test_granian_serves_it(observed: Observe) -> None:
    """Its workers wrap the application once more."""
    workers = pytest.importorskip("granian.server.mt")
    sent: list[Any] = []

    class Protocol:
        async def receive(self) -> None:
            return None

        async def send(self, message: Any) -> None:
            sent.append(message)

    with observed("asgi") as seen:
        asyncio.run(workers._asgi_call_wrap(answering(), {}, {}, None)(make_scope("/g"), Protocol()))
        assert len(sent) == 2
        assert seen.span.attributes["url.path"] == "/g"


@pytest.mark.parametrize("bridge", ["uvicorn.middleware.wsgi:WSGIMiddleware", "asgiref.wsgi:WsgiToAsgi"])
def test_a_wsgi_application_behind_a_bridge_belongs_to_the_servers_request(observed: Observe, bridge: str) -> None:
    """One span, named by the route of the framework inside."""
    import importlib
    import warnings

    flask = pytest.importorskip("flask")
    app = flask.Flask("inside")
    app.add_url_rule("/users/<int:number>", view_func=lambda number: f"user {number}")
    module, _, name = bridge.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapter = getattr(importlib.import_module(module), name)(app)
    with observed("asgi", "wsgi", "flask") as seen:
        assert asyncio.run(call_asgi(served(adapter), "/users/7")).body == b"user 7"
        assert seen.span.name == "GET /users/<int:number>"
        assert len(seen.metrics()["http.server.request.duration"]) == 1


def test_a_wsgi_call_inside_is_a_request_of_its_own(observed: Observe) -> None:
    """Only a bridge carries a request on."""
    from .test_wsgi import answering as plain
    from .test_wsgi import served as given

    async def app(scope: Any, receive: Any, send: Any) -> None:
        call_wsgi(inner)
        await answering()(scope, receive, send)

    with observed("asgi", "wsgi") as seen:
        inner = given(plain(b"x"))
        asyncio.run(call_asgi(served(app)))
        assert len(seen.spans) == 2


def test_an_application_is_wrapped_once_and_is_itself_otherwise(observed: Observe) -> None:
    """Servers read names and settings off it."""
    app: Any = answering()
    app.colour = "blue"
    with observed("asgi"):
        assert served(app).colour == "blue"
        given = served(app)
        assert served(given) is given


def test_many_requests_at_once_do_not_mix(observed: Observe) -> None:
    """Each task has its own span."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with seen.tracer.start_as_current_span(scope["path"]):
            await asyncio.sleep(0)
        await answering()(scope, receive, send)

    async def run() -> None:
        given = served(app)
        await asyncio.gather(*(call_asgi(given, f"/{number}") for number in range(10)))

    with observed("asgi") as seen:
        asyncio.run(run())
        inner = {span.parent.span_id: span.name for span in seen.spans if span.name != "GET"}
        outer = {span.context.span_id: span.attributes["url.path"] for span in seen.spans if span.name == "GET"}
        assert inner == outer
        assert len(outer) == 10
