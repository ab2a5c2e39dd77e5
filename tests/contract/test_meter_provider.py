"""The meter provider in the place of the SDK's: instruments, views, readers, its end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

import opentelemetry.metrics as api
import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk import metrics as theirs
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

from noops_agent import _core, sdk
from noops_agent._core import segment

KINDS = {
    "create_counter": (api.Counter, theirs.Counter),
    "create_up_down_counter": (api.UpDownCounter, theirs.UpDownCounter),
    "create_histogram": (api.Histogram, theirs.Histogram),
    "create_gauge": (api._Gauge, theirs._Gauge),
    "create_observable_counter": (api.ObservableCounter, theirs.ObservableCounter),
    "create_observable_up_down_counter": (api.ObservableUpDownCounter, theirs.ObservableUpDownCounter),
    "create_observable_gauge": (api.ObservableGauge, theirs.ObservableGauge),
}


class Bench:
    """A provider with a reader in memory."""

    def __init__(self, *views: View, **arguments: Any) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = sdk.MeterProvider([self.reader], shutdown_on_exit=False, views=views, **arguments)
        self.meter = self.provider.get_meter("test", "1.0")

    def metrics(self) -> dict[str, Any]:
        """What the reader gets, by name."""
        return named(self.reader.get_metrics_data())

    def points(self, name: str) -> list[Any]:
        """The points of a metric."""
        found = self.metrics()
        return list(found[name].data.data_points) if name in found else []


def named(data: Any) -> dict[str, Any]:
    """Metrics by name."""
    parts = [scope for part in data.resource_metrics for scope in part.scope_metrics] if data is not None else []
    return {metric.name: metric for scope in parts for metric in scope.metrics}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the agent says."""
    caplog.set_level(logging.INFO)
    return caplog


# ---- instruments -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("create", KINDS)
def test_each_kind_is_an_instrument_of_the_api_and_the_sdk(create: str) -> None:
    """Code that checks with isinstance, as views do, sees what it expects."""
    made = getattr(Bench().meter, create)("name", unit="By", description="what")
    assert all(isinstance(made, expected) for expected in KINDS[create])
    assert (made.name, made.unit, made.description) == ("name", "By", "what")
    assert made.instrumentation_scope.name == "test"


def test_provider_and_meter_are_the_sdks() -> None:
    """Libraries look whether a real provider is installed."""
    bench = Bench()
    assert isinstance(bench.provider, theirs.MeterProvider)
    assert isinstance(bench.provider, api.MeterProvider)
    assert isinstance(bench.meter, theirs.Meter)
    assert isinstance(bench.meter, api.Meter)


def test_the_api_works_on_our_provider() -> None:
    """What is written for opentelemetry-api needs nothing of ours."""
    bench = Bench()
    api.get_meter("m", meter_provider=bench.provider).create_counter("c").add(2, {"a": 1})
    (point,) = bench.points("c")
    assert (point.value, point.attributes) == (2, {"a": 1})


def test_equal_meters_and_instruments_are_one() -> None:
    """Two modules that ask for the same instrument feed the same series; names know no case."""
    bench = Bench()
    assert bench.provider.get_meter("test", "1.0") is bench.meter
    assert bench.provider.get_meter("test", "2.0") is not bench.meter
    counter = bench.meter.create_counter("Requests", "1", "d")
    assert bench.meter.create_counter("requests", "1", "d") is counter
    assert list(Bench().metrics()) == []


@pytest.mark.parametrize("more", [{"unit": "By"}, {"description": "other"}])
def test_instruments_that_share_a_name_alone_are_both_there(more: dict[str, str], said: Any) -> None:
    """A conflict is said once; neither instrument loses its measurements."""
    bench = Bench()
    first, second = bench.meter.create_counter("c"), bench.meter.create_counter("c", **more)
    assert first is not second
    first.add(1)
    second.add(2)
    data = bench.reader.get_metrics_data()
    assert [m.data.data_points[0].value for m in data.resource_metrics[0].scope_metrics[0].metrics] == [1, 2]
    assert said.text.count("several instruments with the name 'c'") == 1


