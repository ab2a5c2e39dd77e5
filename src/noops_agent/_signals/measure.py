"""The short face for metrics of one's own: `counter`, `up_down_counter`, `gauge`, `histogram`, `observe`, `timed`.

All can be used at any time: before `init`, and with no meter provider, where nothing is counted. Counting begins once
opentelemetry-api has a provider.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from opentelemetry import metrics

from .. import _diagnostics

Attributes = Mapping[str, Any]
Observed = float | Iterable[tuple[float, Attributes | None]] | None
"""What a callback gives: a number, or pairs of a number and attributes; None: nothing now."""

SCOPE = "noops_agent"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-/]{0,254}")
"""Source: OpenTelemetry specification 1.60, metrics/api.md, instrument name syntax."""
LONGEST_UNIT = 63


def valid_name(name: Any) -> bool:
    """Whether an instrument may have this name; says so where not."""
    if isinstance(name, str) and NAME.fullmatch(name):
        return True
    _diagnostics.say("metric.name", key=repr(name), name=name)
    return False


def clean_unit(name: str, unit: str) -> str:
    """Give the unit, or none where it can't be one."""
    if isinstance(unit, str) and len(unit) <= LONGEST_UNIT and unit.isascii():
        return unit
    _diagnostics.say("metric.unit", key=f"{name} {unit!r}", name=name, unit=unit)
    return ""


def meter() -> Any:
    """The meter of all these instruments."""
    return metrics.get_meter(SCOPE)


def ignore(*args: Any) -> None:
    """Take a measurement, and leave it."""


def known(instrument: Any) -> Any:
    """Give the provider's instrument behind one of the API; None as long as there is no provider."""
    return getattr(instrument, "_real_instrument", instrument)


def refused(name: str, error: Exception) -> None:
    """Say that a provider raised, for a value that is no number for example."""
    _diagnostics.say("metric.refused", key=name, name=name, error=repr(error))


class Instrument:
    """What measurements are given to."""

    __slots__ = ("_instrument", "_name", "_take")

    VERB = ""
    """The method of the API's instrument."""

    def __init__(self, name: str, instrument: Any) -> None:
        """
        Args:
            name: Of the metric.
            instrument: One of the API; None: measurements are left.
        """
        self._name = name
        self._instrument = instrument
        self._take: Callable[..., object] = ignore if instrument is None else self._look

    def _look(self, value: float, attributes: Attributes | None = None) -> None:
        """Take a measurement while it is not known whether there is a provider."""
        real = known(self._instrument)
        if real is not None:
            self._take = getattr(real, self.VERB)
            self._take(value, attributes)

    def bind(self, attributes: Attributes | None = None, /, **more: Any) -> Any:
        """Give the series of these attributes, for the hottest loops: its method takes the value alone."""
        return BOUND[self.VERB](self._name, self._instrument, {**(attributes or {}), **more})


class Counter(Instrument):
    """A sum that only grows."""

    __slots__ = ()
    VERB = "add"

    def add(self, value: float, /, attributes: Attributes | None = None, **more: Any) -> None:
        """Add to the sum.

        Args:
            value: Not negative.
            attributes: What tells series apart; the keyword arguments as well.
        """
        try:
            if more:
                attributes = {**attributes, **more} if attributes else more
            self._take(value, attributes)
        except Exception as error:
            refused(self._name, error)

    def bind(self, attributes: Attributes | None = None, /, **more: Any) -> BoundCounter:
        """Give the series of these attributes, for the hottest loops: its `add` takes the value alone."""
        return super().bind(attributes, **more)  # type: ignore[no-any-return]


class UpDownCounter(Counter):
    """A sum that grows and shrinks: `add` takes negative values as well."""

    __slots__ = ()


class Gauge(Instrument):
    """A value of which the last one counts."""

    __slots__ = ()
    VERB = "set"

    def set(self, value: float, /, attributes: Attributes | None = None, **more: Any) -> None:
        """Set the value."""
        try:
            if more:
                attributes = {**attributes, **more} if attributes else more
            self._take(value, attributes)
        except Exception as error:
            refused(self._name, error)

    def bind(self, attributes: Attributes | None = None, /, **more: Any) -> BoundGauge:
        """Give the series of these attributes, for the hottest loops: its `set` takes the value alone."""
        return super().bind(attributes, **more)  # type: ignore[no-any-return]


class Histogram(Instrument):
    """How values are distributed."""

    __slots__ = ()
    VERB = "record"

    def record(self, value: float, /, attributes: Attributes | None = None, **more: Any) -> None:
        """Record a value, which is not negative."""
        try:
            if more:
                attributes = {**attributes, **more} if attributes else more
            self._take(value, attributes)
        except Exception as error:
            refused(self._name, error)

    def bind(self, attributes: Attributes | None = None, /, **more: Any) -> BoundHistogram:
        """Give the series of these attributes, for the hottest loops: its `record` takes the value alone."""
        return super().bind(attributes, **more)  # type: ignore[no-any-return]


