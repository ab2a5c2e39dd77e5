"""One observed call: its span, its duration, and what is current while it runs."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import partial
from random import getrandbits
from typing import TYPE_CHECKING, Any

from opentelemetry import context as context_api
from opentelemetry.context.context import Context
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, StatusCode
from opentelemetry.trace.propagation import set_span_in_context

from .. import _core
from .._core.layer import HTTP as HTTP
from .._core.layer import LAYERS
from .._core.layer import layer_bit as layer_bit
from .._core.model import clean_message
from .model import LEFT_ALONE, NOT_AN_ERROR, Call, Failure

if TYPE_CHECKING:
    from .._core.course import Course
    from .._core.course import speaks as speaks
else:
    Course, speaks = _core.Course, _core.speaks

Attachment = _core.Attachment
ERROR = StatusCode.ERROR

_layers = LAYERS


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


class Operation(Course):
    """One call from its beginning to its end. Nothing in here raises into the caller.

    Here is what few calls ask for. What all of them do is in the core: its `Course` starts the span, makes it the
    current one (`attach`, `detach`), adds what becomes known (`add`), and ends it (`close`).
    """

    __slots__ = ()

    # -- its beginning

    def _prepare(self) -> None:
        """Add the former names of attributes."""
        former = self._live.former
        if former is not None:
            former.add_to(self.call.attributes, self.call.kind, self.call.attributes)

    def _started(self) -> None:
        """Show the user's `request_hook` the span."""
        hook = self._live.instrumentation.options.request_hook
        if hook is not None:
            try:
                hook(self.span, self.call.request)
            except Exception as error:
                self._live.failed("request_hook", error)

    # -- what is current

    def _bring(self, parent: Context) -> None:
        """Make the baggage that came with the parent the current one."""
        self._undo = partial(restore, context_api.attach(Context({**context_api.get_current(), **parent})))

    def silence(self) -> Silent:
        """Record nothing of the call, nor of what it calls until `detach`; gives what stands for it from now on."""
        self.closed = True
        self.detach()
        silent = Silent(self.call, closed=True)
        self._undo = silent.detach
        silent.attach()
        return silent

    def activation(self) -> tuple[Callable[[], object], Callable[[], object]]:
        """Give what attaches and what detaches, for a body that runs piece by piece: at a third of the cost."""
        parent = self.call.parent
        if (self._bit and _layers.get()) or (parent is not None and len(parent) > 1):
            return self.attach, self.detach
        attachment = Attachment(self.span)
        return attachment.__enter__, attachment.__exit__

    # -- what becomes known

    def _named(self, attributes: Any) -> Any:
        """Give attributes with their former names among them."""
        former = self._live.former
        if former is not None:
            attributes = dict(attributes)
            former.add_to(attributes, self.call.kind, {**self.call.attributes, **attributes})
        return attributes

    def rename(self, name: str) -> None:
        """Give the span another name."""
        self.call.name = name
        if self.recording:
            self.span.update_name(name)

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


def restore(token: Any) -> None:
    """Make current what was so before *token*; in another context there is nothing to restore."""
    try:
        context_api._RUNTIME_CONTEXT.detach(token)
    except ValueError:
        pass


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
