"""Metrics of the thread pools of `concurrent.futures`: tasks that wait, and worker threads.

Pools are found by the registry that the library keeps of its workers, so no pool is touched. Those of one name are
told as one: the number that an unnamed pool gets is left out.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from .reading import UP_DOWN_COUNTER, Reading, Value

NAME = "cpython.thread_pool.name"
OTHER = "other"
MOST_NAMES = 32
"""Names of pools that are told apart; those beyond are told as `other`."""

_NUMBERS = re.compile(r"(?:[-_]\d+)+$")
"""The number of the worker, and before it that of the pool where it has no name of its own."""


class Pools:
    """The pools that have workers."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def name_of(self, thread: Any) -> str:
        """Give the name of a worker's pool."""
        name = _NUMBERS.sub("", thread.name)
        if name not in self._names:
            if len(self._names) >= MOST_NAMES:
                return OTHER
            self._names.add(name)
        return name

    def look(self) -> dict[str, tuple[dict[int, Any], int]]:
        """Give, by name, the queues of the pools and the number of their workers."""
        module = sys.modules.get("concurrent.futures.thread")
        registry: Any = getattr(module, "_threads_queues", None)
        found: dict[str, tuple[dict[int, Any], int]] = {}
        if registry is None:
            return found
        for reference in registry.keyrefs():
            thread = reference()
            queue = None if thread is None else registry.get(thread)
            if queue is None or not thread.is_alive():
                continue
            name = self.name_of(thread)
            queues, workers = found.get(name, ({}, 0))
            queues[id(queue)] = queue
            found[name] = queues, workers + 1
        return found

    def waiting(self) -> list[Value]:
        """Count the tasks that no worker has begun."""
        return [
            (sum(queue.qsize() for queue in queues.values()), {NAME: name}) for name, (queues, _) in self.look().items()
        ]

    def workers(self) -> list[Value]:
        """Count the worker threads."""
        return [(workers, {NAME: name}) for name, (_, workers) in self.look().items()]

    def readings(self) -> list[Reading]:
        """Give the metrics."""
        return [
            Reading(
                UP_DOWN_COUNTER,
                "cpython.thread_pool.queue.length",
                "{task}",
                "Tasks of a thread pool that no worker has begun.",
                self.waiting,
            ),
            Reading(
                UP_DOWN_COUNTER,
                "cpython.thread_pool.thread.count",
                "{thread}",
                "Worker threads of a thread pool.",
                self.workers,
            ),
        ]
