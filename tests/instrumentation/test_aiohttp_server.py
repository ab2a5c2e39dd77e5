"""Requests to aiohttp servers, over real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from types import FunctionType
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from .conftest import Observe, Seen

REMOTE = {"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("aiohttp.server")
    logger.disabled = True
    yield
    logger.disabled = False


async def user(request: web.Request) -> web.Response:
    """Answer with the identifier."""
    return web.Response(text=request.match_info["id"], headers={"X-Answer": "42"})


async def boom(request: web.Request) -> web.Response:
    """Fail."""
    raise ValueError("boom")


async def current(request: web.Request) -> web.Response:
    """Answer with the identifier of the span that is current."""
    await asyncio.sleep(0)
    return web.Response(text=f"{trace.get_current_span().get_span_context().span_id:016x}")


async def stream(request: web.Request) -> web.StreamResponse:
    """Answer in parts."""
    response = web.StreamResponse()
    await response.prepare(request)
    for part in (b"one", b"two", b"three"):
        await response.write(part)
    return response


async def refuse(request: web.Request) -> web.Response:
    """Raise the status that the path names."""
    status = int(request.match_info["status"])
    kinds: dict[int, type[web.HTTPException]] = {
        302: web.HTTPFound,
        403: web.HTTPForbidden,
        500: web.HTTPInternalServerError,
    }
    kind: Any = kinds[status]
    raise kind("/users/1") if status == 302 else kind()


async def talk(request: web.Request) -> web.WebSocketResponse:
    """Say everything again."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data)
    return socket


def application() -> web.Application:
    """An application with a part of it mounted."""
    app, part = web.Application(), web.Application()
    part.add_routes([web.get("/orders/{order:\\d+}", current)])
    app.add_routes(
        [
            web.get("/users/{id}", user),
            web.get("/boom", boom),
            web.get("/current", current),
            web.get("/stream", stream),
            web.get("/refuse/{status}", refuse),
            web.get("/talk", talk),
        ]
    )
    app.add_subapp("/part", part)
    return app


Visit = Callable[[aiohttp.ClientSession, str], Awaitable[Any]]


