"""gRPC: calls that end long after they were made, and servers that are observed from in front of all interceptors.

Source: OpenTelemetry semantic conventions 1.44, docs/rpc/grpc.md; https://grpc.github.io/grpc/core/md_doc_naming.html.

A client's call is observed beneath the user's interceptors, where it goes to the wire: each attempt of an interceptor
that retries is a call, and an answer out of an interceptor's cache is none. A server's call is observed outside of
them: what they refuse was asked for all the same. Both need no interceptor of ours on the client, whose dispatch costs
more than the whole of what is recorded.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

import grpc
from grpc import aio
from opentelemetry.trace import SpanKind

from .carriers import Pairs, extract
from .leaf import Leaf
from .model import Args, Attributes, Call, Describe, Kwargs
from .operation import Operation
from .patch import Patch, Wrapper
from .rpc import (
    CANCELLED,
    CLIENT_DURATION,
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
    answered,
    served,
)

if TYPE_CHECKING:
    from .live import Live

EXPORT = "opentelemetry.proto.collector."
"""Services that telemetry itself is sent to; nobody's exporter is to be observed by what it exports."""

_HOSTS = ("dns", "ipv4", "ipv6")
_DEFAULT_PORT = 443

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
"""Names of the status codes by their numbers."""


def code_name(code: Any) -> str:
    """Give the name of a status code: a member, or a number as some servers set it; UNKNOWN as gRPC sends the rest."""
    if isinstance(code, grpc.StatusCode):
        return cast(str, code.name)
    return _NAMES.get(code, UNKNOWN) if isinstance(code, int) else UNKNOWN


# ---- clients ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def server(target: str) -> dict[str, Any]:
    """Give the attributes of a channel's target: without a port in the address; several servers are one name."""
    scheme, found, rest = target.partition(":")
    if not found or "/" in scheme or scheme not in (*_HOSTS, "unix", "unix-abstract"):
        if "://" in target:  # a resolver of its own, such as xds: the target is the group's only name
            return {"server.address": target}
        scheme, rest = "dns", target
    if rest.startswith("//"):
        rest = rest[2:].partition("/")[2] if scheme not in ("unix", "unix-abstract") else rest[2:]
    if scheme not in _HOSTS:
        return {"server.address": rest}
    if "," in rest:
        return {"server.address": target}
    return endpoint(rest.replace("%5B", "[").replace("%5D", "]"), "server.address", "server.port", _DEFAULT_PORT)


def endpoint(text: str, address: str, port: str, default: int | None = None) -> dict[str, Any]:
    """Split "host:port" or "[::1]:port" into two attributes."""
    host, found, number = text.rpartition(":")
    if not found or number.endswith("]") or (":" in host and not host.startswith("[")):
        host, number = text, ""  # a name, or a bare IPv6 address
    attributes: dict[str, Any] = {address: host.strip("[]")}
    if number.isdigit():
        attributes[port] = int(number)
    elif default is not None:
        attributes[port] = default
    return attributes


@lru_cache(maxsize=2048)
def method_facts(method: Any, target: Any) -> dict[str, Any] | None:
    """Give the attributes of all calls of a method on one channel; None for those that carry telemetry.

    Args:
        method: "/package.Service/Method", as bytes or text.
        target: The target of the channel, as bytes or text.
    """
    name = text_of(method).lstrip("/")
    if name.startswith(EXPORT):
        return None
    return {SYSTEM: "grpc", METHOD: name, **(server(text_of(target)) if target else {})}


def text_of(value: Any) -> str:
    """Give bytes as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


MOST_TARGETS = 4096

_targets: dict[int, str] = {}
"""Id of a channel of gRPC's core -> its target, for versions whose calls don't know it. The core could be asked for it,
and crashes where the channel is closed; nor does it let itself be referred to weakly, so that ids stay until others
take their place."""


def made(channel: Any, args: Args, kwargs: Kwargs, returned: Any) -> Any:
    """Remember the target of a channel that has been made."""
    if len(_targets) >= MOST_TARGETS:
        _targets.clear()
    _targets[id(channel._channel)] = args[0] if args else kwargs["target"]
    return returned


def described(method: Any, target: Any, metadata: Any) -> Call | None:
    """Say what a client's call means; its state is the metadata that it is to be made with."""
    facts = method_facts(method, target)
    if facts is None or not (metadata is None or isinstance(metadata, Iterable)):
        return None
    headers = Pairs(metadata)
    return Call(facts[METHOD], facts.copy(), inject=headers, state=headers.pairs)


def refusal(call: Call, error: BaseException) -> Attributes | None:
    """Give what the error of a call says: its status code, where it got as far as having one."""
    if isinstance(error, grpc.RpcError):
        code = getattr(error, "code", None)
        if code is not None:
            return answered(code_name(code()))
    return None


