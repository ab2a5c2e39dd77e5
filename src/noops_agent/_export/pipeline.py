"""When records are shipped: the rounds of the one shipper thread, flush, and the end.

The application never waits for anything here but in `flush` and `stop`, which have deadlines.
"""

from __future__ import annotations

import contextvars
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import context as context_api

from .._core.segment import LOCAL
from .._diagnostics import count, counters, say
from .._env import allocate_lock, thread_id
from . import destination as destination_of
from .backlog import Backlog
from .orphans import Orphans
from .shipment import Shipment, Shipper
from .sink import Sink

LONELY_S = 0.2
"""Longest pause in a process that must end when the application's threads have."""

ROUND_S = 5.0
"""Longest time that one round goes on shipping before the cap is looked after again."""

LAST_ORPHANS_S = 0.5
"""How long the end of a process is used for what others left; requests begin within this time."""

Goal = list[tuple[Any, int]]
"""Segments, and the offsets before which their records are to be acknowledged."""


class Waiter:
    """A thread in `flush`: what it waits for, and the lock that it sleeps on."""

    __slots__ = ("goal", "lock")

    def __init__(self) -> None:
        self.goal: Goal = []
        self.lock = allocate_lock()
        self.lock.acquire()

    def look(self, final: bool = False) -> None:
        """Wake the thread where its records are acknowledged, or where nobody will ship them any more."""
        if (final or reached(self.goal)) and self.lock.locked():
            try:
                self.lock.release()
            except RuntimeError:  # it gave up in this moment
                pass


class Work:
    """What belongs to one process: a forked child begins anew."""

    def __init__(self, sinks: Sequence[Sink], settings: Any, recorder: Any, destination: bytes) -> None:
        self.pid = os.getpid()
        keeps = "local" in settings.exporters
        self.shipper = Shipper(sinks, settings.export_batch_size, keeps)
        self.backlog = Backlog(recorder, self.shipper.lanes, settings.unshipped_bytes, settings.export_queue_size)
        self.orphans = Orphans(settings.state_dir, destination, settings.kept_bytes, self.shipper)
        self.shipments: dict[int, Shipment] = {}
        self.turn = allocate_lock()
        self.owner = 0
        self.running = False
        self.stopping = False
        self.closed = False
        self.deadline = 0.0
        self.unfinished = False
        self.waiters: list[Waiter] = []
        self.ended = allocate_lock()


