"""Requests by requests: one span for each attempt of an adapter, so redirects have theirs.

Adapters of the program's own are covered: every class derived from `BaseAdapter` is.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from requests.structures import CaseInsensitiveDict

from noops_agent.instrument import (
    CLIENT,
    LEFT_ALONE,
    After,
    Args,
    Attributes,
    Call,
    Instrumentation,
    Kwargs,
    http_client,
)
from noops_agent.instrument.family import Family

_STORED = type(getattr(CaseInsensitiveDict(), "_store", None)) is OrderedDict
_new = CaseInsensitiveDict.__new__


def _send(adapter: Any, args: Args, kwargs: Kwargs) -> Call | None:
    request: Any = args[0] if args else kwargs.get("request")
    url = getattr(request, "url", None)
    if type(url) is not str:
        return None
    headers = request.headers
    call = http_client.described(
        INSTRUMENTATION.options, request.method or "GET", url, headers, http_client.resends(request)
    )
    if call is not LEFT_ALONE:
        # An attempt has headers of its own; the program's request object gets back those that it had. They are
        # exchanged and not changed, for another thread may be sending the same request.
        call.request = request
        call.inject = request.headers = _copy(headers)
        call.state = headers
    return call


def _copy(headers: Any) -> Any:
    """Copy headers; by their store, as their own copying takes longer than the rest of what we do."""
    if type(headers) is not CaseInsensitiveDict or not _STORED:
        return http_client.attempted(CaseInsensitiveDict, headers or {})
    own: Any = _new(CaseInsensitiveDict)
    own._store = headers._store.copy()
    return own


def _restore(call: Call) -> None:
    if call.request.headers is call.inject:
        call.request.headers = call.state


def _response(call: Call, response: Any) -> Attributes | None:
    _restore(call)
    return http_client.responded(
        INSTRUMENTATION.options, response.status_code, getattr(response.raw, "version", None), response.headers
    )


def _failure(call: Call, error: BaseException) -> Attributes | None:
    _restore(call)
    return None


def _redirected(session: Any, args: Args, kwargs: Kwargs, returned: Any) -> Any:
    request, response = args
    http_client.resent(request, len(response.history) + 1)
    return returned


INSTRUMENTATION = Instrumentation(
    "requests",
    distribution="requests",
    versions=">=2.20",
    hooks=(
        Family(
            "requests.adapters:BaseAdapter.send",
            CLIENT,
            _send,
            result=_response,
            error=_failure,
            duration=http_client.DURATION,
            layer=http_client.LAYER,
        ),
        After("requests.sessions:SessionRedirectMixin.rebuild_auth", _redirected),
    ),
)