def invocation(multi: Any, args: Args, kwargs: Kwargs) -> Call | None:
    """Describe a call through a multi-callable: `(request, timeout, metadata, ...)`."""
    target = getattr(multi, "_target", None) or _targets.get(id(multi._channel))
    if len(args) > 2:
        call = described(multi._method, target, args[2])
        if call is not None:
            call.args = (*args[:2], call.state, *args[3:])
        return call
    call = described(multi._method, target, kwargs.get("metadata"))
    if call is not None:
        kwargs["metadata"] = call.state
    return call


class Invocation(Patch):
    """A call that gives back an iterator or a future: it ends when its status arrives, which is after the last answer.

    What is returned stays what it was, and nothing holds it: dropped unread, it cancels the call, and that is the end.
    """

    describe: Describe = staticmethod(invocation)

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        describe, place = self.describe, self.target

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            operation = begin(live, place, describe, args, kwargs)
            if operation is None:
                return original(*args, **kwargs)
            if operation.call.args is not None:
                args = (args[0], *operation.call.args)
            try:
                returned = original(*args, **kwargs)
            except BaseException as error:
                operation.close(error, None, refusal)
                raise
            self.follow(live, operation, args[0], returned)
            return returned

        return call

    def follow(self, live: Live, operation: Operation, instance: Any, returned: Any) -> None:
        """End the operation when the call ends."""
        try:
            state = returned._state
            done = partial(arrived, operation, state)
            if not returned.add_callback(done):
                done()
        except Exception as error:
            live.failed(self.target, error)
            operation.close()


class AioInvocation(Invocation):
    """A call of `grpc.aio`: the call object is made for each attempt, beneath the interceptors."""

    @staticmethod
    def describe(instance: Any, args: Args, kwargs: Kwargs) -> Call | None:
        """Describe a call by what its object is made of: `(request, deadline, metadata, ..., channel, method, ...)`."""
        call = described(args[6], getattr(args[5], "target", None) or _targets.get(id(args[5])), args[2])
        if call is not None:
            call.args = (*args[:2], call.state, *args[3:])
        return call

    def follow(self, live: Live, operation: Operation, instance: Any, returned: Any) -> None:
        """End the operation when the call ends."""
        try:
            instance._cython_call.add_done_callback(partial(aio_arrived, operation, weakref.ref(instance)))
        except Exception as error:
            live.failed(self.target, error)
            operation.close()


def begin(live: Live, place: str, describe: Describe, args: Args, kwargs: Kwargs) -> Operation | None:
    """Begin the operation of a client's call."""
    if not live.on:
        return None
    try:
        call = describe(args[0], args[1:], kwargs)
    except Exception as error:
        live.failed(place, error)
        return None
    return None if call is None else live.open(call, SpanKind.CLIENT, CLIENT_DURATION, LAYER)


def arrived(operation: Operation, state: Any) -> None:
    """End a call with the status in its state."""
    operation.close(None, answered(code_name(getattr(state, "code", None))))


def aio_arrived(operation: Operation, reference: Any, *_: Any) -> None:
    """End a call of asyncio; one that nobody holds any more was cancelled by that."""
    call = reference()
    status = None if call is None else getattr(call._cython_call, "_status", None)
    operation.close(None, answered(CANCELLED if status is None else code_name(status.code())))


# ---- servers ---------------------------------------------------------------------------------------------


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
        self._excluded: frozenset[str] | None = None

    def observed(self, details: Any, handler: Any) -> Any:
        """Give the handler that observes another one. Never raises."""
        live, method = self.live, details.method
        if not live.on:
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
            live.failed("grpc handler", error)
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

    __slots__ = ("_attributes", "_live", "_name")

    def __init__(self, live: Live, method: str) -> None:
        self._live = live
        self._name = method.lstrip("/")
        self._attributes = {SYSTEM: "grpc", METHOD: self._name}

    def begin(self, context: Any) -> Operation | None:
        """Begin the operation of a call; None where nothing is to be recorded."""
        live = self._live
        if not live.on:
            return None
        try:
            call = Call(
                self._name,
                {**self._attributes, **peer(context.peer())},
                parent=extract(carrier_of(context.invocation_metadata())),
                request=context,
            )
        except Exception as error:
            live.failed(self._name, error)
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


def hook(target: str) -> Leaf:
    """Observe a call that returns when it is done."""
    return Leaf(
        target,
        SpanKind.CLIENT,
        invocation,
        result=_returned,
        error=refusal,
        duration=CLIENT_DURATION,
        layer=LAYER,
    )


_OK = answered(OK)


def _returned(call: Call, returned: Any) -> Attributes:
    return _OK