class Pipeline:
    """Ships what a recorder holds to all sinks.

    Args:
        recorder: The recorder of this process.
        sinks: Where records go; none: they stay in the local store.
        settings: `_config.Settings`.
        destination: What the segments of the recorder say about where they may be sent; None: as `_export` tells.
    """

    def __init__(self, recorder: Any, sinks: Sequence[Sink], settings: Any, destination: bytes | None = None) -> None:
        self._recorder = recorder
        self._sinks = list(sinks)
        self._settings = settings
        self._destination = destination_of(settings) if destination is None else destination
        self._current = self._begin()
        self.lonely = False
        """Whether the threads of the application may all end without the interpreter's exit: the process of a child
        that was forked in a thread ends with its last thread, which must not be ours."""

    def _begin(self) -> Work:
        return Work(self._sinks, self._settings, self._recorder, self._destination)

    def _work(self) -> Work:
        """The work of this process; what a parent had under way is forgotten."""
        if self._current.pid != os.getpid():
            for sink in self._sinks:
                sink.forget()
            self._current = self._begin()
        return self._current

    # -- the thread

    def run(self) -> None:
        """Ship until stopped: the body of the shipper thread. Raises nothing."""
        work = self._work()
        if work.running or work.stopping:
            return
        work.ended.acquire()
        work.running = True
        try:
            contextvars.copy_context().run(self._loop, work)
        finally:
            work.running = False
            self._wake_waiters(work, final=True)
            work.ended.release()

    def _loop(self, work: Work) -> None:
        suppress()
        with Turn(work):
            self._guarded(work, self._look_around)
        while not work.stopping and not (self.lonely and alone()):
            self._recorder.wait(self._pause_s(work))
            with Turn(work):
                self._guarded(work, self._round)
            self._wake_waiters(work)
        work.deadline = work.deadline or time.monotonic() + float(self._settings.exit_timeout_s)
        with Turn(work):
            self._guarded(work, self._finish)

    def _pause_s(self, work: Work) -> float:
        if work.unfinished:
            return 0.0
        retry_s = work.shipper.next_try_s()
        interval_s = min(float(self._settings.export_interval_s), LONELY_S if self.lonely else float("inf"))
        return interval_s if retry_s is None else min(interval_s, max(retry_s, 0.05))

    def _guarded(self, work: Work, step: Callable[[Work], None]) -> None:
        try:
            step(work)
        except Exception as error:
            count("shipper.failed")
            work.unfinished = False
            say("shipper.failed", error=repr(error))

    # -- one round

    def _look_around(self, work: Work) -> None:
        """See to what dead processes left."""
        self._scan(work)
        if work.shipper.lanes:
            until = time.monotonic() + ROUND_S
            work.orphans.ship(lambda: self._left_s(work, until) if not work.stopping else 0.0)

    def _scan(self, work: Work) -> None:
        mapped = {segment.path for segment in self._recorder.segments()}
        folder = self._recorder.folder
        work.orphans.scan(None if folder is None else folder.path, mapped)

    def _round(self, work: Work) -> None:
        self._recorder.prepare()
        until = time.monotonic() + ROUND_S
        work.unfinished = False
        self._ship_own(work, until)
        if not work.shipper.lanes:
            if work.orphans.scan_due():
                self._look_around(work)
            return
        self._shed(work)
        if self._recorder.dropped:
            say("records.lost", reason="no room could be made for them")
        if work.orphans.scan_due():
            self._look_around(work)
        else:
            work.orphans.ship(lambda: self._left_s(work, until) if not work.stopping else 0.0)

    def _ship_own(self, work: Work, until: float) -> None:
        for shipment in self._own_shipments(work):
            if work.shipper.ship(shipment, lambda: self._left_s(work, until)):
                work.shipments.pop(id(shipment.segment), None)
        work.unfinished = time.monotonic() >= until and not work.stopping

    def _own_shipments(self, work: Work) -> list[Shipment]:
        """The segments of this process, oldest first, each with how far it was shipped."""
        before = work.shipments
        work.shipments = {}
        for segment in self._recorder.segments():
            known = before.get(id(segment))
            work.shipments[id(segment)] = known or work.shipper.load(segment)
        return list(work.shipments.values())

    def _left_s(self, work: Work, until: float) -> float:
        """Seconds that a request which begins now may take."""
        now = time.monotonic()
        if work.deadline:
            return work.deadline - now
        return float(self._settings.export_timeout_s) if now < until else 0.0

    def _shed(self, work: Work) -> None:
        shipments = list(work.shipments.values())
        excess = work.backlog.over_bytes(shipments, work.orphans.unshipped_bytes())
        if excess > 0:
            work.orphans.shed(work.backlog, excess)
        for shipment in work.backlog.shed(shipments, work.orphans.unshipped_bytes()):
            work.shipper.let_go(shipment)
            work.shipments.pop(id(shipment.segment), None)
        if excess > 0:
            # Errors may have been written anew: who waits for them waits for the new records.
            for waiter in list(work.waiters):
                waiter.goal = self._goal()

    def _finish(self, work: Work) -> None:
        """The last round: one try for each sink, within the deadline of `stop`."""
        for delivery in work.shipper.deliveries:
            delivery.hurry()
        self._ship_own(work, work.deadline)
        if work.shipper.lanes and reached(self._goal()):
            # Programs that never run for long would leave what a killed one left for ever, and a child that has just
            # ended (a work-horse, say) may have left by `os._exit`. A request that begins has the whole budget: one
            # that is cut short may have been taken, and would be sent again.
            self._scan(work)
            until = time.monotonic() + LAST_ORPHANS_S
            work.orphans.ship(lambda: work.deadline - time.monotonic() if time.monotonic() < until else 0.0)
        work.orphans.leave()
        work.closed = True
        for sink in self._sinks:
            sink.close()

    # -- flush and the end

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was recorded before this call is acknowledged; False: not within *timeout_s*.

        From any thread; where no shipper thread runs, the calling thread ships. With the local store alone there
        is nothing to wait for.
        """
        work = self._work()
        if not work.shipper.lanes:
            return True
        if work.owner == thread_id():
            return reached(self._goal())
        deadline = time.monotonic() + timeout_s
        waiter = Waiter()
        work.waiters.append(waiter)
        waiter.goal = self._goal()
        try:
            self._await(work, waiter, deadline)
            return reached(waiter.goal)
        finally:
            work.waiters.remove(waiter)

    def _goal(self) -> Goal:
        return [(segment, segment.used) for segment in self._recorder.segments()]

    def _await(self, work: Work, waiter: Waiter, deadline: float) -> None:
        for delivery in work.shipper.deliveries:
            delivery.hurry()
        while work.running and not reached(waiter.goal):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            self._recorder.wake()
            waiter.lock.acquire(True, left_s)
        if not reached(waiter.goal):
            self._ship_here(work, waiter, deadline)

    def _ship_here(self, work: Work, waiter: Waiter, deadline: float) -> None:
        """Ship in the calling thread until the goal is reached, or the time is over."""
        while not reached(waiter.goal):
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not work.turn.acquire(True, left_s):
                return
            try:
                self._take_turn(work, deadline, lambda work: self._ship_own(work, deadline))
            finally:
                work.turn.release()
            retry_s = work.shipper.next_try_s()
            if retry_s is not None and not reached(waiter.goal):
                self._recorder.wait(min(max(retry_s, 0.01), max(deadline - time.monotonic(), 0.0)))

    def _take_turn(self, work: Work, deadline: float, step: Callable[[Work], None]) -> None:
        """Do a step of the shipper in this thread; its turn is taken."""

        def body() -> None:
            suppress()
            self._guarded(work, step)

        before = work.deadline
        work.owner, work.deadline = thread_id(), deadline
        try:
            contextvars.copy_context().run(body)
        finally:
            work.owner, work.deadline = 0, before

    def stop(self, timeout_s: float) -> bool:
        """End the shipper after a last round; False where something is left, or *timeout_s* was too short."""
        work = self._work()
        goal = self._goal()
        deadline = time.monotonic() + timeout_s
        work.deadline = deadline
        work.stopping = True
        self._recorder.wake()
        if work.owner != thread_id() and not work.closed:
            if work.running:
                if work.ended.acquire(True, max(timeout_s, 0.0)):
                    work.ended.release()
            elif work.turn.acquire(True, max(timeout_s, 0.0)):
                try:
                    self._take_turn(work, deadline, self._finish)
                finally:
                    work.turn.release()
        return not work.shipper.lanes or reached(goal)

    def _wake_waiters(self, work: Work, final: bool = False) -> None:
        for waiter in list(work.waiters):
            waiter.look(final)

    # -- knowledge of itself

    def status(self) -> dict[str, Any]:
        """Where records go and how that goes. Bytes, seconds, and counts since the process began."""
        work = self._work()
        own = sum(shipment.unshipped_bytes() for shipment in list(work.shipments.values()))
        counted = counters()
        return {
            "running": work.running,
            "local": work.shipper.keeps or self._destination == LOCAL,
            "sinks": [delivery.status() for delivery in work.shipper.deliveries],
            "otel.sdk.processor.span.queue.size": own,
            "otel.sdk.processor.span.queue.capacity": work.backlog.capacity_bytes,
            "orphans_bytes": work.orphans.unshipped_bytes(),
            "adopted": counted.get("orphans.adopted", 0),
            "lost": {name[5:]: n for name, n in counted.items() if name.startswith("lost.")},
        }


class Turn:
    """The shipper thread's turn: nobody else ships meanwhile."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __enter__(self) -> None:
        self._work.turn.acquire()
        self._work.owner = thread_id()

    def __exit__(self, *error: object) -> None:
        self._work.owner = 0
        self._work.turn.release()


def alone() -> bool:
    """Whether no thread but this one runs Python."""
    return len(sys._current_frames()) <= 1


def suppress() -> None:
    """Let no instrumentation trace what this context does."""
    suppressed = context_api.set_value(context_api._SUPPRESS_INSTRUMENTATION_KEY, True)
    suppressed = context_api.set_value(context_api._SUPPRESS_HTTP_INSTRUMENTATION_KEY, True, suppressed)
    context_api.attach(suppressed)


def reached(goal: Goal) -> bool:
    """Whether every record before these offsets was acknowledged."""
    return all(not segment.mapped or segment.shipped >= used for segment, used in goal)
