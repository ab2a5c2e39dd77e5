"""A Celery application for real workers; the broker comes from the environment.

CELERY_BROKER=redis://127.0.0.1:6379/5 celery -A tasks worker
"""

from __future__ import annotations

import logging
import os

import redis
from celery import Celery, group
from celery.concurrency.asynpool import AsynPool

KEY = os.environ.get("TASKS_KEY", "noops-tasks")

# A pool looks for ended children each fifth second; a test has better things to do than to wait for it.
AsynPool.timers = property(lambda pool: {pool.maintain_pool: 0.2})

app = Celery("tasks", broker=os.environ.get("CELERY_BROKER"), backend=os.environ.get("CELERY_BACKEND"))
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_default_queue=os.environ.get("TASKS_QUEUE", "noops-tasks"),
    task_queues=None,
    result_expires=60,
    worker_prefetch_multiplier=1,
)
store = redis.Redis(host="127.0.0.1", port=6379, db=5)
log = logging.getLogger("tasks")


@app.task(name="tasks.count")
def count(number: int) -> int:
    """Use the database as an application does: these commands are the user's own."""
    log.warning("counting %s", number)
    return int(store.incrby(KEY, number))


@app.task(name="tasks.fail")
def fail() -> None:
    """Fail."""
    raise KeyError("no such thing")


@app.task(name="tasks.many")
def many(number: int) -> list[str]:
    """Send tasks from a task; gives their ids."""
    return [result.id for result in group(count.si(1) for _ in range(number)).apply_async()]


@app.task(name="tasks.pid")
def pid() -> int:
    """Tell which child ran it."""
    return os.getpid()
