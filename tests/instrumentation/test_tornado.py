"""Requests to Tornado applications, over real sockets; its client is in test_http_clients.py."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from tornado import websocket
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.netutil import bind_sockets
from tornado.routing import HostMatches, PathMatches, Rule, RuleRouter
from tornado.web import Application, HTTPError, RedirectHandler, RequestHandler
from tornado.websocket import WebSocketHandler

from noops_agent.instrument import served

from .conftest import Observe

REMOTE = {"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("tornado.access", "tornado.application", "tornado.general")]
    for logger in loggers:
        logger.disabled = True
    yield
    for logger in loggers:
        logger.disabled = False


class User(RequestHandler):
    """Answers with the identifier."""

    def get(self, id: str) -> None:
        """Answer."""
        self.set_header("X-Answer", "42")
        self.write(id)


class Boom(RequestHandler):
    """Fails."""

    async def get(self) -> None:
        """Fail."""
        raise ValueError("boom")


class Refuse(RequestHandler):
    """Raises a status."""

    def get(self, status: str) -> None:
        """Raise."""
        raise HTTPError(int(status))


class Current(RequestHandler):
    """Answers with the identifier of the span that is current."""

    async def get(self) -> None:
        """Answer."""
        await asyncio.sleep(0)
        self.write(f"{trace.get_current_span().get_span_context().span_id:016x}")


class Stream(RequestHandler):
    """Answers in parts."""

    async def get(self) -> None:
        """Answer."""
        for part in ("one", "two", "three"):
            self.write(part)
            await self.flush()


class Late(RequestHandler):
    """Finishes after its method has returned."""

    def get(self) -> None:
        """Answer later."""
        self._auto_finish = False
        asyncio.get_running_loop().call_soon(self.finish, "late")


class Never(RequestHandler):
    """Doesn't finish at all."""

    def get(self) -> None:
        """Leave it at that."""
        self._auto_finish = False


class Wait(RequestHandler):
    """Waits until the visitor has left, and answers all the same."""

    async def get(self) -> None:
        """Wait."""
        left = self.settings["left"] = asyncio.Event()
        self.settings["waiting"].set()
        await left.wait()
        self.write("too late")
        await self.flush()

    def on_connection_close(self) -> None:
        """Stop waiting."""
        self.settings["left"].set()


class Talk(WebSocketHandler):
    """Says everything again."""

    def on_message(self, message: str | bytes) -> None:
        """Say it."""
        self.write_message(message)


def application(**settings: Any) -> Application:
    """An application with routes of several kinds."""
    return Application(
        [
            (r"/users/(?P<id>\d+)", User),
            (r"/v2/users/(\d+)", User),
            ("/boom", Boom),
            (r"/refuse/(\d+)", Refuse),
            ("/current", Current),
            ("/stream", Stream),
            ("/late", Late),
            ("/never", Never),
            ("/wait", Wait),
            ("/talk", Talk),
            ("/moved", RedirectHandler, {"url": "/users/1"}),
            (HostMatches("127.0.0.1"), [(r"/hosted/(?P<part>\w+)\.html", Boom)]),
        ],
        **settings,
    )


def visit(visit: Callable[[str], Awaitable[Any]], app: Any = None) -> Any:
    """Run a server and visit it."""

    async def run() -> Any:
        server = HTTPServer(app or application())
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        try:
            return await visit(f"http://127.0.0.1:{sockets[0].getsockname()[1]}")
        finally:
            server.stop()
            await server.close_all_connections()

    return asyncio.run(run())


def get(path: str, app: Any = None, **headers: str) -> HTTPResponse:
    """Ask for a path, of a server of its own, by a client that is not seen."""

    async def ask(url: str) -> HTTPResponse:
        from noops_agent._signals.context import suppress

        with suppress():
            asked = AsyncHTTPClient().fetch(url + path, headers=headers, raise_error=False, follow_redirects=False)
        return await asked

    found: HTTPResponse = visit(ask, app)
    return found


