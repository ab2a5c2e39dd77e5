"""Streams and instruments of both metrics cores."""

from __future__ import annotations

import decimal
import gc
import math
import os
import threading
from types import ModuleType
from typing import Any

import pytest

from noops_agent._core.measured import EXPONENTIAL, HISTOGRAM, LAST, OVERFLOW, SUM, Shape
from tests.unit.metric_cores import CORES, instrument, values


@pytest.fixture(params=CORES, ids=lambda core: core.NAME)
def core(request: pytest.FixtureRequest) -> ModuleType:
    """Each core in turn."""
    chosen: ModuleType = request.param
    return chosen


def test_the_order_of_attributes_does_not_matter(core: ModuleType) -> None:
    """Two call sites that name the same attributes differently ordered feed one series."""
    counter = instrument(core, Shape(SUM))
    counter.add(1, {"a": 1, "b": "x"})
    counter.add(2, {"b": "x", "a": 1})
    assert values(counter.streams[0]) == [({"a": 1, "b": "x"}, 3)]


@pytest.mark.parametrize(
    "different",
    [(1, 1.0), (1, True), (0.0, False), ((1,), (True,)), ("1", 1), (None, ""), (b"x", "x"), ((), {}), ([1], (1.0,))],
)
def test_equal_values_of_different_types_are_different_series(core: ModuleType, different: tuple[Any, Any]) -> None:
    """1 == True == 1.0 in Python, but not in the data model; that holds inside of sequences as well."""
    counter = instrument(core, Shape(SUM))
    for value in different:
        counter.add(1, {"k": value})
    assert counter.streams[0].series == 2


@pytest.mark.parametrize(
    "same", [([1, 2], (1, 2)), (float("nan"), float("nan")), (0.0, -0.0), ({"a": [1]}, {"a": (1,)})]
)
def test_values_that_are_sent_alike_are_one_series(core: ModuleType, same: tuple[Any, Any]) -> None:
    """A list and a tuple are both an array; every NaN would otherwise be a series of its own."""
    counter = instrument(core, Shape(SUM))
    for value in same:
        counter.add(1, {"k": value})
    assert counter.streams[0].series == 1


def test_attributes_may_be_changed_after_the_call(core: ModuleType) -> None:
    """A series keeps a copy: what the application does to its dict later is its own affair."""
    counter = instrument(core, Shape(SUM))
    given: dict[str, Any] = {"a": 1, "list": [1]}
    counter.add(1, given)
    given["b"] = 2
    given["list"].append(2)
    counter.add(1, given)
    assert values(counter.streams[0]) == [({"a": 1, "list": (1,)}, 1), ({"a": 1, "list": (1, 2), "b": 2}, 1)]


class Hostile(str):
    """A string whose comparison raises."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    "odd", ["text", 5, [("a", 1)], {1: 2}, {"": 1}, {None: 1}, {"k": object}, {Hostile("k"): Hostile("v")}]
)
def test_odd_attributes_never_raise(core: ModuleType, odd: Any) -> None:
    """Whatever is given in the place of attributes, the measurement counts and the caller is not disturbed."""
    counter = instrument(core, Shape(SUM))
    counter.add(1, odd)
    assert [value for _, value in values(counter.streams[0])] == [1]


def test_whole_numbers_are_exact_to_64_bits(core: ModuleType) -> None:
    """A double would lose the last bits of a large sum of bytes."""
    counter = instrument(core, Shape(SUM))
    counter.add(2**62)
    counter.add(1)
    counter.add(-(2**62))
    ((_, value),) = values(counter.streams[0])
    assert value == 1
    assert type(value) is int


def test_a_sum_beyond_64_bits_goes_on_as_a_double(core: ModuleType) -> None:
    """OTLP carries no larger whole number; the nearest double is what it can say."""
    counter = instrument(core, Shape(SUM))
    for _ in range(3):
        counter.add(2**62)
    counter.add(2**80)
    ((_, value),) = values(counter.streams[0])
    assert value == 3.0 * 2**62 + 2**80
    assert type(value) is float


@pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf, 10**400, "1", None, object(), 1j])
def test_what_is_no_finite_number_is_counted_and_left_out(core: ModuleType, amount: Any) -> None:
    """One NaN would spoil a sum for ever, and the caller must not pay for it with an exception."""
    for kind, call in (("Adding", "add"), ("Recording", "record"), ("Setting", "set")):
        made = instrument(core, Shape(SUM), kind=kind)
        getattr(made, call)(amount)
        assert made.unreadable == 1
        assert made.streams[0].collect(1) == []


def test_numbers_of_other_types_are_read(core: ModuleType) -> None:
    """Code that measures with decimals, booleans or numpy's numbers works as it does with the SDK."""
    counter = instrument(core, Shape(SUM))
    for amount in (True, decimal.Decimal("1.5"), type("Index", (), {"__index__": lambda self: 4})()):
        counter.add(amount)
    assert values(counter.streams[0]) == [({}, 6.5)]


