"""Requests by HTTPX (and HTTPX 2) clients, blocking and asyncio: one span for each attempt, so redirects have theirs.

Whatever transport carries a request, mounted or the program's own, it is the client that speaks.

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
    Patch,
    http_client,
)


def _send(client: Any, args: Args, kwargs: Kwargs) -> Call | None:
    request: Any = args[0] if args else kwargs.get("request")
    if not hasattr(request, "headers"):
        return None  # it will be refused
    headers = request.headers
    call = http_client.described(
        INSTRUMENTATION.options, request.method, _text(request.url), headers, http_client.resends(request)
    )
    if call is not LEFT_ALONE:
        # An attempt has headers of its own; the program's request object gets back those that it had. They are
        # exchanged and not changed, for another thread may be sending the same request.
        call.request = request
        call.inject = request.headers = headers.copy()
        call.state = headers
    return call


def _text(url: Any) -> str:
    """Write a URL; by its parts where they are at hand, since `str` puts them together anew for each of them."""
    parts = getattr(url, "_uri_reference", None)
    if not isinstance(parts, tuple) or len(parts) != 7:
        return str(url)
    scheme, userinfo, host, port, path, query, fragment = parts
    if userinfo or fragment or not host:
        return str(url)
    base = http_client.origin(scheme, host, port)
    return f"{base}{path}?{query}" if query is not None else base + path


def _restore(call: Call) -> None:
    if call.request.headers is call.inject:
        call.request.headers = call.state


def _response(call: Call, response: Any) -> Attributes | None:
    _restore(call)
    return http_client.responded(
        INSTRUMENTATION.options,
        response.status_code,
        response.extensions.get("http_version", b"HTTP/1.1"),
        response.headers,
    )


def _failure(call: Call, error: BaseException) -> Attributes | None:
    _restore(call)
    return None


def _redirected(client: Any, args: Args, kwargs: Kwargs, returned: Any) -> Any:
    http_client.resent(returned, len(args[1].history) + 1)
    return returned


def _hook(target: str, optional: bool) -> Hook:
    return Hook(
        target,
        CLIENT,
        _send,
        result=_response,
        error=_failure,
        duration=http_client.DURATION,
        layer=http_client.LAYER,
        optional=optional,
    )


def _hooks(package: str, optional: bool = False) -> tuple[Patch, ...]:
    return (
        _hook(f"{package}._client:Client._send_single_request", optional),
        _hook(f"{package}._client:AsyncClient._send_single_request", optional),
        After(f"{package}._client:BaseClient._build_redirect_request", _redirected, optional=optional),
    )


INSTRUMENTATION = Instrumentation(
    "httpx",
    distribution=("httpx", "httpx2"),
    versions=">=0.18",
    hooks=_hooks("httpx") + _hooks("httpx2", optional=True),
)
