r"""Requests to Tornado applications, and those by Tornado's HTTP clients.

A server span begins when the handler does and ends when its response is finished; a WebSocket's with its connection.
`http.route` is the pattern of the rule as a template: `/users/(?P<id>\d+)` is `/users/{id}`.

A client follows redirects inside of one call, so there is one span for all of them, with the URL that was asked for.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry.propagate import get_global_textmap
from tornado.httputil import HTTPHeaders

from noops_agent.instrument import (
    CLIENT,
    LEFT_ALONE,
    After,
    Args,
    Attributes,
    Before,
    Call,
    Instrumentation,
    Kwargs,
    http_client,
)
from noops_agent.instrument.http_server import Exchange, HTTPServer, Keys
from noops_agent.instrument.patterns import template
from noops_agent.instrument.served import Served, here, park, parked
from noops_agent.instrument.settled import Settled

_VERSIONS = {"HTTP/1.0": "1.0", "HTTP/1.1": "1.1", "HTTP/2.0": "2"}


# ---- server ----------------------------------------------------------------------------------------------


def _opened(server: HTTPServer, handler: Any, *_: Any) -> Exchange | None:
    request = handler.request
    headers = _flat(request.headers)
    upgrade = headers.get("Upgrade")
    context = getattr(request.connection, "context", None)
    peer = getattr(context, "address", None)
    exchange = server.open(
        request.method,
        request.protocol,
        request.path,
        request.query,
        _VERSIONS.get(request.version, ""),
        headers,
        request.headers,
        (peer[0], peer[1]) if isinstance(peer, tuple) else None,
        None,
        request,
        websocket=upgrade is not None and upgrade.lower() == "websocket",
    )
    if exchange is not None:
        server.capture(exchange, request.headers.get_all)
        exchange.find_route = _route
        exchange.scene = handler
    return exchange


def _flat(headers: Any) -> dict[str, str]:
    """Give headers as a plain dict: asking Tornado's own for one that isn't there takes as long as making this."""
    lists = getattr(headers, "_as_list", None)
    if type(lists) is not dict:
        return dict(headers)
    return {name: values[0] if len(values) == 1 else ",".join(values) for name, values in lists.items()}


def _finished(exchange: Exchange, args: Args, returned: Any) -> bool:
    handler = args[0]
    stream = getattr(handler.request.connection, "stream", None)
    exchange.gone = not handler._finished and stream is not None and stream.closed()
    exchange.responded(handler.get_status(), handler._headers.get_all(), handler)
    if handler._finished or exchange.gone or handler._auto_finish:
        return True
    exchange.routed(_route(handler))
    exchange.scene = None  # it would keep the handler, whose end is the end of the exchange
    park(handler, exchange)
    return False


def _finished_later(handler: Any, args: Args, kwargs: Kwargs, returned: Any) -> Any:
    exchange = parked(handler)
    if exchange is not None:
        exchange.responded(handler.get_status(), handler._headers.get_all(), handler)
        exchange.close()
    return returned


def _left(handler: Any, args: Args, kwargs: Kwargs) -> None:
    exchange = parked(handler)
    if exchange is not None:
        exchange.gone = True
        exchange.close()


def _failed(handler: Any, args: Args, kwargs: Kwargs) -> None:
    exchange = here()
    if exchange is not None:
        error = args[0]
        exchange.gone = type(error).__name__ == "StreamClosedError"
        exchange.note(error)


def _flushed(handler: Any, args: Args, kwargs: Kwargs) -> None:
    exchange = here()
    if exchange is not None:
        exchange.begun()
        exchange.sent += sum(map(len, handler._write_buffer))


# ---- routes ----------------------------------------------------------------------------------------------

_rules: WeakKeyDictionary[Any, dict[Any, list[tuple[Any, str]]]] = WeakKeyDictionary()
"""Application -> class of handlers -> the rules that lead to it: their matchers, and templates."""


def _route(handler: Any) -> str | None:
    """Find the template of the rule that led to a handler."""
    application = handler.application
    known = _rules.get(application)
    if known is None:
        known = _rules[application] = {}
    kind = type(handler)
    leading = known.get(kind)
    if leading is None:
        leading = known[kind] = [
            (matcher, route) for matcher, route, target in _leaves(application.default_router, "") if target is kind
        ]
    if len(leading) == 1:
        return leading[0][1] or None
    for matcher, route in leading:
        if matcher.match(handler.request) is not None:
            return route or None
    return None


def _leaves(router: Any, above: str) -> Iterator[tuple[Any, str, Any]]:
    """Give the matcher, the template and the target of each rule of a router, and of those inside of it."""
    for rule in getattr(router, "rules", ()):
        expression = getattr(rule.matcher, "regex", None)
        route = template(expression.pattern) if expression is not None else above
        if hasattr(rule.target, "find_handler"):
            yield from _leaves(getattr(rule.target, "default_router", rule.target), route)
        else:
            yield rule.matcher, route, rule.target


# ---- client ----------------------------------------------------------------------------------------------


def _fetch(client: Any, args: Args, kwargs: Kwargs) -> Call | None:
    request: Any = args[0] if args else kwargs.get("request")
    if hasattr(request, "url"):
        return _described(request, request.url, request.method, request.headers)
    if type(request) is not str:
        return None  # it will be refused
    call = _described(None, request, kwargs.get("method", "GET"), kwargs.get("headers"))
    if call is not LEFT_ALONE and call.inject is not None:
        kwargs["headers"] = call.inject
    return call


def _connect(nothing: None, args: Args, kwargs: Kwargs) -> Call | None:
    """Describe the handshake of a WebSocket; a bare URL is made the request that Tornado would make of it."""
    url: Any = args[0] if args else kwargs.get("url")
    if hasattr(url, "url"):
        return _described(url, url.url, url.method, url.headers)
    if type(url) is not str or len(args) > 1:
        return None
    call = http_client.described(INSTRUMENTATION.options, "GET", url, ())
    if call is not LEFT_ALONE:
        kwargs.pop("url", None)
        made = sys.modules["tornado.httpclient"].HTTPRequest(url, connect_timeout=kwargs.pop("connect_timeout", None))
        call.inject = made.headers
        call.args = (made,)
    return call


def _connected(call: Call, connection: Any) -> Attributes | None:
    _restore(call)
    headers = getattr(connection, "headers", None)
    return http_client.responded(INSTRUMENTATION.options, 101, 11, getattr(headers, "get_all", None))


def _described(request: Any, url: str, method: Any, headers: Any) -> Call:
    if type(method) is not str:
        return LEFT_ALONE  # it will be refused
    call = http_client.described(INSTRUMENTATION.options, method, url, headers or ())
    if call is not LEFT_ALONE:
        call.inject = own = http_client.attempted(HTTPHeaders, headers or {})
        if request is not None:
            # A fetch gives the request headers of its own, which it shows ever after: ours are taken out again.
            call.request = request
            if own is not None:
                request.headers = own
                call.state = [name for name in get_global_textmap().fields if name not in own]
    return call


def _restore(call: Call) -> None:
    if call.state is not None:
        for name in call.state:
            call.request.headers.pop(name, None)


def _response(call: Call, response: Any) -> Attributes | None:
    _restore(call)
    return http_client.responded(INSTRUMENTATION.options, response.code, 11, response.headers.get_all)


def _failure(call: Call, error: BaseException) -> Attributes | None:
    _restore(call)
    response = getattr(error, "response", None)
    if response is None:
        return None
    return http_client.responded(INSTRUMENTATION.options, response.code, 11, response.headers.get_all)


INSTRUMENTATION = Instrumentation(
    "tornado",
    distribution="tornado",
    versions=">=6.0",
    hooks=(
        Served("tornado.web:RequestHandler._execute", Keys(str.title), _opened, _finished),
        Before("tornado.web:RequestHandler._handle_request_exception", _failed),
        Before("tornado.web:RequestHandler.flush", _flushed),
        After("tornado.web:RequestHandler.finish", _finished_later),
        Before("tornado.web:RequestHandler.on_connection_close", _left),
        Settled(
            "tornado.httpclient:AsyncHTTPClient.fetch",
            CLIENT,
            _fetch,
            result=_response,
            error=_failure,
            duration=http_client.DURATION,
            layer=http_client.LAYER,
        ),
        Settled(
            "tornado.websocket:websocket_connect",
            CLIENT,
            _connect,
            result=_connected,
            error=_failure,
            duration=http_client.DURATION,
            layer=http_client.LAYER,
        ),
    ),
)
