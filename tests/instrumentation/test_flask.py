"""Flask: routes, errors, streams, and applications within applications."""

from __future__ import annotations

from typing import Any

import flask
import pytest
from flask.views import MethodView
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from .conftest import Observe
from .gateways import call_wsgi


def make_app(**config: Any) -> flask.Flask:
    """Make an application with something of everything."""
    app = flask.Flask("shop")
    app.config.update(config)
    app.logger.disabled = True
    orders = flask.Blueprint("orders", "orders", url_prefix="/orders")

    @app.get("/users/<int:number>")
    def user(number: int) -> str:
        return f"user {number}"

    @app.get("/boom")
    def boom() -> str:
        raise ZeroDivisionError("on purpose")

    @app.get("/missing")
    def missing() -> str:
        raise KeyError("on purpose")

    @app.errorhandler(KeyError)
    def handled(error: KeyError) -> tuple[str, int]:
        return "later", 503

    @app.get("/abort")
    def abort() -> str:
        flask.abort(418)

    @app.get("/stream")
    def stream() -> flask.Response:
        return flask.Response(f"{trace.get_current_span().get_span_context().span_id:x} " for _ in range(2))

    @orders.get("/<slug>/items/<path:rest>")
    def items(slug: str, rest: str) -> str:
        return slug

    class Item(MethodView):
        def get(self, number: int) -> str:
            return str(number)

    app.add_url_rule("/items/<int:number>", view_func=Item.as_view("item"))
    app.register_blueprint(orders, url_prefix="/shop/orders")
    return app


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/users/7", "/users/<int:number>", 200),
        ("/shop/orders/a/items/b/c", "/shop/orders/<slug>/items/<path:rest>", 200),
        ("/items/3", "/items/<int:number>", 200),
        ("/abort", "/abort", 418),
        ("/none", None, 404),
    ],
)
def test_a_request_is_named_by_its_rule(observed: Observe, path: str, route: str | None, status: int) -> None:
    """As Flask writes it; blueprints and class-based views too, and a path that nobody has is no name."""
    with observed("flask") as seen:
        assert call_wsgi(make_app(), path).status == status
        assert seen.span.name == (f"GET {route}" if route else "GET")
        assert seen.span.attributes.get("http.route") == route
        assert seen.span.status.status_code is StatusCode.UNSET


def test_a_method_that_a_route_has_not_is_the_clients_mistake(observed: Observe) -> None:
    """405 is no error; no rule has matched."""
    with observed("flask") as seen:
        assert call_wsgi(make_app(), "/users/7", "DELETE").status == 405
        assert (seen.span.name, seen.span.status.status_code) == ("DELETE", StatusCode.UNSET)


@pytest.mark.parametrize(
    ("path", "status", "error"), [("/boom", 500, "ZeroDivisionError"), ("/missing", 503, "KeyError")]
)
def test_an_exception_that_became_a_response_is_recorded(observed: Observe, path: str, status: int, error: str) -> None:
    """Flask's own 500, and that of an error handler."""
    with observed("flask") as seen:
        assert call_wsgi(make_app(), path).status == status
        assert seen.span.attributes["error.type"] == str(status)
        assert seen.span.attributes["http.route"] == path
        (event,) = seen.span.events
        assert event.attributes["exception.type"] == error
        assert "on purpose" in event.attributes["exception.stacktrace"]


def test_an_exception_that_goes_through_is_recorded_with_its_route(observed: Observe) -> None:
    """As under a debugger, or in tests."""
    with observed("flask") as seen:
        with pytest.raises(ZeroDivisionError):
            call_wsgi(make_app(PROPAGATE_EXCEPTIONS=True), "/boom")
        assert seen.span.name == "GET /boom"
        assert seen.span.attributes["error.type"] == "ZeroDivisionError"
        assert len(seen.span.events) == 1


def test_a_stream_runs_in_the_span(observed: Observe) -> None:
    """Generators of views run after the view."""
    with observed("flask") as seen:
        body = call_wsgi(make_app(), "/stream").body.decode()
        assert {int(number, 16) for number in body.split()} == {seen.span.context.span_id}
        assert seen.span.attributes["http.response.body.size"] == len(body)


def test_a_response_that_calls_back_on_close_does_so_in_the_span(observed: Observe) -> None:
    """`call_on_close` is code of the application."""
    app = make_app()
    seen_in: list[int] = []

    @app.get("/closing")
    def closing() -> flask.Response:
        response = flask.Response("x")
        response.call_on_close(lambda: seen_in.append(trace.get_current_span().get_span_context().span_id))
        return response

    with observed("flask") as seen:
        call_wsgi(app, "/closing")
        assert seen_in == [seen.span.context.span_id]


