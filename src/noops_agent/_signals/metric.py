"""The meter provider: a drop-in for the SDK's class on our core."""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.metrics import Meter as APIMeter
from opentelemetry.metrics import MeterProvider as APIMeterProvider
from opentelemetry.metrics import NoOpMeter

from .. import _core
from .._core.measured import LIMIT
from .._core.model import as_name, sdk_face
from .._core.segment import METRIC
from .._core.wire import resource_fields, scope_fields
from .._diagnostics import say
from .instruments import (
    Counter,
    Gauge,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
    read_boundaries,
    read_unit,
    valid_name,
)
from .reading import Reading, preferences_of, process_lock
from .resource import refresh
from .trace import InstrumentationScope
from .views import DELTA, NOTHING, Preferences, read_filter

SDK = "opentelemetry.sdk.metrics"

OWN_TIMEOUT_S = 10.0
"""Time for the callbacks of one collection into the recorder."""

_taken: weakref.WeakSet[Any] = weakref.WeakSet()
"""Readers that belong to a provider."""


class Meter(APIMeter):
    """Makes instruments; equal ones are one."""

    def __init__(self, provider: MeterProvider, instrumentation_scope: Any) -> None:
        super().__init__(
            instrumentation_scope.name, instrumentation_scope.version, instrumentation_scope.schema_url
        )
        self._provider = provider
        self._instrumentation_scope = instrumentation_scope
        self._instruments: dict[tuple[str, str, str, str], Any] = {}
        self._nothing = NoOpMeter(instrumentation_scope.name)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face(SDK, "Meter", Meter)

    @property
    def instrumentation_scope(self) -> Any:
        """Who measures."""
        return self._instrumentation_scope

    def _is_enabled(self) -> bool:
        return self._provider._allows(self._instrumentation_scope)

    # -- instruments

    def create_counter(self, name: str, unit: str = "", description: str = "") -> Any:
        """Make a counter: a sum that only grows."""
        return self._make(Counter, name, unit, description) or self._nothing.create_counter(str(name))

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> Any:
        """Make an up-down counter: a sum that grows and falls."""
        return self._make(UpDownCounter, name, unit, description) or self._nothing.create_up_down_counter(str(name))

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> Any:
        """Make a gauge: a value that is set."""
        return self._make(Gauge, name, unit, description) or self._nothing.create_gauge(str(name))

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> Any:
        """Make a histogram; the boundaries hold unless a view or a reader says otherwise."""
        boundaries = read_boundaries(as_name(name), explicit_bucket_boundaries_advisory)
        made = self._make(Histogram, name, unit, description, boundaries=boundaries)
        if made is not None and made.boundaries != boundaries:
            say("instrument.advice", key=made.name, name=made.name)
        return made or self._nothing.create_histogram(str(name))

    def create_observable_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> Any:
        """Make an observable counter: callbacks give a total that only grows."""
        made = self._make(ObservableCounter, name, unit, description, callbacks=callbacks)
        return made or self._nothing.create_observable_counter(str(name))

    def create_observable_up_down_counter(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> Any:
        """Make an observable up-down counter: callbacks give a total that grows and falls."""
        made = self._make(ObservableUpDownCounter, name, unit, description, callbacks=callbacks)
        return made or self._nothing.create_observable_up_down_counter(str(name))

    def create_observable_gauge(
        self, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> Any:
        """Make an observable gauge: callbacks look a value up."""
        made = self._make(ObservableGauge, name, unit, description, callbacks=callbacks)
        return made or self._nothing.create_observable_gauge(str(name))

    def _make(self, kind: type[Any], given: Any, unit: Any, description: Any, **more: Any) -> Any:
        """Make an instrument, or give the one that is identical; None where it can't have this name."""
        if not valid_name(given):
            say("instrument.invalid", key=repr(given), name=given)
            return None
        name = str.__str__(given).lower()
        text = "" if description is None else as_name(description)
        identity = (name, kind.kind, read_unit(name, unit), text)
        made = self._instruments.get(identity)
        if made is None:
            if any(other[0] == name for other in list(self._instruments)):
                say("instrument.conflict", key=name, name=name, meter=self._instrumentation_scope.name)
            fresh = kind(self._instrumentation_scope, name, unit=identity[2], description=text, **more)
            made = self._instruments.setdefault(identity, fresh)
            if made is fresh:
                self._provider._register(made)
        return made


class MeterProvider(APIMeterProvider):
    """Drop-in for `opentelemetry.sdk.metrics.MeterProvider`: same arguments, same behaviour, our core.

    Args:
        metric_readers: The SDK's readers, or any that follow its interface.
        resource: Ours or the SDK's; None: as the environment says.
        exemplar_filter: The SDK's interface, or a name of the specification; None: `OTEL_METRICS_EXEMPLAR_FILTER`.
        shutdown_on_exit: Shut the readers down when the interpreter ends.
        views: The SDK's views.
    """

    def __init__(
        self,
        metric_readers: Sequence[Any] = (),
        resource: Any = None,
        exemplar_filter: Any = None,
        shutdown_on_exit: bool = True,
        views: Sequence[Any] = (),
        *,
        _meter_configurator: Callable[[Any], Any] | None = None,
        _settings: Any = None,
        _limit: int = LIMIT,
    ) -> None:
        if resource is None:
            from .resource import make_resource

            if _settings is None:
                from .._config import load

                _settings = load()
            resource = make_resource(_settings)
        self._resource = resource
        self._exemplars = read_filter(exemplar_filter or os.environ.get("OTEL_METRICS_EXEMPLAR_FILTER", ""))
        self._views = tuple(views or ())
        self._limit = _limit
        self._disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        self._configurator = _meter_configurator
        self._shutdown = False
        self._mark = _core.process_mark()
        self._meters: dict[Any, Meter] = {}
        self._instruments: list[Any] = []
        self._readings: dict[Any, Reading] = {}
        self._locks: dict[int, Any] = {}
        self._recorded: tuple[Any, int] | None = None
        for reader in metric_readers or ():
            self._attach(reader)
        self._atexit_handler = atexit.register(self.shutdown) if shutdown_on_exit else None

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face(SDK, "MeterProvider", MeterProvider)

    def _lock(self) -> Any:
        return process_lock(self._locks)

    # -- meters

    def get_meter(
        self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Any = None
    ) -> Any:
        """Give the meter of an instrumentation scope; equal scopes share one."""
        if self._disabled or self._shutdown:
            return NoOpMeter(as_name(name), version=version, schema_url=schema_url)
        if not isinstance(name, str) or not name:
            say("meter.unnamed")
            return NoOpMeter("", version=version, schema_url=schema_url)
        scope = InstrumentationScope(name, version, schema_url, attributes)
        meter = self._meters.get(scope)
        return meter if meter is not None else self._meters.setdefault(scope, Meter(self, scope))

    def _register(self, instrument: Any) -> None:
        """Make the streams of a new instrument, for each reader that there is."""
        instrument.enabled = self._allows(instrument.instrumentation_scope)
        with self._lock():
            self._instruments.append(instrument)
            streams = tuple(stream for reading in self._readings.values() for stream in reading.add(instrument))
            if not instrument.observed:
                instrument.streams = streams

    def _allows(self, scope: Any) -> bool:
        if self._configurator is None:
            return True
        try:
            return bool(self._configurator(scope).is_enabled)
        except Exception as error:
            say("configurator.failed", error=repr(error))
            return True

    def _set_meter_configurator(self, *, meter_configurator: Callable[[Any], Any]) -> None:
        self._configurator = meter_configurator
        for instrument in list(self._instruments):
            instrument.enabled = self._allows(instrument.instrumentation_scope)

    # -- readers

    @property
    def _metric_readers(self) -> tuple[Any, ...]:
        return tuple(reader for reader in list(self._readings) if hasattr(reader, "_set_collect_callback"))

    def add_metric_reader(self, metric_reader: Any) -> None:
        """Add a reader: it sees what is measured from now on."""
        self._attach(metric_reader)

    def remove_metric_reader(self, metric_reader: Any) -> None:
        """Remove a reader, and shut it down."""
        if metric_reader not in self._readings:
            say("reader.unknown", key=type(metric_reader).__name__, name=type(metric_reader).__name__)
            return
        with self._lock():
            self._readings = {key: value for key, value in self._readings.items() if key is not metric_reader}
            self._connect()
        _taken.discard(metric_reader)
        metric_reader._set_collect_callback(None)
        self._ask(metric_reader, "shutdown", 30_000)

    def _attach(self, reader: Any) -> None:
        if reader in _taken:
            say("reader.taken", key=type(reader).__name__, name=type(reader).__name__)
            return
        _taken.add(reader)
        self._read(reader, preferences_of(reader, self._exemplars, self._limit))
        if hasattr(reader, "_set_meter_provider"):
            reader._set_meter_provider(self)
        reader._set_collect_callback(self._collect)

    def _read(self, key: Any, wanted: Preferences) -> None:
        reading = Reading(self._views, wanted)
        with self._lock():
            for instrument in self._instruments:
                reading.add(instrument)
            self._readings = {**self._readings, key: reading}
            self._connect()

    def _connect(self) -> None:
        for instrument in self._instruments:
            if not instrument.observed:
                instrument.streams = tuple(
                    stream for reading in self._readings.values() for stream in reading.streams(instrument)
                )

    def _collect(self, reader: Any, timeout_millis: float = 10_000) -> Any:
        """Collect for a reader of the SDK.

        Raises:
            MetricsTimeoutError: The callbacks took longer than that; the reader tries again.
        """
        from .metrics_data import metrics_data

        self._enter_process()
        reading = self._readings[reader]
        now_ns, found, complete = reading.points(time.monotonic() + timeout_millis / 1000)
        if not complete:
            from opentelemetry.sdk.metrics import MetricsTimeoutError

            raise MetricsTimeoutError("Timed out while executing callback")
        return metrics_data(self._resource, found, now_ns)

    # -- what records

    def record_into(
        self, recorder: Any, delta: frozenset[str] = DELTA["cumulative"], aggregations: Mapping[str, Any] = NOTHING
    ) -> None:
        """Let what is measured from now on be collected into a recorder of the core, beside the readers.

        Args:
            recorder: The core's.
            delta: Kinds that are reported as differences; see `views.DELTA`.
            aggregations: The SDK's aggregations by the name of the kind, where they are not the default ones.
        """
        self._recorded = recorder, recorder.resource(resource_fields(self._resource))
        self._read(recorder, Preferences(delta, aggregations, self._exemplars, self._limit))

    def collect_into(self, recorder: Any, timeout_s: float = OWN_TIMEOUT_S) -> int:
        """Collect into a recorder that `record_into` was told of; gives the metrics that it took.

        For the thread that ships, or whoever flushes: not for an application's own threads.
        """
        reading = self._readings.get(recorder)
        if reading is None or self._recorded is None:
            return 0
        self._enter_process()
        resource, taken = self._recorded[1], 0
        for scope, payload in reading.payloads(time.monotonic() + timeout_s):
            taken += bool(recorder.append(METRIC, recorder.scope(resource, scope_fields(scope)), payload))
        return taken

    def _enter_process(self) -> None:
        """A forked child has a resource of its own."""
        if self._mark != _core.process_mark():
            self._mark = _core.process_mark()
            self._update(refresh(self._resource))

    def _update(self, resource: Any) -> None:
        self._resource = resource
        if self._recorded is not None:
            recorder, index = self._recorded
            recorder.set_resource(index, resource_fields(resource))

    def _update_resource(self, resource: Any) -> None:
        self._update(self._resource.merge(resource))

    # -- end

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Let each reader collect and deliver; False where one failed, or time ran out."""
        return self._ask_all("force_flush", timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000) -> None:
        """Shut the readers down; they deliver what they have."""
        if self._shutdown:
            return
        self._shutdown = True
        self._ask_all("shutdown", timeout_millis)
        if self._atexit_handler is not None:
            atexit.unregister(self._atexit_handler)
            self._atexit_handler = None

    def _ask_all(self, call: str, timeout_millis: float) -> bool:
        deadline = time.monotonic() + timeout_millis / 1000
        done = True
        for reader in self._metric_readers:
            left_ms = (deadline - time.monotonic()) * 1000
            done = left_ms > 0 and self._ask(reader, call, left_ms) and done
        return done

    def _ask(self, reader: Any, call: str, timeout_millis: float) -> bool:
        name = type(reader).__name__
        try:
            return getattr(reader, call)(timeout_millis=timeout_millis) is not False
        except Exception as error:
            say("processor.failed", key=f"{name}.{call}", name=name, call=call, error=repr(error))
            return False