@pytest.mark.parametrize("name", ["", "1st", "with space", "a" * 256, "é", None, 5, b"bytes"])
@pytest.mark.parametrize("create", KINDS)
def test_a_bad_name_gives_an_instrument_that_does_nothing(create: str, name: Any, said: Any) -> None:
    """The SDK raises into the application here; an application must not fail for the name of a metric."""
    made = getattr(Bench().meter, create)(name)
    assert isinstance(made, KINDS[create][0])
    for call in ("add", "record", "set"):
        if hasattr(made, call):
            getattr(made, call)(1)
    assert "is no name of an instrument" in said.text


def test_a_bad_unit_is_left_out(said: Any) -> None:
    """The measurements count; what backends would refuse does not reach them."""
    bench = Bench()
    bench.meter.create_counter("c", unit="é" * 5).add(1)
    assert bench.metrics()["c"].unit == ""
    assert "is no unit" in said.text


def test_advised_boundaries_hold() -> None:
    """The instrumentation knows its values best."""
    bench = Bench()
    bench.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 2.5]).record(2)
    (point,) = bench.points("h")
    assert (point.explicit_bounds, point.bucket_counts) == ((1, 2.5), (0, 1, 0))


@pytest.mark.parametrize("advice", ["12", 5, [1, "2"], [2, 1], [1, float("inf")], [1, 1]])
def test_bad_advice_is_passed_over(advice: Any, said: Any) -> None:
    """The SDK raises at the first measurement for some of these."""
    bench = Bench()
    bench.meter.create_histogram("h", explicit_bucket_boundaries_advisory=advice).record(2)
    (point,) = bench.points("h")
    assert len(point.explicit_bounds) == 15
    assert "bucket boundaries of h are passed over" in said.text


def test_what_was_refused_is_said_once(said: Any) -> None:
    """Hot code counts; the collection speaks."""
    bench = Bench()
    counter = bench.meter.create_counter("c")
    for amount in (-1, -2, float("nan"), "x"):
        counter.add(amount)
    assert said.text == ""
    bench.reader.get_metrics_data()
    bench.reader.get_metrics_data()
    assert said.text.count("negative values") == 1
    assert said.text.count("no finite numbers") == 1


def test_the_attribute_that_explodes_is_named(said: Any) -> None:
    """One message, with the name of the attribute to take away."""
    bench = Bench(_limit=20)
    counter = bench.meter.create_counter("c")
    for user in range(100):
        counter.add(1, {"method": ("GET", "POST")[user % 2], "user.id": user})
    points = bench.points("c")
    assert len(points) == 21
    assert [point.value for point in points if point.attributes == {"otel.metric.overflow": True}] == [80]
    assert "more than 20 sets of attributes" in said.text
    assert "'user.id': 20" in said.text


def test_the_limit_is_two_thousand() -> None:
    """The specification's default."""
    bench = Bench()
    counter = bench.meter.create_counter("c")
    for user in range(2010):
        counter.add(1, {"user.id": user})
    assert len(bench.points("c")) == 2001


# ---- observable instruments ------------------------------------------------------------------------------


def failing(options: CallbackOptions) -> Any:
    """Give one value, then fail."""
    yield Observation(1, {"a": 1})
    raise RuntimeError("no")


def sending() -> Any:
    """A generator that is sent the options."""
    options = yield
    while True:
        assert options.timeout_millis > 0
        options = yield [Observation(3, {"b": 1})]


@pytest.mark.parametrize("create", ["create_observable_counter", "create_observable_gauge"])
def test_callbacks_of_all_kinds_are_asked(create: str, said: Any) -> None:
    """Functions, generators, generator functions; one that fails, or gives nonsense, does not stop the others."""
    bench = Bench()
    callbacks: list[Any] = [failing, sending(), lambda options: 5, lambda options: [None, Observation(7, {"c": 1})]]
    getattr(bench.meter, create)("o", callbacks)
    for _ in range(2):
        assert [point.value for point in bench.points("o")] == [1, 3, 7]
    assert "a callback of o raised" in said.text


