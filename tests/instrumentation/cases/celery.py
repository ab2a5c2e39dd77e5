"""Celery: sending to a broker in memory, and running at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Calls of an application without workers."""
    celery = pytest.importorskip("celery")
    app = celery.Celery("cases", broker="memory://", set_as_current=False)
    app.conf.update(task_default_queue=f"noops-case-{uuid.uuid4().hex}", task_ignore_result=True)

    @app.task(name="add", shared=False)
    def add(left: int, right: int) -> int:
        return left + right

    @app.task(name="fail", shared=False)
    def fail() -> None:
        raise KeyError("no such thing")

    channel = app.connection().default_channel

    def send() -> None:
        add.apply_async((1, 2))
        channel.queue_purge(app.conf.task_default_queue)  # the broker is this process, and its queue is memory

    def run() -> Any:
        return add.apply((1, 2)).get()

    def raises() -> None:
        fail.apply(throw=True)

    yield [Case("celery", send, name="send", many=2000), Case("celery", run, fails=raises, name="run", many=2000)]
    app.close()
