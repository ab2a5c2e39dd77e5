"""Requests by `urllib.request` openers: one span for each attempt, so redirects have theirs.

URLs of files, FTP servers and data are no HTTP and make no span.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import (
    CLIENT,
    LEFT_ALONE,
    After,
    Args,
    Attributes,
    Call,
    Hook,
    Instrumentation,
    Kwargs,
    http_client,
)


def _open(opener: Any, args: Args, kwargs: Kwargs) -> Call | None:
    request: Any = args[0] if args else kwargs.get("req")
    url = request.full_url
    if not url.startswith(("http:", "https:")):
        return None
    headers = request.unredirected_hdrs
    call = http_client.described(
        INSTRUMENTATION.options, request.get_method(), url, request.header_items, http_client.resends(request)
    )
    if call is not LEFT_ALONE:
        # An attempt has headers of its own; the program's request object gets back those that it had.
        request.unredirected_hdrs = headers.copy()
        call.inject = _Headers(request)
        call.request = request
        call.state = headers
    return call


def _redirected(handler: Any, args: Args, kwargs: Kwargs, returned: Any) -> Any:
    if returned is not None:
        http_client.resent(returned, http_client.resends(args[0]) + 1)
    return returned


class _Headers:
    """Writes headers of one attempt, spelt as the opener spells them."""

    __slots__ = ("_request",)

    def __init__(self, request: Any) -> None:
        self._request = request

    def __call__(self, name: str, value: str) -> None:
        self._request.add_unredirected_header(name, value)


def _response(call: Call, response: Any) -> Attributes | None:
    call.request.unredirected_hdrs = call.state
    if response is None:
        return None
    return http_client.responded(
        INSTRUMENTATION.options,
        getattr(response, "status", None) or getattr(response, "code", None),
        getattr(response, "version", None),
        getattr(response, "headers", None),
    )


def _failure(call: Call, error: BaseException) -> Attributes | None:
    call.request.unredirected_hdrs = call.state
    return None


INSTRUMENTATION = Instrumentation(
    "urllib",
    hooks=(
        Hook(
            "urllib.request:OpenerDirector._open",
            CLIENT,
            _open,
            result=_response,
            error=_failure,
            duration=http_client.DURATION,
            layer=http_client.LAYER,
        ),
        After("urllib.request:HTTPRedirectHandler.redirect_request", _redirected),
    ),
)
