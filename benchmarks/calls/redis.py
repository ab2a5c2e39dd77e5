"""One GET over the loopback."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = "opentelemetry.instrumentation.redis:RedisInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-redis"
DDTRACE = "redis"
REQUIRES = ("redis",)


def prepare() -> Callable[[], object]:
    """Give the call: one command on an open connection to a real server."""
    import redis

    client = redis.Redis(host="127.0.0.1")
    client.ping()
    return lambda: client.get("noops-benchmark")
