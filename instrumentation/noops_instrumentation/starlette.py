"""Starlette: one span a request, named by the path of its route, mounted applications and routers included.

Starlette's own `OpenTelemetryMiddleware` keeps quiet where an application has added it. A background task runs after
the response, so it has a span of its own, a child of the request's.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP server", and
docs/registry/attributes/code.md.
"""

from __future__ import annotations

from typing import Any

from starlette import exceptions

from noops_agent.instrument import INTERNAL, Args, Before, Call, Hook, Instrumentation, Kwargs
from noops_agent.instrument.asgi import ASGIMethod, Routing, handled

OLD = "starlette.exceptions" if "ExceptionMiddleware" in vars(exceptions) else "starlette.middleware.exceptions"
"""Where handlers of exceptions were looked up before 0.28, and before 0.19."""


def _mark(scope: dict[str, Any]) -> None:
    scope["starlette.opentelemetry"] = True


def _background(task: Any, args: Args, kwargs: Kwargs) -> Call:
    function = getattr(task.func, "func", task.func)  # of functools.partial
    name = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", type(function).__module__)
    return Call(f"background {name}", {"code.function.name": f"{module}.{name}"})


INSTRUMENTATION = Instrumentation(
    library="starlette",
    distribution="starlette",
    versions=">=0.13",
    hooks=(
        ASGIMethod("starlette.applications:Starlette.__call__", mark=_mark),
        Routing("starlette.routing:Route.handle"),
        Routing("starlette.routing:WebSocketRoute.handle"),
        Routing("starlette.routing:Mount.handle", mount=True),
        Before("starlette._exception_handler:_lookup_exception_handler", handled, optional=True),
        Before(f"{OLD}:ExceptionMiddleware._lookup_exception_handler", handled, optional=True),
        Hook("starlette.background:BackgroundTask.__call__", INTERNAL, _background),
    ),
)
