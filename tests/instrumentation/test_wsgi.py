"""WSGI: what one request tells, and what the host must not notice."""

from __future__ import annotations

import io
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.util import FileWrapper

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from .conftest import Observe, Seen
from .gateways import Responder, call_wsgi, make_environ

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

App = Callable[..., Any]


def served(app: App) -> App:
    """Give an application to a server, and take what the server calls."""
    from werkzeug.serving import make_server as make

    server = make("127.0.0.1", 0, app)
    server.server_close()
    return server.app  # type: ignore[no-any-return]


def answering(*chunks: bytes, status: str = "200 OK", headers: tuple[tuple[str, str], ...] = ()) -> App:
    """Make an application that answers with a list."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response(status, [*headers])
        return [*chunks]

    return app


def generating(pieces: Callable[[], Iterator[bytes]]) -> App:
    """Make an application that answers with a generator."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [])
        return pieces()

    return app


# ---- what a request tells --------------------------------------------------------------------------------


def test_a_request_is_described_by_the_conventions(observed: Observe) -> None:
    """Every attribute that the conventions recommend for a server, and no other."""
    with observed("wsgi") as seen:
        call_wsgi(served(answering(b"12345")), "/shop/1?q=2", headers={"user-agent": "tests/1"})
        span = seen.span
        assert span.name == "GET"
        assert span.kind is SpanKind.SERVER
        assert span.status.status_code is StatusCode.UNSET
        told = dict(span.attributes)
        assert told.pop("http.response.time_to_first_byte") > 0
        assert told == {
            "client.address": "10.0.0.9",
            "http.request.method": "GET",
            "http.response.body.size": 5,
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


def test_what_a_proxy_says_goes_before_the_connection(observed: Observe) -> None:
    """Address, host and scheme are those of the client's request, not of the last hop."""
    headers = {
        "x-forwarded-for": "203.0.113.7:1234, 10.0.0.1",
        "x-forwarded-host": "www.example",
        "x-forwarded-proto": "https",
    }
    with observed("wsgi") as seen:
        call_wsgi(served(answering()), headers=headers)
        told = seen.span.attributes
        assert (told["client.address"], told["network.peer.address"]) == ("203.0.113.7", "10.0.0.9")
        assert (told["server.address"], told["server.port"], told["url.scheme"]) == ("www.example", 443, "https")


def test_the_standard_header_of_proxies_goes_before_the_others(observed: Observe) -> None:
    """RFC 7239; its addresses may be quoted and in brackets."""
    forwarded = 'for="[2001:db8::1]:99";proto=https;host=www.example:444, for=10.0.0.1'
    headers = {"forwarded": forwarded, "x-forwarded-for": "1"}
    with observed("wsgi") as seen:
        call_wsgi(served(answering()), headers=headers)
        told = seen.span.attributes
        assert told["client.address"] == "2001:db8::1"
        assert (told["server.address"], told["server.port"], told["url.scheme"]) == ("www.example", 444, "https")


@pytest.mark.parametrize("said", ["_hidden", "unknown", ""])
def test_a_client_that_a_proxy_hides_is_the_proxy(observed: Observe, said: str) -> None:
    """An obfuscated identifier is no address."""
    with observed("wsgi") as seen:
        call_wsgi(served(answering()), headers={"x-forwarded-for": said})
        assert seen.span.attributes["client.address"] == "10.0.0.9"


def test_an_unknown_method_is_other(observed: Observe) -> None:
    """Methods that anyone may make up would be names and labels without end."""
    with observed("wsgi") as seen:
        call_wsgi(served(answering()), method="BREW")
        assert seen.span.name == "HTTP"
        assert seen.span.attributes["http.request.method"] == "_OTHER"
        assert seen.span.attributes["http.request.method_original"] == "BREW"


def test_secrets_of_the_query_stay_here(observed: Observe) -> None:
    """The keys that the convention lists lose their values."""
    with observed("wsgi") as seen:
        call_wsgi(served(answering()), "/?q=1&sig=secret&X-Amz-Signature=secret")
        assert seen.span.attributes["url.query"] == "q=1&sig=REDACTED&X-Amz-Signature=REDACTED"


HOSTILE: list[dict[str, Any]] = [
    {"HTTP_HOST": "[::1"},
    {"HTTP_HOST": "a" * 100_000},
    {"HTTP_HOST": "h:99999999999999999999999"},
    {"HTTP_HOST": "h:²"},
    {"HTTP_X_FORWARDED_PROTO": "gopher, \x00"},
    {"HTTP_X_FORWARDED_FOR": ",,,"},
    {"HTTP_FORWARDED": '=;=;for;"'},
    {"HTTP_USER_AGENT": "\udcff\x00"},
    {"HTTP_TRACEPARENT": "00-zz"},
    {"CONTENT_LENGTH": "-1"},
    {"CONTENT_LENGTH": "9" * 10_000},
    {"PATH_INFO": "/\xff\xfe\x00"},
    {"PATH_INFO": "/snow\u2603"},
    {"QUERY_STRING": "&&==%%%ff&sig"},
    {"REMOTE_PORT": "unix:"},
    {"REMOTE_ADDR": None},
    {"SERVER_PROTOCOL": "SPDY"},
    {"REQUEST_METHOD": ""},
]


@pytest.mark.parametrize("more", HOSTILE, ids=lambda more: next(iter(more)))
def test_no_input_raises_or_costs_the_span(observed: Observe, more: dict[str, Any]) -> None:
    """Anyone can send anything; the request is served and told all the same."""
    with observed("wsgi") as seen:
        environ = {**make_environ(), **more}
        assert served(answering(b"x"))(environ, Responder()) == [b"x"]
        assert seen.span.attributes["http.response.status_code"] == 200


def test_a_request_without_a_host_is_named_by_the_server(observed: Observe) -> None:
    """HTTP/1.0 needs no `Host`."""
    environ = make_environ(SERVER_PROTOCOL="HTTP/1.0")
    del environ["HTTP_HOST"]
    with observed("wsgi") as seen:
        served(answering())(environ, Responder())
        told = seen.span.attributes
        assert (told["server.address"], told["server.port"]) == ("127.0.0.1", 8000)
        assert told["network.protocol.version"] == "1.0"


def test_a_path_is_text_below_its_application_root(observed: Observe) -> None:
    """WSGI tunnels bytes through Latin-1."""
    with observed("wsgi") as seen:
        call_wsgi(served(answering()), "/café".encode().decode("latin-1"), SCRIPT_NAME="/shop")
        assert seen.span.attributes["url.path"] == "/shop/café"


def test_the_remote_parent_is_the_parent(observed: Observe) -> None:
    """Trace and parent are those of the header."""
    with observed("wsgi") as seen:
        call_wsgi(served(answering()), headers={"traceparent": TRACEPARENT})
        assert seen.span.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
        assert seen.span.parent.span_id == 0xB7AD6B7169203331
        assert seen.span.parent.is_remote


def test_headers_that_were_asked_for_are_told_without_secrets(observed: Observe) -> None:
    """Whatever is asked for, a cookie stays here."""
    app = served
    with observed("wsgi", request_headers=["x-shop", "cookie"], response_headers=["x-.*"]) as seen:
        call_wsgi(
            app(answering(headers=(("X-Answer", "a"), ("X-Answer", "b")))), headers={"x-shop": "1", "cookie": "secret"}
        )
        told = seen.span.attributes
        assert told["http.request.header.x-shop"] == ("1",)
        assert told["http.request.header.cookie"] == ("[REDACTED]",)
        assert told["http.response.header.x-answer"] == ("a", "b")


# ---- what went wrong, and what did not -------------------------------------------------------------------


@pytest.mark.parametrize(("status", "error"), [("404 Not Found", None), ("500 Oh", "500"), ("503 Later", "503")])
def test_only_server_errors_are_errors(observed: Observe, status: str, error: str | None) -> None:
    """A client's mistake is no failure of the server."""
    with observed("wsgi") as seen:
        call_wsgi(served(answering(status=status)))
        assert seen.span.attributes.get("error.type") == error
        assert (seen.span.status.status_code is StatusCode.ERROR) == (error is not None)


def test_an_exception_reaches_the_server_and_the_span(observed: Observe) -> None:
    """The same exception, recorded with its traceback."""
    raised = ZeroDivisionError("on purpose")

    def app(environ: Any, start_response: Any) -> Any:
        raise raised

    with observed("wsgi") as seen:
        with pytest.raises(ZeroDivisionError) as caught:
            call_wsgi(served(app))
        assert caught.value is raised
        assert seen.span.attributes["error.type"] == "ZeroDivisionError"
        assert seen.span.status.status_code is StatusCode.ERROR
        (event,) = seen.span.events
        assert "raise raised" in event.attributes["exception.stacktrace"]


@pytest.mark.parametrize("raised", [SystemExit(0), SystemExit(None), GeneratorExit()])
def test_control_flow_is_no_error(observed: Observe, raised: BaseException) -> None:
    """A worker that ends, or a body that is closed, has not failed."""

    def app(environ: Any, start_response: Any) -> Any:
        raise raised

    with observed("wsgi") as seen:
        with pytest.raises(type(raised)):
            call_wsgi(served(app))
        assert seen.span.status.status_code is StatusCode.UNSET
        assert not seen.span.events


# ---- the body --------------------------------------------------------------------------------------------


def test_a_stream_has_its_true_length_and_its_span_while_it_runs(observed: Observe) -> None:
    """The span ends when the server closes the body, and is current whenever the body runs."""
    during: list[Any] = []

    def pieces() -> Iterator[bytes]:
        for piece in (b"", b"abc", b"de"):
            during.append((trace.get_current_span().get_span_context().span_id, len(seen.spans)))
            yield piece

    with observed("wsgi") as seen:
        body = served(generating(pieces))(make_environ(), Responder())
        assert [*body] == [b"", b"abc", b"de"]
        assert not seen.spans
        body.close()
        assert during == [(seen.span.context.span_id, 0)] * 3
        assert seen.span.attributes["http.response.body.size"] == 5
        assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_body_that_is_left_early_ends_its_span_without_an_error(observed: Observe) -> None:
    """A client that goes away is no failure of the server; the generator learns of it as ever."""
    left: list[str] = []

    def pieces() -> Iterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        except GeneratorExit:
            left.append("left")
            raise

    with observed("wsgi") as seen:
        body = served(generating(pieces))(make_environ(), Responder())
        assert next(iter(body)) == b"a"
        body.close()
        assert left == ["left"]
        assert seen.span.status.status_code is StatusCode.UNSET


def test_a_body_that_is_never_closed_ends_its_span_when_it_is_let_go(observed: Observe) -> None:
    """Some test clients and servers forget to."""
    with observed("wsgi") as seen:
        body = served(generating(lambda: iter([b"a"])))(make_environ(), Responder())
        del body
        assert seen.span.attributes["http.response.status_code"] == 200


def test_a_body_without_close_ends_its_span_with_its_last_chunk(observed: Observe) -> None:
    """There is nothing that a server could call."""

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            return iter((b"a", b"b"))

    with observed("wsgi") as seen:
        body = served(lambda environ, start: (start("200 OK", []), Pieces())[1])(make_environ(), Responder())
        assert [*body] == [b"a", b"b"]
        assert seen.span.attributes["http.response.body.size"] == 2


@pytest.mark.parametrize("place", ["iter", "next", "close"])
def test_a_body_that_fails_fails_the_same_way(observed: Observe, place: str) -> None:
    """Wherever it does; and the span knows."""

    class Failing:
        def fail(self, where: str) -> None:
            if where == place:
                raise ZeroDivisionError(where)

        def __iter__(self) -> Failing:
            self.fail("iter")
            return self

        def __next__(self) -> bytes:
            self.fail("next")
            raise StopIteration

        def close(self) -> None:
            self.fail("close")

    with observed("wsgi") as seen:
        with pytest.raises(ZeroDivisionError, match=place):
            call_wsgi(served(lambda environ, start: (start("200 OK", []), Failing())[1]))
        assert seen.span.attributes["error.type"] == "ZeroDivisionError"


def test_a_list_stays_a_list(observed: Observe) -> None:
    """Servers derive `Content-Length` from a body of one chunk, and join lists."""
    chunks = [b"a", b"b"]
    with observed("wsgi") as seen:
        body = served(lambda environ, start: (start("200 OK", []), chunks)[1])(make_environ(), Responder())
        assert body is chunks
        assert seen.span.attributes["http.response.body.size"] == 2


def test_a_body_of_another_kind_keeps_its_length_and_attributes(observed: Observe) -> None:
    """Servers and middlewares look at them."""

    class Pieces(list[bytes]):
        colour = "blue"

    with observed("wsgi"):
        body = served(lambda environ, start: (start("200 OK", []), Pieces([b"a"]))[1])(make_environ(), Responder())
        assert (len(body), body.colour) == (1, "blue")


def test_a_file_stays_what_the_server_knows(observed: Observe) -> None:
    """A server sends its own wrapper's files by itself, and closes them."""
    file = io.BytesIO(b"data")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "4")])
        return environ["wsgi.file_wrapper"](file)

    with observed("wsgi") as seen:
        environ = make_environ(**{"wsgi.file_wrapper": FileWrapper})
        body = served(app)(environ, Responder())
        assert type(body) is FileWrapper
        body.close()
        assert file.closed
        assert seen.span.attributes["http.response.body.size"] == 4


