"""Requests by urllib3: one span for each attempt, so redirects and retries have theirs.

The headers go into a copy: those that the program gave stay as they are.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from urllib3._version import __version__

from noops_agent.instrument import (
    CLIENT,
    LEFT_ALONE,
    Args,
    Attributes,
    Before,
    Call,
    Hook,
    Instrumentation,
    Kwargs,
    http_client,
)

_OLD = __version__.startswith("1.")
_retries: ContextVar[Any] = ContextVar("noops_urllib3_retries", default=None)


def _make_request(pool: Any, args: Args, kwargs: Kwargs) -> Call | None:
    if len(args) < 3:
        return None
    _, method, target = args[:3]
    headers = kwargs.get("headers")
    retries: Any = _retries.get() if _OLD else kwargs.get("retries")
    call = http_client.described(
        INSTRUMENTATION.options,
        method,
        _url(pool, target),
        headers,
        len(retries.history) if hasattr(retries, "history") else 0,
    )
    if call is not LEFT_ALONE:
        if headers is not None and hasattr(headers, "add"):
            # urllib3's own kind, which may hold a name several times
            call.inject = kwargs["headers"] = headers.copy()
        else:
            own = http_client.attempted(dict, headers or {})
            if own is not None:
                call.inject = http_client.Writer(own)
                kwargs["headers"] = own
    return call


def _urlopen(pool: Any, args: Args, kwargs: Kwargs) -> None:
    """Remember for the attempt what urllib3 before 2 doesn't tell it: what it is a retry of."""
    _retries.set(args[4] if len(args) > 4 else kwargs.get("retries"))


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
        *([Before("urllib3.connectionpool:HTTPConnectionPool.urlopen", _urlopen)] if _OLD else []),
    ),
)