def visit(visit: Visit, app: Any = None, **given: Any) -> Any:
    """Run a server and visit it."""

    async def run() -> Any:
        runner = app() if isinstance(app, FunctionType) else web.AppRunner(app or application(), **given)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        try:
            async with aiohttp.ClientSession() as session:
                return await visit(session, f"http://{host}:{port}")
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def get(path: str, app: Any = None, **headers: str) -> tuple[int, str]:
    """Ask for a path, of a server of its own."""

    async def ask(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
        async with session.get(url + path, headers=headers, allow_redirects=False) as response:
            return response.status, await response.text()

    found: tuple[int, str] = visit(ask, app)
    return found


def test_a_request_is_a_server_span_named_by_its_route(observed: Observe) -> None:
    """The canonical path of the resource has as many values as there are routes."""
    with observed("aiohttp_server") as seen:
        assert get("/users/7?a=b&sig=x", **REMOTE) == (200, "7")
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
    assert attributes["user_agent.original"].startswith("Python/")
    assert attributes["http.response.body.size"] == 1


def test_its_duration_is_measured_once(observed: Observe) -> None:
    """And it was active meanwhile."""
    with observed("aiohttp_server") as seen:
        get("/users/7")
        metrics = seen.metrics()
    (point,) = metrics["http.server.request.duration"]
    assert point.count == 1
    assert point.attributes["http.route"] == "/users/{id}"
    assert [point.value for point in metrics["http.server.active_requests"]] == [0]


def test_the_route_of_a_mounted_application_is_whole(observed: Observe) -> None:
    """Expressions of a variable are no part of a route's name."""
    with observed("aiohttp_server") as seen:
        get("/part/orders/7")
    assert seen.span.name == "GET /part/orders/{order}"


def test_a_path_that_is_no_route_gives_no_name(observed: Observe) -> None:
    """Visitors make paths up; and what is not found is no failure of the server."""
    with observed("aiohttp_server") as seen:
        assert get("/wp-admin.php")[0] == 404
    assert seen.span.name == "GET"
    assert "http.route" not in seen.span.attributes
    assert seen.span.status.status_code is StatusCode.UNSET


def test_an_exception_is_recorded_where_it_becomes_a_500(observed: Observe) -> None:
    """The status is the type of the error, the exception says why."""
    with observed("aiohttp_server") as seen:
        assert get("/boom")[0] == 500
    span = seen.span
    assert (span.attributes["error.type"], span.status.status_code) == ("500", StatusCode.ERROR)
    (event,) = span.events
    assert event.attributes["exception.type"] == "ValueError"
    assert "boom" in event.attributes["exception.stacktrace"]


@pytest.mark.parametrize(("status", "failed"), [(302, False), (403, False), (500, True)])
def test_an_http_exception_is_a_response(status: int, failed: bool, observed: Observe) -> None:
    """That it was raised is a way to write it."""
    with observed("aiohttp_server") as seen:
        assert get(f"/refuse/{status}")[0] == status
    span = seen.span
    assert span.attributes["http.response.status_code"] == status
    assert (span.status.status_code is StatusCode.ERROR) is failed
    assert span.events == ()


def test_the_span_is_current_in_the_handler(observed: Observe) -> None:
    """Across its awaits too."""
    with observed("aiohttp_server") as seen:
        _, inside = get("/current")
    assert inside == f"{seen.span.get_span_context().span_id:016x}"


def test_a_stream_ends_its_span_with_its_last_part(observed: Observe) -> None:
    """The first byte was earlier than the last, and all bytes of the body count."""
    with observed("aiohttp_server") as seen:
        assert get("/stream") == (200, "onetwothree")
    attributes = seen.span.attributes
    assert attributes["http.response.body.size"] == 11
    took = (seen.span.end_time - seen.span.start_time) / 1e9
    assert 0 < attributes["http.response.time_to_first_byte"] <= took


def test_a_websocket_is_one_span_as_long_as_it_lasts(observed: Observe) -> None:
    """A connection is no request whose duration could be compared with others."""

    async def say(session: aiohttp.ClientSession, url: str) -> str:
        async with session.ws_connect(f"{url}/talk") as socket:
            await socket.send_str("hello")
            assert recorded.spans == []
            return await socket.receive_str()

    with observed("aiohttp_server") as recorded:
        assert visit(say) == "hello"
        assert "http.server.request.duration" not in recorded.metrics()
    assert recorded.span.name == "GET /talk"
    assert recorded.span.attributes["http.response.status_code"] == 101


def left_early(seen: Seen, **given: Any) -> Any:
    """Leave a handler that waits."""
    waiting = asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        waiting.set()
        while given or request.transport is not None:
            await asyncio.sleep(0.001)
        return web.Response()

    async def leave(session: aiohttp.ClientSession, url: str) -> None:
        task = asyncio.ensure_future(session.get(f"{url}/wait"))
        await waiting.wait()
        task.cancel()
        while not seen.spans:
            await asyncio.sleep(0.001)

    app = web.Application()
    app.add_routes([web.get("/wait", wait)])
    visit(leave, app, **given)
    return seen.span


def test_a_visitor_who_leaves_is_no_failure(observed: Observe) -> None:
    """Whether the handler is cancelled or runs to its end for nobody."""
    for given in ({"handler_cancellation": True}, {}):
        with observed("aiohttp_server") as seen:
            span = left_early(seen, **given)
            assert [point.value for point in seen.metrics()["http.server.active_requests"]] == [0]
        assert span.status.status_code is StatusCode.UNSET
        assert "error.type" not in span.attributes
        assert span.name == "GET /wait"


def test_a_bare_server_is_seen(observed: Observe) -> None:
    """Without an application there are no routes."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="bare")

    with observed("aiohttp_server") as seen:
        assert get("/x", lambda: web.ServerRunner(web.Server(answer))) == (200, "bare")
    assert seen.span.name == "GET"


def test_a_broken_request_is_answered_as_ever(observed: Observe) -> None:
    """What is no HTTP makes a span of a method that nobody knows, and no noise."""

    async def babble(session: aiohttp.ClientSession, url: str) -> bytes:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"BABBLE\r\n\r\n")
        answer = await reader.readline()
        writer.close()
        return answer

    with observed("aiohttp_server") as seen:
        assert visit(babble).startswith(b"HTTP/1.0 400")
    assert [span.name for span in seen.spans] == ["HTTP"]


def test_excluded_urls_make_nothing(observed: Observe) -> None:
    """No span and no measurement."""
    with observed("aiohttp_server", excluded_urls=("/users",)) as seen:
        assert get("/users/7") == (200, "7")
        assert seen.spans == []
        assert "http.server.request.duration" not in seen.metrics()


def test_headers_and_hooks_are_those_of_the_user(observed: Observe) -> None:
    """What is asked for is recorded; hooks see aiohttp's own request and response."""
    met: list[Any] = []
    options: dict[str, Any] = {
        "request_headers": ("x-mine",),
        "response_headers": ("x-answer",),
        "request_hook": lambda span, request: met.append(type(request)),
        "response_hook": lambda span, request, response: met.append(type(response)),
    }
    with observed("aiohttp_server", **options) as seen:
        get("/users/7", **{"X-Mine": "1"})
    assert seen.span.attributes["http.request.header.x-mine"] == ("1",)
    assert seen.span.attributes["http.response.header.x-answer"] == ("42",)
    assert met == [web.Request, web.Response]


def test_concurrent_requests_do_not_mix(observed: Observe) -> None:
    """Each handler has its own span current."""

    async def ask_often(session: aiohttp.ClientSession, url: str) -> list[str]:
        async def ask() -> str:
            async with session.get(f"{url}/current") as response:
                return await response.text()

        return await asyncio.gather(*(ask() for _ in range(20)))

    with observed("aiohttp_server") as seen:
        inside = visit(ask_often)
    assert sorted(inside) == sorted(f"{span.get_span_context().span_id:016x}" for span in seen.spans)
    assert len(set(inside)) == 20