@pytest.mark.parametrize(("callbacks", "count"), [(lambda options: [Observation(1)], 1), (5, 0), (None, 0), ([], 0)])
def test_callbacks_that_are_no_list_raise_nothing(callbacks: Any, count: int) -> None:
    """A forgotten pair of brackets must not stop the application."""
    bench = Bench()
    bench.meter.create_observable_gauge("o", callbacks)
    assert len(bench.points("o")) == count


def test_slow_callbacks_end_a_collection() -> None:
    """The reader hears of it as it would from the SDK, and tries again."""
    bench = Bench()
    bench.meter.create_observable_gauge("o", [lambda options: [Observation(1)]])
    with pytest.raises(theirs.MetricsTimeoutError):
        bench.reader.collect(timeout_millis=0)
    assert len(bench.points("o")) == 1


# ---- views -----------------------------------------------------------------------------------------------


def test_a_view_renames_and_keeps_some_attributes() -> None:
    """The usual way to tame a metric."""
    bench = Bench(View(instrument_name="req*", name=None, description="tamed", attribute_keys={"route"}))
    counter = bench.meter.create_counter("requests")
    counter.add(1, {"route": "/", "user": 1})
    counter.add(2, {"route": "/", "user": 2})
    metric = bench.metrics()["requests"]
    assert metric.description == "tamed"
    assert [(point.attributes, point.value) for point in metric.data.data_points] == [({"route": "/"}, 3)]


@pytest.mark.parametrize(
    ("view", "matching"),
    [
        ({"instrument_type": theirs.Counter}, True),
        ({"instrument_type": api.Counter}, True),
        ({"instrument_type": theirs.Histogram}, False),
        ({"instrument_unit": "By"}, True),
        ({"instrument_unit": "s"}, False),
        ({"meter_name": "test", "meter_version": "1.0"}, True),
        ({"meter_name": "other"}, False),
    ],
)
def test_views_select_by_each_criterion(view: dict[str, Any], matching: bool) -> None:
    """What a view of the SDK asks an instrument of ours, it gets answered as by the SDK's."""
    bench = Bench(View(aggregation=DropAggregation(), **view))
    bench.meter.create_counter("c", "By").add(1)
    assert ("c" in bench.metrics()) is not matching


def test_two_views_make_two_metrics() -> None:
    """One instrument, seen twice."""
    bench = Bench(
        View(instrument_name="h", name="fine", aggregation=ExponentialBucketHistogramAggregation()),
        View(instrument_name="h", name="rough", aggregation=ExplicitBucketHistogramAggregation((1,))),
    )
    bench.meter.create_histogram("h").record(2)
    assert {name: type(metric.data).__name__ for name, metric in bench.metrics().items()} == {
        "fine": "ExponentialHistogram",
        "rough": "Histogram",
    }


def test_a_histogram_of_an_observable_instrument_is_refused(said: Any) -> None:
    """Totals that are looked up have no distribution: the view is passed over, as by the SDK."""
    bench = Bench(View(instrument_name="o", aggregation=ExplicitBucketHistogramAggregation()))
    bench.meter.create_observable_counter("o", [lambda options: [Observation(4)]])
    assert [point.value for point in bench.points("o")] == [4]
    assert "can't be shown as a histogram" in said.text


def test_views_that_name_metrics_alike_are_said(said: Any) -> None:
    """Backends would mix the two up."""
    bench = Bench(View(instrument_name="a", name="same"), View(instrument_name="b", name="same"))
    bench.meter.create_counter("a")
    bench.meter.create_counter("b")
    assert "several metrics the name 'same'" in said.text


