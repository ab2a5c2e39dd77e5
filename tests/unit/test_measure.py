"""`noops_agent.counter` and its like, `observe` and `timed`."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.metrics._internal import _ProxyMeterProvider

import noops_agent
from noops_agent._signals import measure, observe, timed

from .conftest import Messages
from .metering import PROVIDERS, Metering

EXAMPLE = Path(__file__).parents[2] / "examples" / "metrics.py"


class Late(Metering):
    """A provider that is not set yet: until `arrive`, the API's stand-in is there."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.stand_in = _ProxyMeterProvider()

    def arrive(self) -> None:
        """Set the provider."""
        self.stand_in.on_set_meter_provider(self.provider)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No instrument of another test."""
    monkeypatch.setattr(measure, "_made", {})
    monkeypatch.setattr(observe, "_functions", {})
    monkeypatch.setattr(timed, "_histograms", {})
    return monkeypatch


@pytest.fixture(params=PROVIDERS)
def metering(request: pytest.FixtureRequest, fresh: pytest.MonkeyPatch) -> Iterator[Metering]:
    """A provider behind the short face, each in turn."""
    made = Metering(request.param)
    for room in (measure, observe):
        fresh.setattr(room, "meter", lambda: made.provider.get_meter(measure.SCOPE))
    yield made
    made.close()


@pytest.fixture(params=PROVIDERS)
def late(request: pytest.FixtureRequest, fresh: pytest.MonkeyPatch) -> Iterator[Late]:
    """A provider that comes later."""
    made = Late(request.param)
    for room in (measure, observe):
        fresh.setattr(room, "meter", lambda: made.stand_in.get_meter(measure.SCOPE))
    yield made
    made.close()


# ---- the four instruments --------------------------------------------------------------------------------


def test_a_counter_adds_up_by_its_attributes(metering: Metering) -> None:
    """Given as a mapping, as keyword arguments, or both."""
    lines = noops_agent.counter("lines.read", unit="{line}", description="Lines.")
    lines.add(1)
    lines.add(2, {"file": "a"})
    lines.add(3, attributes={"file": "a"})
    lines.add(4, file="a")
    lines.add(5, {"file": "a"}, format="csv")
    metric = metering.collect()["lines.read"]
    assert (metric.unit, metric.description, metric.data.is_monotonic) == ("{line}", "Lines.", True)
    assert metering.values()["lines.read"] == {(): 1, ("a",): 9, ("a", "csv"): 5}


def test_an_up_down_counter_shrinks_as_well(metering: Metering) -> None:
    """Requests under way, for example."""
    active = noops_agent.up_down_counter("active")
    active.add(3)
    active.add(-1)
    assert metering.values()["active"] == {(): 2}
    assert metering.collect()["active"].data.is_monotonic is False


def test_of_a_gauge_the_last_value_counts(metering: Metering) -> None:
    """Whatever came before."""
    heat = noops_agent.gauge("heat", unit="Cel")
    heat.set(20.5, room="a")
    heat.set(19, room="a")
    assert metering.values()["heat"] == {("a",): 19}


def test_a_histogram_has_the_boundaries_that_it_is_given(metering: Metering) -> None:
    """Those of the provider otherwise."""
    sizes = noops_agent.histogram("size", unit="By", boundaries=[10, 100])
    for size in (5, 50, 500):
        sizes.record(size, {"format": "png"})
    (point,) = metering.collect()["size"].data.data_points
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([10, 100], [1, 1, 1])
    noops_agent.histogram("usual").record(1)
    (point,) = metering.collect()["usual"].data.data_points
    assert len(point.explicit_bounds) == 15


def test_bound_instruments_take_the_value_alone(metering: Metering) -> None:
    """They count into the series that the others count into."""
    lines, sizes, heat = noops_agent.counter("c"), noops_agent.histogram("h"), noops_agent.gauge("g")
    lines.bind({"file": "a"}).add(2)
    lines.bind(file="a").add(1)
    lines.add(4, file="a")
    sizes.bind({"x": 1}, y=2).record(3)
    heat.bind().set(7)
    noops_agent.up_down_counter("u").bind(a=1).add(-2)
    values = metering.values()
    assert (values["c"], values["h"], values["g"], values["u"]) == (
        {("a",): 7},
        {(1, 2): (1, 3)},
        {(): 7},
        {(1,): -2},
    )


def test_a_bound_instrument_keeps_what_it_was_bound_to(metering: Metering) -> None:
    """A mapping that the caller changes later is the caller's."""
    attributes = {"file": "a"}
    read = noops_agent.counter("c").bind(attributes)
    attributes["file"] = "b"
    read.add(1)
    assert metering.values()["c"] == {("a",): 1}


