"""`noops_agent.span`: context manager and decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from opentelemetry.trace import INVALID_SPAN
from opentelemetry.trace import Span as APISpan

from .._core.decorate import decorate

P = ParamSpec("P")
R = TypeVar("R")

tracer: Any = None
"""The agent's own tracer; None while the agent is off. Set by `_lifecycle` alone."""


class SpanScope(Protocol):
    """What `span(name)` gives."""

    def __enter__(self) -> APISpan: ...
    def __exit__(self, *error: Any) -> None: ...
    def __call__(self, function: Callable[P, R]) -> Callable[P, R]: ...


class Late:
    """A span that is asked for before it is known whether the agent runs when it is needed."""

    __slots__ = ("_attributes", "_name")

    def __init__(self, name: str, attributes: dict[str, Any]) -> None:
        self._name = name
        self._attributes = attributes

    def __enter__(self) -> APISpan:
        return INVALID_SPAN

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        return decorate(function, self)  # type: ignore[no-any-return]

    # What `decorate` asks of an activation.

    def again(self) -> Any:
        """Give an activation of the agent's tracer where it runs now, else this."""
        if tracer is None:
            return self
        return tracer.start_as_current_span(self._name, attributes=self._attributes)

    def attachment(self) -> Late:
        """Nothing is made current."""
        return self

    def start(self) -> APISpan:
        """Nothing is started."""
        return INVALID_SPAN

    def stop(self, error: BaseException | None = None) -> None:
        """Nothing ends."""


@overload
def span(name: str, /, **attributes: Any) -> SpanScope: ...


@overload
def span(name: Callable[P, R], /) -> Callable[P, R]: ...


def span(name: Any, /, **attributes: Any) -> Any:
    """Record the time that a block or a function takes.

        with span("resize", width=640): ...

        @span("resize", width=640)
        def resize(...): ...

        @span
        def resize(...): ...

    Plain, coroutine, generator and async generator functions are understood; the span is the current one only
    while their body runs. An `Exception` that leaves the body is recorded and makes the span an error.

    Args:
        name: Name of the span; or a function, whose qualified name is taken.
        attributes: Recorded with the span; anything is accepted as a value.
    """
    if type(name) is not str and (callable(name) or isinstance(name, classmethod)):
        function = getattr(name, "__func__", name)
        return decorate(name, Late(getattr(function, "__qualname__", repr(function)), {}))
    active = tracer
    if active is None:
        return Late(name, attributes)
    return active.start_as_current_span(name, None, attributes=attributes)
