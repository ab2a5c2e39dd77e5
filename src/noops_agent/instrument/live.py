"""The enabled state of one library: its tracer, its instruments, and whether it is on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace as trace_api

from .. import _core, _diagnostics
from .._version import VERSION
from .carriers import inject
from .former import former_names
from .model import Call, Duration, Instrumentation, Measure
from .operation import Operation, layer_bit, speaks

if TYPE_CHECKING:
    from .._core.course import Enabled, labels_of
else:
    Enabled, labels_of = _core.Enabled, _core.labels_of

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
MOST_FAILURES = 3
"""Failures after which a hook is left out for the rest of the process."""


class Live(Enabled):
    """What the wrappers of one enabled library share. Wrappers that could not be taken away see `on` False."""

    def __init__(
        self, instrumentation: Instrumentation, tracer_provider: Any = None, meter_provider: Any = None
    ) -> None:
        self.instrumentation = instrumentation
        self.inject = inject
        self.on = True
        self.scope = f"noops_instrumentation.{instrumentation.library}"
        self.tracer = trace_api.get_tracer(self.scope, VERSION, tracer_provider, SCHEMA)
        self.former = former_names(instrumentation.options.get("semconv_opt_in", ()))
        """What adds the former names of attributes; None where nobody asks for them."""
        self.plain = self.former is None and instrumentation.options.request_hook is None
        self._meter_provider = meter_provider
        self._meter: Any = None
        self._instruments: dict[Any, Any] = {}
        self._failures: dict[str, int] = {}

    # -- operations

    def open(self, call: Call, kind: Any, duration: Duration | None = None, layer: str = "") -> Operation | None:
        """Begin an operation whose flow is not that of a call; None where nothing is to be recorded. Never raises.

        Its span is not the current one before `attach`.
        """
        try:
            bit = layer_bit(layer)
            if not self.on or not speaks(bit):
                return None
            return Operation(self, call, kind, duration, bit)
        except Exception as error:
            self.failed(call.name, error)
            return None

    # -- metrics

    def histogram(self, duration: Duration) -> Any:
        """Give the histogram of a duration; made at the first call."""
        found = self._instruments.get(duration)
        if found is None:
            advice = {"explicit_bucket_boundaries_advisory": duration.bounds} if duration.bounds else {}
            found = self._instruments[duration] = self.meter.create_histogram(
                duration.name, duration.unit, duration.description, **advice
            )
        return found

    def up_down_counter(self, name: str, unit: str = "1", description: str = "") -> Any:
        """Give an up-down-counter of the library's meter; made at the first call."""
        found = self._instruments.get(name)
        if found is None:
            found = self._instruments[name] = self.meter.create_up_down_counter(name, unit, description)
        return found

    def counter(self, name: str, unit: str = "1", description: str = "") -> Any:
        """Give a counter of the library's meter; made at the first call."""
        found = self._instruments.get(name)
        if found is None:
            found = self._instruments[name] = self.meter.create_counter(name, unit, description)
        return found

    @property
    def meter(self) -> Any:
        """The library's meter."""
        if self._meter is None:
            from opentelemetry import metrics

            self._meter = metrics.get_meter(self.scope, VERSION, self._meter_provider, SCHEMA)
        return self._meter

    def record(self, duration: Duration, seconds: float, attributes: dict[str, Any], chosen: bool) -> None:
        """Record a measurement.

        Args:
            duration: Of which histogram.
            seconds: The value.
            attributes: Attributes of the call, or of the measurement.
            chosen: Whether they are those of the measurement.
        """
        histogram = self._instruments.get(duration) or self.histogram(duration)
        if getattr(histogram, "_real_instrument", histogram) is None:
            return  # the API without a meter provider behind it
        labels = attributes if chosen else labels_of(attributes, duration.keys)
        histogram.record(seconds, labels)
        for measure in duration.also:
            value = measure.value(attributes)
            if value is not None:
                (self._instruments.get(measure) or self._measure(measure))(value, labels)

    def _measure(self, measure: Measure) -> Any:
        """Give what takes the values of a measure."""
        if measure.bounds:
            instrument: Any = self.meter.create_histogram(
                measure.name, measure.unit, measure.description, explicit_bucket_boundaries_advisory=measure.bounds
            )
        else:
            instrument = self.meter.create_counter(measure.name, measure.unit, measure.description)
        take = self._instruments[measure] = instrument.record if measure.bounds else instrument.add
        return take

    # -- failures of ours

    def failed(self, place: str, error: BaseException) -> bool:
        """Count a failure of ours, and say it the first time; True once *place* has failed too often."""
        failures = self._failures[place] = self._failures.get(place, 0) + 1
        _diagnostics.count("instrument.failed")
        if failures == MOST_FAILURES:
            _diagnostics.say("instrument.disabled", key=place, place=place, failures=failures, error=repr(error))
        return failures >= MOST_FAILURES
