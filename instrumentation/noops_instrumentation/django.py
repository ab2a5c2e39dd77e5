"""Django, below WSGI and ASGI: one span a request, named by the URL pattern that matched.

Patterns are as Django writes them, with the slash that it leaves out in front: `/articles/<int:year>/`; of regular
expressions the anchors are left out. Those of included URL configurations are joined, which Django does by itself. An
exception that Django, or a middleware, makes a server error of is recorded.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP server".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from noops_agent.instrument import After, Args, Before, Instrumentation, Kwargs
from noops_agent.instrument.asgi import ASGIMethod
from noops_agent.instrument.http_server import exchange_of
from noops_agent.instrument.wsgi import WSGIMethod


@lru_cache(maxsize=1024)
def _template(root: str, route: str) -> str:
    plain = route.removeprefix("^")
    for anchor in ("\\Z", "\\z", "$"):
        plain = plain.removesuffix(anchor)
    return f"{root.rstrip('/')}/{plain.removeprefix('/')}"


def _attend(body: Any) -> tuple[list[Callable[[], object]], Sequence[Any]] | None:
    """Find what Django calls at the end of a body that is there already; in others, code of the view runs."""
    closers = getattr(body, "_resource_closers", None)
    return None if closers is None or body.streaming else (closers, body._container)


def _carrier(request: Any) -> Any:
    environ = getattr(request, "environ", None)
    return getattr(request, "scope", None) if environ is None else environ


def _resolved(handler: Any, args: Args, kwargs: Kwargs, match: Any) -> Any:
    request = args[0]
    exchange = exchange_of(_carrier(request))
    if exchange is not None:
        exchange.routed(_template(request.META.get("SCRIPT_NAME", ""), match.route or ""))
    return match


def _response_for_exception(_: Any, args: Args, kwargs: Kwargs) -> None:
    _note(*args[:2])


def _process_exception(handler: Any, args: Args, kwargs: Kwargs) -> None:
    _note(args[1], args[0])


def _note(request: Any, error: BaseException) -> None:
    exchange = exchange_of(_carrier(request))
    if exchange is not None:
        exchange.note(error)


INSTRUMENTATION = Instrumentation(
    library="django",
    distribution="django",
    versions=">=3.2",
    hooks=(
        WSGIMethod("django.core.handlers.wsgi:WSGIHandler.__call__", attend=_attend),
        ASGIMethod("django.core.handlers.asgi:ASGIHandler.__call__"),
        After("django.core.handlers.base:BaseHandler.resolve_request", _resolved),
        Before("django.core.handlers.exception:response_for_exception", _response_for_exception),
        Before("django.core.handlers.base:BaseHandler.process_exception_by_middleware", _process_exception),
    ),
)
