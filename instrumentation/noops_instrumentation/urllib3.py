"""Requests by urllib3: one span for each attempt, so redirects and retries have theirs.

The headers go into a copy: those that the program gave stay as they are.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import CLIENT, Args, Attributes, Call, Hook, Instrumentation, Kwargs, http_client


def _make_request(pool: Any, args: Args, kwargs: Kwargs) -> Call | None:
    _, method, target, *_ = args
    headers = kwargs.get("headers")
    retries = kwargs.get("retries")
    call = http_client.described(
        INSTRUMENTATION.options,
        method,
        _url(pool, target),
        headers,
        len(retries.history) if retries else 0,
    )
    if call is not None:
        own = http_client.attempted(dict, headers or {})
        if headers is not None and hasattr(headers, "add"):
            call.inject = own = headers.copy()  # urllib3's own kind, which may hold a name several times
        elif own is not None:
            call.inject = http_client.Writer(own)
        if own is not None:
            kwargs["headers"] = own
    return call


def _url(pool: Any, target: str) -> str:
    if target.startswith("/"):
        return http_client.origin(pool.scheme, pool.host, pool.port) + target
    return target  # a proxy is asked for the whole URL


def _response(call: Call, response: Any) -> Attributes | None:
    return http_client.responded(
        INSTRUMENTATION.options, response.status, getattr(response, "version", None), response.headers
    )


INSTRUMENTATION = Instrumentation(
    "urllib3",
    distribution="urllib3",
    versions=">=1.26",
    hooks=(
        Hook(
            "urllib3.connectionpool:HTTPConnectionPool._make_request",
            CLIENT,
            _make_request,
            result=_response,
            duration=http_client.DURATION,
            layer=http_client.LAYER,
        ),
    ),
)