def test_a_request_is_a_server_span_named_by_its_route(observed: Observe) -> None:
    """The pattern of the rule is written as a template."""
    with observed("tornado") as seen:
        assert get("/users/7?a=b&sig=x", **REMOTE).body == b"7"
    span = seen.span
    assert (span.name, span.kind) == ("GET /users/{id}", SpanKind.SERVER)
    assert (span.parent.trace_id, span.parent.span_id) == (0xABC, 0xDEF)
    attributes = dict(span.attributes)
    assert attributes["http.route"] == "/users/{id}"
    assert attributes["url.path"] == "/users/7"
    assert attributes["url.query"] == "a=b&sig=REDACTED"
    assert attributes["url.scheme"] == "http"
    assert attributes["http.response.status_code"] == 200
    assert attributes["network.protocol.version"] == "1.1"
    assert attributes["server.address"] == attributes["client.address"] == "127.0.0.1"
    assert attributes["user_agent.original"].startswith("Tornado/")
    assert attributes["http.response.body.size"] == 1


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v2/users/7", "GET /v2/users/{}"),
        ("/moved", "GET /moved"),
        ("/hosted/x.html", "GET /hosted/{part}.html"),
        ("/wp-admin.php", "GET"),
    ],
)
def test_routes_of_every_kind_give_a_name(path: str, name: str, observed: Observe) -> None:
    """A class with several routes has that of the request; a path that is no route has none."""
    with observed("tornado") as seen:
        get(path)
    assert seen.span.name == name


def test_a_mounted_application_gives_its_routes(observed: Observe) -> None:
    """Routers in routers match whole paths, so the innermost one says the route."""
    router = RuleRouter([Rule(PathMatches("/.*"), application())])
    with observed("tornado") as seen:
        assert get("/users/7", router).body == b"7"
    assert seen.span.name == "GET /users/{id}"


def test_its_duration_is_measured_once(observed: Observe) -> None:
    """And it was active meanwhile."""
    with observed("tornado") as seen:
        get("/users/7")
        metrics = seen.metrics()
    (point,) = metrics["http.server.request.duration"]
    assert point.count == 1
    assert point.attributes["http.route"] == "/users/{id}"
    assert [point.value for point in metrics["http.server.active_requests"]] == [0]


def test_an_exception_is_recorded_where_it_becomes_a_500(observed: Observe) -> None:
    """The status is the type of the error, the exception says why."""
    with observed("tornado") as seen:
        assert get("/boom").code == 500
    span = seen.span
    assert (span.attributes["error.type"], span.status.status_code) == ("500", StatusCode.ERROR)
    (event,) = span.events
    assert event.attributes["exception.type"] == "ValueError"


@pytest.mark.parametrize(("status", "failed"), [(403, False), (503, True)])
def test_an_http_error_is_a_response(status: int, failed: bool, observed: Observe) -> None:
    """Below 500 it is the visitor's."""
    with observed("tornado") as seen:
        assert get(f"/refuse/{status}").code == status
    span = seen.span
    assert span.attributes["http.response.status_code"] == status
    assert (span.status.status_code is StatusCode.ERROR) is failed
    assert bool(span.events) is failed


def test_the_span_is_current_in_the_handler(observed: Observe) -> None:
    """Across its awaits too."""
    with observed("tornado") as seen:
        inside = get("/current").body.decode()
    assert inside == f"{seen.span.get_span_context().span_id:016x}"


def test_a_stream_ends_its_span_with_its_last_part(observed: Observe) -> None:
    """The first byte was earlier than the last, and all bytes count."""
    with observed("tornado") as seen:
        assert get("/stream").body == b"onetwothree"
    attributes = seen.span.attributes
    assert attributes["http.response.body.size"] == 11
    took = (seen.span.end_time - seen.span.start_time) / 1e9
    assert 0 < attributes["http.response.time_to_first_byte"] <= took


def test_a_handler_may_finish_later(observed: Observe) -> None:
    """Then the span lasts until then; and nothing is kept of it."""
    with observed("tornado") as seen:
        assert get("/late").body == b"late"
    assert seen.span.name == "GET /late"
    assert seen.span.attributes["http.response.status_code"] == 200
    assert len(served._parked) == 0


def test_a_visitor_who_leaves_ends_what_never_finishes(observed: Observe) -> None:
    """Nobody is to blame."""

    async def leave(url: str) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        while not len(served._parked):
            await asyncio.sleep(0.001)
        writer.close()
        while not seen.spans:
            await asyncio.sleep(0.001)

    with observed("tornado") as seen:
        visit(leave)
    assert seen.span.name == "GET /never"
    assert seen.span.status.status_code is StatusCode.UNSET


