"""What an instrument becomes for a reader: views and aggregations, ours or the SDK's, to shapes of streams.

The SDK's objects are known by the names of their classes, so that nothing of it is imported on our account.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from .._core.measured import (
    DROP,
    EXEMPLARS_KEPT,
    EXEMPLARS_OFF,
    EXEMPLARS_ON,
    EXEMPLARS_TRACED,
    EXPONENTIAL,
    HISTOGRAM,
    LAST,
    LIMIT,
    MAX_MAX_SIZE,
    MAX_SCALE,
    MAX_SIZE,
    MIN_SCALE,
    MIN_SIZE,
    SUM,
    Shape,
)
from .._diagnostics import say
from .instruments import Instrument, read_boundaries

DEFAULT_BOUNDARIES = (0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0)  # fmt: skip  # noqa: E501
"""Source: OpenTelemetry specification, metrics/sdk.md, "Explicit Bucket Histogram Aggregation"."""

SYNCHRONOUS = ("Counter", "UpDownCounter", "Histogram", "Gauge")
OBSERVABLE = ("ObservableCounter", "ObservableUpDownCounter", "ObservableGauge")
KINDS = SYNCHRONOUS + OBSERVABLE

DELTA = {
    "cumulative": frozenset[str](),
    "delta": frozenset({"Counter", "ObservableCounter", "Histogram"}),
    "lowmemory": frozenset({"Counter", "Histogram"}),
}
"""Temporality preference -> kinds that are reported as differences.

Source: OpenTelemetry specification, metrics/sdk_exporters/otlp.md, "Additional Environment Variable Configuration".
"""

DEFAULTS = {
    "Counter": SUM,
    "UpDownCounter": SUM,
    "ObservableCounter": SUM,
    "ObservableUpDownCounter": SUM,
    "Histogram": HISTOGRAM,
    "Gauge": LAST,
    "ObservableGauge": LAST,
}

AGGREGATIONS = {
    "SumAggregation": SUM,
    "LastValueAggregation": LAST,
    "ExplicitBucketHistogramAggregation": HISTOGRAM,
    "ExponentialBucketHistogramAggregation": EXPONENTIAL,
    "DropAggregation": DROP,
}
SDK_STREAMS = {
    SUM: "_SumAggregation",
    LAST: "_LastValueAggregation",
    HISTOGRAM: "_ExplicitBucketHistogramAggregation",
    EXPONENTIAL: "_ExponentialBucketHistogramAggregation",
}

FILTERS = {
    "AlwaysOnExemplarFilter": EXEMPLARS_ON,
    "AlwaysOffExemplarFilter": EXEMPLARS_OFF,
    "TraceBasedExemplarFilter": EXEMPLARS_TRACED,
}
FILTER_NAMES = {"always_on": EXEMPLARS_ON, "always_off": EXEMPLARS_OFF, "trace_based": EXEMPLARS_TRACED}


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Preferences(NamedTuple):
    """What a reader asks for. `delta` names kinds; `aggregations` are the SDK's objects by kind."""

    delta: frozenset[str] = frozenset()
    aggregations: Mapping[str, Any] = NOTHING
    exemplars: Any = EXEMPLARS_TRACED
    limit: int = LIMIT


class Sight(NamedTuple):
    """How one view shows an instrument."""

    name: str
    description: str
    shape: Shape
    view: Any = None


def read_filter(given: Any) -> Any:
    """Read an exemplar filter: a name of the specification, or an object of the SDK's interface."""
    if isinstance(given, str):
        name = given.strip().lower() or "trace_based"
        if name not in FILTER_NAMES:
            say("exemplars.unknown", name=given)
        return FILTER_NAMES.get(name, EXEMPLARS_TRACED)
    return named(given, FILTERS, given)


def named(given: Any, names: Mapping[str, int], default: Any) -> Any:
    """Look the class of an object, or one it is derived from, up by its name."""
    for base in type(given).__mro__:
        if base.__name__ in names and base.__module__.startswith("opentelemetry."):
            return names[base.__name__]
    return default


def sights(instrument: Instrument, views: Sequence[Any], wanted: Preferences) -> list[Sight]:
    """Apply the views to an instrument; without one that matches it is shown as it is."""
    matching = [view for view in views if matches(view, instrument)]
    if matching:
        return [sight for view in matching if (sight := seen_by(view, instrument, wanted)) is not None]
    return [plain_sight(instrument, wanted)]


