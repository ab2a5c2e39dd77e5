"""Exemplars of both metrics cores."""

from __future__ import annotations

import collections
from types import ModuleType
from typing import Any

import pytest

from noops_agent._core.measured import (
    EXEMPLARS_OFF,
    EXEMPLARS_ON,
    EXEMPLARS_TRACED,
    EXPONENTIAL,
    HISTOGRAM,
    LAST,
    OVERFLOW,
    SUM,
    Shape,
)
from tests.unit.metric_cores import CORES, SPAN_ID, TRACE_ID, current_span, instrument


@pytest.fixture(params=CORES, ids=lambda core: core.NAME)
def core(request: pytest.FixtureRequest) -> ModuleType:
    """Each core in turn."""
    chosen: ModuleType = request.param
    return chosen


def exemplars(stream: Any) -> list[tuple[Any, ...]]:
    """The exemplars of the only point."""
    ((_, _, _, found),) = stream.collect(1)
    return list(found)


@pytest.mark.parametrize("kind", [SUM, LAST, HISTOGRAM, EXPONENTIAL])
def test_a_measurement_in_a_sampled_span_becomes_an_exemplar(core: ModuleType, kind: int) -> None:
    """It names the trace, so that a slow bucket leads to a slow request; each collection starts anew."""
    stream = core.Stream(Shape(kind, bounds=(1.0, 2.0)))
    with current_span():
        stream.observe(1.5, {"a": 1})
    ((left, value, time_ns, span_id, trace_id),) = exemplars(stream)
    assert (left, value, span_id, trace_id) == ({}, 1.5, SPAN_ID, TRACE_ID)
    assert time_ns > 1_600_000_000_000_000_000
    stream.observe(1.5, {"a": 1})
    assert exemplars(stream) == []


def test_an_unsampled_span_gives_none(core: ModuleType) -> None:
    """A link to a trace that nobody has kept leads nowhere; the next sampled one is taken."""
    stream = core.Stream(Shape(SUM))
    with current_span(sampled=False):
        stream.observe(1)
        stream.observe(1)
    with current_span():
        stream.observe(2)
    assert [found[1] for found in exemplars(stream)] == [2]


@pytest.mark.parametrize(("filter_kind", "count"), [(EXEMPLARS_OFF, 0), (EXEMPLARS_TRACED, 0), (EXEMPLARS_ON, 1)])
def test_the_filter_decides_without_a_span(core: ModuleType, filter_kind: int, count: int) -> None:
    """always_on takes measurements outside of traces as well: they name none."""
    stream = core.Stream(Shape(SUM, exemplars=filter_kind))
    stream.observe(1)
    found = exemplars(stream)
    assert [one[3:] for one in found] == [(None, None)] * count


def test_always_off_takes_none_in_a_sampled_span(core: ModuleType) -> None:
    """Off is off."""
    stream = core.Stream(Shape(SUM, exemplars=EXEMPLARS_OFF))
    with current_span():
        stream.observe(1)
    assert exemplars(stream) == []


def test_an_exemplar_has_the_attributes_that_its_series_does_not_show(core: ModuleType) -> None:
    """What a view, or the limit, takes from a series, its exemplars still tell."""
    stream = core.Stream(Shape(SUM, keys=frozenset({"a"}), exemplars=EXEMPLARS_ON))
    stream.observe(1, {"a": 1, "user": [5]})
    assert [found[0] for found in exemplars(stream)] == [{"user": (5,)}]
    stream = core.Stream(Shape(SUM, limit=0, exemplars=EXEMPLARS_ON))
    stream.observe(1, {"user": 5})
    ((attributes, _, _, found),) = stream.collect(1)
    assert (attributes, found[0][0]) == (OVERFLOW, {"user": 5})


def test_each_bucket_keeps_one(core: ModuleType) -> None:
    """The rare slow request is not crowded out by the many fast ones."""
    stream = core.Stream(Shape(HISTOGRAM, bounds=(1.0, 2.0), exemplars=EXEMPLARS_ON))
    for value in (0.5, 5, *[0.25] * 50):
        stream.observe(value)
    assert sorted(found[1] for found in exemplars(stream)) in ([0.25, 5], [0.5, 5])


def test_exponential_buckets_keep_twenty(core: ModuleType) -> None:
    """As many as the specification has by default: the smaller of 20 and the number of buckets."""
    stream = core.Stream(Shape(EXPONENTIAL, exemplars=EXEMPLARS_ON))
    for value in range(1, 101):
        stream.observe(value)
    values = [found[1] for found in exemplars(stream)]
    assert len(values) == len(set(values)) == 20
    stream = core.Stream(Shape(EXPONENTIAL, max_size=2, exemplars=EXEMPLARS_ON))
    for value in range(1, 101):
        stream.observe(value)
    assert len(exemplars(stream)) == 2


