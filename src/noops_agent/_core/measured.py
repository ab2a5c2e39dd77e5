"""What both cores of the metrics share: kinds of streams, and attributes that are more than texts and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .values import clean

SUM, LAST, HISTOGRAM, EXPONENTIAL, DROP = range(5)
"""How a stream aggregates."""

EXEMPLARS_OFF, EXEMPLARS_TRACED, EXEMPLARS_ON = range(3)
"""Which measurements may become exemplars; an object in their place is asked by `should_sample`."""

OVERFLOW = {"otel.metric.overflow": True}
"""Attributes of the series that takes what is beyond the limit of a stream."""

LIMIT = 2000
"""Series of one stream beside that of `OVERFLOW`.

Source: OpenTelemetry specification, metrics/sdk.md, "Cardinality limits".
"""

MAX_SIZE, MAX_SCALE = 160, 20
"""Exponential buckets of one sign, and their best resolution."""

MIN_SIZE, MAX_MAX_SIZE, MIN_SCALE = 2, 16384, -10
EXEMPLARS_KEPT = 20
"""Exemplars of one series with exponential buckets; other series keep one for each bucket."""

INT64 = range(-(2**63), 2**63)
PLAIN = (str, int, float, bool, type(None))


class Shape(NamedTuple):
    """What a stream makes of measurements.

    `kind` is one of SUM, LAST, HISTOGRAM, EXPONENTIAL. `keys` are the attributes that are kept, None: all of them.
    `bounds` are strictly increasing. `exemplars` is one of EXEMPLARS_* or a filter object; `reservoir` makes an
    exemplar reservoir of the SDK's interface for each series, None: the core's own. `signed` says that values may
    be negative; `delta` is the temporality, `observed` that values come from a callback and are totals.
    """

    kind: int
    monotonic: bool = False
    delta: bool = False
    observed: bool = False
    signed: bool = False
    keys: frozenset[str] | None = None
    bounds: tuple[float, ...] = ()
    max_size: int = MAX_SIZE
    max_scale: int = MAX_SCALE
    extremes: bool = True
    limit: int = LIMIT
    exemplars: Any = EXEMPLARS_TRACED
    reservoir: Any = None


def tidy(attributes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Copy attributes of any kind: (what a series is found by, what it shows).

    The first has a tagged tuple in the place of each value that is not plain, for 1, 1.0 and True differ inside of
    sequences as well.
    """
    shown: Any = {}
    try:
        if isinstance(attributes, Mapping):
            shown = clean(dict(attributes))
    except Exception:
        pass
    if type(shown) is not dict:  # a key that could not be compared, say
        shown = {}
    return {key: value if type(value) in PLAIN else frozen(value) for key, value in shown.items()}, shown


def frozen(value: Any) -> tuple[Any, ...]:
    """Make what `clean` gave hashable; equal are values of equal types alone."""
    if type(value) is tuple:
        return ("sequence", *(frozen(item) for item in value))
    if type(value) is dict:
        return ("mapping", frozenset((key, frozen(item)) for key, item in value.items()))
    return (type(value).__name__, "nan" if value != value else value)


def number_of(amount: Any) -> int | float | None:
    """Read a number of another type, numpy's or decimal's say, finite or not; None: it is none."""
    try:
        if hasattr(amount, "__index__"):
            return int(amount.__index__())
        return float(amount) if hasattr(amount, "__float__") else None
    except Exception:
        return None


def is_sampled(context: Any) -> bool:
    """Whether a span context belongs to a trace that is recorded."""
    return bool(context.trace_flags & 1)