def test_the_provider_binds_where_it_can() -> None:
    """Its own binding is what a bound instrument calls, with nothing between."""

    class Series:
        def __init__(self, attributes: Any) -> None:
            self.attributes = attributes

        def add(self, value: float) -> None: ...

    class Native:
        def __init__(self) -> None:
            self.bound: list[Series] = []

        def add(self, value: float, attributes: Any = None) -> None: ...

        def bind(self, attributes: Any) -> Series:
            self.bound.append(Series(attributes))
            return self.bound[-1]

    native = Native()
    bound = measure.Counter("c", native).bind(a=1)
    assert bound.add == native.bound[0].add
    assert native.bound[0].attributes == {"a": 1}


def test_who_asks_a_second_time_gets_the_same(metering: Metering) -> None:
    """A provider would complain of a second one."""
    assert noops_agent.counter("c") is noops_agent.counter("c") is noops_agent.counter("C")
    assert noops_agent.counter("c") is not noops_agent.up_down_counter("c")


# ---- before there is a provider --------------------------------------------------------------------------


def test_counting_begins_with_the_provider(late: Late) -> None:
    """With the same instruments, bound ones too, and those whose method somebody holds."""
    lines, sizes = noops_agent.counter("c"), noops_agent.histogram("h")
    bound = lines.bind(a=1)
    add = bound.add
    watched = noops_agent.timed("t")
    noops_agent.observe("o", lambda: 3)
    for take in (lines.add, sizes.record, bound.add, add):
        take(1)
    with watched:
        pass
    late.arrive()
    lines.add(2, a=1)
    sizes.record(2)
    for take, value in ((bound.add, 10), (add, 100), (bound.add, 1000)):
        take(value)
    with watched:
        pass
    values = late.values()
    assert values["c"] == {(1,): 1112}
    assert values["h"] == {(): (1, 2)}
    assert values["t"][()][0] == 1
    assert values["o"] == {(): 3}
    assert bound.add is not add, "the provider's own is called from now on"


