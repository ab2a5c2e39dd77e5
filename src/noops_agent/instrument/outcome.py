"""Calls that return before it is known what became of them: a record that is sent later, a stream that is read later.

The operation of such a call ends when its outcome is told, from whichever thread learns of it. Nothing that is observed
is called meanwhile, so its span is not made the current one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._core import decorate
from .hook import Hook, Observed
from .model import Call
from .operation import Operation
from .patch import Wrapper

if TYPE_CHECKING:
    from .live import Live


class Outcome:
    """What ends the operation of a call."""

    __slots__ = ("_observed", "_operation")

    def __init__(self, operation: Operation, observed: Observed) -> None:
        self._operation = operation
        self._observed = observed

    @property
    def call(self) -> Call:
        """What the describer made."""
        return self._operation.call

    def told(self, returned: Any) -> None:
        """End it with what the other side said: the hook's `result` knows what that means."""
        self._observed.finish(self._operation, returned)

    def lost(self, error: BaseException) -> None:
        """End it with an error."""
        self._operation.close(error, None, self._observed.hook.error)


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
        observed = Observed(self, live, bound)
        begin, arguments = observed.begin, observed.arguments
        prepare, watch = self.prepare, watching(self, live)
        if decorate.flags_of(original) & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):

            @functools.wraps(original)
            async def later(*args: Any, **kwargs: Any) -> Any:
                operation = begin(args, kwargs)
                if operation is None:
                    return await original(*args, **kwargs)
                outcome, instance, call = Outcome(operation, observed), args[0], operation.call
                if prepare is not None:
                    prepare(outcome)
                if call.args is not None or call.kwargs is not None:
                    args, kwargs = arguments(operation, args, kwargs)
                try:
                    returned = await original(*args, **kwargs)
                except BaseException as error:
                    outcome.lost(error)
                    raise
                watch(outcome, instance, returned)
                return returned

            return later

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            operation = begin(args, kwargs)
            if operation is None:
                return original(*args, **kwargs)
            outcome, instance, call = Outcome(operation, observed), args[0], operation.call
            if prepare is not None:
                prepare(outcome)
            if call.args is not None or call.kwargs is not None:
                args, kwargs = arguments(operation, args, kwargs)
            try:
                returned = original(*args, **kwargs)
            except BaseException as error:
                outcome.lost(error)
                raise
            watch(outcome, instance, returned)
            return returned

        return wrapper


def watching(hook: Later, live: Live) -> Follow:
    """Make what waits for an outcome; one that can't be waited for is told of at once."""
    follow = hook.follow

    def watch(outcome: Outcome, instance: Any, returned: Any) -> None:
        try:
            follow(outcome, instance, returned)
        except Exception as error:
            live.failed(hook.target, error)
            outcome.told(None)

    return watch
