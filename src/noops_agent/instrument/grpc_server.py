"""gRPC's servers, observed from in front of all interceptors: what those refuse was asked for all the same.

The interceptor that goes in front gives gRPC handlers of the same kind as those that it finds, made once for each.

Source: OpenTelemetry semantic conventions 1.44, docs/rpc/grpc.md.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio
from opentelemetry.trace import SpanKind

from .carriers import extract
from .grpc import EXPORT, code_name, endpoint
from .model import Call
from .operation import Operation
from .patch import Patch, Wrapper
from .rpc import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    LAYER,
    METHOD,
    METHOD_ORIGINAL,
    OK,
    OTHER,
    SERVER_DURATION,
    SYSTEM,
    UNIMPLEMENTED,
    UNKNOWN,
    served,
)

if TYPE_CHECKING:
    from .live import Live


class Serve(Patch):
    """A function that makes a server, whose interceptors are its third argument: ours goes before them."""

    def __init__(self, target: str, *, asynchronous: bool = False) -> None:
        super().__init__(target)
        self.asynchronous = asynchronous

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        kind: Any = AioInterceptor if self.asynchronous else Interceptor

        @functools.wraps(original)
        def serve(*args: Any, **kwargs: Any) -> Any:
            if live.on:
                if len(args) > 2:
                    args = (*args[:2], (kind(live), *(args[2] or ())), *args[3:])
                else:
                    kwargs["interceptors"] = (kind(live), *(kwargs.get("interceptors") or ()))
            return original(*args, **kwargs)

        return serve


MOST_HANDLERS = 1024
"""Handlers that are remembered with what observes them; an interceptor of the user's may make one for each call."""


class Handlers:
    """The handlers of a server, each with what observes it made once."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self._observed: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._off = False
        self._excluded: frozenset[str] | None = None

    def observed(self, details: Any, handler: Any) -> Any:
        """Give the handler that observes another one. Never raises."""
        live, method = self.live, details.method
        if not live.on or self._off:
            return handler
        try:
            if handler is None:
                self.unknown(method, details.invocation_metadata)
                return None
            key = (method, id(handler))
            known = self._observed.get(key)
            if known is None:
                if len(self._observed) >= MOST_HANDLERS:
                    self._observed.clear()
                # The handler itself is kept too: while it is, nothing else has its id.
                known = self._observed[key] = handler, self.wrapped(method, handler)
            return known[1]
        except Exception as error:
            self._off = live.failed("grpc:server", error)
            return handler

    def wrapped(self, method: str, handler: Any) -> Any:
        """Make the handler that observes another one; the handler itself where it is excluded."""
        if self.excludes(method):
            return handler
        streams = bool(handler.request_streaming), bool(handler.response_streaming)
        name, maker = _MAKERS[streams]
        behavior = getattr(handler, name)
        if getattr(behavior, "experimental_non_blocking", False):
            return handler  # answers through a callback, after it has returned
        return maker(
            observing(Method(self.live, method), behavior, streams[1]),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def excludes(self, method: str) -> bool:
        """Whether the user excludes the method's service, or it takes telemetry."""
        if self._excluded is None:
            named = self.live.instrumentation.options.get("excluded_services", ())
            self._excluded = frozenset(named.split(",") if isinstance(named, str) else named)
        service = method.lstrip("/").partition("/")[0]
        return service in self._excluded or service.startswith(EXPORT)

    def unknown(self, method: str, metadata: Any) -> None:
        """Record the call of a method that the server doesn't have; its name is not ours to make series of."""
        attributes = {SYSTEM: "grpc", METHOD: OTHER, METHOD_ORIGINAL: method.lstrip("/")}
        call = Call("grpc", attributes, parent=extract(carrier_of(metadata)))
        operation = self.live.open(call, SpanKind.SERVER, SERVER_DURATION, LAYER)
        if operation is not None:
            operation.close(None, served(UNIMPLEMENTED))


