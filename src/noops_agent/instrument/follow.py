"""Results whose use is the work: the operation of the call that gave them ends when they are used up.

The consumer gets a proxy that is in every respect what was returned (wrapt): its type, attributes and equality. The
span is current only while the result itself runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from .model import Failure
    from .operation import Operation

Finish = Callable[["Operation", Any], None]


def followed(returned: Any, operation: Operation, finish: Finish, failure: Failure | None) -> Any:
    """Give a proxy of *returned* that ends the operation; what can't be followed ends it at once."""
    kind = type(returned)
    proxy = _proxies.get(kind)
    if proxy is None:
        proxy = make_proxy(kind)
        if len(_proxies) < 1000:
            _proxies[kind] = proxy
    if proxy is wrapt.ObjectProxy:
        finish(operation, returned)
        return returned
    made = proxy(returned)
    made._self_end = End(operation, finish, failure)
    return made


class End:
    """Ends an operation once, from whichever method of the proxy comes to it first."""

    __slots__ = ("attached", "failure", "finish", "operation")

    def __init__(self, operation: Operation, finish: Finish, failure: Failure | None) -> None:
        self.operation = operation
        self.finish = finish
        self.failure = failure
        self.attached = False

    def __call__(self, error: BaseException | None = None) -> None:
        if self.operation.closed:
            return
        if error is None:
            self.finish(self.operation, None)
        else:
            self.operation.close(error, None, self.failure)


def make_proxy(kind: type) -> Any:
    """Make the proxy class for results of a type: it has those of the methods below that the type has."""
    found = {name: method for name, method in METHODS.items() if hasattr(kind, name)}
    if not found:
        return wrapt.ObjectProxy
    return type(f"Followed{kind.__name__}", (wrapt.ObjectProxy,), {**found, "__del__": __del__})


_proxies: dict[type, Any] = {}


def __del__(self: Any) -> None:
    end = self.__dict__.get("_self_end") if hasattr(self, "__dict__") else None
    end = end or getattr(self, "_self_end", None)
    if end is not None:
        end()


def step(self: Any, advance: Callable[..., Any], *given: Any) -> Any:
    """Let an iterator take one step; its end or failure ends the operation."""
    end = self._self_end
    end.operation.attach()
    try:
        return advance(*given)
    except StopIteration:
        end()
        raise
    except BaseException as error:
        end(error)
        raise
    finally:
        end.operation.detach()


async def astep(self: Any, advance: Callable[..., Any], *given: Any) -> Any:
    """Do the same with an asynchronous iterator."""
    end = self._self_end
    end.operation.attach()
    try:
        return await advance(*given)
    except StopAsyncIteration:
        end()
        raise
    except BaseException as error:
        end(error)
        raise
    finally:
        end.operation.detach()


def __iter__(self: Any) -> Any:
    inner = iter(self.__wrapped__)
    return self if inner is self.__wrapped__ else followed(inner, *again(self))


def __next__(self: Any) -> Any:
    return step(self, self.__wrapped__.__next__)


def send(self: Any, value: Any) -> Any:
    return step(self, self.__wrapped__.send, value)


def throw(self: Any, *error: Any) -> Any:
    return step(self, self.__wrapped__.throw, *error)


def close(self: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return self.__wrapped__.close(*args, **kwargs)
    finally:
        self._self_end()


def __aiter__(self: Any) -> Any:
    inner = self.__wrapped__.__aiter__()
    return self if inner is self.__wrapped__ else followed(inner, *again(self))


def __anext__(self: Any) -> Any:
    return astep(self, self.__wrapped__.__anext__)


def asend(self: Any, value: Any) -> Any:
    return astep(self, self.__wrapped__.asend, value)


def athrow(self: Any, *error: Any) -> Any:
    return astep(self, self.__wrapped__.athrow, *error)


async def aclose(self: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return await self.__wrapped__.aclose(*args, **kwargs)
    finally:
        self._self_end()


def __enter__(self: Any) -> Any:
    end = self._self_end
    end.operation.attach()
    try:
        entered = self.__wrapped__.__enter__()
    except BaseException as failed:
        end(failed)
        raise
    finally:
        end.operation.detach()
    return self if entered is self.__wrapped__ else entered


def __exit__(self: Any, kind: Any, error: Any, stack: Any) -> Any:
    try:
        handled = self.__wrapped__.__exit__(kind, error, stack)
    except BaseException as failed:
        self._self_end(failed)
        raise
    self._self_end(error)
    return handled


async def __aenter__(self: Any) -> Any:
    end = self._self_end
    end.operation.attach()
    try:
        entered = await self.__wrapped__.__aenter__()
    except BaseException as failed:
        end(failed)
        raise
    finally:
        end.operation.detach()
    return self if entered is self.__wrapped__ else entered


async def __aexit__(self: Any, kind: Any, error: Any, stack: Any) -> Any:
    try:
        handled = await self.__wrapped__.__aexit__(kind, error, stack)
    except BaseException as failed:
        self._self_end(failed)
        raise
    self._self_end(error)
    return handled


def __await__(self: Any) -> Any:
    end = self._self_end
    inner = self.__wrapped__.__await__()
    end.operation.attach()
    try:
        found = yield from inner
    except BaseException as error:
        end(error)
        raise
    else:
        if not end.operation.closed:
            end.finish(end.operation, found)
        return found
    finally:
        end.operation.detach()


def again(self: Any) -> tuple[Any, Any, Any]:
    """Give what follows an iterator that a result made of itself."""
    end = self._self_end
    return end.operation, end.finish, end.failure


METHODS: dict[str, Any] = {
    made.__name__: made
    for made in (
        __iter__,
        __next__,
        send,
        throw,
        close,
        __aiter__,
        __anext__,
        asend,
        athrow,
        aclose,
        __enter__,
        __exit__,
        __aenter__,
        __aexit__,
        __await__,
    )
}
"""The methods that carry a result's work; a proxy gets those that the type of the result has."""