def bound_taker(name: str, instrument: Any, verb: str, attributes: Attributes) -> Callable[[float], object]:
    """Give what takes the values of one series: of the provider's own binding, where it has one."""
    bind = getattr(instrument, "bind", None)
    if bind is not None:
        return getattr(bind(attributes), verb)  # type: ignore[no-any-return]
    take = getattr(instrument, verb)

    def take_with_attributes(value: float) -> None:
        try:
            take(value, attributes)
        except Exception as error:
            refused(name, error)

    return take_with_attributes


def late_taker(bound: Any, name: str, verb: str, instrument: Any, attributes: Attributes) -> Callable[..., object]:
    """Give what takes the values of one series while it is not known whether there is a provider."""
    found: Callable[[float], object] | None = None

    def take(value: float) -> None:
        nonlocal found
        if found is None:
            real = known(instrument)
            if real is None:
                return
            found = bound_taker(name, real, verb, attributes)
            setattr(bound, verb, found)
        found(value)

    return take


def bound_method(bound: Any, name: str, verb: str, instrument: Any, attributes: Attributes) -> Callable[..., object]:
    """Give the method of a bound instrument: once there is a provider, the provider's own."""
    if instrument is None:
        return ignore
    real = known(instrument)
    if real is None:
        return late_taker(bound, name, verb, instrument, attributes)
    return bound_taker(name, real, verb, attributes)


class BoundCounter:
    """One series of a counter."""

    __slots__ = ("add",)

    def __init__(self, name: str, instrument: Any, attributes: Attributes) -> None:
        self.add: Callable[[float], object] = bound_method(self, name, "add", instrument, attributes)
        """Takes the value alone."""


class BoundGauge:
    """One series of a gauge."""

    __slots__ = ("set",)

    def __init__(self, name: str, instrument: Any, attributes: Attributes) -> None:
        self.set: Callable[[float], object] = bound_method(self, name, "set", instrument, attributes)
        """Takes the value alone."""


class BoundHistogram:
    """One series of a histogram."""

    __slots__ = ("record",)

    def __init__(self, name: str, instrument: Any, attributes: Attributes) -> None:
        self.record: Callable[[float], object] = bound_method(self, name, "record", instrument, attributes)
        """Takes the value alone."""


BOUND: dict[str, Any] = {"add": BoundCounter, "set": BoundGauge, "record": BoundHistogram}

_made: dict[tuple[Any, ...], Any] = {}
"""Instruments by kind, name, unit and description: who asks a second time gets the same."""


def make(kind: Any, create: str, name: str, unit: str, description: str, **advice: Any) -> Any:
    """Give an instrument; one of a wrong name leaves all measurements."""
    if not valid_name(name):
        return kind("", None)
    unit = clean_unit(name, unit)
    key = (kind, name.lower(), unit, description, *advice.values())
    found = _made.get(key)
    if found is None:
        found = _made.setdefault(key, kind(name, getattr(meter(), create)(name, unit, description, **advice)))
    return found


def counter(name: str, unit: str = "", description: str = "") -> Counter:
    """Make a counter: a sum that only grows, such as requests served.

        lines = noops_agent.counter("lines.read", unit="{line}")
        lines.add(1, file="access.log")

    Args:
        name: A letter, then letters, digits and `_ . - /`.
        unit: In UCUM, such as `s`, `By`, `{line}`.
        description: A sentence for people.
    """
    return make(Counter, "create_counter", name, unit, description)  # type: ignore[no-any-return]


def up_down_counter(name: str, unit: str = "", description: str = "") -> UpDownCounter:
    """Make a counter that goes up and down, such as requests under way."""
    return make(UpDownCounter, "create_up_down_counter", name, unit, description)  # type: ignore[no-any-return]


def gauge(name: str, unit: str = "", description: str = "") -> Gauge:
    """Make a gauge: a value of which the last one counts, such as a temperature."""
    return make(Gauge, "create_gauge", name, unit, description)  # type: ignore[no-any-return]


def histogram(
    name: str, unit: str = "", description: str = "", *, boundaries: Iterable[float] | None = None
) -> Histogram:
    """Make a histogram: how values are distributed, such as sizes of images.

    Args:
        name: A letter, then letters, digits and `_ . - /`.
        unit: In UCUM, such as `s`, `By`, `{line}`.
        description: A sentence for people.
        boundaries: Upper bounds of the buckets, ascending; without them the provider chooses.
    """
    advice = {} if boundaries is None else {"explicit_bucket_boundaries_advisory": tuple(boundaries)}
    return make(Histogram, "create_histogram", name, unit, description, **advice)  # type: ignore[no-any-return]
