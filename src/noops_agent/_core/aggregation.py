"""The Python core of metrics: streams of series, and instruments. It is the specification of `metrics.pyx`."""

from __future__ import annotations

import random
from typing import Any

import opentelemetry.context as context_api
from opentelemetry.trace.propagation import _SPAN_KEY

from .._env import original
from .measured import (
    EXEMPLARS_KEPT,
    EXEMPLARS_OFF,
    EXEMPLARS_TRACED,
    EXPONENTIAL,
    OVERFLOW,
    SUM,
    Shape,
    is_sampled,
    tidy,
)
from .points import encode
from .python import clock_ns, process_mark
from .series import Series, exact, read_number, series_key

NAME = "python"

_chance = random.Random()
"""Not the application's generator: a program that seeds it must see its own numbers."""


class Stream:
    """The series of one instrument for one reader, as one view sees it."""

    def __init__(self, shape: Shape = Shape(SUM)) -> None:  # noqa: B008 (a constant)
        self.shape = shape
        self.overflowed = 0
        """Measurements that went to the series of the overflow."""
        self._lock = original("_thread", "RLock")()
        self._mark = process_mark()
        self._series: dict[Any, Series] = {}
        self._overflow: Series | None = None

    # -- finding a series

    def _find(self, attributes: Any) -> Series:
        """The series of attributes; made where there is none yet."""
        key, shown = tidy(attributes)
        if self.shape.keys is not None:
            key = {name: value for name, value in key.items() if name in self.shape.keys}
            shown = {name: shown[name] for name in key}
        found = self._series.get(series_key(key))
        return found if found is not None else self._enter(key, shown)

    def _enter(self, key: dict[str, Any], shown: dict[str, Any]) -> Series:
        beyond = len(self._series) - (self._overflow is not None) >= self.shape.limit
        if beyond:
            self.overflowed += 1
            if self._overflow is not None:
                return self._overflow
            key = shown = OVERFLOW
        made = self.shape.reservoir() if self.shape.reservoir is not None else None
        hashed = series_key(key)
        series = self._series.setdefault(hashed, Series(self.shape, hashed, shown, made))
        if beyond:
            self._overflow = series
        return series

    def _sweep(self, everything: bool) -> None:
        """Forget series that nothing was measured in, and nobody is bound to; or all that nobody is bound to."""
        for series in list(self._series.values()):
            if not series.pins and (everything or (series.idle and not series.count)):
                del self._series[series.key]
                if series is self._overflow:
                    self._overflow = None

    def _enter_process(self) -> None:
        """A forked child counts from zero: what its parent has measured is the parent's to report."""
        fresh = original("_thread", "RLock")()
        with fresh:
            self._lock = fresh
            self._mark = process_mark()
            self.overflowed = 0
            for series in self._series.values():
                series.clear(self.shape, clock_ns())
                series.before = 0
                series.exemplars, series.seen = {}, {}
            self._sweep(True)

    # -- measuring

    def _record(self, series: Series | None, number: float, amount: Any, attributes: Any, context: Any) -> None:
        if self._mark != process_mark():
            self._enter_process()
        with self._lock:
            if series is None:
                series = self._find(attributes)
            cell = series.add(self.shape, number)
            if self.shape.exemplars != EXEMPLARS_OFF:
                self._offer(series, cell, number, amount, attributes, context)

    def _offer(self, series: Series, cell: int, number: float, amount: Any, attributes: Any, context: Any) -> None:
        """Sample uniformly: a cell's n-th measurement takes its place with probability 1 / n.

        Only a measurement that would take a place has its span looked at, so one outside of a sampled trace counts
        towards n once the cell is full.
        """
        counter, places = cell, 1
        if series.reservoir is None:
            if self.shape.kind == EXPONENTIAL:
                places = min(self.shape.max_size, EXEMPLARS_KEPT)
                cell = series.seen.get(counter, 0)
            if series.seen.get(counter, 0) >= places:
                series.seen[counter] += 1
                place = _chance.randrange(series.seen[counter])
                if place >= places:
                    return
                cell = place if places > 1 else cell
        kept = self._exemplar(series, number, amount, attributes, context)
        if kept is not None:
            series.exemplars[cell] = kept
            series.seen[counter] = max(series.seen.get(counter, 0), min(series.seen.get(counter, 0) + 1, places))

    def _exemplar(self, series: Series, number: float, amount: Any, attributes: Any, context: Any) -> Any:
        """Describe a measurement as exemplar; None where the filter refuses it, or another reservoir takes it."""
        given = context_api.get_current() if context is None else context
        span: Any = given.get(_SPAN_KEY) if isinstance(given, dict) else None
        found = None if span is None else span.get_span_context()
        asks = self.shape.exemplars
        time_ns = clock_ns()
        if asks == EXEMPLARS_TRACED:
            if found is None or not is_sampled(found):
                return None
        elif type(asks) is not int and not asks.should_sample(amount, time_ns, attributes, given):
            return None
        if series.reservoir is not None:
            series.reservoir.offer(amount, time_ns, attributes, given)
            return None
        ids = (None, None) if found is None or not found.is_valid else (found.span_id, found.trace_id)
        return (self._left(series, attributes), number, time_ns, *ids)

    def _left(self, series: Series, attributes: Any) -> dict[str, Any] | None:
        """Those attributes of a measurement that its series does not show."""
        if not attributes:
            return None
        if self.shape.keys is None and series is not self._overflow:
            return {}
        return {name: value for name, value in tidy(attributes)[1].items() if name not in series.shown}

    def observe(self, amount: Any, attributes: Any = None, context: Any = None) -> bool:
        """Measure; False where *amount* is no finite number."""
        number = read_number(amount)
        if number is None:
            return False
        self._record(None, number, amount, attributes, context)
        return True

    # -- collecting

    def collect(self, now_ns: int) -> list[Any]:
        """Give the points since the last collection; one caller at a time.

        Each is (attributes, start in nanoseconds, value, exemplars); of a histogram's value (count, sum, least,
        greatest, counts); with exponential buckets (count, sum, least, greatest, scale, zeros, (offset, counts) of
        the positive, the same of the negative).
        """
        if self._mark != process_mark():
            self._enter_process()
        with self._lock:
            points = [
                (series.shown, *reported, self._exemplars(series))
                for series in self._series.values()
                if (reported := self._snap(series, now_ns)) is not None
            ]
            self._settle()
        return points

    def _snap(self, series: Series, now_ns: int) -> tuple[int, Any] | None:
        """Read what a series has to report, and begin its next interval."""
        series.idle = not series.count
        if series.idle:
            if self.shape.delta:
                series.start_ns = now_ns
            return None
        start_ns, value = series.start_ns, series.value(self.shape)
        if self.shape.observed:
            if self.shape.delta and self.shape.kind == SUM:
                value, series.before = exact(value - series.before), value
            series.clear(self.shape, now_ns if self.shape.delta else start_ns)
        elif self.shape.delta:
            series.clear(self.shape, now_ns)
        return start_ns, value

    def _settle(self) -> None:
        """Forget what was idle since the last collection: a series without state at once, another when it must."""
        if self.shape.delta if not self.shape.observed else len(self._series) >= self.shape.limit:
            self._sweep(False)

    def _exemplars(self, series: Series) -> list[Any]:
        if series.reservoir is not None:
            return [
                (kept.filtered_attributes, kept.value, kept.time_unix_nano, kept.span_id, kept.trace_id)
                for kept in series.reservoir.collect(series.shown)
            ]
        kept, series.exemplars, series.seen = series.exemplars, {}, {}
        return [kept[cell] for cell in sorted(kept)]

    def encode(self, head: bytes, now_ns: int) -> bytes | None:
        """Give the points since the last collection as field 2 of ScopeMetrics; None where there are none.

        Args:
            head: The encoded name, description and unit: fields 1 to 3 of Metric.
            now_ns: The time of the collection.
        """
        points = self.collect(now_ns)
        return encode(self.shape, head, points, now_ns) if points else None

    @property
    def series(self) -> int:
        """How many series there are, that of the overflow among them."""
        return len(self._series)

    def attributes(self) -> list[dict[str, Any]]:
        """The attributes of all series."""
        return [series.shown for series in list(self._series.values())]