def test_a_view_that_raises_is_passed_over(said: Any) -> None:
    """A broken view costs its effect, not the metric."""
    bench = Bench(View(instrument_name="c"))
    bench.provider._views[0]._match = None
    bench.meter.create_counter("c").add(1)
    assert len(bench.points("c")) == 1
    assert "a view could not be applied" in said.text


def test_a_view_brings_its_reservoir() -> None:
    """Its factory is asked by aggregation, and given what the specification says."""
    made = []

    def factory(aggregation: type) -> Any:
        def build(**given: Any) -> Any:
            made.append((aggregation.__name__, given))
            return theirs.SimpleFixedSizeExemplarReservoir(size=3)

        return build

    view = View(instrument_name="h", exemplar_reservoir_factory=factory)
    bench = Bench(view, exemplar_filter=theirs.AlwaysOnExemplarFilter())
    histogram = bench.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1])
    for value in (1, 2, 3):
        histogram.record(value)
    (point,) = bench.points("h")
    assert [exemplar.value for exemplar in point.exemplars] == [1, 2, 3]
    assert set(map(repr, made)) == {repr(("_ExplicitBucketHistogramAggregation", {"boundaries": (1.0,)}))}


# ---- exemplars -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "variable", "expected"),
    [
        (None, None, 1),
        (None, "always_off", 0),
        (None, "always_on", 2),
        (None, "nonsense", 1),
        (theirs.AlwaysOnExemplarFilter(), "always_off", 2),
        (theirs.AlwaysOffExemplarFilter(), None, 0),
        (theirs.TraceBasedExemplarFilter(), "always_off", 1),
        ("always_on", None, 2),
    ],
)
def test_the_exemplar_filter_is_that_of_code_or_variable(
    asked: Any, variable: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A span of ours that is sampled makes exemplars; without one only always_on does."""
    if variable is not None:
        monkeypatch.setenv("OTEL_METRICS_EXEMPLAR_FILTER", variable)
    bench = Bench(exemplar_filter=asked)
    counter = bench.meter.create_counter("c")
    tracer = sdk.TracerProvider(shutdown_on_exit=False).get_tracer("t")
    with tracer.start_as_current_span("s") as span:
        counter.add(1, {"in": "span"})
    counter.add(1)
    found = [exemplar for point in bench.points("c") for exemplar in point.exemplars]
    assert len(found) == expected
    if found:
        assert isinstance(found[0], theirs.Exemplar)
        assert found[0].span_id == span.get_span_context().span_id


# ---- readers ---------------------------------------------------------------------------------------------


class Kept(MetricExporter):
    """An exporter that keeps what it was given."""

    def __init__(self, **preferred: Any) -> None:
        super().__init__(**preferred)
        self.batches: list[Any] = []
        self.closed = False

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        self.batches.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self.closed = True


def test_the_sdks_periodic_reader_works_on_our_provider() -> None:
    """Any exporter that is written for the SDK gets our metrics, in the temporality that it prefers."""
    kept = Kept(preferred_temporality={theirs.Counter: AggregationTemporality.DELTA})
    provider = sdk.MeterProvider([PeriodicExportingMetricReader(kept, export_interval_millis=3_600_000)])
    counter = provider.get_meter("m").create_counter("c")
    for amount in (2, 3):
        counter.add(amount)
        assert provider.force_flush()
    counter.add(4)
    provider.shutdown()
    assert [named(batch)["c"].data.data_points[0].value for batch in kept.batches] == [2, 3, 4]
    assert named(kept.batches[0])["c"].data.aggregation_temporality == AggregationTemporality.DELTA
    assert kept.closed


def test_the_sdks_prometheus_reader_works_on_our_provider() -> None:
    """A scrape tells the true values, read by the client library's own parser."""
    exporter = pytest.importorskip("opentelemetry.exporter.prometheus")
    client = pytest.importorskip("prometheus_client")
    parser = pytest.importorskip("prometheus_client.parser")
    provider = sdk.MeterProvider([exporter.PrometheusMetricReader()], shutdown_on_exit=False)
    try:
        meter = provider.get_meter("m")
        meter.create_counter("orders").add(5, {"kind": "new"})
        meter.create_histogram("size", explicit_bucket_boundaries_advisory=[1, 10]).record(3)
        families = parser.text_string_to_metric_families(client.generate_latest().decode())
        samples = [sample for family in families for sample in family.samples]
        found = {(sample.name, sample.labels.get("le")): sample.value for sample in samples}
        assert found["orders_total", None] == 5
        assert (found["size_bucket", "1.0"], found["size_bucket", "10.0"], found["size_count", None]) == (0, 1, 1)
    finally:
        provider.shutdown()


def test_readers_come_and_go() -> None:
    """A reader sees what is measured while it is there; the others are not disturbed."""
    bench = Bench()
    counter = bench.meter.create_counter("c")
    bound = counter.bind({"b": 1})
    counter.add(1)
    late = InMemoryMetricReader()
    bench.provider.add_metric_reader(late)
    counter.add(2)
    bound.add(4)
    assert sorted(point.value for point in named(late.get_metrics_data())["c"].data.data_points) == [2, 4]
    bench.provider.remove_metric_reader(late)
    counter.add(8)
    assert late.get_metrics_data() is None
    assert sorted(point.value for point in bench.points("c")) == [4, 11]


def test_a_reader_belongs_to_one_provider(said: Any) -> None:
    """Its collections would be split between two; the second provider does without it."""
    bench = Bench()
    other = sdk.MeterProvider([bench.reader], shutdown_on_exit=False)
    bench.provider.add_metric_reader(bench.reader)
    other.remove_metric_reader(bench.reader)
    assert "belongs to a meter provider already" in said.text
    assert "does not belong to this meter provider" in said.text


class Broken(InMemoryMetricReader):
    """A reader whose every call fails."""

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        raise RuntimeError("no")

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        raise RuntimeError("no")


def test_a_reader_that_fails_is_not_the_applications_affair(said: Any) -> None:
    """The SDK raises; here flush says that it failed, and shutdown goes on with the others."""
    kept = Kept()
    readers = [Broken(), PeriodicExportingMetricReader(kept, export_interval_millis=3_600_000)]
    provider = sdk.MeterProvider(readers, shutdown_on_exit=False)
    assert not provider.force_flush()
    assert not provider.force_flush(timeout_millis=0)
    provider.shutdown()
    provider.shutdown()
    assert kept.closed
    assert "Broken raised in shutdown" in said.text


def test_after_its_end_a_provider_gives_meters_that_do_nothing() -> None:
    """A late import must not fail, nor measure for nobody."""
    bench = Bench()
    bench.provider.shutdown()
    assert type(bench.provider.get_meter("late")) is api.NoOpMeter


def test_a_disabled_sdk_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SDK_DISABLED stands for all signals."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    bench = Bench()
    bench.meter.create_counter("c").add(1)
    assert bench.metrics() == {}


def test_a_meter_without_name_measures_nothing(said: Any) -> None:
    """As with the SDK; but its code goes on."""
    for name in ("", None):
        Bench().provider.get_meter(name).create_counter("c").add(1)
    assert "without a name" in said.text


class Config:
    """What a configurator gives."""

    def __init__(self, is_enabled: bool) -> None:
        self.is_enabled = is_enabled


def test_a_configurator_switches_meters() -> None:
    """At their making, and later."""
    bench = Bench(_meter_configurator=lambda scope: Config(scope.name != "loud"))
    loud = bench.provider.get_meter("loud")
    counter = loud.create_counter("c")
    loud.create_observable_gauge("o", [lambda options: [Observation(1)]])
    counter.add(1)
    assert bench.metrics() == {}
    bench.provider._set_meter_configurator(meter_configurator=lambda scope: Config(True))
    counter.add(1)
    assert set(bench.metrics()) == {"c", "o"}
    assert loud._is_enabled()


def test_a_configurator_that_raises_switches_nothing_off() -> None:
    """Losing all metrics would be the worse mistake."""
    bench = Bench(_meter_configurator=lambda scope: 1 / 0)
    bench.meter.create_counter("c").add(1)
    assert len(bench.points("c")) == 1


# ---- processes -------------------------------------------------------------------------------------------


def test_a_forked_child_has_its_own_series_and_resource() -> None:
    """No series of the child goes on from the parent's, nor under its name."""
    bench = Bench()
    counter = bench.meter.create_counter("c")
    counter.add(5)
    before = bench.provider._resource.attributes["service.instance.id"]
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            counter.add(1, {"child": True})
            data = bench.reader.get_metrics_data()
            values = [(point.attributes, point.value) for point in named(data)["c"].data.data_points]
            resource = data.resource_metrics[0].resource.attributes
            answer = values, resource["process.pid"] == os.getpid(), resource["service.instance.id"] != before
            os.write(writer, repr(answer).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        assert told.read() == repr(([({"child": True}, 1)], True, True))
    os.waitpid(pid, 0)
    assert [point.value for point in bench.points("c")] == [5]


def test_a_periodic_reader_goes_on_in_a_forked_child() -> None:
    """The SDK's reader starts its thread anew in the child; what it exports there is the child's alone."""
    kept = Kept(preferred_temporality={theirs.Counter: AggregationTemporality.DELTA})
    reading = PeriodicExportingMetricReader(kept, export_interval_millis=3_600_000)
    provider = sdk.MeterProvider([reading], shutdown_on_exit=False)
    counter = provider.get_meter("m").create_counter("c")
    counter.add(5)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            counter.add(1)
            flushed = provider.force_flush()
            provider.shutdown()
            values = [named(batch)["c"].data.data_points[0].value for batch in kept.batches if batch is not None]
            os.write(writer, repr((flushed, values)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        assert told.read() == "(True, [1])"
    os.waitpid(pid, 0)
    provider.shutdown()
    assert [named(batch)["c"].data.data_points[0].value for batch in kept.batches] == [5]


def test_metrics_are_recorded_as_otlp() -> None:
    """A collection into the recorder gives requests that the official messages read."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    provider = sdk.MeterProvider(shutdown_on_exit=False)
    recorder = _core.Recorder(None, 1 << 20, bytes(16))
    provider.record_into(recorder)
    for name in ("first", "second"):
        meter = provider.get_meter(name, "1", attributes={"a": 1})
        meter.create_counter("c", "1", "counts").add(3, {"k": "v"})
        meter.create_observable_gauge("g", [lambda options: [Observation(1.5)]])
    assert provider.collect_into(recorder) == 4
    newest = recorder.segments()[-1]
    body, _, count = _core.collect(newest.memory, segment.HEADER_BYTES, newest.used, segment.METRIC, 1 << 30, 1 << 30)
    (part,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    assert count == 4
    assert {pair.key for pair in part.resource.attributes} >= {"service.name", "service.instance.id"}
    found = {(scope.scope.name, metric.name) for scope in part.scope_metrics for metric in scope.metrics}
    assert found == {("first", "c"), ("first", "g"), ("second", "c"), ("second", "g")}
    recorder.close()


PROGRAM = """
import sys
from noops_agent import _core
from noops_agent.sdk import MeterProvider
from opentelemetry.metrics import Observation
provider = MeterProvider()
recorder = _core.Recorder(None, 1 << 20, bytes(16))
provider.record_into(recorder)
meter = provider.get_meter("m")
meter.create_counter("c").add(1, {"a": 1})
meter.create_histogram("h").record(1)
meter.create_observable_gauge("g", [lambda options: [Observation(1)]])
assert provider.collect_into(recorder) == 3
print(sorted(name for name in sys.modules if name.startswith(("opentelemetry.sdk", "google", "grpc"))))
"""


def test_without_the_sdks_readers_nothing_of_the_sdk_is_loaded() -> None:
    """Start-up is a budget, and the SDK is large."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
