"""How messages reach the application: by a callback, by a loop over them, or because it asked for one.

Patches for the libraries whose calls are not the processing itself. What a message means is said with `messaging`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from opentelemetry.trace import SpanKind

from .._core import decorate
from .hook import Hook, rewritten
from .messaging import LAYER, PROCESSING, RECEIVING
from .model import Args, Call, Failure, Kwargs
from .operation import Operation, layers
from .patch import Patch, Wrapper

if TYPE_CHECKING:
    from .live import Live
    from .model import Duration

Watch = Callable[[Any, Args, Kwargs], "Hook | None"]
"""(instance, args, kwargs) -> the hook that describes the calls of what was handed over; None: leave it alone."""

DescribeItem = Callable[[Any, Args, Kwargs, Any], "Call | None"]
"""(instance, args, kwargs, what was given) -> what the message means; None: it is left alone."""


class Handed(Patch):
    """Watches a callable that a call is given, such as the callback of a consumer.

    Args:
        target: The call that takes it.
        at: Its place among the positional arguments, counted without the instance.
        name: Its name as a keyword argument.
        watch: Gives the hook for this callable.
        optional: The target is missing in some supported versions.
    """

    def __init__(self, target: str, at: int, name: str, watch: Watch, *, optional: bool = False) -> None:
        super().__init__(target, optional=optional)
        self.at = at
        self.name = name
        self.watch = watch

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper of the call that takes the callable."""
        place = self.at + bound

        def changed(args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
            try:
                if not live.on:
                    return args, kwargs
                given = args[place] if len(args) > place else kwargs.get(self.name)
                hook = self.watch(args[0], args[1:], kwargs) if bound else self.watch(None, args, kwargs)
                if hook is None or not callable(given):
                    return args, kwargs
                watched = hook.make(live, given, False)
                if len(args) > place:
                    return (*args[:place], watched, *args[place + 1 :]), kwargs
                return args, {**kwargs, self.name: watched}
            except Exception as error:
                live.failed(self.target, error)
                return args, kwargs

        return rewritten(original, changed)


# ---- messages that the application asks for --------------------------------------------------------------


class Received(Patch):
    """A span for each call that gave messages; one that gave none makes no span, however often it is repeated.

    Args:
        target: The call that gives messages.
        describe: Says what was received; None: nothing was.
        failed: Says what the call meant that raised an exception; None: that is no failure.
        duration: Where its measurements go.
        optional: The target is missing in some supported versions.
    """

    def __init__(
        self,
        target: str,
        describe: DescribeItem,
        *,
        failed: DescribeItem | None = None,
        error: Failure | None = None,
        duration: Duration = RECEIVING,
        optional: bool = False,
    ) -> None:
        super().__init__(target, optional=optional)
        self.describe = describe
        self.failed = failed
        self.error = error
        self.duration = duration

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        told = functools.partial(self._tell, live, bound)
        muted = layers(LAYER)  # one way of asking may be written with another
        if decorate.flags_of(original) & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):

            @functools.wraps(original)
            async def later(*args: Any, **kwargs: Any) -> Any:
                at, began = time.time_ns(), time.perf_counter()
                try:
                    with muted():
                        returned = await original(*args, **kwargs)
                except Exception as error:
                    told(self.failed, at, began, args, kwargs, error)
                    raise
                told(self.describe, at, began, args, kwargs, returned)
                return returned

            return later

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            at, began = time.time_ns(), time.perf_counter()
            try:
                with muted():
                    returned = original(*args, **kwargs)
            except Exception as error:
                told(self.failed, at, began, args, kwargs, error)
                raise
            told(self.describe, at, began, args, kwargs, returned)
            return returned

        return call

    def _tell(
        self,
        live: Live,
        bound: bool,
        describe: DescribeItem | None,
        at: int,
        began: float,
        args: Args,
        kwargs: Kwargs,
        given: Any,
    ) -> None:
        """Make the operation of a call that is over."""
        if describe is None or not live.on:
            return
        try:
            call = describe(args[0], args[1:], kwargs, given) if bound else describe(None, args, kwargs, given)
            if call is None:
                return
            call.start_time = at
            operation = live.open(call, SpanKind.CLIENT, self.duration, LAYER)
            if operation is not None:
                operation.began(began)
                operation.close(given if isinstance(given, BaseException) else None, None, self.error)
        except Exception as error:
            live.failed(self.target, error)


# ---- messages in a loop ----------------------------------------------------------------------------------


class Delivery:
    """The processing of a loop's current message: it begins when the loop gets it and ends when it asks for the next.

    Its span is current for the body of the loop, which runs in the context that the message was asked for in.
    """

    __slots__ = ("__weakref__", "_operation")

    def __init__(self) -> None:
        self._operation: Operation | None = None

    @property
    def running(self) -> bool:
        """Whether a message is being processed."""
        return self._operation is not None

    def begin(self, live: Live, call: Call | None, duration: Duration) -> None:
        """Begin the processing of the next message."""
        if call is not None:
            operation = self._operation = live.open(call, SpanKind.CONSUMER, duration)
            if operation is not None:
                operation.attach()

    def end(self, error: BaseException | None = None) -> None:
        """End the processing of the last message, if there is one."""
        operation, self._operation = self._operation, None
        if operation is not None:
            operation.close(error)
            operation.detach()

    def __del__(self) -> None:
        self.end()


