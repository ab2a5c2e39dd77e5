"""The decorator behind `span`: one wrapper for each kind of function.

The span is current only while the body runs: a generator's consumer, between two of its values, is not inside it.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

CO_GENERATOR, CO_COROUTINE, CO_ITERABLE_COROUTINE, CO_ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


def flags_of(function: Any) -> int:
    """Give the code flags of a function, seen through partials, bound methods and asyncio's marker."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    flags = getattr(code, "co_flags", 0)
    marked = getattr(function, "_is_coroutine_marker", None) or getattr(function, "_is_coroutine", None)
    return flags | (CO_COROUTINE if marked else 0)


def decorate(function: Any, activation: Any) -> Any:
    """Wrap a function so that each call runs in a span of its own.

    Args:
        function: A plain, coroutine, generator or async generator function; static and class methods too.
        activation: What `start_as_current_span` gave; each call takes a fresh one from it.
    """
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(decorate(function.__func__, activation))
    flags = flags_of(function)
    if flags & CO_ASYNC_GENERATOR:
        return async_generator(function, beginner(activation))
    if flags & (CO_COROUTINE | CO_ITERABLE_COROUTINE):
        return _coroutine(function, activation)
    if flags & CO_GENERATOR:
        return generator(function, beginner(activation))
    return _plain(function, activation)


def _plain(function: Any, activation: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with activation.again():
            return function(*args, **kwargs)

    return call


def _coroutine(function: Any, activation: Any) -> Any:
    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with activation.again():
            return await function(*args, **kwargs)

    return call


class Nothing:
    """What a body runs in when nothing observes it."""

    def attachment(self) -> Nothing:
        """Nothing is made current."""
        return self

    def stop(self, error: BaseException | None = None) -> None:
        """Nothing ends."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


NOTHING = Nothing()

Begin = Callable[[tuple[Any, ...], dict[str, Any]], tuple[Any, tuple[Any, ...], dict[str, Any]]]
"""(args, kwargs) of a call -> what its body runs in, and the arguments that it is called with."""


def beginner(activation: Any) -> Begin:
    """Begin each call of a generator with a fresh activation."""

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        own = activation.again()
        own.start()
        return own, args, kwargs

    return begin


def generator(function: Any, begin: Begin) -> Callable[..., Any]:
    """Wrap a generator function."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        own, args, kwargs = begin(args, kwargs)
        attached = own.attachment()
        failure = None
        body = function(*args, **kwargs)
        step, given = body.send, None
        try:
            while True:
                with attached:
                    item = step(given)
                try:
                    given = yield item
                    step = body.send
                except GeneratorExit:
                    with attached:
                        body.close()
                    raise
                except BaseException as error:
                    step, given = body.throw, error
        except StopIteration as end:
            return end.value
        except BaseException as error:
            failure = error
            raise
        finally:
            own.stop(failure)

    return call


def async_generator(function: Any, begin: Begin) -> Callable[..., Any]:
    """Wrap an async generator function."""

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        own, args, kwargs = begin(args, kwargs)
        attached = own.attachment()
        failure = None
        body = function(*args, **kwargs)
        step, given = body.asend, None
        try:
            while True:
                with attached:
                    item = await step(given)
                try:
                    given = yield item
                    step = body.asend
                except GeneratorExit:
                    with attached:
                        await body.aclose()
                    raise
                except BaseException as error:
                    step, given = body.athrow, error
        except StopAsyncIteration:
            return
        except BaseException as error:
            failure = error
            raise
        finally:
            own.stop(failure)

    return call