def test_a_counter_refuses_negatives(core: ModuleType) -> None:
    """A monotonic sum that falls would be read as a restart of the process."""
    counter = instrument(core, Shape(SUM, monotonic=True), signed=False)
    counter.add(5)
    counter.add(-1)
    counter.add(-0.5)
    assert values(counter.streams[0]) == [({}, 5)]
    assert counter.negative == 2


def test_a_disabled_instrument_measures_nothing(core: ModuleType) -> None:
    """A configurator may switch a meter off at any time."""
    counter = instrument(core, Shape(SUM))
    bound = counter.bind({"a": 1})
    counter.enabled = False
    counter.add(1)
    bound.add(1)
    assert counter.streams[0].collect(1) == []


def test_cumulative_sums_stay_and_delta_sums_start_anew(core: ModuleType) -> None:
    """Each stream has its own temporality; a delta begins where the one before ended."""
    counter = instrument(core, Shape(SUM), Shape(SUM, delta=True))
    total, delta = counter.streams
    counter.add(2)
    assert (values(total), values(delta, 10)) == ([({}, 2)], [({}, 2)])
    assert (values(total), values(delta, 20)) == ([({}, 2)], [])
    counter.add(3)
    assert values(total) == [({}, 5)]
    assert values(delta, 30) == [({}, 3)]


def test_a_delta_begins_where_the_one_before_ended(core: ModuleType) -> None:
    """Adjacent intervals leave no gap in a series that goes on."""
    counter = instrument(core, Shape(SUM, delta=True))
    for now_ns in (10, 20, 30):
        counter.add(1)
        ((_, start_ns, value, _),) = counter.streams[0].collect(now_ns)
        assert value == 1
        assert now_ns == 10 or start_ns == now_ns - 10


def test_an_idle_delta_series_is_forgotten(core: ModuleType) -> None:
    """With delta temporality memory follows what is in use."""
    counter = instrument(core, Shape(SUM, delta=True))
    counter.add(1, {"a": 1})
    counter.streams[0].collect(1)
    assert counter.streams[0].series == 1
    counter.streams[0].collect(2)
    assert counter.streams[0].series == 0
    counter.add(4, {"a": 1})
    assert values(counter.streams[0]) == [({"a": 1}, 4)]


def test_the_last_value_wins(core: ModuleType) -> None:
    """A gauge shows its last value: for ever where cumulative, for one collection where delta."""
    gauge = instrument(core, Shape(LAST), Shape(LAST, delta=True), kind="Setting")
    gauge.set(1)
    gauge.set(2.5)
    assert [values(stream) for stream in gauge.streams] == [[({}, 2.5)], [({}, 2.5)]]
    assert [values(stream) for stream in gauge.streams] == [[({}, 2.5)], []]


def test_observed_totals_become_differences(core: ModuleType) -> None:
    """A callback gives totals; a delta reader gets what was added since it last read."""
    stream = core.Stream(Shape(SUM, delta=True, observed=True))
    seen = []
    for total in (10, 25, 25, 20, 2**63 - 1, 1.5):
        assert stream.observe(total, {"a": 1})
        seen += [value for _, value in values(stream)]
    assert seen == [10, 15, 0, -5, 2**63 - 21, 1.5 - (2**63 - 1)]


def test_what_is_not_observed_is_not_reported(core: ModuleType) -> None:
    """A queue that is gone must not show its last length for ever."""
    stream = core.Stream(Shape(LAST, observed=True))
    stream.observe(5, {"queue": "a"})
    stream.observe(6, {"queue": "b"})
    assert len(stream.collect(1)) == 2
    stream.observe(7, {"queue": "b"})
    assert values(stream) == [({"queue": "b"}, 7)]


def test_kept_keys_join_series(core: ModuleType) -> None:
    """A view that keeps some attributes adds up the rest."""
    stream = core.Stream(Shape(SUM, keys=frozenset({"a", "list"})))
    stream.observe(1, {"a": 1, "b": 1})
    stream.observe(2, {"b": 2, "a": 1})
    stream.observe(4, {"b": [2], "a": 1})
    stream.observe(8, {"b": 2})
    stream.observe(16, None)
    stream.observe(32, {"list": [1], "b": 5})
    assert values(stream) == [({"a": 1}, 7), ({}, 24), ({"list": (1,)}, 32)]


