"""Threads: what runs in one belongs to the trace in which it was started.

A thread that a library keeps for itself (a pool's worker, a monitor, a heartbeat) is started in whatever request comes
first, and outlives it. Such threads begin without a trace; tasks bring a pool's workers theirs.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import Args, Before, Instrumentation, Kwargs
from noops_agent.instrument.carry import Arrives, prepare_thread

LASTING_MODULES = frozenset(
    """
    concurrent.futures.process concurrent.futures.thread multiprocessing.managers multiprocessing.pool
    multiprocessing.queues multiprocessing.resource_sharer logging.handlers
    """.split()  # noqa: SIM905 (words are read more easily)
)
LASTING_PACKAGES = frozenset(
    """
    apscheduler asgiref billiard cassandra celery cheroot confluent_kafka datadog ddtrace distributed
    elasticapm eventlet gevent google grpc gunicorn kafka kombu ldclient newrelic noops_agent opentelemetry
    paho posthog prometheus_client psycopg_pool pymongo ray redis rq sentry_sdk statsd tqdm tornado tzlocal
    waitress watchdog watchfiles zmq
    """.split()  # noqa: SIM905 (words are read more easily)
)
"""Of whose threads the functions, or classes, come from a module of these."""


def _start(thread: Any, args: Args, kwargs: Kwargs) -> None:
    target = getattr(thread, "_target", None)
    module = getattr(type(thread) if target is None else target, "__module__", None) or ""
    if module not in LASTING_MODULES and module.partition(".")[0] not in LASTING_PACKAGES:
        prepare_thread(thread)


INSTRUMENTATION = Instrumentation(
    library="threading",
    hooks=(
        Before("threading:Thread.start", _start),
        Arrives("threading:Thread._bootstrap_inner"),
    ),
)
