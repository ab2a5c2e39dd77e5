"""Our aggregation against the SDK's, for arbitrary measurements, views and temporalities, on both cores."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.proto.metrics.v1.metrics_pb2 import ScopeMetrics
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

from noops_agent._core import Recorder
from noops_agent._core.segment import HEADER_BYTES, METRIC, records
from tests.fuzz.metric_providers import METERS, amounts, assert_same

SYNCHRONOUS = {
    "counter": ("create_counter", "add"),
    "up_down_counter": ("create_up_down_counter", "add"),
    "histogram": ("create_histogram", "record"),
    "gauge": ("create_gauge", "set"),
}
OBSERVABLE = {
    "observable_counter": "create_observable_counter",
    "observable_up_down_counter": "create_observable_up_down_counter",
    "observable_gauge": "create_observable_gauge",
}
CLASSES = {
    "counter": sdk.Counter,
    "up_down_counter": sdk.UpDownCounter,
    "histogram": sdk.Histogram,
    "gauge": sdk._Gauge,
    "observable_counter": sdk.ObservableCounter,
    "observable_up_down_counter": sdk.ObservableUpDownCounter,
    "observable_gauge": sdk.ObservableGauge,
}
NAMES = list(CLASSES)

AMOUNTS = st.one_of(
    st.integers(-(2**40), 2**40),
    st.integers(0, 300),
    st.floats(-1e9, 1e9),
    st.floats(0, 1e308, allow_subnormal=True),
    st.sampled_from([0, 0.0, -0.0, True, float("nan"), float("inf"), -float("inf"), 5e-324, 1.0, 2, 5, 10, 25.0]),
)
SCALARS = st.one_of(
    st.sampled_from(["x", "y", 1, 1.0, True, 0, False, "", None, b"b"]), st.floats(allow_nan=False), st.text(max_size=3)
)
ATTRIBUTES = st.none() | st.dictionaries(
    st.sampled_from(["a", "b", "c", "long.attribute.name"]), SCALARS | st.lists(SCALARS, max_size=2), max_size=4
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(list(SYNCHRONOUS)), AMOUNTS, ATTRIBUTES),
        st.tuples(st.sampled_from(list(SYNCHRONOUS)), AMOUNTS, ATTRIBUTES),
        st.lists(st.tuples(st.sampled_from(list(OBSERVABLE)), AMOUNTS, ATTRIBUTES), max_size=5),
    ),
    max_size=40,
)
"""A measurement, or a collection with what its callbacks observe."""

AGGREGATIONS: dict[str, Callable[[], Any]] = {
    "sum": SumAggregation,
    "last": LastValueAggregation,
    "drop": DropAggregation,
    "buckets": lambda: ExplicitBucketHistogramAggregation((0, 1.5, 10, 1e6)),
    "one bucket": lambda: ExplicitBucketHistogramAggregation(()),
    "no extremes": lambda: ExplicitBucketHistogramAggregation((1,), record_min_max=False),
    "exponential": ExponentialBucketHistogramAggregation,
    "coarse": lambda: ExponentialBucketHistogramAggregation(max_size=4, max_scale=3),
}
VIEWS = st.lists(
    st.fixed_dictionaries(
        {
            "instrument_name": st.sampled_from([*NAMES, "*counter", "observable_?auge", "*"]),
            "instrument_unit": st.sampled_from([None, None, "By", "B?"]),
            "attribute_keys": st.none() | st.sets(st.sampled_from(["a", "b", "c"])),
            "aggregation": st.none() | st.sampled_from(list(AGGREGATIONS)),
            "description": st.sampled_from([None, "seen otherwise"]),
            "renamed": st.booleans(),
            "by_type": st.booleans(),
        }
    ),
    max_size=2,
)
SETUPS = st.fixed_dictionaries(
    {
        "views": VIEWS,
        "delta": st.sets(st.sampled_from(NAMES)),
        "aggregations": st.dictionaries(
            st.sampled_from(["counter", "up_down_counter", "histogram", "gauge"]),
            st.sampled_from(list(AGGREGATIONS)),
            max_size=2,
        ),
        "advice": st.sampled_from([None, [1.0, 2.0], []]),
    }
)


def make_views(facts: list[dict[str, Any]]) -> list[View]:
    """Build the SDK's views; a name that several metrics would share is left out."""
    made = []
    for number, view in enumerate(facts):
        name, exact = view["instrument_name"], view["instrument_name"] in NAMES
        made.append(
            View(
                instrument_type=CLASSES[name] if exact and view["by_type"] else None,
                instrument_name=name,
                instrument_unit=view["instrument_unit"],
                name=f"view{number}" if exact and view["renamed"] else None,
                description=f"{number} {view['description']}" if number or view["description"] else None,
                attribute_keys=view["attribute_keys"],
                aggregation=None if view["aggregation"] is None else AGGREGATIONS[view["aggregation"]](),
            )
        )
    return made