def test_what_is_written_counts(observed: Observe) -> None:
    """The oldest way to answer."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"abc")
        return []

    with observed("wsgi") as seen:
        assert call_wsgi(served(app)).body == b"abc"
        assert seen.span.attributes["http.response.body.size"] == 3


def test_a_response_that_is_begun_anew_has_its_last_status(observed: Observe) -> None:
    """`exc_info` lets an application change its mind."""

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Oh", [], sys.exc_info())
        return []

    with observed("wsgi") as seen:
        assert call_wsgi(served(app)).status == 500
        assert seen.span.attributes["http.response.status_code"] == 500


def test_the_answer_to_head_has_no_body(observed: Observe) -> None:
    """`Content-Length` tells what GET would give."""
    with observed("wsgi") as seen:
        call_wsgi(served(answering(headers=(("Content-Length", "9"),))), method="HEAD")
        assert "http.response.body.size" not in seen.span.attributes


# ---- measurements, hooks, exclusion ----------------------------------------------------------------------


def test_requests_are_measured(observed: Observe) -> None:
    """Duration with the labels and edges of the convention; active requests while they are."""
    during: list[int] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        during.extend(point.value for point in seen.metrics()["http.server.active_requests"])
        start_response("500 Oh", [])
        return []

    with observed("wsgi") as seen:
        call_wsgi(served(app))
        metrics = seen.metrics()
        (point,) = metrics["http.server.request.duration"]
        assert dict(point.attributes) == {
            "error.type": "500",
            "http.request.method": "GET",
            "http.response.status_code": 500,
            "network.protocol.version": "1.1",
            "url.scheme": "http",
        }
        assert point.explicit_bounds[:3] == (0.005, 0.01, 0.025)
        (active,) = metrics["http.server.active_requests"]
        assert (during, active.value) == ([1], 0)
        assert dict(active.attributes) == {"http.request.method": "GET", "url.scheme": "http"}


def test_hooks_see_the_request_and_the_response(observed: Observe) -> None:
    """They may rename the span, and add to it."""
    shown: list[Any] = []

    def asked(span: Any, environ: Any) -> None:
        span.set_attribute("app.path", environ["PATH_INFO"])

    def answered(span: Any, environ: Any, response: Any) -> None:
        shown.append(response)
        span.update_name("mine")

    with observed("wsgi", request_hook=asked, response_hook=answered) as seen:
        call_wsgi(served(answering()), "/a")
        assert (seen.span.name, seen.span.attributes["app.path"]) == ("mine", "/a")
        assert shown == [("200 OK", [])]


def test_a_hook_that_fails_costs_nothing(observed: Observe) -> None:
    """The request goes on, and its span is whole."""

    def broken(*anything: Any) -> None:
        raise RuntimeError

    with observed("wsgi", request_hook=broken, response_hook=broken) as seen:
        assert call_wsgi(served(answering(b"x"))).body == b"x"
        assert seen.span.attributes["http.response.status_code"] == 200


def test_a_name_that_the_application_gave_stays(observed: Observe) -> None:
    """The route would come later, and undo it."""
    flask = pytest.importorskip("flask")
    app = flask.Flask("named")

    @app.get("/")  # type: ignore[untyped-decorator]
    def index() -> str:
        trace.get_current_span().update_name("mine")
        return "x"

    with observed("flask") as seen:
        call_wsgi(app)
        assert seen.span.name == "mine"
        assert seen.span.attributes["http.route"] == "/"


def test_an_excluded_url_is_left_alone(observed: Observe) -> None:
    """No span, no measurement; the application is called with the server's own `start_response`."""
    given: list[Any] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        given.append(start_response)
        start_response("200 OK", [])
        return []

    start_response = Responder()
    with observed("wsgi", excluded_urls=["/health"]) as seen:
        served(app)(make_environ("/health"), start_response)
        assert given == [start_response]
        assert not seen.spans
        assert not seen.metrics().get("http.server.request.duration")


