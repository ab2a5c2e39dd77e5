"""Metrics of asyncio's event loops that run: how late they are, and their tasks.

A loop is found when it is run. Lateness is that of a timer of ours, in steps of what the loop's own timers have
(1 ms). The timer is there while the loop runs, holds nothing and keeps no loop from ending; a loop of another kind
than those of the standard library and uvloop, one with a clock of its own and one in debug mode have none.
"""

from __future__ import annotations

import contextvars
import functools
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

from ... import _diagnostics
from ..._imports import on_import
from .reading import UP_DOWN_COUNTER, Reading, Value

LAG = "cpython.asyncio.loop.lag"
LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
NUMBER = "cpython.asyncio.loop.number"

INTERVAL_S = 0.25
"""Time between two measurements of a loop's lateness: 4 timers a second are no load, and each longer block is seen."""

MOST_LOOPS = 32
"""Loops that are measured at a time; those beyond are not."""

HOMES = frozenset(
    ("asyncio.unix_events", "asyncio.windows_events", "asyncio.selector_events", "asyncio.proactor_events", "uvloop")
)
"""Modules whose loops have a timer: others may be a test's, with a time of their own."""

CLASSES = (("asyncio.base_events", "BaseEventLoop"), ("uvloop", "Loop"))


def is_ordinary(loop: Any) -> bool:
    """Whether a loop keeps the time of this world."""
    kind = type(loop)
    if kind.__module__ not in HOMES or loop.get_debug():
        return False
    clock = getattr(kind, "time", None)
    return "time" not in getattr(loop, "__dict__", ()) and getattr(clock, "__module__", None) in (
        "asyncio.base_events",
        "uvloop.loop",
        None,  # a method written in C
    )


class Run:
    """One loop, while it runs."""

    __slots__ = ("_due", "_record", "_timer", "attributes", "found_running", "loop", "number", "on")

    def __init__(self, loop: Any, record: Callable[..., object], found_running: bool) -> None:
        self.loop = loop
        self.found_running = found_running
        """Its end will not be seen."""
        self.number = -1
        self.on = True
        self.attributes: dict[str, int] = {}
        self._record = record
        self._due = 0.0
        self._timer: Any = None

    def begin(self) -> None:
        """Set the first timer; in the loop's thread."""
        if self.on and self._timer is None and is_ordinary(self.loop):
            self._wait()

    def _wait(self) -> None:
        # In a context of its own: the timer must not hold on to the span that is current.
        self._due = perf_counter() + INTERVAL_S
        self._timer = self.loop.call_later(INTERVAL_S, self._measure, context=contextvars.Context())

    def _measure(self) -> None:
        late = perf_counter() - self._due
        if not self.on:
            return
        try:
            self._record(late if late > 0 else 0.0, self.attributes)
            self._wait()
        except Exception:
            _diagnostics.count("runtime.failed")

    def end(self) -> None:
        """Take the timer away; in the loop's thread."""
        self.on = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Loops:
    """The loops of this process that run."""

    def __init__(self, histogram: Any) -> None:
        self.on = False
        self.timing = False
        """Whether lateness is measured: somebody takes the measurements."""
        self.running: dict[int, Run] = {}
        """By number: the lowest that is free when the loop begins to run."""
        self._histogram = histogram
        self._patched: dict[type, tuple[Any, Any]] = {}
        """Class -> its own `run_forever`, if it had one, and ours."""
        self._forget: list[Callable[[], None]] = []

    # -- on and off

    def start(self) -> None:
        """Find the loops that are run from now on, and the one that runs here."""
        self.on = True
        for module, name in CLASSES:
            self._forget.append(on_import(module, functools.partial(self._patch, name)))
        events = sys.modules.get("asyncio.events")
        here = None if events is None else events._get_running_loop()
        if here is not None:
            self.enter(here, running=True)

    def time(self) -> None:
        """Measure the lateness of the loops that run, and of those to come."""
        self.timing = True
        for run in list(self.running.values()):
            try:
                if is_ordinary(run.loop):
                    run.loop.call_soon_threadsafe(run.begin, context=contextvars.Context())
            except RuntimeError:  # closed meanwhile
                pass

    def stop(self) -> None:
        """Find no loop any more."""
        self.on = self.timing = False
        for forget in self._forget:
            forget()
        self._forget.clear()
        self.forget_all()
        for kind, (own, ours) in list(self._patched.items()):
            if kind.__dict__.get("run_forever") is not ours:
                continue  # somebody has wrapped it since; it does nothing any more
            if own is None:
                del kind.run_forever  # type: ignore[attr-defined]
            else:
                kind.run_forever = own  # type: ignore[attr-defined]
            del self._patched[kind]

    def forget_all(self) -> None:
        """Let go of all loops: in a forked child they don't run. Their timers end when they are next due."""
        for run in list(self.running.values()):
            run.on = False
        self.running.clear()

    # -- the loops

    def _patch(self, name: str, module: Any) -> None:
        """Let a module's class tell when its loops run; inside of the program's import. Never raises."""
        try:
            kind = getattr(module, name, None)
            if kind is not None and kind not in self._patched:
                self._patch_class(kind)
        except Exception:  # a class that can't be changed
            _diagnostics.count("runtime.failed")

    def _patch_class(self, kind: type[Any]) -> None:
        original = kind.run_forever

        @functools.wraps(original)
        def run_forever(self: Any) -> Any:
            run = loops.enter(self)
            try:
                return original(self)
            finally:
                if run is not None:
                    loops.leave(run)

        loops = self
        own = kind.__dict__.get("run_forever")
        kind.run_forever = run_forever
        self._patched[kind] = own, run_forever

    def enter(self, loop: Any, running: bool = False) -> Run | None:
        """Take note of a loop that is about to run; in its thread. Never raises."""
        try:
            if not self.on or loop.is_closed() or loop.is_running() is not running:
                return None
            for other in list(self.running.values()):
                if other.loop is loop:  # it was found while it ran, and its end was not seen
                    self.leave(other)
            run = Run(loop, self._histogram.record, running)
            for number in range(MOST_LOOPS):
                if self.running.setdefault(number, run) is run:
                    run.number, run.attributes = number, {NUMBER: number}
                    if self.timing:
                        run.begin()
                    return run
        except Exception:
            _diagnostics.count("runtime.failed")
        return None

    def leave(self, run: Run) -> None:
        """Forget a loop that runs no more; in its thread. Never raises."""
        try:
            if self.running.get(run.number) is run:
                del self.running[run.number]
            run.end()
        except Exception:
            _diagnostics.count("runtime.failed")

    # -- what is read

    def tasks(self) -> list[Value]:
        """Count the tasks of each loop that are not done."""
        module: Any = sys.modules.get("asyncio.tasks")
        found: list[Value] = []
        for run in list(self.running.values()):
            if run.loop.is_running():
                found.append((len(module.all_tasks(run.loop)), run.attributes))
            elif run.found_running or run.loop.is_closed():
                run.on = False
                self.running.pop(run.number, None)
        return found

    def readings(self) -> list[Reading]:
        """Give the metrics."""
        name, about = "cpython.asyncio.task.count", "Tasks of a running event loop that are not done."
        return [Reading(UP_DOWN_COUNTER, name, "{task}", about, self.tasks)]
