"""What an integration can do with a call: observe it, change its arguments or its result, or keep it quiet."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._core import decorate
from .._signals.context import suppress
from .model import LEFT_ALONE, Args, Describe, Duration, Failure, Kwargs, Result
from .operation import Operation, Unspoken, layer_bit, speaks
from .patch import Patch, Wrapper

if TYPE_CHECKING:
    from .live import Live

RETURNED = "returned"
CONSUMED = "consumed"


class Hook(Patch):
    """A span, and a measurement, around each call of a target."""

    def __init__(
        self,
        target: str,
        kind: Any,
        describe: Describe,
        *,
        result: Result | None = None,
        error: Failure | None = None,
        duration: Duration | None = None,
        layer: str = "",
        ends: str = RETURNED,
        optional: bool = False,
    ) -> None:
        """
        Args:
            target: "module:Qualified.name".
            kind: Kind of the spans.
            describe: Says what a call means.
            result: Says what is known from what it returned.
            error: Says what is known from what it raised.
            duration: The histogram that its measurements go to.
            layer: Calls inside a call of the same layer are left alone: the outermost one speaks.
            ends: `RETURNED`, or `CONSUMED` where the returned iterator, awaitable or context manager is the work.
            optional: The target is missing in some supported versions.
        """
        super().__init__(target, optional=optional)
        self.kind = kind
        self.describe = describe
        self.result = result
        self.error = error
        self.duration = duration
        self.bit = layer_bit(layer)
        self.ends = ends

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper of the original's kind."""
        observed = Observed(self, live, bound)
        if self.ends == CONSUMED:
            from .follow import followed  # wrapt's proxies cost as much as our whole start

            observed.follow = followed
        flags = decorate.flags_of(original)
        if flags & decorate.CO_ASYNC_GENERATOR:
            return decorate.async_generator(original, observed.open)
        if flags & decorate.CO_GENERATOR and not flags & decorate.CO_ITERABLE_COROUTINE:
            return decorate.generator(original, observed.open)
        if flags & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):
            return coroutine(original, observed)
        return plain(original, observed)