def test_the_environ_is_afterwards_as_it_was(observed: Observe) -> None:
    """What stood in it would keep the request alive."""
    environ = make_environ()
    before = dict(environ)
    with observed("wsgi"):
        served(answering())(environ, Responder())
        assert environ == before


# ---- servers ---------------------------------------------------------------------------------------------


@contextmanager
def listening(server: Any) -> Iterator[int]:
    """Run a server of the standard library's kind in a thread."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def fetched(port: int, path: str = "/") -> bytes:
    """Make a request as a client that is not instrumented."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
        return response.read()  # type: ignore[no-any-return]


class Quiet(WSGIRequestHandler):
    """A handler that logs nothing."""

    def log_message(self, *anything: Any) -> None:
        """Nothing is logged."""


def waited(seen: Seen) -> Any:
    """Wait for the span of a server's thread: the client is often served before it ends."""
    ended = threading.Event()
    for _ in range(500):
        if seen.spans:
            return seen.span
        ended.wait(0.01)
    raise AssertionError("no span")


def test_the_standard_library_serves_it(observed: Observe) -> None:
    """An application of nobody's framework, and not a line of code for it."""
    with observed("wsgi") as seen:
        with listening(make_server("127.0.0.1", 0, answering(b"here"), handler_class=Quiet)) as port:
            assert fetched(port, "/a") == b"here"
        span = waited(seen)
        assert (span.attributes["url.path"], span.attributes["server.port"]) == ("/a", port)