def matches(view: Any, instrument: Instrument) -> bool:
    """Whether a view selects an instrument, and can be applied to it; one that raises selects nothing."""
    try:
        if not view._match(instrument):
            return False
        if instrument.observed and named(view._aggregation, AGGREGATIONS, None) in (HISTOGRAM, EXPONENTIAL):
            say("view.unfit", key=instrument.name, name=instrument.name, kind=instrument.kind)
            return False
    except Exception as error:
        say("view.failed", key=repr(error), error=repr(error))
        return False
    return True


def plain_sight(instrument: Instrument, wanted: Preferences) -> Sight:
    """Show an instrument as its reader prefers it."""
    shape = shaped(instrument, wanted.aggregations.get(instrument.kind), wanted)
    if instrument.observed and shape.kind in (HISTOGRAM, EXPONENTIAL):
        say("view.unfit", key=instrument.name, name=instrument.name, kind=instrument.kind)
        shape = shape._replace(kind=DROP)
    return Sight(instrument.name, instrument.description, shape)


def seen_by(view: Any, instrument: Instrument, wanted: Preferences) -> Sight | None:
    """Show an instrument as a view says; None where the view can't be read."""
    try:
        aggregation = view._aggregation
        if named(aggregation, {"DefaultAggregation": 0}, None) == 0:
            aggregation = wanted.aggregations.get(instrument.kind)
        shape = shaped(instrument, aggregation, wanted)
        if view._attribute_keys is not None:
            shape = shape._replace(keys=frozenset(key for key in view._attribute_keys if isinstance(key, str)))
        limit = getattr(view, "_aggregation_cardinality_limit", None)
        if isinstance(limit, int) and limit > 0:
            shape = shape._replace(limit=limit)
        shape = shape._replace(reservoir=reservoir(view, shape))
        return Sight(view._name or instrument.name, view._description or instrument.description, shape, view)
    except Exception as error:
        say("view.failed", key=repr(error), error=repr(error))
        return None


def shaped(instrument: Instrument, aggregation: Any, wanted: Preferences) -> Shape:
    """Give the shape of an instrument's stream under an aggregation of the SDK's; None: the default one."""
    kind = DEFAULTS[instrument.kind]
    if aggregation is not None and named(aggregation, {"DefaultAggregation": 0}, None) is None:
        kind = named(aggregation, AGGREGATIONS, kind)
    shape = Shape(
        kind,
        # The sum of a histogram's values, which are never negative, only grows.
        monotonic=instrument.monotonic or instrument.kind == "Histogram",
        delta=instrument.kind in wanted.delta,
        observed=instrument.observed,
        signed=instrument.observed or bool(getattr(instrument, "signed", True)),
        limit=wanted.limit,
        exemplars=wanted.exemplars,
    )
    if kind == HISTOGRAM:
        return shape._replace(
            bounds=bounds_of(instrument, aggregation), extremes=bool(getattr(aggregation, "_record_min_max", True))
        )
    return exponential(shape, aggregation) if kind == EXPONENTIAL else shape


def bounds_of(instrument: Instrument, aggregation: Any) -> tuple[float, ...]:
    """Choose the buckets: the aggregation's, else those that are advised, else the specification's."""
    bounds = read_boundaries(instrument.name, getattr(aggregation, "_boundaries", None))
    if bounds is None:
        bounds = instrument.boundaries
    return DEFAULT_BOUNDARIES if bounds is None else bounds


def exponential(shape: Shape, aggregation: Any) -> Shape:
    """Fit the sizes of exponential buckets into what the core can do."""
    size, scale = getattr(aggregation, "_max_size", MAX_SIZE), getattr(aggregation, "_max_scale", MAX_SCALE)
    return shape._replace(
        max_size=min(max(int(size), MIN_SIZE), MAX_MAX_SIZE),
        max_scale=min(max(int(scale), MIN_SCALE), MAX_SCALE),
        extremes=bool(getattr(aggregation, "_record_min_max", True)),
    )


def reservoir(view: Any, shape: Shape) -> Callable[[], Any] | None:
    """Give what makes the exemplar reservoir that a view asks for; None: the core's own."""
    factory = getattr(view, "_exemplar_reservoir_factory", None)
    if factory is None or shape.kind == DROP or getattr(factory, "__name__", "") == "_default_reservoir_factory":
        return None
    build = factory(getattr(sys.modules["opentelemetry.sdk.metrics._internal.aggregation"], SDK_STREAMS[shape.kind]))
    given: dict[str, Any] = {}
    if shape.kind == HISTOGRAM:
        given = {"boundaries": shape.bounds}
    elif shape.kind == EXPONENTIAL:
        given = {"size": min(EXEMPLARS_KEPT, shape.max_size)}
    build(**given)  # one that can't be made is found out here, not at a measurement
    return lambda: build(**given)
