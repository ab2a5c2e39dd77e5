"""granian's metrics: its main process tells of the workers. Connections are known to its Rust core alone."""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import Args, Instrumentation
from noops_agent.instrument.server_metrics import RESPAWNS, WORKERS, Counts, Gauge, Watches


def _workers(server: Any) -> int:
    return sum(1 for worker in server.wrks if worker.is_alive())


def _replaced(server: Any, before: None, args: Args) -> int:
    return len(args[0])


INSTRUMENTATION = Instrumentation(
    library="granian",
    distribution="granian",
    versions=">=2",
    hooks=(
        Watches("granian.server.common:AbstractServer.startup", (Gauge(*WORKERS, _workers),)),
        Counts("granian.server.common:AbstractServer._respawn_workers", RESPAWNS, _replaced, optional=True),
    ),
)