def test_werkzeug_serves_it(observed: Observe) -> None:
    """The server of `flask run`."""
    from werkzeug.serving import WSGIRequestHandler as Handler
    from werkzeug.serving import make_server as make

    quiet = type("Quiet", (Handler,), {"log": lambda *anything: None})
    with observed("wsgi") as seen:
        with listening(make("127.0.0.1", 0, generating(lambda: iter([b"he", b"re"])), request_handler=quiet)) as port:
            assert fetched(port) == b"here"
        assert waited(seen).attributes["http.response.body.size"] == 4


def test_waitress_serves_it(observed: Observe) -> None:
    """Its length of one chunk is told by a list."""
    waitress = pytest.importorskip("waitress.server")
    with observed("wsgi") as seen:
        server = waitress.create_server(answering(b"here"), host="127.0.0.1", port=0, threads=1, _dispatcher=None)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            assert fetched(server.effective_port) == b"here"
            assert waited(seen).attributes["http.response.body.size"] == 4
        finally:
            server.close()
            server.task_dispatcher.shutdown()


def test_gunicorn_serves_it_and_leaves_asgi_to_others(observed: Observe) -> None:
    """A worker of uvicorn's is given an ASGI application by the same method."""
    base = pytest.importorskip("gunicorn.workers.base")
    from gunicorn.workers.sync import SyncWorker

    class Foreign(base.Worker):  # type: ignore[misc, name-defined]
        pass

    app = answering(b"here")
    with observed("wsgi") as seen:
        for kind in (SyncWorker, Foreign):
            worker = kind.__new__(kind)
            worker.app = SimpleNamespace(wsgi=lambda: app)
            worker.load_wsgi()
            assert (worker.wsgi is app) == (kind is Foreign)
            assert call_wsgi(worker.wsgi).body == b"here"
        assert seen.span.name == "GET"


