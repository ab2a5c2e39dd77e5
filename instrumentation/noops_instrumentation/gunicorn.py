"""gunicorn's metrics. The arbiter tells of its workers and its backlog, a worker of its connections and requests."""

from __future__ import annotations

import signal
from typing import Any

from noops_agent.instrument import Args, Instrumentation
from noops_agent.instrument.server_metrics import (
    BACKLOG,
    CONNECTIONS,
    REQUESTS,
    WORKERS,
    Counts,
    Gauge,
    Watches,
    backlog,
)

EXITS = ("noops.server.worker.exits", "{worker}", "Workers that have ended, for whatever reason.")
TIMEOUTS = ("noops.server.worker.timeouts", "{worker}", "Workers that were aborted since they gave no sign of life.")


def _workers(arbiter: Any) -> int:
    return len(arbiter.WORKERS)


def _backlog(arbiter: Any) -> int | None:
    return backlog(listener.sock for listener in arbiter.LISTENERS)


def _connections(worker: Any) -> int | None:
    number = getattr(worker, "nr_conns", None)  # of the worker with threads
    return number if isinstance(number, int) else None


def _requests(worker: Any) -> int:
    return int(worker.nr)


def _pids(arbiter: Any) -> frozenset[int]:
    return frozenset(arbiter.WORKERS)


def _gone(arbiter: Any, before: frozenset[int], args: Args) -> int:
    return len(before.difference(arbiter.WORKERS))


def _aborted(arbiter: Any, before: None, args: Args) -> int:
    return int(args[1:2] == (signal.SIGABRT,))


INSTRUMENTATION = Instrumentation(
    library="gunicorn",
    distribution="gunicorn",
    versions=">=20",
    hooks=(
        Watches("gunicorn.arbiter:Arbiter.start", (Gauge(*WORKERS, _workers), Gauge(*BACKLOG, _backlog))),
        Watches(
            "gunicorn.workers.base:Worker.init_process",
            (Gauge(*CONNECTIONS, _connections), Gauge(*REQUESTS, _requests, grows=True)),
        ),
        Counts("gunicorn.arbiter:Arbiter.reap_workers", EXITS, _gone, _pids),
        Counts("gunicorn.arbiter:Arbiter.kill_worker", TIMEOUTS, _aborted),
    ),
)