@pytest.mark.parametrize("kind", [SUM, HISTOGRAM, EXPONENTIAL])
def test_the_choice_is_uniform(core: ModuleType, kind: int) -> None:
    """Each of four measurements is as likely as the others: 1000 of 4000 times, give or take six deviations."""
    shape = Shape(kind, max_size=2, bounds=(), exemplars=EXEMPLARS_ON)
    chosen: collections.Counter[Any] = collections.Counter()
    stream = core.Stream(shape)
    for _ in range(4000):
        for value in (1, 2, 3, 4):
            stream.observe(value)
        chosen.update(found[1] for found in exemplars(stream))
    expected = 2000 if kind == EXPONENTIAL else 1000
    assert set(chosen) == {1, 2, 3, 4}
    assert all(abs(count - expected) < 200 for count in chosen.values())


def test_a_given_context_is_looked_at(core: ModuleType) -> None:
    """A measurement may be made for a span that is not the current one."""
    from opentelemetry import context as context_api

    counter = instrument(core, Shape(SUM))
    with current_span():
        context = context_api.get_current()
    counter.add(1, {"a": 1}, context)
    counter.bind({"b": 1}).add(1, context)
    counter.add(1, {"c": 1})
    found = [[one[4] for one in point[3]] for point in counter.streams[0].collect(1)]
    assert found == [[TRACE_ID], [TRACE_ID], []]


class Picky:
    """A filter that takes one value, and tells what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def should_sample(self, value: Any, time_unix_nano: int, attributes: Any, context: Any) -> bool:
        self.asked.append((value, attributes))
        return bool(value == 2)


def test_a_filter_of_the_application_is_asked(core: ModuleType) -> None:
    """Any object of the SDK's interface may choose."""
    picky = Picky()
    stream = core.Stream(Shape(SUM, exemplars=picky))
    for value in (1, 2):
        stream.observe(value, {"a": value})
    assert picky.asked == [(1, {"a": 1}), (2, {"a": 2})]
    assert [point[3][0][1] for point in stream.collect(1) if point[3]] == [2]


def test_a_filter_that_raises_loses_no_measurement(core: ModuleType) -> None:
    """What others' code does is not the caller's affair, and the sum is already right."""
    counter = instrument(core, Shape(SUM, exemplars=object()))
    counter.add(1)
    assert [point[2] for point in counter.streams[0].collect(1)] == [1]


class Hoard:
    """A reservoir that keeps everything, as the SDK's interface has it."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def offer(self, value: Any, time_unix_nano: int, attributes: Any, context: Any) -> None:
        from opentelemetry.sdk.metrics import Exemplar

        self.kept.append(Exemplar(attributes, value, time_unix_nano))

    def collect(self, point_attributes: Any) -> list[Any]:
        kept, self.kept = self.kept, []
        return kept


def test_a_reservoir_of_the_application_is_filled(core: ModuleType) -> None:
    """A view may bring its own reservoir: each series gets one."""
    stream = core.Stream(Shape(SUM, exemplars=EXEMPLARS_ON, reservoir=Hoard))
    for value in (1, 2, 3):
        stream.observe(value, {"odd": value % 2})
    found = [[one[:2] for one in point[3]] for point in stream.collect(1)]
    assert found == [[({"odd": 1}, 1), ({"odd": 1}, 3)], [({"odd": 0}, 2)]]


def test_exemplars_are_encoded(core: ModuleType) -> None:
    """They arrive with value, trace and the attributes that are not the series'."""
    from opentelemetry.proto.metrics.v1.metrics_pb2 import ScopeMetrics

    for kind in (SUM, LAST, HISTOGRAM, EXPONENTIAL):
        stream = core.Stream(Shape(kind, keys=frozenset(), bounds=(1.0,)))
        with current_span():
            stream.observe(7, {"user": "a"})
        (metric,) = ScopeMetrics.FromString(stream.encode(b"", 5)).metrics
        ((point,),) = (getattr(metric, metric.WhichOneof("data")).data_points,)
        (exemplar,) = point.exemplars
        assert (exemplar.as_int, exemplar.span_id) == (7, SPAN_ID.to_bytes(8, "big"))
        assert exemplar.trace_id == TRACE_ID.to_bytes(16, "big")
        assert [(pair.key, pair.value.string_value) for pair in exemplar.filtered_attributes] == [("user", "a")]
        assert exemplar.time_unix_nano > 0