def test_granian_serves_it(observed: Observe) -> None:
    """Its workers wrap the application once more, and know a list when they see one."""
    workers = pytest.importorskip("granian.server.mt")
    told: list[Any] = []
    proto = SimpleNamespace(response_bytes=lambda *anything: told.append(anything))
    with observed("wsgi") as seen:
        workers._wsgi_call_wrap(answering(b"here"), {}, None)(proto, make_environ("/g"))
        assert told == [(200, [], b"here")]
        assert seen.span.attributes["url.path"] == "/g"


def test_a_framework_inside_a_server_takes_part_in_the_servers_span(observed: Observe) -> None:
    """One span and one measurement, named by the route; the hooks of both are called."""
    flask = pytest.importorskip("flask")
    app = flask.Flask("inside")
    app.add_url_rule("/users/<int:number>", view_func=lambda number: f"user {number}")
    with observed("wsgi", "flask") as seen:
        assert call_wsgi(served(app), "/users/7").body == b"user 7"
        assert seen.span.name == "GET /users/<int:number>"
        (point,) = seen.metrics()["http.server.request.duration"]
        assert (point.count, point.attributes["http.route"]) == (1, "/users/<int:number>")


def test_an_application_is_wrapped_once(observed: Observe) -> None:
    """Servers stand on servers: gunicorn's worker on gevent's."""
    with observed("wsgi"):
        app = served(answering())
        assert served(app) is app


def test_an_application_is_itself_in_every_other_respect(observed: Observe) -> None:
    """Servers read names and settings off it."""
    app: Any = answering(b"x")
    app.colour = "blue"
    with observed("wsgi"):
        assert served(app).colour == "blue"
        assert served(app).__name__ == "app"
