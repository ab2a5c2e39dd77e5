"""FastAPI: one span a request, named by the path of its route, included and mounted routers too.

FastAPI traces and measures by itself once a global provider is set (from 0.165 on); it is told with each request that
somebody does that already, the way its own nested applications are told.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP server".
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import Before, Instrumentation
from noops_agent.instrument.asgi import ASGIMethod, RouteSelected, handled
from noops_agent.instrument.http_server import exchange_of


def _mark(scope: dict[str, Any]) -> None:
    scope["fastapi.telemetry"] = None


def _route(scope: dict[str, Any]) -> str | None:
    """Find the route in versions before 0.165, which tell nobody of it."""
    exchange = exchange_of(scope)
    if exchange is None or exchange.route is not None:
        return None
    path: str | None = getattr(scope.get("route"), "path_format", None)
    return path and scope.get("root_path", "").rstrip("/") + path


INSTRUMENTATION = Instrumentation(
    library="fastapi",
    distribution="fastapi",
    versions=">=0.60",
    hooks=(
        ASGIMethod("fastapi.applications:FastAPI.__call__", _route, mark=_mark),
        RouteSelected("fastapi.routing:_route_selected", optional=True),
        Before("starlette._exception_handler:_lookup_exception_handler", handled, optional=True),
    ),
)
