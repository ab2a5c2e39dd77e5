"""`noops_agent.timed`: how long blocks and functions take, as a histogram of seconds."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, ParamSpec, Protocol, TypeVar

from .._core.decorate import decorate
from .measure import Histogram, histogram

P = ParamSpec("P")
R = TypeVar("R")

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds. Source: OpenTelemetry semantic conventions 1.44, docs/http/http-metrics.md."""


_histograms: dict[str, Histogram] = {}


class TimedScope(Protocol):
    """What `timed(name)` gives."""

    def __enter__(self) -> dict[str, Any]: ...
    def __exit__(self, *error: Any) -> None: ...
    def __call__(self, function: Callable[P, R]) -> Callable[P, R]: ...


def error_type(error: BaseException) -> str | None:
    """Give the `error.type` of what ended a body; None where that is no failure: a generator closed, a plain exit."""
    if isinstance(error, GeneratorExit) or (isinstance(error, SystemExit) and not error.code):
        return None
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class Timing:
    """Times one body at a time; each call of a decorated function has one of its own."""

    __slots__ = ("_attributes", "_began", "_histogram", "_own")

    def __init__(self, taken: Histogram, attributes: dict[str, Any]) -> None:
        self._histogram = taken
        self._attributes = attributes
        self._own = attributes
        self._began = 0.0

    def __enter__(self) -> dict[str, Any]:
        self._own = dict(self._attributes)
        self._began = perf_counter()
        return self._own

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.stop(error)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        return decorate(function, self)  # type: ignore[no-any-return]

    # What `decorate` asks of an activation.

    def again(self) -> Timing:
        """Give one for the next call."""
        return Timing(self._histogram, self._attributes)

    def start(self) -> None:
        """Begin with a generator's body."""
        self._began = perf_counter()

    def attachment(self) -> Attached:
        """Nothing is made current around the steps of a generator's body."""
        return ATTACHED

    def stop(self, error: BaseException | None = None) -> None:
        """Record the time that the body took."""
        taken = perf_counter() - self._began
        name = None if error is None else error_type(error)
        attributes = self._own if name is None else {**self._own, "error.type": name}
        self._histogram.record(taken, attributes)


class Attached:
    """Around each step of a generator's body."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


ATTACHED = Attached()


def timed(name: str, /, **attributes: Any) -> TimedScope:
    """Record how long a block or a function takes, as a histogram of seconds.

        with noops_agent.timed("thumbnail.duration", size="small") as attributes:
            attributes["format"] = image.format

        @noops_agent.timed("thumbnail.duration", size="large")
        def thumbnail(...): ...

    Plain, coroutine, generator and async generator functions are understood. Where an exception leaves the body,
    `error.type` is its class.

    Args:
        name: Name of the histogram.
        attributes: Recorded with each time. What a block puts into the mapping that it is given is recorded as well.
    """
    taken = _histograms.get(name) if type(name) is str else None
    if taken is None:
        taken = histogram(name, unit="s", boundaries=BOUNDS)
        if type(name) is str:
            _histograms[name] = taken
    return Timing(taken, attributes)
