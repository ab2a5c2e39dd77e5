"""Hooks of calls that call nothing that is observed: a driver's, whose cost shows in every query of a program.

Their spans need not be the current ones, and nothing but the call itself can end them. So the way from the start of the
span to its end is straight, and costs little more than half of what an `Operation` does; one is made where more is to
be told of an end than that it came.

What a driver has a program do during such a call (an SQL function, an adapter, a notice handler) runs under the span
that was current before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .._core import decorate
from .carriers import inject
from .hook import RETURNED, Hook
from .model import Args, Call, Kwargs
from .operation import Operation, speaks
from .patch import Wrapper

if TYPE_CHECKING:
    from .live import Live


class Leaf(Hook):
    """A `Hook` of a method that calls nothing that is observed."""

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper; the usual one where a generator or a user's hook asks for more."""
        flags = decorate.flags_of(original)
        options = live.instrumentation.options
        if (
            flags & (decorate.CO_GENERATOR | decorate.CO_ASYNC_GENERATOR)
            or self.ends != RETURNED
            or not bound
            or live.former is not None
            or options.request_hook is not None
            or options.response_hook is not None
        ):
            return super().make(live, original, bound)
        way = straight(self, live)
        return coroutine(original, *way) if flags & decorate.CO_COROUTINE else plain(original, *way)


Start = Callable[[Any, Args, Kwargs], "Call | None"]
End = Callable[[Call, float, Any], None]
Fail = Callable[[Call, float, BaseException], None]


def straight(hook: Hook, live: Live) -> tuple[Start, End, Fail]:
    """Make what starts the span of a call, what ends it, and what ends it where it failed."""
    describe, kind, bit, duration = hook.describe, hook.kind, hook.bit, hook.duration
    start_span, record, failed = live.tracer.start_span, live.record, live.failed
    off = False

    def start(instance: Any, args: Args, kwargs: Kwargs) -> Call | None:
        nonlocal off
        if not live.on or off or not speaks(bit):
            return None
        try:
            call = describe(instance, args, kwargs)
            if call is not None:
                call.span = start_span(
                    call.name, call.parent, call.kind or kind, call.attributes, call.links, call.start_time
                )
                if call.inject is not None:
                    inject(call.inject, call.span, call.parent)
            return call
        except Exception as error:
            off = failed(hook.target, error)
            return None

    def end(call: Call, began: float, returned: Any) -> None:
        try:
            seconds = perf_counter() - began
            call.span.end()
            if duration is not None:
                labels = call.labels
                record(duration, seconds, call.attributes if labels is None else labels, labels is not None)
        except Exception as problem:
            failed("end", problem)

    def fail(call: Call, began: float, error: BaseException) -> None:
        Operation.begun(live, call, call.span, duration, began).close(error, None, hook.error)

    return start, telling(hook, live, end) if hook.result is not None else end, fail


def telling(hook: Hook, live: Live, end: End) -> End:
    """Make what ends the span of a call whose result is told about."""
    result, duration = hook.result, hook.duration
    assert result is not None

    def tell(call: Call, began: float, returned: Any) -> None:
        known: Any = None
        try:
            known = result(call, returned)
            if known and not isinstance(known, BaseException) and "error.type" not in known:
                call.attributes.update(known)
                call.span.set_attributes(known)
                known = None
        except Exception as problem:
            live.failed(hook.target, problem)
        if not known:
            end(call, began, returned)
            return
        operation = Operation.begun(live, call, call.span, duration, began)
        if isinstance(known, BaseException):
            operation.close(known, None, hook.error)
        else:
            operation.close(None, known)

    return tell


def plain(original: Wrapper, start: Start, end: End, fail: Fail) -> Wrapper:
    """Wrap a plain method."""

    @functools.wraps(original)
    def wrapper(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = start(instance, args, kwargs)
        if call is None:
            return original(instance, *args, **kwargs)
        if call.args is not None:
            args = call.args
        if call.kwargs is not None:
            kwargs = call.kwargs
        began = perf_counter()
        try:
            returned = original(instance, *args, **kwargs)
        except BaseException as error:
            fail(call, began, error)
            raise
        end(call, began, returned)
        return returned

    return wrapper


def coroutine(original: Wrapper, start: Start, end: End, fail: Fail) -> Wrapper:
    """Wrap a coroutine method."""

    @functools.wraps(original)
    async def wrapper(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
        call = start(instance, args, kwargs)
        if call is None:
            return await original(instance, *args, **kwargs)
        if call.args is not None:
            args = call.args
        if call.kwargs is not None:
            kwargs = call.kwargs
        began = perf_counter()
        try:
            returned = await original(instance, *args, **kwargs)
        except BaseException as error:
            fail(call, began, error)
            raise
        end(call, began, returned)
        return returned

    return wrapper
