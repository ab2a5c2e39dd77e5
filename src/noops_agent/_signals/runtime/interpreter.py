"""Metrics of the garbage collector: what it counts itself, and how long each collection held the program up.

The collector may run inside of any function, one that holds a lock of a meter provider among them. Its callback
therefore only notes the time; measurements are recorded when somebody collects.
Source: OpenTelemetry semantic conventions 1.44, docs/runtime/cpython-metrics.md (`cpython.gc.duration` is ours).
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any

from ... import _diagnostics
from .reading import COUNTER, Reading, Value

GENERATIONS = [{"cpython.gc.generation": number} for number in range(3)]

MOST_PAUSES = 8192
"""Pauses of one generation that are kept between two collections of the metrics; beyond it the oldest go, counted."""

PAUSE = "cpython.gc.duration"
PAUSE_BOUNDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds: a young collection takes some 10 µs, a full one in a large heap seconds."""

COUNTED = (
    ("collections", "cpython.gc.collections", "{collection}", "Collections of a generation."),
    ("collected", "cpython.gc.collected_objects", "{object}", "Objects that collections of a generation freed."),
    (
        "uncollectable",
        "cpython.gc.uncollectable_objects",
        "{object}",
        "Objects found by collections of a generation that could not be freed.",
    ),
)


class Counts:
    """The collector's own counts, in a forked child without those of its parent."""

    def __init__(self) -> None:
        self._before: list[dict[str, int]] = [{}, {}, {}]

    def enter_child(self) -> None:
        """Count from here on."""
        self._before = gc.get_stats()

    def reader(self, key: str) -> Callable[[], list[Value]]:
        """Make what reads one of the counts, by generation."""

        def read() -> list[Value]:
            parts = zip(gc.get_stats(), self._before, GENERATIONS, strict=False)
            return [(now[key] - before.get(key, 0), attributes) for now, before, attributes in parts]

        return read

    def readings(self) -> list[Reading]:
        """Give the metrics."""
        if sys.implementation.name != "cpython":  # PyPy's collector counts other things
            return []
        return [Reading(COUNTER, name, unit, about, self.reader(key)) for key, name, unit, about in COUNTED]


class Pauses:
    """How long collections took, until it is recorded.

    Only one collection runs at a time, in whatever thread; but a callback of somebody else may call all callbacks for
    one of its own, so that begins are kept until their ends come.
    """

    def __init__(self) -> None:
        self.kept: tuple[deque[float], ...] = tuple(deque(maxlen=MOST_PAUSES) for _ in GENERATIONS)
        self._begun: list[float] = []
        self.callback = self._make_callback()

    def _make_callback(self) -> Callable[[str, dict[str, int]], None]:
        """Make what the collector calls. It runs in the middle of anything: no lock, no record, no message."""
        begun, keep = self._begun, [kept.append for kept in self.kept]
        begin, end, clock = begun.append, begun.pop, perf_counter

        def noops_collection(phase: str, about: dict[str, int]) -> None:
            if phase == "start":
                begin(clock())
            elif begun:
                try:
                    pause = clock() - end()
                    keep[about["generation"]](pause)
                except (IndexError, KeyError):  # somebody else's call, or another thread ends the measuring
                    pass

        return noops_collection

    def start(self) -> None:
        """Let the collector call."""
        if hasattr(gc, "callbacks") and self.callback not in gc.callbacks:
            gc.callbacks.append(self.callback)

    def stop(self) -> None:
        """Let the collector call no more, and forget."""
        if self.callback in getattr(gc, "callbacks", ()):
            gc.callbacks.remove(self.callback)
        self._begun.clear()
        self.clear()

    def clear(self) -> None:
        """Forget what is not recorded yet: in a forked child it is the parent's."""
        for kept in self.kept:
            kept.clear()

    def record(self, histogram: Any) -> None:
        """Record what was kept since the last time."""
        for kept, attributes in zip(self.kept, GENERATIONS, strict=True):
            if len(kept) == MOST_PAUSES:
                _diagnostics.count("runtime.pauses.full")
            for _ in range(len(kept)):  # recording may itself bring about a collection
                try:
                    pause = kept.popleft()
                except IndexError:  # another reader collects, too
                    break
                histogram.record(pause, attributes)