class Loop(Patch):
    """Observes the messages of a generator, or of what a call returns to be iterated over, one by one.

    Args:
        target: A generator function, or an asynchronous one.
        describe: Says what an item means.
        duration: Where the measurements go.
        optional: The target is missing in some supported versions.
    """

    def __init__(
        self, target: str, describe: DescribeItem, *, duration: Duration = PROCESSING, optional: bool = False
    ) -> None:
        super().__init__(target, optional=optional)
        self.describe = describe
        self.duration = duration

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make a generator function around the one that is there."""

        def begin(delivery: Delivery, args: Args, kwargs: Kwargs, item: Any) -> None:
            try:
                if live.on:
                    instance, rest = (args[0], args[1:]) if bound else (None, args)
                    delivery.begin(live, self.describe(instance, rest, kwargs, item), self.duration)
            except Exception as error:
                live.failed(self.target, error)

        if decorate.flags_of(original) & decorate.CO_ASYNC_GENERATOR:
            return _async_loop(original, begin)
        return _loop(original, begin)


Begin = Callable[[Delivery, Args, Kwargs, Any], None]


def _loop(original: Wrapper, begin: Begin) -> Wrapper:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        delivery, source = Delivery(), original(*args, **kwargs)
        step: Callable[..., Any] = source.__next__
        value: Args = ()
        try:
            while True:
                item = step(*value)
                begin(delivery, args, kwargs, item)
                try:
                    sent = yield item
                except GeneratorExit:
                    source.close()
                    raise
                except BaseException as error:
                    step, value = source.throw, (error,)
                else:
                    step, value = (source.__next__, ()) if sent is None else (source.send, (sent,))
                delivery.end()
        except StopIteration as stop:
            return stop.value
        finally:
            delivery.end()

    return call


def _async_loop(original: Wrapper, begin: Begin) -> Wrapper:
    @functools.wraps(original)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        delivery, source = Delivery(), original(*args, **kwargs)
        step: Callable[..., Any] = source.__anext__
        value: Args = ()
        try:
            while True:
                item = await step(*value)
                begin(delivery, args, kwargs, item)
                try:
                    sent = yield item
                except GeneratorExit:
                    await source.aclose()
                    raise
                except BaseException as error:
                    step, value = source.athrow, (error,)
                else:
                    step, value = (source.__anext__, ()) if sent is None else (source.asend, (sent,))
                delivery.end()
        except StopAsyncIteration:
            return
        finally:
            delivery.end()

    return call


class Deliveries:
    """Observes the messages of an iterator class by its methods, where the application keeps the iterator itself.

    One instance a class; its patches share what is being processed for which iterator.
    """

    def __init__(self) -> None:
        self._current: WeakKeyDictionary[Any, Delivery] = WeakKeyDictionary()

    def next(
        self, target: str, describe: DescribeItem, *, duration: Duration = PROCESSING, optional: bool = False
    ) -> Patch:
        """Give the patch of the method that gives the next message: `__next__`, `__anext__`, or one like them."""
        return _Next(target, describe, duration, self._current, optional)

    def end(self, target: str, *, optional: bool = False) -> Patch:
        """Give the patch of a method that no message comes after: `close`, or `__exit__`, which knows the error."""
        return _End(target, self._current, optional)


class _Next(Patch):
    def __init__(
        self,
        target: str,
        describe: DescribeItem,
        duration: Duration,
        current: WeakKeyDictionary[Any, Delivery],
        optional: bool,
    ) -> None:
        super().__init__(target, optional=optional)
        self.describe = describe
        self.duration = duration
        self.current = current

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        current, muted = self.current, layers(LAYER)

        def before(instance: Any) -> None:
            delivery = current.get(instance)
            if delivery is not None:
                delivery.end()

        def after(args: Args, kwargs: Kwargs, item: Any) -> None:
            if not live.on:
                return
            try:
                delivery = current.get(args[0])
                if delivery is None:
                    delivery = current[args[0]] = Delivery()
                elif delivery.running:
                    return  # a subclass asks its parent, whose method is observed as well
                delivery.begin(live, self.describe(args[0], args[1:], kwargs, item), self.duration)
            except Exception as error:
                live.failed(self.target, error)

        if decorate.flags_of(original) & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):

            @functools.wraps(original)
            async def later(*args: Any, **kwargs: Any) -> Any:
                before(args[0])
                with muted():  # asking for the next message may be written with another way of asking
                    item = await original(*args, **kwargs)
                after(args, kwargs, item)
                return item

            return later

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            before(args[0])
            with muted():
                item = original(*args, **kwargs)
            after(args, kwargs, item)
            return item

        return call


class _End(Patch):
    def __init__(self, target: str, current: WeakKeyDictionary[Any, Delivery], optional: bool) -> None:
        super().__init__(target, optional=optional)
        self.current = current

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        current = self.current

        def before(args: Args) -> None:
            delivery = current.pop(args[0], None)
            if delivery is not None:
                error = args[2] if len(args) > 2 else None
                delivery.end(error if isinstance(error, BaseException) else None)

        if decorate.flags_of(original) & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):

            @functools.wraps(original)
            async def later(*args: Any, **kwargs: Any) -> Any:
                before(args)
                return await original(*args, **kwargs)

            return later

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            before(args)
            return original(*args, **kwargs)

        return call