class Side:
    """A provider with an instrument of each kind, and a reader."""

    def __init__(self, provider_class: Any, setup: dict[str, Any]) -> None:
        delta = AggregationTemporality.DELTA
        self.reader = InMemoryMetricReader(
            {CLASSES[name]: delta for name in setup["delta"]},
            {CLASSES[name]: AGGREGATIONS[kind]() for name, kind in setup["aggregations"].items()},
        )
        self.provider = provider_class(
            [self.reader],
            resource=Resource({}),
            exemplar_filter=sdk.AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
            views=make_views(setup["views"]),
        )
        meter = self.provider.get_meter("meter", "1", "https://schema.example/1")
        self.observed: dict[str, list[Observation]] = {}
        self.calls: dict[str, Any] = {}
        for name, (create, call) in SYNCHRONOUS.items():
            more = {"explicit_bucket_boundaries_advisory": setup["advice"]} if name == "histogram" else {}
            instrument = getattr(meter, create)(name, "By" if "counter" in name else "s", f"a {name}", **more)
            self.calls[name] = getattr(instrument, call)
        for name, create in OBSERVABLE.items():
            getattr(meter, create)(name, [self.callback(name)], "By", f"an {name}")

    def callback(self, name: str) -> Callable[[CallbackOptions], list[Observation]]:
        """A callback that gives what the test said."""
        return lambda options: self.observed.get(name, [])

    def collect(self, observed: list[tuple[str, Any, Any]]) -> Any:
        """Collect, with these observations."""
        self.observed = {}
        for name, amount, attributes in observed:
            self.observed.setdefault(name, []).append(Observation(amount, attributes))
        return self.reader.get_metrics_data()


@pytest.fixture(autouse=True)
def _silence() -> Any:
    """The SDK warns of each amount that it does not take."""
    logger = logging.getLogger("opentelemetry")
    before, logger.level = logger.level, logging.CRITICAL + 1
    yield
    logger.level = before


CHECKED = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("core", METERS)
@given(setup=SETUPS, steps=STEPS)
@CHECKED
def test_we_collect_what_the_sdk_collects(core: str, setup: dict[str, Any], steps: list[Any]) -> None:
    """After any measurements, under any views and temporalities, a reader of the SDK gets the SDK's own data."""
    ours, theirs = Side(METERS[core].MeterProvider, setup), Side(sdk.MeterProvider, setup)
    most = amounts([step[1] for step in steps if isinstance(step, tuple)])
    for step in [*steps, [], []]:
        if isinstance(step, tuple):
            name, amount, attributes = step
            for side in (ours, theirs):
                side.calls[name](amount, attributes)
            continue
        most += amounts([amount for _, amount, _ in step])
        data = ours.collect(step)
        event("points" if data is not None else "nothing")
        try:
            expected = theirs.collect(step)
        except Exception as error:  # the SDK fails to join exponential buckets of very different scales
            if "Incorrect merge scale" in str(error):
                return
            raise
        assert_same(data, monotonic(expected, setup), most)


def monotonic(data: Any, setup: dict[str, Any]) -> Any:
    """Set right what the SDK says of the sum of a histogram's values: it is monotonic.

    Source: OpenTelemetry specification, metrics/sdk.md, "Sum Aggregation".
    """
    renamed = {f"view{n}" for n, view in enumerate(setup["views"]) if view["instrument_name"] == "histogram"}
    for of_resource in data.resource_metrics if data is not None else ():
        for metric in [metric for scope in of_resource.scope_metrics for metric in scope.metrics]:
            if type(metric.data).__name__ == "Sum" and metric.name in {"histogram", *renamed}:
                object.__setattr__(metric.data, "is_monotonic", True)
    return data


TIMES = ("start_time_unix_nano", "time_unix_nano")


def timeless(message: Any) -> Any:
    """Copy a metric without its times, and without what the SDK sends though there is none: buckets, extremes."""
    copy = type(message)()
    copy.CopyFrom(message)
    for point in getattr(copy, copy.WhichOneof("data")).data_points:
        for name in TIMES:
            point.ClearField(name)
        for side in ("positive", "negative"):
            if hasattr(point, side) and not any(getattr(point, side).bucket_counts):
                point.ClearField(side)
        if getattr(point, "min", 0) == math.inf:
            point.ClearField("min")
            point.ClearField("max")
    return copy


def recorded(recorder: Recorder, begin: int) -> list[Any]:
    """The metrics in the current segment from an offset on."""
    newest = recorder.current
    payloads = [found.payload for found in records(newest.memory, begin, newest.used) if found.signal == METRIC]
    return [metric for payload in payloads for metric in ScopeMetrics.FromString(payload).metrics]


@pytest.mark.parametrize("core", METERS)
@given(setup=SETUPS, steps=STEPS)
@CHECKED
def test_our_bytes_decode_to_what_the_sdk_encodes(core: str, setup: dict[str, Any], steps: list[Any]) -> None:
    """The official messages see no difference between our payloads and our points through the SDK's encoder."""
    side, recorder = Side(METERS[core].MeterProvider, setup), Recorder(None, 1 << 20, bytes(16))
    delta = frozenset(CLASSES[name].__name__ for name in setup["delta"])
    aggregations = {CLASSES[name].__name__: AGGREGATIONS[kind]() for name, kind in setup["aggregations"].items()}
    side.provider.record_into(recorder, delta, aggregations)
    for step in [*steps, []]:
        if isinstance(step, tuple):
            side.calls[step[0]](*step[1:])
            continue
        begin = HEADER_BYTES if recorder.current is None else recorder.current.used
        data = side.collect(step)
        taken = side.provider.collect_into(recorder)
        assert bool(taken) == (data is not None)
        if taken:
            (of_resource,) = encode_metrics(data).resource_metrics
            expected = [timeless(metric) for scope in of_resource.scope_metrics for metric in scope.metrics]
            assert [timeless(metric) for metric in recorded(recorder, begin)] == expected
    recorder.close()