def test_all_of_it_works_in_a_program_without_a_provider() -> None:
    """It counts nothing, and costs next to nothing."""
    program = """
import noops_agent
noops_agent.counter("c").add(1, a=1)
noops_agent.counter("c").bind(a=1).add(1)
noops_agent.gauge("g").set(1)
noops_agent.histogram("h").record(1)
noops_agent.up_down_counter("u").add(-1)
noops_agent.observe("o", lambda: 1 / 0)
with noops_agent.timed("t") as attributes:
    attributes["x"] = 1
assert noops_agent.timed("t")(lambda: 7)() == 7
import sys
assert "opentelemetry.sdk" not in sys.modules and "asyncio" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---- names and units -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "1st", "lines read", "größe", "a" * 256, None, []])
def test_a_wrong_name_is_said_once_and_records_nothing(name: Any, metering: Metering, said: Messages) -> None:
    """The program goes on: a metric is not worth an exception."""
    for _ in range(2):
        noops_agent.counter(name).add(1, a=1)
        noops_agent.histogram(name).bind(a=1).record(1)
        noops_agent.observe(name, lambda: 1).stop()
        with noops_agent.timed(name):
            pass
    assert len(said) == 1
    assert "is no name of a metric" in said
    assert metering.values() == {}


@pytest.mark.parametrize("name", ["a", "http.server/request-duration_s", "A" * 255])
def test_a_name_of_the_specification_is_taken(name: str, metering: Metering, said: Messages) -> None:
    """A letter, then letters, digits and `_ . - /`."""
    noops_agent.counter(name).add(1)
    assert len(said) == 0
    assert len(metering.values()) == 1


def test_a_wrong_unit_is_left_out(metering: Metering, said: Messages) -> None:
    """The numbers are told all the same."""
    noops_agent.counter("c", unit="°C").add(1)
    assert metering.collect()["c"].unit == ""
    assert len(said) == 1


def test_what_is_no_measurement_is_said_once(metering: Metering, said: Messages) -> None:
    """A `None` in a rare branch must not end the program that counts."""
    lines: Any = noops_agent.counter("c")
    bound = lines.bind(a=1)
    for _ in range(2):
        lines.add(None)
        lines.add(1, 7, a=1)
        bound.add("x")
    lines.add(2)
    assert metering.values()["c"][()] == 2
    assert len([text for text in said if "of c could not be taken" in text]) == 1


# ---- observe ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (3, {(): 3}),
        (0.5, {(): 0.5}),
        (Decimal("1.5"), {(): 1.5}),
        ((3, {"a": 1}), {(1,): 3}),
        ([(3, {"a": 1}), (4, None)], {(1,): 3, (): 4}),
    ],
)
def test_what_a_function_gives_is_observed(given: Any, values: Any, metering: Metering) -> None:
    """A number, or pairs of a number and attributes."""
    noops_agent.observe("o", lambda: given)
    assert metering.values()["o"] == values


def test_a_generator_function_gives_its_pairs_each_time(metering: Metering) -> None:
    """One is made for each collection."""

    def sizes() -> Iterator[tuple[float, dict[str, str] | None]]:
        yield 3, {"a": "x"}
        yield 4, None

    noops_agent.observe("o", sizes)
    for _ in range(2):
        assert metering.values()["o"] == {("x",): 3, (): 4}


def test_a_function_may_have_nothing_to_say(metering: Metering) -> None:
    """Which is no number, and no failure."""
    noops_agent.observe("o", lambda: None)
    assert "o" not in metering.values()


@pytest.mark.parametrize(
    ("kind", "data", "monotonic"),
    [("gauge", "Gauge", None), ("counter", "Sum", True), ("up_down_counter", "Sum", False)],
)
def test_the_kind_says_what_the_numbers_are(kind: Any, data: str, monotonic: Any, metering: Metering) -> None:
    """A gauge, where nothing is said."""
    noops_agent.observe("o", lambda: 3, kind=kind, unit="By", description="About.")
    metric = metering.collect()["o"]
    assert (type(metric.data).__name__, metric.unit, metric.description) == (data, "By", "About.")
    assert getattr(metric.data, "is_monotonic", None) is monotonic


def test_a_kind_that_is_none_is_said(metering: Metering, said: Messages) -> None:
    """And nothing is observed."""
    noops_agent.observe("o", lambda: 3, kind="histogram")  # type: ignore[arg-type]
    assert "is not gauge, counter or up_down_counter" in said
    assert metering.values() == {}


def test_a_function_that_raises_is_said_once(metering: Metering, said: Messages) -> None:
    """The others are observed."""

    def fail() -> float:
        raise KeyError("x")

    noops_agent.observe("bad", fail)
    noops_agent.observe("good", lambda: 1)
    for _ in range(2):
        assert metering.values() == {"good": {(): 1}}
    assert len(said) == 1


def test_several_functions_speak_for_one_metric_until_they_stop(metering: Metering, said: Messages) -> None:
    """Each instance of a class tells its own."""
    first = noops_agent.observe("pool.size", lambda: (1, {"pool": "a"}))
    noops_agent.observe("pool.size", lambda: (2, {"pool": "b"}))
    assert metering.values()["pool.size"] == {("a",): 1, ("b",): 2}
    first.stop()
    first.stop()
    assert metering.values()["pool.size"] == {("b",): 2}
    assert len(said) == 0


# ---- timed -----------------------------------------------------------------------------------------------


def test_a_block_is_timed_in_seconds(metering: Metering, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the attributes that are given before and in it."""
    clock = iter([10.0, 10.25])
    monkeypatch.setattr(timed, "perf_counter", lambda: next(clock))
    with noops_agent.timed("t", size="small") as attributes:
        attributes["format"] = "png"
    metric = metering.collect()["t"]
    assert metric.unit == "s"
    assert metric.data.data_points[0].explicit_bounds[0] == 0.005
    assert metering.values()["t"] == {("small", "png"): (1, 0.25)}


def test_attributes_of_one_block_are_not_those_of_the_next(metering: Metering) -> None:
    """One object may time many blocks."""
    watch = noops_agent.timed("t")
    with watch as attributes:
        attributes["x"] = 1
    with watch:
        pass
    assert {key: count for key, (count, _) in metering.values()["t"].items()} == {(1,): 1, (): 1}


class Trouble(Exception):
    """An exception of a module."""