BOUNDS = (0.0, 5.0, 10.0)


def test_histogram_buckets_hold_their_upper_edge(core: ModuleType) -> None:
    """Bucket i holds (bounds[i - 1], bounds[i]]."""
    stream = core.Stream(Shape(HISTOGRAM, bounds=BOUNDS))
    for value in (-1, 0, 0.1, 5, 5.1, 10, 10.5):
        stream.observe(value)
    ((_, (count, total, least, greatest, counts)),) = values(stream)
    assert (count, least, greatest, counts) == (7, -1, 10.5, (2, 2, 2, 1))
    assert total == pytest.approx(29.7)


def test_a_histogram_of_whole_numbers_has_a_whole_sum(core: ModuleType) -> None:
    """Sizes in bytes add up exactly."""
    stream = core.Stream(Shape(HISTOGRAM, bounds=()))
    stream.observe(2**53)
    stream.observe(1)
    ((_, value),) = values(stream)
    assert value == (2, 2**53 + 1, 1, 2**53, (2,))


def test_delta_histograms_start_anew(core: ModuleType) -> None:
    """Counts, sum and extremes belong to one interval."""
    stream = core.Stream(Shape(HISTOGRAM, bounds=BOUNDS, delta=True))
    stream.observe(7)
    stream.collect(1)
    stream.observe(1)
    assert values(stream) == [({}, (1, 1, 1, 1, (0, 1, 0, 0)))]


def test_exponential_buckets_lower_their_scale_to_fit(core: ModuleType) -> None:
    """1 to 1024 in four buckets: the finest scale that holds them has base 2 ** 4."""
    stream = core.Stream(Shape(EXPONENTIAL, max_size=4, signed=True))
    for value in (1, 2, 4, 1024, 0, -3):
        stream.observe(value)
    ((_, (count, total, least, greatest, scale, zeros, positive, negative)),) = values(stream)
    assert (count, total, least, greatest, zeros) == (6, 1028, -3, 1024, 1)
    assert (scale, positive, negative) == (-2, (-1, [1, 2, 0, 1]), (0, [1]))


def test_exponential_buckets_hold_all_doubles(core: ModuleType) -> None:
    """From the smallest subnormal to the largest double, in two buckets of the coarsest scale."""
    stream = core.Stream(Shape(EXPONENTIAL, max_size=2))
    for value in (5e-324, 1.0, 1.7976931348623157e308):
        stream.observe(value)
    ((_, value),) = values(stream)
    assert value[0] == 3
    assert sum(value[6][1]) == 3
    assert value[4] == -10


def test_delta_exponential_buckets_regain_their_scale(core: ModuleType) -> None:
    """One wide interval must not coarsen all that follow."""
    stream = core.Stream(Shape(EXPONENTIAL, max_size=4, delta=True))
    stream.observe(1)
    stream.observe(1e9)
    assert values(stream)[0][1][4] < 0
    stream.observe(3)
    assert values(stream)[0][1][4] == 20


def test_beyond_the_limit_all_goes_to_one_series(core: ModuleType) -> None:
    """An attribute that never repeats must not fill memory, and no measurement is lost."""
    counter = instrument(core, Shape(SUM, limit=3))
    for user in range(10):
        counter.add(1, {"user": user})
    counter.add(1, {"user": 0})
    stream = counter.streams[0]
    assert values(stream) == [({"user": 0}, 2), ({"user": 1}, 1), ({"user": 2}, 1), (OVERFLOW, 7)]
    assert (stream.series, stream.overflowed) == (4, 7)


def test_the_limit_holds_for_kept_keys_too(core: ModuleType) -> None:
    """What is beyond the limit must not be mistaken for the series without attributes."""
    stream = core.Stream(Shape(SUM, keys=frozenset({"a"}), limit=1))
    for attributes in (None, {"a": 1}, {"a": 2}, {"b": 1}):
        stream.observe(1, attributes)
    assert values(stream) == [({}, 2), (OVERFLOW, 2)]


def test_a_delta_stream_takes_new_series_once_old_ones_are_idle(core: ModuleType) -> None:
    """The limit holds for one interval, so what came first does not keep its place for ever."""
    counter = instrument(core, Shape(SUM, limit=1, delta=True))
    counter.add(1, {"user": 1})
    counter.add(1, {"user": 2})
    counter.streams[0].collect(1)
    counter.streams[0].collect(2)
    counter.add(1, {"user": 2})
    assert values(counter.streams[0]) == [({"user": 2}, 1)]