class Observed:
    """A hook in force: begins the operation of each call, and ends it."""

    __slots__ = ("begin", "bound", "follow", "hook", "live", "off", "responds", "tells")

    def __init__(self, hook: Hook, live: Live, bound: bool) -> None:
        self.hook = hook
        self.live = live
        self.bound = bound
        self.off = False
        """It failed too often."""
        self.follow: Callable[..., Any] | None = None
        """Makes the proxy of a result whose use is the work; None: the operation ends when the call returns."""
        self.responds = live.instrumentation.options.response_hook is not None
        """The user wants to be shown what was returned."""
        self.tells = self.responds or hook.result is not None
        """Whether anybody wants to know what was returned."""
        self.begin = beginning(self)
        """Begins the operation of a call; None where it is left alone."""

    def arguments(self, operation: Operation, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Give the arguments that the original is called with."""
        call = operation.call
        if call.args is not None:
            args = (args[0], *call.args) if self.bound else tuple(call.args)
        return args, kwargs if call.kwargs is None else call.kwargs

    def finish(self, operation: Operation, returned: Any) -> None:
        """End the operation of a call that returned."""
        if operation.closed:
            return
        hook, known = self.hook, None
        if hook.result is not None:
            try:
                known = hook.result(operation.call, returned)
            except Exception as error:
                self.off = self.live.failed(hook.target, error)
        if self.responds:
            operation.respond(returned)
        if isinstance(known, BaseException):
            operation.close(known, None, hook.error)
        else:
            operation.close(None, known)

    def open(self, args: Args, kwargs: Kwargs) -> tuple[Any, Args, Kwargs]:
        """Begin the operation of a generator."""
        operation = self.begin(args, kwargs)
        if operation is None:
            return decorate.NOTHING, args, kwargs
        return Body(self, operation), *self.arguments(operation, args, kwargs)


def beginning(observed: Observed) -> Callable[[Args, Kwargs], Operation | None]:
    """Make what begins the operation of a call. What it needs it has at hand: this runs at every call."""
    hook, live, bound = observed.hook, observed.live, observed.bound
    describe, kind, duration, bit = hook.describe, hook.kind, hook.duration, hook.bit

    def begin(args: Args, kwargs: Kwargs) -> Operation | None:
        if not live.on or observed.off or not speaks(bit):
            return None
        try:
            call = describe(args[0], args[1:], kwargs) if bound else describe(None, args, kwargs)
            if call is None:
                return None
            if call is LEFT_ALONE:
                return Unspoken(bit)  # type: ignore[return-value]
            if call.request is None and args:
                call.request = args[0]
            return Operation(live, call, kind, duration, bit)
        except Exception as error:
            observed.off = live.failed(hook.target, error)
            return None

    return begin


class Body:
    """The operation of a generator: it is current only while the body runs. What `decorate` asks for."""

    __slots__ = ("_observed", "_operation")

    def __init__(self, observed: Observed, operation: Operation) -> None:
        self._observed = observed
        self._operation = operation

    def attachment(self) -> Operation:
        """Give what makes the span current."""
        return self._operation

    def stop(self, failure: BaseException | None = None) -> None:
        """End the operation."""
        if failure is None:
            self._observed.finish(self._operation, None)
        else:
            self._operation.close(failure, None, self._observed.hook.error)


def plain(original: Wrapper, observed: Observed) -> Wrapper:
    """Wrap a plain function."""
    begin, arguments, finish = observed.begin, observed.arguments, observed.finish
    failure, follow, tells = observed.hook.error, observed.follow, observed.tells

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        operation = begin(args, kwargs)
        if operation is None:
            return original(*args, **kwargs)
        told = operation.call
        if told.args is not None or told.kwargs is not None:
            args, kwargs = arguments(operation, args, kwargs)
        operation.attach()
        try:
            returned = original(*args, **kwargs)
        except BaseException as error:
            operation.close(error, None, failure)
            operation.detach()
            raise
        if follow is not None:
            operation.detach()
            return follow(returned, operation, finish, failure)
        if tells:
            finish(operation, returned)
        else:
            operation.close()
        operation.detach()
        return returned

    return call


def coroutine(original: Wrapper, observed: Observed) -> Wrapper:
    """Wrap a coroutine function."""
    begin, arguments, finish = observed.begin, observed.arguments, observed.finish
    failure, follow, tells = observed.hook.error, observed.follow, observed.tells

    @functools.wraps(original)
    async def call(*args: Any, **kwargs: Any) -> Any:
        operation = begin(args, kwargs)
        if operation is None:
            return await original(*args, **kwargs)
        told = operation.call
        if told.args is not None or told.kwargs is not None:
            args, kwargs = arguments(operation, args, kwargs)
        operation.attach()
        try:
            returned = await original(*args, **kwargs)
        except BaseException as error:
            operation.close(error, None, failure)
            operation.detach()
            raise
        if follow is not None:
            operation.detach()
            return follow(returned, operation, finish, failure)
        if tells:
            finish(operation, returned)
        else:
            operation.close()
        operation.detach()
        return returned

    return call


# ---- changes to calls that make no span ------------------------------------------------------------------

BeforeChange = Callable[[Any, Args, Kwargs], "tuple[Args, Kwargs] | None"]
AfterChange = Callable[[Any, Args, Kwargs, Any], Any]


class Before(Patch):
    """Rewrites the arguments of a call: `change(instance, args, kwargs)` gives new ones, or None to leave them."""

    def __init__(self, target: str, change: BeforeChange, *, optional: bool = False) -> None:
        super().__init__(target, optional=optional)
        self.change = change

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        change, place = self.change, self.target

        def changed(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
            if live.on:
                try:
                    found = change(args[0], args[1:], dict(kwargs)) if bound else change(None, args, dict(kwargs))
                    if found is not None:
                        return ((args[0], *found[0]) if bound else tuple(found[0])), found[1]
                except Exception as error:
                    live.failed(place, error)
            return args, kwargs

        return rewritten(original, changed)


class After(Patch):
    """Replaces what a call returned: `change(instance, args, kwargs, returned)`; what it raises changes nothing."""

    def __init__(self, target: str, change: AfterChange, *, optional: bool = False) -> None:
        super().__init__(target, optional=optional)
        self.change = change

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        change, place = self.change, self.target

        def changed(args: Args, kwargs: Kwargs, returned: Any) -> Any:
            if live.on:
                try:
                    if bound:
                        return change(args[0], args[1:], kwargs, returned)
                    return change(None, args, kwargs, returned)
                except Exception as error:
                    live.failed(place, error)
            return returned

        if decorate.flags_of(original) & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):

            @functools.wraps(original)
            async def later(*args: Any, **kwargs: Any) -> Any:
                return changed(args, kwargs, await original(*args, **kwargs))

            return later

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            return changed(args, kwargs, original(*args, **kwargs))

        return call


class Quiet(Patch):
    """Runs a call with all instrumentation suppressed: pollers, pings and other bookkeeping."""

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        if decorate.flags_of(original) & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):

            @functools.wraps(original)
            async def later(*args: Any, **kwargs: Any) -> Any:
                if not live.on:
                    return await original(*args, **kwargs)
                with suppress():
                    return await original(*args, **kwargs)

            return later

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not live.on:
                return original(*args, **kwargs)
            with suppress():
                return original(*args, **kwargs)

        return call


def rewritten(original: Wrapper, changed: Callable[[Args, Kwargs], tuple[Args, Kwargs]]) -> Wrapper:
    """Wrap a function of any kind so that it is called with other arguments."""
    flags = decorate.flags_of(original)
    if flags & decorate.CO_ASYNC_GENERATOR:
        return decorate.async_generator(original, lambda args, kwargs: (decorate.NOTHING, *changed(args, kwargs)))
    if flags & decorate.CO_GENERATOR:
        return decorate.generator(original, lambda args, kwargs: (decorate.NOTHING, *changed(args, kwargs)))
    if flags & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):

        @functools.wraps(original)
        async def later(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = changed(args, kwargs)
            return await original(*args, **kwargs)

        return later

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = changed(args, kwargs)
        return original(*args, **kwargs)

    return call
