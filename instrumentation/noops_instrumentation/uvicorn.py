"""uvicorn's metrics: connections, requests in flight and answered, backlog. Its requests are told of by `asgi`."""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import Instrumentation
from noops_agent.instrument.server_metrics import ACTIVE, BACKLOG, CONNECTIONS, REQUESTS, Gauge, Watches, backlog


def _connections(server: Any) -> int | None:
    return len(server.server_state.connections) if server.started else None


def _active(server: Any) -> int | None:
    return len(server.server_state.tasks) if server.started else None


def _requests(server: Any) -> int | None:
    return server.server_state.total_requests if server.started else None


def _backlog(server: Any) -> int | None:
    if not server.started:
        return None
    return backlog(sock for listener in server.servers for sock in listener.sockets)


INSTRUMENTATION = Instrumentation(
    library="uvicorn",
    distribution="uvicorn",
    versions=">=0.20",
    hooks=(
        Watches(
            "uvicorn.server:Server.__init__",
            (
                Gauge(*CONNECTIONS, _connections),
                Gauge(*ACTIVE, _active),
                Gauge(*REQUESTS, _requests, grows=True),
                Gauge(*BACKLOG, _backlog),
            ),
        ),
    ),
)
