"""The seven kinds of instruments, on the streams of the core."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from itertools import pairwise
from typing import Any

from opentelemetry import metrics as api
from opentelemetry.metrics import CallbackOptions, Observation

from .. import _core
from .._core.model import as_name, sdk_face
from .._diagnostics import say

SDK = "opentelemetry.sdk.metrics._internal.instrument"

NAME_LENGTH, UNIT_LENGTH = 255, 63
_NAME_MARKS = frozenset("_.-/")


class Instrument:
    """What all kinds have: a name, a unit, a description, the scope of their meter."""

    name: str
    unit: str
    description: str
    instrumentation_scope: Any
    kind: str
    """The kind's name, as the SDK calls its class."""
    monotonic = False
    observed = False
    boundaries: tuple[float, ...] | None = None
    """The buckets that the instrumentation advises."""

    def _describe(self, scope: Any, name: str, unit: str, description: str) -> None:
        self.instrumentation_scope = scope
        self.name, self.unit, self.description = name, unit, description

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face(SDK, f"_{self.kind}", type(self))

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r} unit={self.unit!r}>"


class Counter(Instrument, _core.Adding, api.Counter):  # type: ignore[misc]
    """A sum that only grows."""

    kind, monotonic = "Counter", True

    def __init__(self, scope: Any, name: str, unit: str = "", description: str = "") -> None:
        self._describe(scope, name, unit, description)
        self.signed = False


class UpDownCounter(Instrument, _core.Adding, api.UpDownCounter):  # type: ignore[misc]
    """A sum that grows and falls."""

    kind = "UpDownCounter"

    def __init__(self, scope: Any, name: str, unit: str = "", description: str = "") -> None:
        self._describe(scope, name, unit, description)


class Histogram(Instrument, _core.Recording, api.Histogram):  # type: ignore[misc]
    """A distribution of values that are not negative."""

    kind = "Histogram"

    def __init__(
        self,
        scope: Any,
        name: str,
        unit: str = "",
        description: str = "",
        boundaries: tuple[float, ...] | None = None,
    ) -> None:
        self._describe(scope, name, unit, description)
        self.signed = False
        self.boundaries = boundaries


class Gauge(Instrument, _core.Setting, api._Gauge):  # type: ignore[misc]
    """A value that is set."""

    kind = "Gauge"

    def __init__(self, scope: Any, name: str, unit: str = "", description: str = "") -> None:
        self._describe(scope, name, unit, description)


class Observable(Instrument):
    """An instrument whose values come from callbacks, when a reader collects."""

    observed = True

    def __init__(
        self, scope: Any, name: str, callbacks: Any = None, unit: str = "", description: str = ""
    ) -> None:
        self._describe(scope, name, unit, description)
        self.enabled = True
        self._callbacks: list[Callable[[CallbackOptions], Iterable[Observation]]] = []
        try:
            for callback in (callbacks,) if callable(callbacks) else callbacks or ():
                self._register(callback)
        except TypeError as error:
            self._failed(error)

    def _register(self, callback: Any) -> None:
        if not isinstance(callback, Generator):
            self._callbacks.append(callback)
            return
        try:
            next(callback)
            self._callbacks.append(sender(callback))
        except Exception as error:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        say("callback.failed", key=self.name, name=self.name, error=repr(error))

    def observations(self, options: CallbackOptions) -> Iterable[Observation]:
        """Ask each callback; one that raises gives what it gave until then."""
        for callback in self._callbacks if self.enabled else ():
            try:
                yield from callback(options)
            except Exception as error:
                self._failed(error)


def sender(callback: Generator[Any, Any, Any]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    """Call a generator as a function: each collection sends it the options, and gets what it yields."""

    def ask(options: CallbackOptions) -> Iterable[Observation]:
        try:
            found: Iterable[Observation] = callback.send(options)
            return found
        except StopIteration:
            return ()

    return ask


class ObservableCounter(Observable, api.ObservableCounter):
    """A total that only grows."""

    kind, monotonic = "ObservableCounter", True


class ObservableUpDownCounter(Observable, api.ObservableUpDownCounter):
    """A total that grows and falls."""

    kind = "ObservableUpDownCounter"


class ObservableGauge(Observable, api.ObservableGauge):
    """A value that is looked up."""

    kind = "ObservableGauge"


# ---- names -----------------------------------------------------------------------------------------------


def valid_name(name: Any) -> bool:
    """Whether an instrument may have this name: a letter, then letters, digits, `_`, `.`, `-` and `/`.

    Source: OpenTelemetry specification, metrics/api.md, "Instrument name syntax".
    """
    return (
        isinstance(name, str)
        and 0 < len(name) <= NAME_LENGTH
        and name.isascii()
        and name[0].isalpha()
        and all(mark.isalnum() or mark in _NAME_MARKS for mark in name)
    )


def valid_unit(unit: str) -> bool:
    """Whether this is a unit: up to 63 characters of ASCII."""
    return len(unit) <= UNIT_LENGTH and unit.isascii()


def read_unit(name: str, unit: Any) -> str:
    """Give a unit that can be sent; one that can't is said once, and left out."""
    text = "" if unit is None else as_name(unit)
    if valid_unit(text):
        return text
    say("unit.invalid", key=name, name=name, unit=text)
    return ""


def read_boundaries(place: str, given: Any) -> tuple[float, ...] | None:
    """Read bucket boundaries: finite numbers that increase; None where there are none, or none of use."""
    if given is None:
        return None
    try:
        if isinstance(given, (str, bytes)) or not all(isinstance(bound, (int, float)) for bound in given):
            raise TypeError("not all are numbers")
        bounds = tuple(float(bound) for bound in given)
        rising = all(low < high for low, high in pairwise(bounds))
        if not rising or any(bound - bound != 0 for bound in bounds):
            raise ValueError("they are not finite, or don't increase")
    except Exception as error:
        say("boundaries.invalid", key=place, place=place, error=str(error))
        return None
    return bounds