@pytest.mark.parametrize(
    ("error", "key"),
    [
        (KeyError("x"), ("KeyError",)),
        (Trouble(), (f"{__name__}.Trouble",)),
        (asyncio.CancelledError(), ("asyncio.exceptions.CancelledError",)),
        (SystemExit(2), ("SystemExit",)),
        (SystemExit(0), ()),
        (SystemExit(), ()),
    ],
)
def test_a_failure_is_told_by_its_class(error: BaseException, key: Any, metering: Metering) -> None:
    """An exit without a code is none."""
    with pytest.raises(type(error)) as caught, noops_agent.timed("t"):
        raise error
    assert caught.value is error
    assert list(metering.values()["t"]) == [key]


@noops_agent.timed("kinds", kind="plain")
def plain(a: int, *, b: int = 2) -> int:
    """A plain function."""
    return a + b


@noops_agent.timed("kinds", kind="coroutine")
async def coroutine(a: int) -> int:
    """A coroutine function."""
    await asyncio.sleep(0)
    return a


@noops_agent.timed("kinds", kind="generator")
def generator(count: int) -> Iterator[int]:
    """A generator function."""
    yield from range(count)


@noops_agent.timed("kinds", kind="async generator")
async def async_generator(count: int) -> AsyncIterator[int]:
    """An async generator function."""
    for number in range(count):
        yield number


def test_functions_of_all_kinds_stay_what_they_are() -> None:
    """Name, signature and kind."""
    assert not inspect.iscoroutinefunction(plain)
    assert inspect.iscoroutinefunction(coroutine)
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)
    assert str(inspect.signature(plain)) == "(a: 'int', *, b: 'int' = 2) -> 'int'"
    assert plain.__doc__ == "A plain function."


def test_each_call_of_a_function_is_timed(metering: Metering) -> None:
    """Whatever its kind."""

    async def main() -> list[int]:
        assert await coroutine(3) == 3
        return [number async for number in decorate_all["async generator"](2)]

    decorate_all: dict[str, Any] = {
        kind: noops_agent.timed("t", kind=kind)(function.__wrapped__)  # type: ignore[attr-defined]
        for kind, function in (
            ("plain", plain),
            ("coroutine", coroutine),
            ("generator", generator),
            ("async generator", async_generator),
        )
    }
    assert decorate_all["plain"](1, b=1) == 2
    assert asyncio.run(decorate_all["coroutine"](3)) == 3
    assert list(decorate_all["generator"](2)) == [0, 1]
    assert asyncio.run(main()) == [0, 1]
    assert {key: count for key, (count, _) in metering.values()["t"].items()} == {
        ("plain",): 1,
        ("coroutine",): 1,
        ("generator",): 1,
        ("async generator",): 1,
    }


def test_a_generator_that_is_left_early_is_no_failure(metering: Metering) -> None:
    """One that raises is."""

    @noops_agent.timed("t")
    def numbers() -> Iterator[int]:
        yield 1
        raise KeyError("x")

    left = numbers()
    next(left)
    left.close()
    with pytest.raises(KeyError):
        list(numbers())
    assert {key: count for key, (count, _) in metering.values()["t"].items()} == {(): 1, ("KeyError",): 1}


def test_recursive_and_concurrent_calls_are_timed_each(metering: Metering) -> None:
    """Each call has a beginning of its own."""

    @noops_agent.timed("t")
    def down(number: int) -> int:
        return number and down(number - 1)

    @noops_agent.timed("a")
    async def wait() -> None:
        await asyncio.sleep(0.001)

    async def main() -> None:
        await asyncio.gather(*(wait() for _ in range(5)))

    down(4)
    asyncio.run(main())
    values = metering.values()
    assert values["t"][()][0] == 5
    assert values["a"][()][0] == 5
    assert values["a"][()][1] < 5


# ---- the example -----------------------------------------------------------------------------------------


def test_the_example_counts(tmp_path: Path) -> None:
    """Lines read from a file, and sizes of images that came in."""
    (tmp_path / "access.log").write_text("a\nb\nc\n")
    (tmp_path / "photo.PNG").write_bytes(bytes(5000))
    program = f"""
import runpy, sys
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
example = runpy.run_path({str(EXAMPLE)!r})
example["main"]([{str(tmp_path / "access.log")!r}, {str(tmp_path)!r}])
for part in reader.get_metrics_data().resource_metrics:
    for scope in part.scope_metrics:
        for metric in scope.metrics:
            if metric.name in ("lines.read", "image.size"):
                (point,) = metric.data.data_points
                print(metric.name, dict(point.attributes), getattr(point, "value", None) or point.sum)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines() == [
        "3 lines of access.log, 1 images",
        "lines.read {'file.name': 'access.log'} 3",
        "image.size {'format': 'png'} 5000",
    ], done.stderr
