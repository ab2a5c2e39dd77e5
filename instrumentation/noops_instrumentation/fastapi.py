"""FastAPI: one span a request, named by the path of its route, included and mounted routers too.

FastAPI traces and measures by itself once a global provider is set (from 0.165 on); it is told with each request that
somebody does that already, the way its own nested applications are told; its spans of dependencies and endpoints, and
`get_telemetry_data()`, are not there then.

Source: OpenTelemetry semantic conventions 1.44, docs/http/http-spans.md, "HTTP server".
"""

from __future__ import annotations

from typing import Any

from fastapi import routing

from noops_agent.instrument import Before, Instrumentation
from noops_agent.instrument.asgi import ASGIMethod, RouteSelected, Routing, handled


def _mark(scope: dict[str, Any]) -> None:
    scope["fastapi.telemetry"] = None


ROUTES = (
    Routing("starlette.routing:Route.handle"),
    Routing("starlette.routing:WebSocketRoute.handle"),
    Routing("starlette.routing:Mount.handle", mount=True),
)
"""Where routes are seen before 0.165, which tells of them in one place."""


INSTRUMENTATION = Instrumentation(
    library="fastapi",
    distribution="fastapi",
    versions=">=0.60",
    hooks=(
        ASGIMethod("fastapi.applications:FastAPI.__call__", mark=_mark),
        *((RouteSelected("fastapi.routing:_route_selected"),) if hasattr(routing, "_route_selected") else ROUTES),
        Before("starlette._exception_handler:_lookup_exception_handler", handled, optional=True),
    ),
)