def test_one_response_for_all_requests_keeps_nothing_of_them(observed: Observe) -> None:
    """A constant response is allowed, and is asked to remember nothing."""
    app = make_app()
    constant = flask.Response("x")
    app.add_url_rule("/constant", view_func=lambda: constant)
    with observed("flask") as seen:
        for _ in range(3):
            call_wsgi(app, "/constant")
        assert len(seen.spans) == 3
        assert not constant._on_close


def test_an_unread_answer_of_the_test_client_has_its_span(observed: Observe) -> None:
    """Tests rarely close what they get; a body that is there already needs no end."""
    with observed("flask") as seen:
        assert make_app().test_client().get("/users/7").status_code == 200
        assert seen.span.name == "GET /users/<int:number>"
        assert seen.span.attributes["http.response.body.size"] == 6


def test_a_mounted_application_is_named_below_its_mount(observed: Observe) -> None:
    """The application root belongs to the route; there is one span."""
    outer, inner = make_app(), make_app()
    outer.wsgi_app = DispatcherMiddleware(outer.wsgi_app, {"/inner": inner})  # type: ignore[method-assign]
    with observed("flask") as seen:
        assert call_wsgi(outer, "/inner/users/7").body == b"user 7"
        assert seen.span.name == "GET /inner/users/<int:number>"


def test_an_application_that_is_called_around_its_call_is_seen(observed: Observe) -> None:
    """`ProxyFix(app.wsgi_app)` is given to servers, too."""
    with observed("flask") as seen:
        assert call_wsgi(ProxyFix(make_app().wsgi_app), "/users/7").body == b"user 7"
        assert seen.span.name == "GET /users/<int:number>"


def test_a_middleware_that_copies_the_environ_changes_nothing(observed: Observe) -> None:
    """The route is found in the copy."""
    app = make_app()
    with observed("flask") as seen:
        inside = app.wsgi_app
        app.wsgi_app = lambda environ, start: inside(dict(environ), start)  # type: ignore[method-assign]
        call_wsgi(app, "/users/7")
        assert seen.span.name == "GET /users/<int:number>"


def test_an_application_from_before_is_seen(observed: Observe) -> None:
    """Applications are made while modules are imported, often before anything is switched on."""
    app = make_app()
    with observed("flask") as seen:
        call_wsgi(app, "/users/7")
        assert len(seen.spans) == 1
    call_wsgi(app, "/users/7")
    assert len(seen.spans) == 1


def test_what_flask_excludes_the_server_leaves_alone(observed: Observe) -> None:
    """The server has begun already when Flask is asked; nothing of that is left."""
    from .test_wsgi import served

    with observed("flask", "wsgi", excluded_urls="/users") as seen:
        assert call_wsgi(served(make_app()), "/users/7").body == b"user 7"
        assert not seen.spans
        metrics = seen.metrics()
        assert "http.server.request.duration" not in metrics
        assert [point.value for point in metrics["http.server.active_requests"]] == [0]


def test_a_body_that_is_there_already_reaches_the_server_as_it_is(observed: Observe) -> None:
    """Nothing has to be waited for; with a server around Flask and without."""
    from werkzeug.wsgi import ClosingIterator

    from .gateways import Responder, make_environ
    from .test_wsgi import served

    with observed("flask", "wsgi") as seen:
        for app in (make_app(), served(make_app())):
            seen.clear()
            assert type(app(make_environ("/users/7"), Responder())) is ClosingIterator
            assert seen.span.attributes["http.response.body.size"] == 6


def test_hooks_of_flask_are_called_under_a_server(observed: Observe) -> None:
    """It is the server's span that they get."""
    from .test_wsgi import served

    shown: list[Any] = []
    hooks = {
        "request_hook": lambda span, environ: shown.append(environ["PATH_INFO"]),
        "response_hook": lambda span, environ, response: shown.append(response[0]),
    }
    with observed("flask", "wsgi", **hooks) as seen:
        call_wsgi(served(make_app()), "/users/7")
        assert shown == ["/users/7", "200 OK"]
        assert len(seen.spans) == 1


def test_a_call_of_another_application_in_the_process_is_a_request_of_its_own(observed: Observe) -> None:
    """Unlike a mount, it has an environ of its own."""
    outer, inner = make_app(), make_app()
    outer.add_url_rule("/ask", view_func=lambda: call_wsgi(inner, "/users/7").body)
    with observed("flask") as seen:
        assert call_wsgi(outer, "/ask").body == b"user 7"
        one, two = seen.spans
        assert (one.name, two.name) == ("GET /users/<int:number>", "GET /ask")
        assert one.parent.span_id == two.context.span_id
