"""Servers of which one coroutine handles one request from its headers to the end of its response."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, finalize

from .http_server import Exchange, HTTPServer, Keys
from .patch import Patch

if TYPE_CHECKING:
    from .live import Live
    from .patch import Wrapper

Open = Callable[..., "Exchange | None"]
"""(server, the arguments of the call) -> the exchange; None: the request is left alone."""
Finish = Callable[[Exchange, tuple[Any, ...], Any], bool]
"""(exchange, positional arguments, what was returned) -> whether the response is done; else it ends later."""

_here: ContextVar[Exchange | None] = ContextVar("noops_exchange", default=None)


def here() -> Exchange | None:
    """Give the exchange of the request that is handled here."""
    return _here.get()


class Served(Patch):
    """For a coroutine function, each call of which handles one request."""

    def __init__(self, target: str, keys: Keys, opened: Open, finished: Finish, *, optional: bool = False) -> None:
        """
        Args:
            target: "module:Qualified.name" of the coroutine function.
            keys: How the server spells headers.
            opened: Opens the exchange of a call.
            finished: Tells the exchange of the response.
            optional: The target is missing in some supported versions.
        """
        super().__init__(target, optional=optional)
        self.keys = keys
        self.opened = opened
        self.finished = finished

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        server = HTTPServer(live, self.keys)
        begin, end = self._begin, self._end

        @functools.wraps(original)
        async def serve(*args: Any, **kwargs: Any) -> Any:
            exchange = begin(server, args)
            if exchange is None:
                return await original(*args, **kwargs)
            before = _here.get()
            _here.set(exchange)
            exchange.operation.attach()
            try:
                returned = await original(*args, **kwargs)
            except BaseException as error:
                end(exchange, args, None, error)
                raise
            else:
                end(exchange, args, returned, None)
                return returned
            finally:
                exchange.operation.detach()
                _here.set(before)

        return serve

    def _begin(self, server: HTTPServer, args: tuple[Any, ...]) -> Exchange | None:
        live = server.live
        if not live.on:
            return None
        try:
            return self.opened(server, *args)
        except Exception as problem:
            live.failed(self.target, problem)
            return None

    def _end(self, exchange: Exchange, args: tuple[Any, ...], returned: Any, error: BaseException | None) -> None:
        done = True
        if isinstance(error, ConnectionError):
            exchange.gone = True
        try:
            done = self.finished(exchange, args, returned)
        except Exception as problem:
            exchange.server.live.failed(self.target, problem)
        if done or error is not None:
            exchange.close(error)


# ---- responses that end after the coroutine -----------------------------------------------------------------

_parked: WeakKeyDictionary[Any, Exchange] = WeakKeyDictionary()


def park(handler: Any, exchange: Exchange) -> None:
    """Keep an exchange until the handler of its request ends it, or is gone."""
    _parked[handler] = exchange
    finalize(handler, exchange.close).atexit = False


def parked(handler: Any) -> Exchange | None:
    """Give back the exchange that waits for a handler; there is none for most."""
    return _parked.pop(handler, None) if len(_parked) else None