def test_a_bound_instrument_is_the_series(core: ModuleType) -> None:
    """What it measures and what is measured with equal attributes come together, in every stream."""
    counter = instrument(core, Shape(SUM), Shape(SUM, keys=frozenset()))
    bound = counter.bind({"a": 1})
    bound.add(2)
    counter.add(3, {"a": 1})
    bound.add(1.5)
    assert [values(stream) for stream in counter.streams] == [[({"a": 1}, 6.5)], [({}, 6.5)]]


def test_a_bound_series_outlives_its_idle_time(core: ModuleType) -> None:
    """A delta stream forgets idle series, but not one that somebody holds."""
    counter = instrument(core, Shape(SUM, delta=True))
    bound = counter.bind({"a": 1})
    bound.add(1)
    for now_ns in range(1, 4):
        counter.streams[0].collect(now_ns)
    bound.add(5)
    assert values(counter.streams[0]) == [({"a": 1}, 5)]
    del bound
    gc.collect()
    counter.streams[0].collect(5)
    counter.streams[0].collect(6)
    assert counter.streams[0].series == 0


def test_a_bound_instrument_follows_new_streams(core: ModuleType) -> None:
    """A reader may be added while the application runs."""
    counter = instrument(core, Shape(SUM))
    bound = counter.bind({"a": 1})
    bound.add(1)
    counter.streams = (*counter.streams, core.Stream(Shape(SUM)))
    bound.add(1)
    assert [values(stream) for stream in counter.streams] == [[({"a": 1}, 2)], [({"a": 1}, 1)]]


def test_threads_lose_nothing(core: ModuleType) -> None:
    """Eight threads, some series in common: the totals are exact, in every temporality."""
    counter = instrument(core, Shape(SUM), Shape(HISTOGRAM, bounds=BOUNDS), Shape(SUM, delta=True))
    collected: list[int] = []

    def work(number: int) -> None:
        bound = counter.bind({"worker": "all"})
        for i in range(2000):
            counter.add(1, {"worker": number})
            counter.add(1, {"i": i % 50})
            bound.add(1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        collected += [value for _, value in values(counter.streams[2])]
    for thread in threads:
        thread.join()
    collected += [value for _, value in values(counter.streams[2])]
    assert sum(value for _, value in values(counter.streams[0])) == 48_000
    assert sum(value[0] for _, value in values(counter.streams[1])) == 48_000
    assert sum(collected) == 48_000


@pytest.mark.parametrize("shape", [Shape(SUM), Shape(SUM, delta=True), Shape(HISTOGRAM, bounds=BOUNDS)])
def test_a_forked_child_counts_from_zero(core: ModuleType, shape: Shape) -> None:
    """What the parent has measured is the parent's to report; the child's series are its own."""
    counter = instrument(core, shape)
    bound = counter.bind({"bound": 1})
    counter.add(5, {"a": 1})
    bound.add(5)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            before = counter.streams[0].collect(1)
            bound.add(1)
            counter.add(2, {"a": 1})
            os.write(writer, repr((before, sorted(map(repr, values(counter.streams[0]))))).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        before, points = eval(answer.read())
    os.waitpid(pid, 0)
    assert before == []
    if shape.kind == SUM:
        assert points == ["({'a': 1}, 2)", "({'bound': 1}, 1)"]
    assert len(counter.streams[0].collect(1)) == 2


def test_series_are_found_again_among_many(core: ModuleType) -> None:
    """The table grows as series come, and every one keeps its value."""
    counter = instrument(core, Shape(SUM, limit=100_000))
    for _ in range(2):
        for i in range(5000):
            counter.add(i, {"i": i, "text": f"t{i}"})
    assert values(counter.streams[0]) == [({"i": i, "text": f"t{i}"}, 2 * i) for i in range(5000)]


def test_a_finalizer_may_measure(core: ModuleType) -> None:
    """Making a series may run the collector, and that a finalizer which measures in the same stream."""
    counter = instrument(core, Shape(SUM, limit=1_000_000))

    class Loud:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            counter.add(1, {"gone": True, "more": [1]})

    threshold = gc.get_threshold()
    gc.set_threshold(5, 2, 2)
    try:
        for i in range(3000):
            Loud()
            counter.add(1, {"i": i})
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    found = values(counter.streams[0])
    assert sum(value for _, value in found) == 6000
    assert len(found) == 3001
