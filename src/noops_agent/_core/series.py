"""The values of the Python core of metrics; `aggregate.h` and `metrics.pyx` have them as C structures."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

from .exponential import Buckets
from .measured import HISTOGRAM, INT64, LAST, SUM, Shape, number_of
from .python import clock_ns


def read_number(amount: Any) -> int | float | None:
    """Read a measurement; None: it is no finite number. What 64 bits can't hold becomes a float."""
    if type(amount) is float:
        return amount if math.isfinite(amount) else None
    if type(amount) is int:
        try:
            return amount if amount in INT64 else float(amount)
        except OverflowError:
            return None
    number = number_of(amount)
    return None if number is None else read_number(number)


def exact(total: float) -> int | float:
    """Give a sum as it can be sent: a whole number of 64 bits, else a float."""
    return total if isinstance(total, float) or total in INT64 else float(total)


class Series:
    """The value of one set of attributes."""

    __slots__ = (
        "before", "buckets", "count", "counts", "exemplars", "greatest", "idle", "key", "least", "pins", "reservoir",
        "seen", "shown", "start_ns", "total", "zeros",
    )  # fmt: skip

    def __init__(self, shape: Shape, key: Any, shown: dict[str, Any], reservoir: Any) -> None:
        self.key, self.shown, self.reservoir = key, shown, reservoir
        self.before: int | float = 0
        self.pins = 0
        self.idle = False
        self.exemplars: dict[int, tuple[Any, ...]] = {}
        self.seen: dict[int, int] = {}
        self.clear(shape, clock_ns())

    def clear(self, shape: Shape, start_ns: int) -> None:
        """Empty the value; what it remembers of reports before stays."""
        self.start_ns = start_ns
        self.count = self.zeros = 0
        self.total: int | float = 0
        self.least, self.greatest = math.inf, -math.inf
        self.counts = [0] * (len(shape.bounds) + 1) if shape.kind == HISTOGRAM else []
        self.buckets = Buckets(shape.max_size, shape.max_scale)

    def add(self, shape: Shape, number: float) -> int:
        """Aggregate a measurement; gives the cell that its exemplar belongs to."""
        self.count += 1
        if shape.kind == LAST:
            self.total = number
            return 0
        self.total = exact(self.total + number)
        if shape.kind == SUM:
            return 0
        if shape.extremes:
            self.least, self.greatest = min(self.least, float(number)), max(self.greatest, float(number))
        if shape.kind == HISTOGRAM:
            cell = bisect_left(shape.bounds, float(number))
            self.counts[cell] += 1
            return cell
        if number == 0:
            self.zeros += 1
        else:
            self.buckets.count(float(number), shape.signed)
        return 0

    def value(self, shape: Shape) -> Any:
        """Give the value as a point has it."""
        if shape.kind <= LAST:
            return self.total
        common = (self.count, self.total, self.least, self.greatest)
        if shape.kind == HISTOGRAM:
            return (*common, tuple(self.counts))
        scale = 0 if self.count == self.zeros else self.buckets.scale
        return (*common, scale, self.zeros, self.buckets.report(0), self.buckets.report(1))


def series_key(key: dict[str, Any]) -> frozenset[Any]:
    """Give what a series is found by; 1, 1.0 and True differ, all NaN are one."""
    return frozenset((name, type(value), "nan" if value != value else value) for name, value in key.items())