_MAKERS: dict[tuple[bool, bool], tuple[str, Callable[..., Any]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class Interceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """The outermost interceptor of a server."""

    def __init__(self, live: Live) -> None:
        self._handlers = Handlers(live)

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Give the handler of a call, observed."""
        return self._handlers.observed(handler_call_details, continuation(handler_call_details))


class AioInterceptor(aio.ServerInterceptor):  # type: ignore[misc]
    """The outermost interceptor of a server of asyncio."""

    def __init__(self, live: Live) -> None:
        self._handlers = Handlers(live)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Give the handler of a call, observed."""
        return self._handlers.observed(handler_call_details, await continuation(handler_call_details))


class Method:
    """One method of a server, and how its calls begin and end."""

    __slots__ = ("_attributes", "_live", "_name", "_off")

    def __init__(self, live: Live, method: str) -> None:
        self._live = live
        self._name = method.lstrip("/")
        self._off = False
        self._attributes = {SYSTEM: "grpc", METHOD: self._name}

    def begin(self, context: Any) -> Operation | None:
        """Begin the operation of a call; None where nothing is to be recorded."""
        live = self._live
        if not live.on or self._off:
            return None
        try:
            call = Call(
                self._name,
                {**self._attributes, **peer(context.peer())},
                parent=extract(carrier_of(context.invocation_metadata())),
                request=context,
            )
        except Exception as error:
            self._off = live.failed(self._name, error)
            return None
        return live.open(call, SpanKind.SERVER, SERVER_DURATION, LAYER)

    def end(self, operation: Operation, context: Any, error: BaseException | None = None) -> None:
        """End the operation with the status that the call ends with. Never raises."""
        try:
            code = status(context, error)
            attributes = served(code)
            if error is not None and ("error.type" not in attributes or aborted(context, error) or left(context)):
                error = None  # gRPC's way to stop a handler, or a status that is the client's own fault
        except Exception as problem:
            self._live.failed(self._name, problem)
            attributes = {}
        operation.close(error, attributes)


def carrier_of(metadata: Any) -> dict[str, Any]:
    """Give the metadata of a server's call by its keys; the values of one that comes several times are a list."""
    pairs = metadata or ()
    carrier: dict[str, Any] = dict(pairs)
    if len(carrier) != len(pairs):
        carrier = {}
        for key, value in pairs:
            carrier.setdefault(key, []).append(value)
    return carrier


@lru_cache(maxsize=4096)
def peer(text: str) -> dict[str, Any]:
    """Give the attributes of the other side: "ipv4:127.0.0.1:51234", "ipv6:%5B::1%5D:51234" or "unix:/path"."""
    scheme, _, rest = text.partition(":")
    if scheme not in ("ipv4", "ipv6"):
        return {"client.address": rest, "network.peer.address": rest, "network.transport": "unix"} if rest else {}
    rest = rest.replace("%5B", "[").replace("%5D", "]")
    return {
        **endpoint(rest, "client.address", "client.port"),
        **endpoint(rest, "network.peer.address", "network.peer.port"),
    }


def left(context: Any) -> bool:
    """Whether the client has gone away, or its time is up."""
    active = getattr(context, "is_active", None)
    return active is not None and not active()


def aborted(context: Any, error: BaseException) -> bool:
    """Whether an exception is the one that `context.abort` raises: a bare one, or asyncio's own kind."""
    return isinstance(error, aio.AbortError) or (type(error) is Exception and not error.args and chosen(context) != OK)


def chosen(context: Any) -> str:
    """Give the status that a handler chose; OK where it chose none, or where its context doesn't say."""
    code = getattr(context, "code", None)
    value = None if code is None else code()
    return OK if value is None or value == 0 else code_name(value)


DEADLINE_SLACK = 0.02
"""Seconds that a deadline may still have to go when it counts as passed: the client's passes first, by the time that
its request was under way, and then it leaves."""


def status(context: Any, error: BaseException | None) -> str:
    """Give the name of the status that a call ends with."""
    if left(context) or (error is not None and not isinstance(error, Exception)):
        remaining = context.time_remaining()
        return DEADLINE_EXCEEDED if remaining is not None and remaining <= DEADLINE_SLACK else CANCELLED
    code = chosen(context)
    return UNKNOWN if error is not None and code == OK else code


# ---- handlers --------------------------------------------------------------------------------------------


def observing(method: Method, behavior: Any, streams: bool) -> Any:
    """Make the function that observes a handler's, of the kind that the handler's is: gRPC asks for it."""
    if inspect.isasyncgenfunction(behavior):
        return async_stream(method, behavior)
    if inspect.iscoroutinefunction(behavior):
        return async_unary(method, behavior)
    return stream(method, behavior) if streams else unary(method, behavior)


def unary(method: Method, behavior: Any) -> Any:
    """Observe a handler that returns the answer."""

    @functools.wraps(behavior)
    def call(request: Any, context: Any) -> Any:
        operation = method.begin(context)
        if operation is None:
            return behavior(request, context)
        operation.attach()
        try:
            response = behavior(request, context)
        except BaseException as error:
            method.end(operation, context, error)
            raise
        else:
            method.end(operation, context)
            return response
        finally:
            operation.detach()

    return call


def stream(method: Method, behavior: Any) -> Any:
    """Observe a handler that returns an iterator of answers, which may be drained by another thread."""

    @functools.wraps(behavior)
    def call(request: Any, context: Any) -> Any:
        operation = method.begin(context)
        if operation is None:
            return behavior(request, context)
        operation.attach()
        try:
            responses = behavior(request, context)
        except BaseException as error:
            method.end(operation, context, error)
            raise
        finally:
            operation.detach()
        if not hasattr(type(responses), "__next__"):  # gRPC refuses it, in its own words
            method.end(operation, context)
            return responses
        return drained(method, operation, responses, context)

    return call


def drained(method: Method, operation: Operation, responses: Iterator[Any], context: Any) -> Iterator[Any]:
    """Give the answers of a handler; the operation ends with the last, or when gRPC stops to ask."""
    operation.attach()  # one thread takes all of them
    try:
        yield from responses
    except BaseException as error:
        method.end(operation, context, error)
        raise
    else:
        method.end(operation, context)
    finally:
        operation.detach()


def async_unary(method: Method, behavior: Any) -> Any:
    """Observe a coroutine handler: one that returns the answer, or writes answers to its context."""

    @functools.wraps(behavior)
    async def call(request: Any, context: Any) -> Any:
        operation = method.begin(context)
        if operation is None:
            return await behavior(request, context)
        operation.attach()
        try:
            response = await behavior(request, context)
        except BaseException as error:
            method.end(operation, context, error)
            raise
        else:
            method.end(operation, context)
            return response
        finally:
            operation.detach()

    return call


def async_stream(method: Method, behavior: Any) -> Any:
    """Observe an async generator handler."""

    @functools.wraps(behavior)
    async def call(request: Any, context: Any) -> AsyncIterator[Any]:
        operation = method.begin(context)
        if operation is not None:
            operation.attach()  # the call has a task to itself
        responses = behavior(request, context)
        try:
            async for response in responses:
                yield response
        except BaseException as error:
            if operation is not None:
                method.end(operation, context, error)
            raise
        else:
            if operation is not None:
                method.end(operation, context)
        finally:
            if operation is not None:
                operation.detach()
            await responses.aclose()

    return call
