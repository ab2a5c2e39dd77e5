"""Requests to aiohttp servers: applications with their sub-applications, bare handlers, WebSockets.

A span begins with the headers of a request and ends when its response is written, streams and WebSockets included.
`http.route` is the canonical path of the resource. An HTTP exception is a response like any other.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md.
"""

from __future__ import annotations

from typing import Any

from multidict import istr

from noops_agent.instrument import Args, Before, Instrumentation, Kwargs
from noops_agent.instrument.http_server import Exchange, HTTPServer, Keys
from noops_agent.instrument.served import Served, here

_VERSIONS = {(1, 0): "1.0", (1, 1): "1.1"}
_UPGRADE = istr("Upgrade")


def _opened(server: HTTPServer, protocol: Any, request: Any, *_: Any) -> Exchange | None:
    headers = request.headers
    path, _, query = request.raw_path.partition("?")
    if not path.startswith("/"):  # a proxy was asked for a whole URL
        path, query = request.path, request.query_string
    peer = request._transport_peername
    upgrade = headers.get(_UPGRADE)
    exchange = server.open(
        request.method,
        request.scheme,
        path,
        query,
        _VERSIONS.get(request.version, ""),
        headers,
        headers,
        (peer[0], peer[1]) if isinstance(peer, (tuple, list)) else None,
        None,
        request,
        websocket=upgrade is not None and upgrade.lower() == "websocket",
    )
    if exchange is not None:
        server.capture(exchange, headers)
        exchange.find_route = _route
        exchange.scene = request
    return exchange


def _route(request: Any) -> str | None:
    match = getattr(request, "_match_info", None)
    resource = getattr(getattr(match, "route", None), "resource", None)
    canonical: str | None = getattr(resource, "canonical", None)
    return canonical


def _finished(exchange: Exchange, args: Args, returned: Any) -> bool:
    request = args[1]
    if returned is None:
        return True  # an exception went through: there is no response
    exchange.begun()  # of a response that was written as a whole, just now
    response, reset = returned
    exchange.gone = bool(reset) or request.transport is None
    exchange.responded(response.status, response.headers.items(), response)
    return True


def _failed(protocol: Any, args: Args, kwargs: Kwargs) -> None:
    exchange = here()
    error = args[2] if len(args) > 2 else kwargs.get("exc")
    if exchange is not None and error is not None:
        exchange.note(error)


def _wrote(response: Any, args: Args, kwargs: Kwargs) -> None:
    exchange = here()
    if exchange is not None:
        exchange.begun()  # the headers leave with the first part of the body
        exchange.sent += len(args[0])  # aiohttp's own count has the headers in it


INSTRUMENTATION = Instrumentation(
    "aiohttp_server",
    distribution="aiohttp",
    versions=">=3.8",
    hooks=(
        Served("aiohttp.web_protocol:RequestHandler._handle_request", Keys(istr), _opened, _finished),
        Before("aiohttp.web_protocol:RequestHandler.handle_error", _failed),
        Before("aiohttp.web_response:StreamResponse.write", _wrote),
    ),
)