def test_a_visitor_who_leaves_is_no_failure(observed: Observe) -> None:
    """Writing to nobody fails in the handler, not in what the server is for."""
    waiting = asyncio.Event()

    async def leave(url: str) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await waiting.wait()
        writer.close()
        while not seen.spans:
            await asyncio.sleep(0.001)

    with observed("tornado") as seen:
        visit(leave, application(waiting=waiting))
    assert seen.span.status.status_code is StatusCode.UNSET
    assert "error.type" not in seen.span.attributes


def test_a_websocket_is_one_span_as_long_as_it_lasts(observed: Observe) -> None:
    """A connection is no request whose duration could be compared with others."""

    async def say(url: str) -> Any:
        socket = await websocket.websocket_connect(url.replace("http", "ws") + "/talk")
        await socket.write_message("hello")
        said = await socket.read_message()
        assert [span.kind for span in seen.spans] == [SpanKind.CLIENT]
        socket.close()
        while len(seen.spans) < 2:
            await asyncio.sleep(0.001)
        return said

    with observed("tornado") as seen:
        assert visit(say) == "hello"
        assert "http.server.request.duration" not in seen.metrics()
    shaken, lasted = seen.spans
    assert lasted.name == "GET /talk"
    assert lasted.parent.span_id == shaken.get_span_context().span_id
    assert {span.attributes["http.response.status_code"] for span in seen.spans} == {101}


def test_excluded_urls_make_nothing(observed: Observe) -> None:
    """No span and no measurement."""
    with observed("tornado", excluded_urls=("/users",)) as seen:
        assert get("/users/7").body == b"7"
        assert seen.spans == []
        assert "http.server.request.duration" not in seen.metrics()


def test_headers_and_hooks_are_those_of_the_user(observed: Observe) -> None:
    """What is asked for is recorded; hooks see Tornado's own request and handler."""
    met: list[Any] = []
    options: dict[str, Any] = {
        "request_headers": ("x-mine",),
        "response_headers": ("x-answer",),
        "request_hook": lambda span, request: met.append(type(request).__name__),
        "response_hook": lambda span, request, response: met.append(type(response)),
    }
    with observed("tornado", **options) as seen:
        get("/users/7", **{"X-Mine": "1"})
    assert seen.span.attributes["http.request.header.x-mine"] == ("1",)
    assert seen.span.attributes["http.response.header.x-answer"] == ("42",)
    assert met == ["HTTPServerRequest", User]


def test_a_request_of_the_client_is_as_it_was(observed: Observe) -> None:
    """Tornado gives a request headers of its own; ours are taken out again, also where it fails."""
    given = {"X-Mine": "1", "Traceparent": "00-1-1-01"}

    async def ask(url: str) -> None:
        for path in ("/users/7", "/boom"):
            request = HTTPRequest(url + path, headers=HTTPHeaders(given))
            await AsyncHTTPClient().fetch(request, raise_error=False)
            sent.append(dict(request.headers))

    sent: list[dict[str, str]] = []
    with observed("tornado") as seen:
        visit(ask)
    with_us, sent = sent, []
    visit(ask)
    assert [set(headers) for headers in with_us] == [set(headers) for headers in sent]
    assert given == {"X-Mine": "1", "Traceparent": "00-1-1-01"}
    servers = [span for span in seen.spans if span.kind is SpanKind.SERVER]
    clients = [span for span in seen.spans if span.kind is SpanKind.CLIENT]
    assert [span.parent.span_id for span in servers] == [span.get_span_context().span_id for span in clients]


def test_a_failed_fetch_that_nobody_awaits_is_logged_as_ever(observed: Observe) -> None:
    """We look at the future without taking the blame off it."""

    async def ask() -> bool:
        future = AsyncHTTPClient().fetch("http://127.0.0.1:1/")
        while not future.done():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        logged = bool(future._log_traceback)  # type: ignore[attr-defined]
        future.exception()
        return logged

    with observed("tornado") as seen:
        assert asyncio.run(ask())
    assert seen.span.attributes["error.type"] == "ConnectionRefusedError"
