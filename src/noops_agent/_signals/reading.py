"""What one reader of metrics sees: a stream for each instrument and view, and their collection."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from opentelemetry.metrics import CallbackOptions

from .._core import Stream, clock_ns
from .._core.measured import DROP
from .._core.values import utf8
from .._core.wire import field
from .._diagnostics import say
from .._env import original
from .instruments import Instrument, Observable
from .views import KINDS, Preferences, Sight, sights

TIMEOUT_MS = 10_000.0
"""Time that a callback is told it has, at most."""


def process_lock(locks: dict[int, Any]) -> Any:
    """Give the reentrant lock of this process: a thread that held it in the parent is not there in a child."""
    pid = os.getpid()
    return locks.get(pid) or locks.setdefault(pid, original("_thread", "RLock")())


class Entry(NamedTuple):
    """One stream, and what its metric is called. `head` are the fields 1 to 3 of Metric."""

    instrument: Any
    sight: Sight
    stream: Any
    head: bytes


class Reading:
    """The streams of one reader.

    Args:
        views: The provider's, applied to each instrument.
        wanted: The reader's preferences.
    """

    def __init__(self, views: Sequence[Any], wanted: Preferences) -> None:
        self._views = views
        self._wanted = wanted
        self._entries: dict[Any, list[Entry]] = {}
        self._locks: dict[int, Any] = {}
        self._overflowed: set[Any] = set()

    def _lock(self) -> Any:
        return process_lock(self._locks)

    # -- instruments

    def add(self, instrument: Any) -> tuple[Any, ...]:
        """Make the streams of an instrument; gives those that it measures into."""
        entries = []
        for sight in sights(instrument, self._views, self._wanted):
            if sight.shape.kind != DROP:
                self._warn_of_conflict(instrument, sight)
                entries.append(Entry(instrument, sight, Stream(sight.shape), head_of(instrument, sight)))
        self._entries[instrument] = entries
        return tuple(entry.stream for entry in entries)

    def _warn_of_conflict(self, instrument: Instrument, sight: Sight) -> None:
        """Say that a view gives a metric the name of another one."""
        if sight.view is None:
            return
        for entries in list(self._entries.values()):
            for entry in entries:
                if (entry.sight.name, entry.instrument.unit) == (sight.name, instrument.unit):
                    say("view.conflict", key=sight.name, name=sight.name)

    def streams(self, instrument: Any) -> tuple[Any, ...]:
        """The streams of an instrument."""
        return tuple(entry.stream for entry in self._entries.get(instrument, ()))

    # -- collecting

    def observe(self, deadline: float) -> bool:
        """Ask the callbacks of all observable instruments; False where time ran out before all were asked.

        Args:
            deadline: On the clock of `time.monotonic`, in seconds.
        """
        for instrument, entries in list(self._entries.items()):
            if not instrument.observed:
                continue
            left_ms = (deadline - time.monotonic()) * 1000
            if left_ms <= 0:
                return False
            observe(instrument, entries, CallbackOptions(timeout_millis=min(left_ms, TIMEOUT_MS)))
        return time.monotonic() < deadline

    def points(self, deadline: float) -> tuple[int, list[tuple[Entry, list[Any]]], bool]:
        """Collect: (the time, points by stream without those that have none, whether all callbacks were asked)."""
        with self._lock():
            complete = self.observe(deadline)
            now_ns = clock_ns()
            found = [(entry, entry.stream.collect(now_ns)) for entry in self._all()] if complete else []
            self._speak()
        return now_ns, [(entry, points) for entry, points in found if points], complete

    def payloads(self, deadline: float) -> list[tuple[Any, bytes]]:
        """Collect as OTLP: scopes, and field 2 of their ScopeMetrics, one for each metric."""
        with self._lock():
            if not self.observe(deadline):
                say("callback.slow")
            now_ns = clock_ns()
            found = [
                (entry.instrument.instrumentation_scope, payload)
                for entry in self._all()
                if (payload := entry.stream.encode(entry.head, now_ns)) is not None
            ]
            self._speak()
        return found

    def _all(self) -> Iterator[Entry]:
        for entries in list(self._entries.values()):
            yield from entries

    # -- what hot code counted

    def _speak(self) -> None:
        for instrument in list(self._entries):
            if getattr(instrument, "negative", 0):
                say("measurement.negative", key=instrument.name, name=instrument.name, kind=instrument.kind)
            if getattr(instrument, "unreadable", 0):
                say("measurement.unreadable", key=instrument.name, name=instrument.name)
        for entry in self._all():
            if entry.stream.overflowed and entry.stream not in self._overflowed:
                self._overflowed.add(entry.stream)
                warn_of_overflow(entry)


def observe(instrument: Observable, entries: Sequence[Entry], options: CallbackOptions) -> None:
    """Measure what the callbacks of an instrument give."""
    for observation in instrument.observations(options):
        try:
            context = getattr(observation, "context", None)
            taken = [entry.stream.observe(observation.value, observation.attributes, context) for entry in entries]
        except Exception as error:
            say("callback.failed", key=instrument.name, name=instrument.name, error=repr(error))
            continue
        if not all(taken):
            say("measurement.unreadable", key=instrument.name, name=instrument.name)


def warn_of_overflow(entry: Entry) -> None:
    """Name the attribute that has made a stream reach its limit."""
    values: dict[str, set[Any]] = {}
    for attributes in entry.stream.attributes():
        for name, value in attributes.items():
            values.setdefault(name, set()).add(repr(value) if isinstance(value, (dict, tuple)) else value)
    name = max(values, key=lambda name: len(values[name]), default="")
    say(
        "metric.overflow",
        key=entry.sight.name,
        name=entry.sight.name,
        limit=entry.sight.shape.limit,
        attribute=name,
        values=len(values.get(name, ())),
    )


def head_of(instrument: Instrument, sight: Sight) -> bytes:
    """Encode name, description and unit of a metric: fields 1 to 3 of Metric."""
    texts = ((1, sight.name), (2, sight.description), (3, instrument.unit))
    return b"".join(field(number, utf8(text)) for number, text in texts if text)


def preferences_of(reader: Any, exemplars: Any, limit: int) -> Preferences:
    """Read what a reader of the SDK prefers; its tables are by class, ours by the name of the kind."""
    temporality = {kind.__name__.lstrip("_"): value for kind, value in reader._instrument_class_temporality.items()}
    aggregation = {kind.__name__.lstrip("_"): value for kind, value in reader._instrument_class_aggregation.items()}
    # 1 is delta in the SDK's enumeration, as it is in OTLP.
    delta = frozenset(kind for kind in KINDS if int(temporality.get(kind, 2)) == 1)
    return Preferences(delta, aggregation, exemplars, limit)
