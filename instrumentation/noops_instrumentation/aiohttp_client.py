"""Requests by aiohttp client sessions, WebSocket handshakes among them; the program's own `TraceConfig`s stay.

A session follows redirects and repeats requests inside of one call, so there is one span for all of them, with the
URL that was asked for.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md.
"""

from __future__ import annotations

from typing import Any

from multidict import CIMultiDict
from yarl import URL

from noops_agent.instrument import (
    CLIENT,
    LEFT_ALONE,
    Args,
    Attributes,
    Call,
    Hook,
    Instrumentation,
    Kwargs,
    http_client,
)


def _request(session: Any, args: Args, kwargs: Kwargs) -> Call | None:
    method = args[0] if args else kwargs.get("method")
    url = _url(session, args[1] if len(args) > 1 else kwargs.get("str_or_url"), kwargs.get("params"))
    if url is None or type(method) is not str:
        return None
    headers = kwargs.get("headers")
    call = http_client.described(INSTRUMENTATION.options, method.upper(), url, headers or ())
    if call is not LEFT_ALONE:
        own = http_client.attempted(CIMultiDict, headers or ())
        if own is not None:
            call.inject = kwargs["headers"] = own
    return call


def _url(session: Any, url: Any, params: Any) -> str | None:
    """Give the URL that is asked for; None where aiohttp will refuse it."""
    if session._base_url is not None or params:
        url = http_client.attempted(lambda given: _joined(session, given, params), url)
    return url if type(url) is str else str(url) if isinstance(url, URL) else None


def _joined(session: Any, url: Any, params: Any) -> URL:
    joined: URL = session._build_url(url)
    return joined.extend_query(params) if params else joined


def _response(call: Call, response: Any) -> Attributes | None:
    return http_client.responded(INSTRUMENTATION.options, response.status, response.version, response.headers)


def _failure(call: Call, error: BaseException) -> Attributes | None:
    """A status that the session was told to raise is an answer nevertheless."""
    status = getattr(error, "status", None)
    if not isinstance(status, int) or not hasattr(error, "request_info") or status < 100:
        return None
    return http_client.responded(INSTRUMENTATION.options, status)


INSTRUMENTATION = Instrumentation(
    "aiohttp_client",
    distribution="aiohttp",
    versions=">=3.8",
    hooks=(
        Hook(
            "aiohttp.client:ClientSession._request",
            CLIENT,
            _request,
            result=_response,
            error=_failure,
            duration=http_client.DURATION,
            layer=http_client.LAYER,
        ),
    ),
)
