"""`noops_agent.observe`: a metric that a function gives whenever somebody collects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from opentelemetry.metrics import CallbackOptions, Observation

from .. import _diagnostics
from .measure import Observed, clean_unit, meter, valid_name

Kind = Literal["gauge", "counter", "up_down_counter"]
CREATE = {
    "gauge": "create_observable_gauge",
    "counter": "create_observable_counter",
    "up_down_counter": "create_observable_up_down_counter",
}

_functions: dict[tuple[str, str], list[Callable[[], Observed]]] = {}
"""Functions by kind and name: several of one name, of the instances of a class for example, speak for one metric."""


class Observing:
    """What `observe` gives: the way to end it."""

    __slots__ = ("_function", "_others")

    def __init__(self, function: Callable[[], Observed], others: list[Callable[[], Observed]]) -> None:
        self._function = function
        self._others = others

    def stop(self) -> None:
        """Call the function no more, and let go of it."""
        if self._function in self._others:
            self._others.remove(self._function)


def observe(
    name: str, callback: Callable[[], Observed], *, kind: Kind = "gauge", unit: str = "", description: str = ""
) -> Observing:
    """Let a function give the value of a metric whenever somebody collects.

        noops_agent.observe("queue.length", queue.qsize)
        noops_agent.observe("pool.size", lambda: [(len(free), {"state": "free"}), (len(used), {"state": "used"})])

    Args:
        name: A letter, then letters, digits and `_ . - /`.
        callback: Gives a number, or pairs of a number and attributes, or None. It is called by another thread, and
            kept until `stop` of what this gives is called.
        kind: What the numbers are: values now (gauge), a sum that only grows (counter), or a sum that goes up and
            down (up_down_counter).
        unit: In UCUM, such as `s`, `By`, `{item}`.
        description: A sentence for people.
    """
    if not valid_name(name):
        return Observing(callback, [])
    if kind not in CREATE:
        _diagnostics.say("metric.kind", key=name, name=name, kind=kind)
        return Observing(callback, [])
    key = (kind, name.lower())
    fresh: list[Callable[[], Observed]] = []
    functions = _functions.setdefault(key, fresh)
    if functions is fresh:
        create = getattr(meter(), CREATE[kind])
        create(name, [observer(name, functions)], clean_unit(name, unit), description)
    functions.append(callback)
    return Observing(callback, functions)


def observer(name: str, functions: list[Callable[[], Observed]]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    """Make the callback of an observable instrument out of the functions that speak for it."""

    def call(options: CallbackOptions) -> Iterable[Observation]:
        found: list[Observation] = []
        for function in tuple(functions):
            try:
                found += observations(function())
            except Exception as error:
                _diagnostics.say("metric.callback", key=name, name=name, error=repr(error))
        return found

    return call


def observations(given: Any) -> list[Observation]:
    """Make measurements of what a function gave."""
    if given is None:
        return []
    if not hasattr(given, "__iter__"):
        return [Observation(number(given))]
    if isinstance(given, tuple) and len(given) == 2 and (given[1] is None or isinstance(given[1], Mapping)):
        given = [given]
    return [Observation(number(value), attributes) for value, attributes in given]


def number(value: Any) -> int | float:
    """Make a number of what counts as one, such as a Decimal or one of numpy."""
    return value if isinstance(value, (int, float)) else float(value)
