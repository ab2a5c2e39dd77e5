"""One job enqueued; the queue is emptied as a worker would."""

from __future__ import annotations

from collections.abc import Callable

CONTRIB = None
CONTRIB_PACKAGE = ""
DDTRACE = "rq"
REQUIRES = ("rq",)


def prepare() -> Callable[[], object]:
    """Connect; jobs of one id take each other's place."""
    import redis
    import rq

    client = redis.Redis(host="127.0.0.1", port=6379, db=5)
    queue = rq.Queue("noops-calls", connection=client)
    queue.empty()

    def enqueue() -> None:
        queue.enqueue("builtins.len", (), job_id="noops-calls", ttl=5)
        client.lpop(queue.key)

    return enqueue
