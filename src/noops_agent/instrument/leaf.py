"""Hooks of calls that call nothing that is observed: a driver's, whose cost shows in every query of a program.

Their spans need not be the current ones, which is a fifth of the cost of a call.

What a driver has a program do during such a call (an SQL function, an adapter, a notice handler) runs under the span
that was current before.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from .._core import decorate
from .hook import RETURNED, Hook, Observed
from .patch import Wrapper

if TYPE_CHECKING:
    from .live import Live


class Leaf(Hook):
    """A `Hook` of a function that calls nothing that is observed."""

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper; the usual one of what is used up later."""
        flags = decorate.flags_of(original)
        if flags & (decorate.CO_GENERATOR | decorate.CO_ASYNC_GENERATOR) or self.ends != RETURNED:
            return super().make(live, original, bound)
        make = coroutine if flags & decorate.CO_COROUTINE else plain
        return make(original, Observed(self, live, bound))


def plain(original: Wrapper, observed: Observed) -> Wrapper:
    """Wrap a plain function."""
    begin, arguments, finish = observed.begin, observed.arguments, observed.finish
    failure, tells = observed.hook.error, observed.tells

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        operation = begin(args, kwargs)
        if operation is None:
            return original(*args, **kwargs)
        call = operation.call
        if call.args is not None or call.kwargs is not None:
            args, kwargs = arguments(operation, args, kwargs)
        try:
            returned = original(*args, **kwargs)
        except BaseException as error:
            operation.close(error, None, failure)
            raise
        if tells:
            finish(operation, returned)
        else:
            operation.close()
        return returned

    return wrapper


def coroutine(original: Wrapper, observed: Observed) -> Wrapper:
    """Wrap a coroutine function."""
    begin, arguments, finish = observed.begin, observed.arguments, observed.finish
    failure, tells = observed.hook.error, observed.tells

    @functools.wraps(original)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        operation = begin(args, kwargs)
        if operation is None:
            return await original(*args, **kwargs)
        call = operation.call
        if call.args is not None or call.kwargs is not None:
            args, kwargs = arguments(operation, args, kwargs)
        try:
            returned = await original(*args, **kwargs)
        except BaseException as error:
            operation.close(error, None, failure)
            raise
        if tells:
            finish(operation, returned)
        else:
            operation.close()
        return returned

    return wrapper
