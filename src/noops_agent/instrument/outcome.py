"""Calls that return before it is known what became of them: a record that is sent later, a stream that is read later.

The operation of such a call ends when its outcome is told, from whichever thread learns of it. Nothing that is observed
is called meanwhile, so its span is not made the current one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from .._core import decorate
from .hook import Hook, Observed
from .leaf import End, Fail, Start, straight
from .model import Args, Call, Kwargs
from .patch import Wrapper

if TYPE_CHECKING:
    from .live import Live


class Outcome:
    """What ends the operation of a call."""

    __slots__ = ("_began", "_end", "_fail", "call")

    def __init__(self, call: Call, began: float, end: End, fail: Fail) -> None:
        self.call = call
        self._began = began
        self._end = end
        self._fail = fail

    def told(self, returned: Any) -> None:
        """End it with what the other side said: the hook's `result` knows what that means."""
        self._end(self.call, self._began, returned)

    def lost(self, error: BaseException) -> None:
        """End it with an error."""
        self._fail(self.call, self._began, error)


Follow = Callable[[Outcome, Any, Any], None]
"""(outcome, instance, what was returned): lets the outcome be told once it is known, at once if there is none."""


class Later(Hook):
    """A hook for methods whose outcome comes later.

    Args:
        follow: Waits for the outcome.
        prepare: Called with the outcome before the original is, which may be told of it before it has returned.
        (all others: see `Hook`)
    """

    def __init__(
        self, *given: Any, follow: Follow, prepare: Callable[[Outcome], None] | None = None, **more: Any
    ) -> None:
        super().__init__(*given, **more)
        self.follow = follow
        self.prepare = prepare

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        options = live.instrumentation.options
        asked = live.former is not None or options.request_hook is not None or options.response_hook is not None
        start, end, fail = observing(self, live) if asked else straight(self, live)
        prepare, watch = self.prepare, functools.partial(self.watch, live)
        if decorate.flags_of(original) & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):

            @functools.wraps(original)
            async def later(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
                call = start(instance, args, kwargs)
                if call is None:
                    return await original(instance, *args, **kwargs)
                outcome = Outcome(call, perf_counter(), end, fail)
                if prepare is not None:
                    prepare(outcome)
                if call.args is not None:
                    args = call.args
                if call.kwargs is not None:
                    kwargs = call.kwargs
                try:
                    returned = await original(instance, *args, **kwargs)
                except BaseException as error:
                    outcome.lost(error)
                    raise
                watch(outcome, instance, returned)
                return returned

            return later

        @functools.wraps(original)
        def wrapper(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
            call = start(instance, args, kwargs)
            if call is None:
                return original(instance, *args, **kwargs)
            outcome = Outcome(call, perf_counter(), end, fail)
            if prepare is not None:
                prepare(outcome)
            if call.args is not None:
                args = call.args
            if call.kwargs is not None:
                kwargs = call.kwargs
            try:
                returned = original(instance, *args, **kwargs)
            except BaseException as error:
                outcome.lost(error)
                raise
            watch(outcome, instance, returned)
            return returned

        return wrapper

    def watch(self, live: Live, outcome: Outcome, instance: Any, returned: Any) -> None:
        """Wait for the outcome."""
        try:
            self.follow(outcome, instance, returned)
        except Exception as error:
            live.failed(self.target, error)
            outcome.told(None)


def observing(hook: Hook, live: Live) -> tuple[Start, End, Fail]:
    """Make the same as `straight` does, where a user's hooks want to be called as well."""
    observed = Observed(hook, live, True)

    def start(instance: Any, args: Args, kwargs: Kwargs) -> Call | None:
        operation = observed.begin((instance, *args), kwargs)
        if operation is None:
            return None
        call = operation.call
        call.span = operation
        return call

    def end(call: Call, began: float, returned: Any) -> None:
        observed.finish(call.span, returned)

    def fail(call: Call, began: float, error: BaseException) -> None:
        call.span.close(error, None, hook.error)

    return start, end, fail
