"""uvicorn's metrics: connections, requests in flight and answered, backlog; with several workers, how many there are.

Its requests are told of by `asgi`.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import After, Args, Instrumentation
from noops_agent.instrument.resets import signals_reset
from noops_agent.instrument.server_metrics import (
    ACTIVE,
    BACKLOG,
    CONNECTIONS,
    REQUESTS,
    RESPAWNS,
    WORKERS,
    Counts,
    Gauge,
    Watches,
    backlog,
)

_SUPERVISOR = "uvicorn.supervisors.multiprocess:Multiprocess"


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


def _workers(supervisor: Any) -> int:
    return sum(1 for worker in supervisor.processes if worker.process.is_alive())


def _running(supervisor: Any) -> frozenset[Any]:
    return frozenset(supervisor.processes)


def _replaced(supervisor: Any, before: frozenset[Any], args: Args) -> int:
    return len(before.difference(supervisor.processes))


INSTRUMENTATION = Instrumentation(
    library="uvicorn",
    distribution="uvicorn",
    versions=">=0.20",
    hooks=(
        After("uvicorn.workers:UvicornWorker.init_signals", signals_reset, optional=True),
        After("uvicorn_worker._workers:UvicornWorker.init_signals", signals_reset, optional=True),
        Watches(
            "uvicorn.server:Server.__init__",
            (
                Gauge(*CONNECTIONS, _connections),
                Gauge(*ACTIVE, _active),
                Gauge(*REQUESTS, _requests, grows=True),
                Gauge(*BACKLOG, _backlog),
            ),
        ),
        Watches(f"{_SUPERVISOR}.init_processes", (Gauge(*WORKERS, _workers),), optional=True),
        Counts(f"{_SUPERVISOR}.keep_subprocess_alive", RESPAWNS, _replaced, _running, optional=True),
        Counts(f"{_SUPERVISOR}.restart_all", RESPAWNS, _replaced, _running, optional=True),
    ),
)
