"""One observed call: its span, its duration, and what is current while it runs."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from random import getrandbits
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry.context.context import Context
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, SpanKind, StatusCode
from opentelemetry.trace.propagation import set_span_in_context

from .. import _core
from .._core import suppressed
from .._core.model import clean_message
from .carriers import inject
from .model import LEFT_ALONE, NOT_AN_ERROR, Call, Duration, Failure

if TYPE_CHECKING:
    from .live import Live

Attachment = _core.Attachment
perf_counter = time.perf_counter
ERROR = StatusCode.ERROR

_layers: ContextVar[int] = ContextVar("noops_layers", default=0)
"""Bits of the layers that have an operation running here."""
_bits: dict[str, int] = {"": 0}


def layer_bit(layer: str) -> int:
    """Give the bit of a layer."""
    return _bits.setdefault(layer, 1 << len(_bits))


HTTP = layer_bit("http")


def layers(*names: str) -> Callable[[], muted]:
    """Give what makes a context manager in which layers are left alone as if an operation of theirs ran."""
    bits = 0
    for name in names:
        bits |= layer_bit(name)
    return partial(muted, bits)


class muted:
    """Context manager in which the layers of some bits are left alone; a server or consumer inside begins anew."""

    __slots__ = ("_bits", "_token")

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def __enter__(self) -> None:
        self._token = _layers.set(_layers.get() | self._bits)

    def __exit__(self, *error: object) -> None:
        try:
            _layers.reset(self._token)
        except ValueError:
            pass


class Unspoken(muted):
    """Stands for the operation of a call that the user excludes; while it is attached its layer is left alone."""

    __slots__ = ()

    call = LEFT_ALONE
    closed = True

    attach = muted.__enter__

    def detach(self) -> None:
        """Let the layer speak again."""
        self.__exit__()

    def close(self, *known: object) -> None:
        """Nothing was begun."""


def speaks(bit: int) -> bool:
    """Whether an operation of a layer is to be recorded here: nothing suppresses it, and no outer one of it speaks."""
    return not suppressed(bit == HTTP) and not (bit and _layers.get() & bit)


class Silent:
    """Stands for the operation of a request that the user excludes: while it is attached, nothing is recorded.

    Libraries are suppressed. Spans that the program makes itself find a parent that is not sampled, which is what
    makes samplers leave out the rest of a trace.
    """

    __slots__ = ("_attached", "_context", "call", "closed")

    recording = False
    span = INVALID_SPAN

    def __init__(self, call: Call, closed: bool = False) -> None:
        self.call = call
        self.closed = closed
        self._attached: list[Any] = []
        unsampled = SpanContext(getrandbits(128) or 1, getrandbits(64) or 1, is_remote=False)
        context = set_span_in_context(NonRecordingSpan(unsampled), call.parent)
        for key in (context_api._SUPPRESS_INSTRUMENTATION_KEY, context_api._SUPPRESS_HTTP_INSTRUMENTATION_KEY):
            context = context_api.set_value(key, True, context)
        self._context = context

    def attach(self) -> None:
        """Begin to record nothing."""
        self._attached.append(context_api.attach(self._context))

    def detach(self) -> None:
        """Make current what was so before."""
        try:
            context_api._RUNTIME_CONTEXT.detach(self._attached.pop())
        except (IndexError, ValueError):
            pass

    __enter__ = attach

    def __exit__(self, *error: object) -> None:
        self.detach()

    def activation(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """Give what attaches and what detaches."""
        return self.attach, self.detach

    def add(self, attributes: Any) -> None:
        """Nobody wants to know."""

    def rename(self, name: str) -> None:
        """It has no name."""

    def respond(self, response: Any) -> None:
        """Hooks are for what is recorded."""

    def close(self, *known: object) -> None:
        """Nothing was begun."""
        self.closed = True


class Operation:
    """One call from its beginning to its end. Nothing in here raises into the caller."""

    __slots__ = (
        "_attached",
        "_began",
        "_bit",
        "_brought",
        "_duration",
        "_layers",
        "_live",
        "call",
        "closed",
        "recording",
        "span",
    )

    def __init__(self, live: Live, call: Call, kind: Any, duration: Duration | None, bit: int) -> None:
        self.call = call
        self.closed = False
        self._live = live
        self._duration = duration
        self._attached: Any = None
        self._layers: Any = None
        self._brought: Any = None
        # A server or consumer begins anew: what it calls is not part of the call that reached it in this process.
        kind = call.kind = call.kind or kind
        if live.former is not None:
            live.former.add_to(call.attributes, kind, call.attributes)
        self._bit = -1 if kind is SpanKind.SERVER or kind is SpanKind.CONSUMER else bit
        span = self.span = live.tracer.start_span(
            call.name, call.parent, kind, call.attributes, call.links, call.start_time
        )
        self.recording = span.is_recording()
        if call.inject is not None:
            inject(call.inject, span, call.parent)
        hook = live.instrumentation.options.request_hook
        if hook is not None:
            try:
                hook(span, call.request)
            except Exception as error:
                live.failed("request_hook", error)
        self._began = perf_counter()

    @classmethod
    def begun(cls, live: Live, call: Call, span: Any, duration: Duration | None, began: float) -> Operation:
        """Give the operation of a call that began without one; it isn't current, and has only to be closed."""
        operation = cls.__new__(cls)
        operation.call = call
        operation.closed = False
        operation.recording = span.is_recording()
        operation.span = span
        operation._attached = operation._brought = operation._layers = None
        operation._began = began
        operation._bit = 0
        operation._duration = duration
        operation._live = live
        return operation

    # -- what is current

    def attach(self) -> None:
        """Make the span the current one."""
        bit = self._bit
        if bit:
            before = _layers.get()
            layers = 0 if bit == -1 else before | bit
            if layers != before:
                self._layers = _layers.set(layers)
        parent = self.call.parent
        if parent is not None and len(parent) > 1:  # it brought baggage
            self._brought = context_api.attach(Context({**context_api.get_current(), **parent}))
        attached = self._attached = Attachment(self.span)
        attached.__enter__()

    def detach(self) -> None:
        """Make current what was so before; in another context there is nothing to restore, and nothing happens."""
        attached, self._attached = self._attached, None
        if attached is not None:
            attached.__exit__()
        brought, self._brought = self._brought, None
        if brought is not None:
            try:
                context_api._RUNTIME_CONTEXT.detach(brought)
            except ValueError:
                pass
        token, self._layers = self._layers, None
        if token is not None:
            try:
                _layers.reset(token)
            except ValueError:
                pass

    def activation(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """Give what attaches and what detaches, for a body that runs piece by piece: at a third of the cost."""
        parent = self.call.parent
        if (self._bit and _layers.get()) or (parent is not None and len(parent) > 1):
            return self.attach, self.detach
        attachment = Attachment(self.span)
        return attachment.__enter__, attachment.__exit__

    def __enter__(self) -> Operation:
        self.attach()
        return self

    def __exit__(self, *error: object) -> None:
        self.detach()

    def silence(self) -> Silent:
        """Record nothing of the call, nor of what it calls until `detach`; gives what stands for it from now on."""
        self.closed = True
        self.detach()
        silent = self._attached = Silent(self.call, closed=True)
        silent.attach()
        return silent

    # -- what becomes known

    def began(self, at: float) -> None:
        """Measure the duration from *at*, a reading of `time.perf_counter`: what is told of was over before."""
        self._began = at

    def add(self, attributes: Any) -> None:
        """Add attributes to the span, and to what the measurement is taken from."""
        former = self._live.former
        if former is not None:
            attributes = dict(attributes)
            former.add_to(attributes, self.call.kind, {**self.call.attributes, **attributes})
        self.call.attributes.update(attributes)
        if self.recording:
            self.span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        """Give the span another name."""
        self.call.name = name
        if self.recording:
            self.span.update_name(name)

    # -- its end

    def close(self, error: BaseException | None = None, attributes: Any = None, failure: Failure | None = None) -> None:
        """End the span and record the duration; only the first call does anything.

        Args:
            error: The exception that the call ended with.
            attributes: Attributes known only now; `error.type` among them makes the call a failure.
            failure: What the integration knows of exceptions.
        """
        if self.closed:
            return
        self.closed = True
        try:
            seconds = perf_counter() - self._began
            if error is not None:
                self._fail(error, failure)
            if attributes:
                self.add(attributes)
                if "error.type" in attributes and error is None and self.recording:
                    self.span.set_status(ERROR)
            self.span.end()
            if self._duration is not None:
                call = self.call
                chosen = call.labels is not None
                self._live.record(self._duration, seconds, call.labels if chosen else call.attributes, chosen)  # type: ignore[arg-type]
        except Exception as problem:
            self._live.failed("end", problem)

    def respond(self, response: Any) -> None:
        """Show the user's `response_hook` what was returned."""
        hook = self._live.instrumentation.options.response_hook
        if hook is not None:
            try:
                hook(self.span, self.call.request, response)
            except Exception as error:
                self._live.failed("response_hook", error)

    def _fail(self, error: BaseException, failure: Failure | None) -> None:
        known = None
        if failure is not None:
            try:
                known = failure(self.call, error)
            except Exception as problem:
                self._live.failed("failure", problem)
        if known is NOT_AN_ERROR:
            return
        if controls_flow(error):
            if cancels(error) and self._bit != -1:
                self.add({"error.type": type_name(error)})
            return
        found = {"error.type": type_name(error)}
        if known:
            found.update(known)
        message = found.pop("exception.message", None)
        self.add(found)
        if self.recording:
            self.span.record_exception(error, None if message is None else reworded(error, message))
            said = clean_message(error) if message is None else message
            self.span.set_status(ERROR, f"{type(error).__name__}: {said}")


def reworded(error: BaseException, message: str) -> dict[str, Any]:
    """Give the attributes of an exception whose own text holds the user's data, with another text in its place."""
    stack = "".join(traceback.format_tb(error.__traceback__))
    return {"exception.message": message, "exception.stacktrace": f"{stack}{type_name(error)}: {message}"}


def controls_flow(error: BaseException) -> bool:
    """Whether an exception ends a call without anything having failed."""
    if isinstance(error, (GeneratorExit, StopIteration, StopAsyncIteration)) or cancels(error):
        return True
    return isinstance(error, SystemExit) and error.code in (None, 0)


def cancels(error: BaseException) -> bool:
    """Whether an exception is asyncio's cancellation; asyncio is not imported for the question."""
    asyncio = sys.modules.get("asyncio.exceptions")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


_type_names: dict[type, str] = {}


def type_name(error: BaseException) -> str:
    """Give the `error.type` of an exception: its qualified class, without the module for builtins."""
    kind = type(error)
    name = _type_names.get(kind)
    if name is None:
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        if len(_type_names) < 1000:
            _type_names[kind] = name
    return name