# ---- instruments -----------------------------------------------------------------------------------------


class Measuring:
    """What all synchronous instruments share. Never raises: what can't be measured is counted."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__new__(cls)
        made.streams = ()
        made.enabled = made.signed = True
        made.negative = made.unreadable = 0
        return made

    streams: tuple[Any, ...]
    """Where measurements go, one for each reader and view; replaced, never changed."""
    enabled: bool
    signed: bool
    """Whether negative measurements are taken."""
    negative: int
    unreadable: int

    def _measure(self, amount: Any, attributes: Any, context: Any) -> None:
        if not self.enabled:
            return
        try:
            number = self._accepted(amount)
            if number is not None:
                for stream in self.streams:
                    stream._record(None, number, amount, attributes, context)
        except Exception:
            self.unreadable += 1

    def _accepted(self, amount: Any) -> int | float | None:
        number = read_number(amount)
        if number is None:
            self.unreadable += 1
        elif number < 0 and not self.signed:
            self.negative += 1
            return None
        return number

    def bind(self, attributes: Any = None) -> Bound:
        """Give the series of *attributes*, to measure in without looking them up."""
        return Bound(self, attributes)


class Adding(Measuring):
    """A counter, or an up-down counter."""

    def add(self, amount: Any, attributes: Any = None, context: Any = None) -> None:
        """Add to the series of *attributes*; *context* is that of the exemplar, None: the current one."""
        self._measure(amount, attributes, context)


class Recording(Measuring):
    """A histogram."""

    def record(self, amount: Any, attributes: Any = None, context: Any = None) -> None:
        """Count *amount* in the series of *attributes*; *context* is that of the exemplar, None: the current one."""
        self._measure(amount, attributes, context)


class Setting(Measuring):
    """A gauge."""

    def set(self, amount: Any, attributes: Any = None, context: Any = None) -> None:
        """Replace the value of the series of *attributes*; *context* is that of the exemplar, None: the current one."""
        self._measure(amount, attributes, context)


class Bound:
    """An instrument bound to attributes: its series themselves, one for each stream."""

    def __init__(self, instrument: Measuring, attributes: Any = None) -> None:
        self._instrument = instrument
        self._attributes = tidy(attributes)[1] if attributes else None
        self._streams: tuple[Any, ...] = ()
        self._series: list[Series] = []

    def __del__(self) -> None:
        self._release()

    def _release(self) -> None:
        series, self._series = self._series, []
        for one in series:
            one.pins -= 1

    def _rebind(self) -> None:
        streams = self._instrument.streams
        found = []
        for stream in streams:
            if stream._mark != process_mark():
                stream._enter_process()
            with stream._lock:
                series = stream._find(self._attributes)
                series.pins += 1
            found.append(series)
        self._release()
        self._streams, self._series = streams, found

    def _measure(self, amount: Any, context: Any) -> None:
        if not self._instrument.enabled:
            return
        try:
            number = self._instrument._accepted(amount)
            if number is None:
                return
            if self._streams is not self._instrument.streams:
                self._rebind()
            for stream, series in zip(self._streams, self._series, strict=True):
                stream._record(series, number, amount, self._attributes, context)
        except Exception:
            self._instrument.unreadable += 1

    def add(self, amount: Any, context: Any = None) -> None:
        """As the instrument's own."""
        self._measure(amount, context)

    record = set = add
