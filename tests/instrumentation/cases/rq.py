"""RQ: jobs that run at once in their sender's process."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import Case


def job() -> int:
    """A job."""
    return 1


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Calls of one queue."""
    rq = pytest.importorskip("rq")
    redis = pytest.importorskip("redis")
    with redis.Redis(host="127.0.0.1", port=6379, db=5) as client:
        try:
            client.ping()
        except redis.ConnectionError:
            pytest.skip("Redis does not answer at 127.0.0.1:6379; start it with: redis-server --port 6379")
        queue = rq.Queue(f"noops-case-{uuid.uuid4().hex}", connection=client, is_async=False)

        def enqueue() -> None:
            queue.enqueue(job, job_id=f"{queue.name}-job", result_ttl=0)

        def fails() -> None:
            queue.enqueue(job, unique=True)

        yield [Case("rq", enqueue, spans=2, fails=fails, many=300)]
        queue.delete()
