"""A hook for functions that give a future: the work goes on after they returned, and ends when the future does."""

from __future__ import annotations

import functools
from asyncio import CancelledError
from typing import TYPE_CHECKING, Any

from .hook import Hook, Observed

if TYPE_CHECKING:
    from .live import Live
    from .operation import Operation
    from .patch import Wrapper


class Settled(Hook):
    """A `Hook` for a plain function that returns an `asyncio.Future`; the caller gets that future itself."""

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        observed = Observed(self, live, bound)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            operation = observed.begin(args, kwargs)
            if operation is None:
                return original(*args, **kwargs)
            args, kwargs = observed.arguments(operation, args, kwargs)
            operation.attach()
            try:
                future = original(*args, **kwargs)
            except BaseException as error:
                operation.close(error, None, self.error)
                raise
            finally:
                operation.detach()
            watch(future, observed, operation)
            return future

        return call


def watch(future: Any, observed: Observed, operation: Operation) -> None:
    """End an operation when its future is done; what is no future ends it now."""
    try:
        future.add_done_callback(functools.partial(settle, observed, operation))
    except Exception as error:
        observed.live.failed(observed.hook.target, error)
        operation.close()


def settle(observed: Observed, operation: Operation, future: Any) -> None:
    """End an operation with the outcome of its future.

    asyncio logs an exception that nobody asked the future for; so we look at it without asking.
    """
    if future.cancelled():
        operation.close(CancelledError(), None, observed.hook.error)
        return
    error = future._exception if hasattr(future, "_exception") else future.exception()
    if error is not None:
        operation.close(error, None, observed.hook.error)
    else:
        observed.finish(operation, future.result())
