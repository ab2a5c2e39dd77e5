"""Django, below WSGI and ASGI: one span a request, named by the URL pattern that matched.

Patterns are as Django writes them, with the slash that it leaves out in front: `/articles/<int:year>/`; of regular
expressions the anchors are left out. Those of included URL configurations are joined, which Django does by itself. An
exception that Django, or a middleware, makes a server error of is recorded.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP server".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from noops_agent.instrument import Args, Before, Instrumentation, Kwargs
from noops_agent.instrument.asgi import ASGIMethod
from noops_agent.instrument.http_server import KEY, Noted, exchange_of
from noops_agent.instrument.wsgi import WSGIMethod


@lru_cache(maxsize=1024)
def _template(root: str, route: str) -> str:
    plain = route.removeprefix("^")
    for anchor in ("\\Z", "\\z", "$"):
        plain = plain.removesuffix(anchor)
    return f"{root.rstrip('/')}/{plain.removeprefix('/')}"


def _buffered(body: Any) -> Sequence[Any] | None:
    return None if getattr(body, "streaming", True) else body._container


def _exchange(request: Any) -> Any:
    found = request.META.get(KEY)  # the environ itself, below WSGI
    return exchange_of(getattr(request, "scope", None)) if found is None else found


def _resolved(request: Any, match: Any) -> None:
    exchange = _exchange(request)
    if exchange is not None:
        exchange.route = _template(request.META.get("SCRIPT_NAME", ""), match.route or "")


def _response_for_exception(_: Any, args: Args, kwargs: Kwargs) -> None:
    _note(*args[:2])


def _process_exception(handler: Any, args: Args, kwargs: Kwargs) -> None:
    _note(args[1], args[0])


def _note(request: Any, error: BaseException) -> None:
    exchange = _exchange(request)
    if exchange is not None:
        exchange.note(error)


INSTRUMENTATION = Instrumentation(
    library="django",
    distribution="django",
    versions=">=3.2",
    hooks=(
        WSGIMethod("django.core.handlers.wsgi:WSGIHandler.__call__", buffered=_buffered),
        ASGIMethod("django.core.handlers.asgi:ASGIHandler.__call__"),
        Noted("django.core.handlers.base:BaseHandler.resolve_request", _resolved),
        Before("django.core.handlers.exception:response_for_exception", _response_for_exception),
        Before("django.core.handlers.base:BaseHandler.process_exception_by_middleware", _process_exception),
    ),
)
