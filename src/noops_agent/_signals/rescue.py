"""The late decision: traces that the head sampler did not take, kept because they failed or were slow.

The encoded spans of such a trace are held in memory until its local root ends; then they are recorded, or
forgotten. What is held is bounded by trace and in all; a trace over the bounds is given up and counted.

There is no lock: a span may end in a signal handler or in the collector of garbage, in the middle of any line
here, and a fork may come at any time. What is shared is lists and deques; one operation takes one item.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from os import getpid
from typing import Any

from .._core.segment import ERROR, SPAN
from .._diagnostics import count

MAX_BYTES = 8 << 20
MAX_SPANS = 512
MAX_ROUTES = 512
MAX_ROUTE_LENGTH = 256
PAGE_BYTES = 1024
SPAN_BYTES = 128
"""Memory that a held span takes beside its payload."""

HELD, KEPT, FORGOTTEN = range(3)


# ---- how long a route takes ------------------------------------------------------------------------------

FIRST_BIT = 10
BUCKETS = 240
MIN_SEEN = 100
HALVE_AT = 4096


class Durations:
    """Where the 99th percentile of a route's durations lies, in 1 KiB.

    Eight buckets to a doubling, from 1 µs to 18 minutes, so a percentile is right within an eighth. Counts
    are halved whenever there are `HALVE_AT`, so that it moves with the route. Threads may lose a count.
    """

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts = array("I", [0]) * BUCKETS
        self._total = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        self._counts[bucket(duration_ns)] += 1
        self._total += 1
        if self._total >= HALVE_AT:
            self._counts = halved(self._counts)
            self._total = sum(self._counts)

    def slow(self, duration_ns: int) -> bool:
        """Whether a duration lies above the 99th percentile; never before `MIN_SEEN` were counted."""
        if self._total < MIN_SEEN:
            return False
        return sum(self._counts[bucket(duration_ns) :]) * 100 < self._total


def bucket(duration_ns: int) -> int:
    """Index of the bucket of a duration, by its four top bits."""
    value = max(int(duration_ns), 1 << FIRST_BIT)
    doubling = value.bit_length() - 1
    return min((doubling - FIRST_BIT) * 8 + (value >> (doubling - 3)) - 8, BUCKETS - 1)


def halved(counts: array[int]) -> array[int]:
    """Halve the counts from the longest down, carrying what is odd, so that a thin tail stays."""
    half = array("I", counts)
    carried = 0
    for index in range(len(half) - 1, -1, -1):
        carried += half[index]
        half[index] = carried >> 1
        carried &= 1
    return half


# ---- a trace that waits ----------------------------------------------------------------------------------


class Held:
    """The spans of one trace in this process, waiting for the end of its local root. Any thread may add.

    Args:
        free: Pages of memory that nobody uses; each item is the right to hold `PAGE_BYTES`.
    """

    __slots__ = (
        "_failed", "_free", "_max_spans", "_pages", "_recorder", "_rescue", "_room_bytes", "_spans", "_state",
    )  # fmt: skip

    def __init__(self, rescue: Rescue, free: list[None], max_spans: int) -> None:
        self._pages: list[None] = []
        self._free = free
        self._rescue = rescue
        self._max_spans = max_spans
        self._spans: deque[tuple[int, int, bytes]] = deque()
        self._room_bytes = 0
        self._failed = False
        self._state = HELD
        self._recorder: Any = None

    def add(self, scope: int, payload: bytes, error: bool) -> None:
        """Hold the bytes of an ended span; after the decision, record or drop it at once."""
        if error:
            self._failed = True
        if self._state == HELD and not self._make_room(len(payload) + SPAN_BYTES):
            self._state = FORGOTTEN
            count("rescue.overflow")
        if self._state != FORGOTTEN:
            self._spans.append((SPAN | ERROR if error else SPAN, scope, payload))
        if self._state != HELD:
            self._settle()

    def finish(self, recorder: Any, name: str, duration_ns: int, error: bool) -> bool:
        """Decide, at the end of the local root: True where the trace was recorded."""
        if self._state != HELD:
            return False
        if self._rescue.wants(name, duration_ns, self._failed or error):
            self._recorder = recorder
            self._state = KEPT
            count("rescue.kept")
        else:
            self._state = FORGOTTEN
        kept = self._state == KEPT
        self._settle()
        return kept

    def _settle(self) -> None:
        """Record or drop what is held, and give the pages back; a child that ends meanwhile does its part."""
        while self._spans:
            try:
                span = self._spans.popleft()
            except IndexError:  # another thread took the last one
                break
            if self._recorder is not None:
                self._recorder.append(*span)
        self._give_back()

    def _make_room(self, size: int) -> bool:
        self._room_bytes -= size
        if len(self._spans) >= self._max_spans or -self._room_bytes > len(self._free) * PAGE_BYTES:
            return False
        try:
            while self._room_bytes < 0:
                self._pages.append(self._free.pop())
                self._room_bytes += PAGE_BYTES
        except IndexError:
            return False
        return True

    def _give_back(self) -> None:
        try:
            while True:
                self._free.append(self._pages.pop())
        except IndexError:
            pass

    __del__ = _give_back


class Rescue:
    """Decides on traces that were not sampled, when they are over.

    Args:
        keep: What is kept: "errors", "slow".
        max_bytes_total: Most bytes held at once, all traces together.
        max_spans_per_trace: Most spans held of one trace.
    """

    def __init__(
        self, keep: Iterable[str], max_bytes_total: int = MAX_BYTES, max_spans_per_trace: int = MAX_SPANS
    ) -> None:
        kinds = frozenset(keep)
        self._errors = "errors" in kinds
        self._slow = "slow" in kinds
        self._max_pages = max_bytes_total // PAGE_BYTES
        self._max_spans = max_spans_per_trace
        self._free: list[None] = [None] * self._max_pages
        self._pid = getpid()
        self._routes: dict[str, Durations] = {}

    @property
    def held_bytes(self) -> int:
        """Bytes held now, in whole pages."""
        return (self._max_pages - len(self._free)) * PAGE_BYTES

    def open(self, name: str) -> Held:
        """Begin to hold a trace, at the start of its local root."""
        if self._pid != getpid():  # what other threads held at the fork is not given back in this process
            self._pid, self._free = getpid(), [None] * self._max_pages
        return Held(self, self._free, self._max_spans)

    def observe(self, name: str, duration_ns: int) -> None:
        """Take note of the duration of a local root, sampled or not, after it was decided on."""
        if self._slow:
            self._durations(name).add(duration_ns)

    def wants(self, name: str, duration_ns: int, error: bool) -> bool:
        """Whether a trace that is over is kept."""
        return (error and self._errors) or (self._slow and self._durations(name).slow(duration_ns))

    def _durations(self, name: str) -> Durations:
        name = name[:MAX_ROUTE_LENGTH]
        found = self._routes.get(name)
        if found is None:
            if len(self._routes) >= MAX_ROUTES:
                name = ""  # routes past the bound share one estimate
            found = self._routes.setdefault(name, Durations())
        return found
