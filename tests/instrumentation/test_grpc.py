"""gRPC over loopback: clients and servers, of threads and of asyncio."""

from __future__ import annotations

import asyncio
import gc
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import pytest

grpc = pytest.importorskip("grpc")

from grpc import aio  # noqa: E402
from opentelemetry import baggage, context, trace  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from .conftest import Observe, Seen  # noqa: E402

SERVICE = "shop.v1.Orders"
SHAPES = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


def handlers(**methods: tuple[str, Callable[..., Any]]) -> Any:
    """Make a service whose messages are bytes; each method is a shape and a function."""
    made = {name: SHAPES[shape](function) for name, (shape, function) in methods.items()}
    return grpc.method_handlers_generic_handler(SERVICE, made)


@contextmanager
def serving(*interceptors: Any, **methods: tuple[str, Callable[..., Any]]) -> Iterator[Any]:
    """Run a server of threads; gives a channel to it."""
    pool = futures.ThreadPoolExecutor(4)
    server = grpc.server(pool, interceptors=interceptors)
    server.add_generic_rpc_handlers((handlers(**methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        server.stop(None).wait()
        pool.shutdown()  # handlers may outlive their calls


def of_kind(seen: Seen, kind: SpanKind) -> list[Any]:
    """Give the spans of one kind."""
    return [span for span in seen.spans if span.kind is kind]


def both(seen: Seen) -> tuple[Any, Any]:
    """Give the only client span and the only server span."""
    (client,) = of_kind(seen, SpanKind.CLIENT)
    (server,) = of_kind(seen, SpanKind.SERVER)
    return client, server


def reverse(request: bytes, _: Any) -> bytes:
    return request[::-1]


def thrice(request: bytes, _: Any) -> Iterator[bytes]:
    yield from [request] * 3


def joined(requests: Iterator[bytes], _: Any) -> bytes:
    return b"".join(requests)


def echo(requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
    yield from requests


ALL: dict[str, Any] = {
    "Reverse": ("unary_unary", reverse),
    "Thrice": ("unary_stream", thrice),
    "Join": ("stream_unary", joined),
    "Echo": ("stream_stream", echo),
}
CALLS: dict[str, Callable[[Any], Any]] = {
    "Reverse": lambda channel: channel.unary_unary(f"/{SERVICE}/Reverse")(b"ab"),
    "Reverse.with_call": lambda channel: channel.unary_unary(f"/{SERVICE}/Reverse").with_call(b"ab")[0],
    "Reverse.future": lambda channel: channel.unary_unary(f"/{SERVICE}/Reverse").future(b"ab").result(),
    "Thrice": lambda channel: list(channel.unary_stream(f"/{SERVICE}/Thrice")(b"ab")),
    "Join": lambda channel: channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a", b"b"])),
    "Join.with_call": lambda channel: channel.stream_unary(f"/{SERVICE}/Join").with_call(iter([b"a"]))[0],
    "Join.future": lambda channel: channel.stream_unary(f"/{SERVICE}/Join").future(iter([b"a"])).result(),
    "Echo": lambda channel: list(channel.stream_stream(f"/{SERVICE}/Echo")(iter([b"a", b"b"]))),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_of_each_shape_is_one_client_span_over_one_server_span(observed: Observe, name: str) -> None:
    """The trace goes through the metadata, whichever way the stub is called."""
    with observed("grpc") as seen, serving(**ALL) as channel:
        assert CALLS[name](channel)
    client, server = both(seen)
    method = f"{SERVICE}/{name.partition('.')[0]}"
    assert client.name == server.name == method
    assert server.parent.span_id == client.context.span_id
    assert server.parent.is_remote
    for span in (client, server):
        assert span.attributes["rpc.system.name"] == "grpc"
        assert span.attributes["rpc.method"] == method
        assert span.attributes["rpc.response.status_code"] == "OK"
        assert "error.type" not in span.attributes
        assert span.status.status_code is StatusCode.UNSET
    assert client.attributes["server.address"] == "127.0.0.1"
    assert isinstance(client.attributes["server.port"], int)
    assert server.attributes["client.address"] == server.attributes["network.peer.address"] == "127.0.0.1"
    assert server.attributes["client.port"] == server.attributes["network.peer.port"]


def test_both_sides_measure_a_call_once(observed: Observe) -> None:
    """The durations follow from the calls, and their attributes are few."""
    with observed("grpc") as seen, serving(**ALL) as channel:
        CALLS["Reverse"](channel)
    metrics = seen.metrics()
    (client,) = metrics["rpc.client.call.duration"]
    (server,) = metrics["rpc.server.call.duration"]
    assert client.count == server.count == 1
    assert set(client.attributes) == {
        "rpc.system.name",
        "rpc.method",
        "rpc.response.status_code",
        "server.address",
        "server.port",
    }
    assert set(server.attributes) == {"rpc.system.name", "rpc.method", "rpc.response.status_code"}


def test_the_handler_and_the_interceptors_run_inside_the_servers_span(observed: Observe) -> None:
    """What they record belongs to the call; a generator's body does so for all of the stream."""
    current: list[int] = []

    def note() -> None:
        current.append(trace.get_current_span().get_span_context().span_id)

    def watched(request: bytes, _: Any) -> Iterator[bytes]:
        note()
        yield request
        note()

    class Around(grpc.ServerInterceptor):  # type: ignore[misc]
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            handler = continuation(details)

            def behavior(request: Any, servicer: Any) -> Any:
                note()
                return handler.unary_stream(request, servicer)

            return grpc.unary_stream_rpc_method_handler(behavior)

    with observed("grpc") as seen, serving(Around(), Watch=("unary_stream", watched)) as channel:
        list(channel.unary_stream(f"/{SERVICE}/Watch")(b""))
    assert current == [both(seen)[1].context.span_id] * 3


def test_baggage_reaches_the_handler(observed: Observe) -> None:
    """All that the propagators carry goes with a call, and the caller's metadata stays its own."""
    found: list[Any] = []

    def ask(request: bytes, servicer: Any) -> bytes:
        found.append(baggage.get_baggage("tenant"))
        found.append([value for key, value in servicer.invocation_metadata() if key == "mine"])
        return b""

    metadata = [("mine", "1")]
    with observed("grpc") as seen, serving(Ask=("unary_unary", ask)) as channel:
        token = context.attach(baggage.set_baggage("tenant", "t1"))
        try:
            channel.unary_unary(f"/{SERVICE}/Ask")(b"", 5, metadata)
            channel.unary_unary(f"/{SERVICE}/Ask")(b"", metadata=tuple(metadata))
        finally:
            context.detach(token)
    assert found == ["t1", ["1"]] * 2
    assert metadata == [("mine", "1")]
    assert len(seen.spans) == 4


def test_headers_of_the_caller_do_not_come_twice(observed: Observe) -> None:
    """A second `traceparent` makes a receiver give up on the trace."""
    found: list[Any] = []

    def ask(request: bytes, servicer: Any) -> bytes:
        found.extend(value for key, value in servicer.invocation_metadata() if key == "traceparent")
        return b""

    with observed("grpc") as seen, serving(Ask=("unary_unary", ask)) as channel:
        channel.unary_unary(f"/{SERVICE}/Ask")(
            b"", metadata=[("traceparent", "00-" + "1" * 32 + "-" + "2" * 16 + "-01")]
        )
    (value,) = found
    assert value.split("-")[2] == format(both(seen)[0].context.span_id, "016x")


def test_several_tracestate_headers_are_one_list(observed: Observe) -> None:
    """A proxy may send them apart; none of them is lost."""
    metadata = [
        ("traceparent", "00-" + "1" * 32 + "-" + "2" * 16 + "-01"),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
    ]
    with serving_observed(observed, Reverse=("unary_unary", reverse)) as (seen, call):
        call(metadata)
    (server,) = seen.spans
    assert dict(server.context.trace_state) == {"a": "1", "b": "2"}
    assert server.parent.span_id == int("2" * 16, 16)


@contextmanager
def serving_observed(observed: Observe, **methods: Any) -> Iterator[tuple[Seen, Callable[[Any], Any]]]:
    """Observe a server alone: the client's calls are suppressed, and their metadata goes as it is."""
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value

    (name,) = methods
    with observed("grpc") as seen, serving(**methods) as channel:

        def call(metadata: Any = None) -> Any:
            token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
            try:
                return channel.unary_unary(f"/{SERVICE}/{name}")(b"ab", metadata=metadata)
            finally:
                detach(token)

        yield seen, call


# ---- failures --------------------------------------------------------------------------------------------


def abort(code: Any) -> Callable[..., Any]:
    def behavior(request: bytes, servicer: Any) -> bytes:
        servicer.abort(code, "no such order")
        return b""

    return behavior


@pytest.mark.parametrize(
    ("code", "is_error"),
    [
        ("NOT_FOUND", False),
        ("INVALID_ARGUMENT", False),
        ("UNAUTHENTICATED", False),
        ("CANCELLED", False),
        ("INTERNAL", True),
        ("UNAVAILABLE", True),
        ("DATA_LOSS", True),
    ],
)
def test_a_status_is_an_error_of_the_server_only_where_it_is_at_fault(
    observed: Observe, code: str, is_error: bool
) -> None:
    """The client sees an error in each of them; the convention lists those of the server."""
    with observed("grpc") as seen, serving(Find=("unary_unary", abort(grpc.StatusCode[code]))) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(f"/{SERVICE}/Find")(b"")
        assert raised.value.code() is grpc.StatusCode[code]
        assert raised.value.details() == "no such order"
    client, server = both(seen)
    assert client.attributes["error.type"] == client.attributes["rpc.response.status_code"] == code
    assert client.status.status_code is StatusCode.ERROR
    assert server.attributes["rpc.response.status_code"] == code
    assert server.attributes.get("error.type") == (code if is_error else None)
    assert server.status.status_code is (StatusCode.ERROR if is_error else StatusCode.UNSET)
    assert not server.events, "the exception that `abort` raises is no news"


def test_an_exception_of_a_handler_is_recorded_and_its_status_is_unknown(observed: Observe) -> None:
    """The client gets what it would without us, word for word."""

    def fail(request: bytes, _: Any) -> bytes:
        raise LookupError("no order 7")

    with observed("grpc") as seen, serving(Find=("unary_unary", fail)) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(f"/{SERVICE}/Find")(b"")
        assert raised.value.details() == "Exception calling application: no order 7"
    server = both(seen)[1]
    assert server.attributes["rpc.response.status_code"] == server.attributes["error.type"] == "UNKNOWN"
    (event,) = server.events
    assert event.attributes["exception.type"] == "LookupError"


def test_an_exception_between_two_answers_ends_the_stream_and_both_spans(observed: Observe) -> None:
    """The answers before it arrive."""

    def fail(request: bytes, _: Any) -> Iterator[bytes]:
        yield b"1"
        raise LookupError("no order 7")

    with observed("grpc") as seen, serving(List=("unary_stream", fail)) as channel:
        answers = channel.unary_stream(f"/{SERVICE}/List")(b"")
        assert next(answers) == b"1"
        with pytest.raises(grpc.RpcError) as raised:
            next(answers)
        assert raised.value is answers
        assert raised.value.details() == "Exception iterating responses: no order 7"
    client, server = both(seen)
    assert client.attributes["error.type"] == server.attributes["error.type"] == "UNKNOWN"


def test_a_status_that_a_handler_sets_without_raising_counts(observed: Observe) -> None:
    """`set_code` is the other way to refuse."""

    def refuse(request: bytes, servicer: Any) -> bytes:
        servicer.set_code(grpc.StatusCode.UNAVAILABLE)
        return b""

    with observed("grpc") as seen, serving(Find=("unary_unary", refuse)) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(f"/{SERVICE}/Find")(b"")
    assert both(seen)[1].attributes["error.type"] == "UNAVAILABLE"


def test_what_is_no_iterator_is_refused_in_grpcs_own_words(observed: Observe) -> None:
    """Our own iteration must not make right, or differently wrong, what a handler got wrong."""
    with observed("grpc"), serving(List=("unary_stream", lambda request, _: [b"1"])) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            list(channel.unary_stream(f"/{SERVICE}/List")(b""))
        assert raised.value.details() == "Exception iterating responses: 'list' object is not an iterator"


def test_an_unknown_method_is_no_name_of_a_span(observed: Observe) -> None:
    """Whoever scans a server must not make a series for each guess."""
    with observed("grpc") as seen, serving(**ALL) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary("/guess/Work")(b"")
    client, server = both(seen)
    assert server.name == "grpc"
    assert server.attributes["rpc.method"] == "_OTHER"
    assert server.attributes["rpc.method_original"] == "guess/Work"
    assert server.attributes["error.type"] == "UNIMPLEMENTED"
    assert server.parent.span_id == client.context.span_id


def test_a_deadline_ends_both_sides(observed: Observe) -> None:
    """The handler goes on until it is told; the server was too slow, or the client's clock ahead and it just left."""

    def wait(request: bytes, servicer: Any) -> bytes:
        over = threading.Event()
        servicer.add_callback(over.set)
        over.wait(10)
        return b""

    with observed("grpc") as seen, serving(Wait=("unary_unary", wait)) as channel:
        channel.unary_unary(f"/{SERVICE}/Warm").future(b"").exception(5)  # the connection is made
        seen.clear()
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(f"/{SERVICE}/Wait")(b"", timeout=0.3)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    client, server = both(seen)
    assert client.attributes["error.type"] == "DEADLINE_EXCEEDED"
    assert server.attributes["rpc.response.status_code"] in ("DEADLINE_EXCEEDED", "CANCELLED")


class Late:
    """The context of a call whose client has gone."""

    def __init__(self, remaining: float | None) -> None:
        self.remaining = remaining

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float | None:
        return self.remaining


@pytest.mark.parametrize(
    ("remaining", "expected"),
    [(0.0, "DEADLINE_EXCEEDED"), (0.01, "DEADLINE_EXCEEDED"), (5.0, "CANCELLED"), (None, "CANCELLED")],
)
def test_whether_a_client_left_or_was_kept_waiting_is_told_by_its_deadline(
    remaining: float | None, expected: str
) -> None:
    """gRPC tells a handler of both in the same way, and only one is the server's fault."""
    from noops_agent.instrument.grpc_server import status

    assert status(Late(remaining), None) == expected


def test_a_client_that_leaves_is_no_error_of_the_server(observed: Observe) -> None:
    """A stream that is cancelled ends on both sides, with the answers so far."""
    going = threading.Event()

    def forever(request: bytes, servicer: Any) -> Iterator[bytes]:
        servicer.add_callback(going.set)
        yield b"1"
        going.wait(10)

    with observed("grpc") as seen, serving(Watch=("unary_stream", forever)) as channel:
        answers = channel.unary_stream(f"/{SERVICE}/Watch")(b"")
        assert next(answers) == b"1"
        assert answers.cancel()
        assert answers.cancelled()
        assert going.wait(10)
    client, server = both(seen)
    assert client.attributes["rpc.response.status_code"] == server.attributes["rpc.response.status_code"] == "CANCELLED"
    assert "error.type" not in server.attributes
    assert server.status.status_code is StatusCode.UNSET


def test_a_stream_that_nobody_holds_is_cancelled_as_without_us(observed: Observe) -> None:
    """Our callback holds neither the call nor the answers."""
    going = threading.Event()

    def forever(request: bytes, servicer: Any) -> Iterator[bytes]:
        servicer.add_callback(going.set)
        yield b"1"
        going.wait(10)

    with observed("grpc") as seen, serving(Watch=("unary_stream", forever)) as channel:
        answers = channel.unary_stream(f"/{SERVICE}/Watch")(b"")
        assert next(answers) == b"1"
        gc.disable()
        try:
            del answers
            assert going.wait(10)
        finally:
            gc.enable()
    assert both(seen)[0].attributes["rpc.response.status_code"] == "CANCELLED"


def test_a_call_that_never_reached_the_wire_is_a_failed_call(observed: Observe) -> None:
    """A closed channel raises before there is a status."""
    with observed("grpc") as seen:
        channel = grpc.insecure_channel("127.0.0.1:1")
        stubs = [channel.unary_unary("/s/M"), channel.unary_stream("/s/M")]
        channel.close()
        for stub in stubs:
            with pytest.raises(ValueError):
                stub(b"")
    assert [span.attributes["error.type"] for span in seen.spans] == ["ValueError"] * 2
    assert all("rpc.response.status_code" not in span.attributes for span in seen.spans)


# ---- what is left alone ----------------------------------------------------------------------------------


def test_services_can_be_excluded(observed: Observe) -> None:
    """Health checks come every second from every balancer."""
    with observed("grpc", excluded_services=(SERVICE,)) as seen, serving(**ALL) as channel:
        CALLS["Reverse"](channel)
    (client,) = seen.spans
    assert client.kind is SpanKind.CLIENT


def test_exporters_are_not_observed(observed: Observe) -> None:
    """An exporter that makes a span for each export never comes to rest."""
    method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    with observed("grpc") as seen:
        server = grpc.server(futures.ThreadPoolExecutor(1))
        service, _, name = method[1:].partition("/")
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {name: SHAPES["unary_unary"](reverse)}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert channel.unary_unary(method)(b"ab") == b"ba"
        server.stop(None).wait()
    assert seen.spans == []


def test_interceptors_of_the_user_keep_their_order_and_see_the_same(observed: Observe) -> None:
    """Ours stands before them on the server and is none on the client."""
    order: list[str] = []

    class Server(grpc.ServerInterceptor):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.name = name

        def intercept_service(self, continuation: Any, details: Any) -> Any:
            order.append(self.name)
            return continuation(details)

    class Client(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            order.append("client")
            assert details.metadata is None
            return continuation(details, request)

    with observed("grpc") as seen, serving(Server("first"), Server("second"), **ALL) as channel:
        CALLS["Reverse"](grpc.intercept_channel(channel, Client()))
    assert order == ["client", "first", "second"]
    assert len(seen.spans) == 2


def test_an_answer_of_a_clients_interceptor_is_no_call(observed: Observe) -> None:
    """Nothing went over the wire."""

    class Cached(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            return b"cached"

    with observed("grpc") as seen:
        channel = grpc.intercept_channel(grpc.insecure_channel("127.0.0.1:1"), Cached())
        with pytest.raises(AttributeError):  # gRPC wants a call object; what it says about this one is its own
            channel.unary_unary("/s/M")(b"")
    assert seen.spans == []


@pytest.mark.parametrize("name", ["Reverse", "Reverse.future", "Thrice"])
def test_a_users_hook_may_enrich_both_sides(observed: Observe, name: str) -> None:
    """It is given the multi-callable of a client, and the context that a server gives to its handler."""

    def enrich(span: Any, request: Any) -> None:
        span.set_attribute("mine", type(request).__name__)

    with observed("grpc", request_hook=enrich) as seen, serving(**ALL) as channel:
        CALLS[name](channel)
    client, server = both(seen)
    assert client.attributes["mine"].endswith("MultiCallable")
    assert server.attributes["mine"] == "_Context"
    assert client.attributes["rpc.response.status_code"] == server.attributes["rpc.response.status_code"] == "OK"


def test_a_server_outlives_the_instrumentation(observed: Observe) -> None:
    """The interceptor that it was made with passes calls on."""
    with observed("grpc") as seen, serving(**ALL) as channel:
        assert seen.handle is not None
        seen.handle.disable()
        for call in CALLS.values():
            assert call(channel)
    assert seen.spans == []


def test_stub_classes_stay_what_they_were(observed: Observe) -> None:
    """A call object, and an error, are gRPC's own."""
    with observed("grpc"), serving(**ALL, Find=("unary_unary", abort(grpc.StatusCode.NOT_FOUND))) as channel:
        future = channel.unary_unary(f"/{SERVICE}/Reverse").future(b"ab")
        assert isinstance(future, grpc.Future)
        assert isinstance(future, grpc.Call)
        assert future.result() == b"ba"
        assert type(channel.unary_unary(f"/{SERVICE}/Reverse")).__call__.__name__ == "__call__"
    assert pickle.loads(pickle.dumps(grpc.server)) is grpc.server


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("localhost:50051", {"server.address": "localhost", "server.port": 50051}),
        ("dns:///orders.example:443", {"server.address": "orders.example", "server.port": 443}),
        ("dns://10.0.0.1:53/orders.example", {"server.address": "orders.example", "server.port": 443}),
        ("orders.example", {"server.address": "orders.example", "server.port": 443}),
        ("ipv4:10.0.0.7:8080", {"server.address": "10.0.0.7", "server.port": 8080}),
        ("ipv4:10.0.0.7:80,10.0.0.8:80", {"server.address": "ipv4:10.0.0.7:80,10.0.0.8:80"}),
        ("ipv6:[::1]:8080", {"server.address": "::1", "server.port": 8080}),
        ("[2001:db8::1]:8080", {"server.address": "2001:db8::1", "server.port": 8080}),
        ("unix:/run/orders.sock", {"server.address": "/run/orders.sock"}),
        ("unix:///run/orders.sock", {"server.address": "/run/orders.sock"}),
        ("unix-abstract:orders", {"server.address": "orders"}),
        ("xds:///orders", {"server.address": "xds:///orders"}),
    ],
)
def test_the_servers_address_is_read_from_every_kind_of_target(target: str, expected: dict[str, Any]) -> None:
    """`server.address` never holds a port; a name that a resolver of its own understands is kept whole."""
    from noops_agent.instrument.grpc import server

    assert server(target) == expected


# ---- asyncio ---------------------------------------------------------------------------------------------


async def areverse(request: bytes, _: Any) -> bytes:
    return request[::-1]


async def athrice(request: bytes, _: Any) -> Any:
    for _number in range(3):
        yield request


async def awritten(request: bytes, servicer: Any) -> None:
    await servicer.write(request)
    await servicer.write(request)


async def ajoined(requests: Any, _: Any) -> bytes:
    return b"".join([request async for request in requests])


async def aecho(requests: Any, _: Any) -> Any:
    async for request in requests:
        yield request


async def alist(answers: Any) -> list[Any]:
    return [answer async for answer in answers]


AALL: dict[str, Any] = {
    "Reverse": ("unary_unary", areverse),
    "Plain": ("unary_unary", reverse),
    "Thrice": ("unary_stream", athrice),
    "Written": ("unary_stream", awritten),
    "PlainThrice": ("unary_stream", thrice),
    "Join": ("stream_unary", ajoined),
    "Echo": ("stream_stream", aecho),
}
ACALLS: dict[str, Callable[[Any], Any]] = {
    "Reverse": lambda channel: channel.unary_unary(f"/{SERVICE}/Reverse")(b"ab"),
    "Plain": lambda channel: channel.unary_unary(f"/{SERVICE}/Plain")(b"ab"),
    "Thrice": lambda channel: alist(channel.unary_stream(f"/{SERVICE}/Thrice")(b"ab")),
    "Written": lambda channel: alist(channel.unary_stream(f"/{SERVICE}/Written")(b"ab")),
    "PlainThrice": lambda channel: alist(channel.unary_stream(f"/{SERVICE}/PlainThrice")(b"ab")),
    "Join": lambda channel: channel.stream_unary(f"/{SERVICE}/Join")(iter([b"a", b"b"])),
    "Echo": lambda channel: alist(channel.stream_stream(f"/{SERVICE}/Echo")(iter([b"a", b"b"]))),
}


async def aserving(use: Callable[[Any], Any], *interceptors: Any, client: Any = None, **methods: Any) -> Any:
    """Run a server of asyncio; gives what *use* makes of a channel to it."""
    server = aio.server(futures.ThreadPoolExecutor(2), interceptors=interceptors)
    server.add_generic_rpc_handlers((handlers(**methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}", interceptors=client) as channel:
            return await use(channel)
    finally:
        await server.stop(None)


@pytest.mark.parametrize("name", ACALLS)
def test_asyncio_gives_the_same_spans(observed: Observe, name: str) -> None:
    """Coroutines, async generators, readers and writers, and plain functions in threads."""

    async def use(channel: Any) -> Any:
        with seen.tracer.start_as_current_span("caller"):
            return await ACALLS[name](channel)

    with observed("grpc") as seen:
        assert asyncio.run(aserving(use, **AALL))
    client, server = both(seen)
    assert client.name == server.name == f"{SERVICE}/{name}"
    assert server.parent.span_id == client.context.span_id
    assert client.parent.span_id == seen.named("caller").context.span_id
    assert client.attributes["rpc.response.status_code"] == server.attributes["rpc.response.status_code"] == "OK"
    assert client.attributes["server.address"] == "127.0.0.1"
    assert server.attributes["client.address"] == "127.0.0.1"


@pytest.mark.parametrize("streams", [False, True], ids=["unary", "stream"])
def test_an_abort_of_asyncio_gives_its_status(observed: Observe, streams: bool) -> None:
    """`abort` raises in a coroutine too."""

    async def refuse(request: bytes, servicer: Any) -> bytes:
        await servicer.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")
        return b""

    async def refuse_stream(request: bytes, servicer: Any) -> Any:
        yield b"1"
        await servicer.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")

    async def use(channel: Any) -> None:
        with pytest.raises(grpc.RpcError) as raised:
            if streams:
                await alist(channel.unary_stream(f"/{SERVICE}/Find")(b""))
            else:
                await channel.unary_unary(f"/{SERVICE}/Find")(b"")
        assert type(raised.value) is aio.AioRpcError
        assert raised.value.details() == "not yours"

    method = ("unary_stream", refuse_stream) if streams else ("unary_unary", refuse)
    with observed("grpc") as seen:
        asyncio.run(aserving(use, Find=method))
    client, server = both(seen)
    assert client.attributes["error.type"] == "PERMISSION_DENIED"
    assert server.attributes["rpc.response.status_code"] == "PERMISSION_DENIED"
    assert "error.type" not in server.attributes
    assert not server.events


def test_cancelling_an_asyncio_call_ends_both_sides(observed: Observe) -> None:
    """The handler is cancelled; that is no error of the server."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang(request: bytes, _: Any) -> bytes:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    async def use(channel: Any) -> None:
        call = channel.unary_unary(f"/{SERVICE}/Hang")(b"")
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await ended.wait()
        await asyncio.sleep(0)

    with observed("grpc") as seen:
        asyncio.run(aserving(use, Hang=("unary_unary", hang)))
    client, server = both(seen)
    assert client.attributes["rpc.response.status_code"] == "CANCELLED"
    assert server.attributes["rpc.response.status_code"] == "CANCELLED"
    assert server.status.status_code is StatusCode.UNSET


def test_concurrent_asyncio_calls_do_not_mix(observed: Observe) -> None:
    """Each handler runs in the span of its own call."""
    barrier: list[asyncio.Event] = []

    async def ask(request: bytes, _: Any) -> bytes:
        await barrier[0].wait()
        return str(trace.get_current_span().get_span_context().trace_id).encode()

    async def one(channel: Any) -> None:
        with seen.tracer.start_as_current_span("caller") as span:
            answer = await channel.unary_unary(f"/{SERVICE}/Ask")(b"")
            assert int(answer) == span.get_span_context().trace_id

    async def use(channel: Any) -> None:
        barrier.append(asyncio.Event())
        calls = asyncio.gather(*(one(channel) for _ in range(10)))
        await asyncio.sleep(0)
        barrier[0].set()
        await calls

    with observed("grpc") as seen:
        asyncio.run(aserving(use, Ask=("unary_unary", ask)))
    assert len(of_kind(seen, SpanKind.SERVER)) == 10


def test_asyncio_interceptors_keep_their_order(observed: Observe) -> None:
    """Each attempt of a client's interceptor is a call; the server's run inside of the span."""
    order: list[str] = []

    class Server(aio.ServerInterceptor):  # type: ignore[misc]
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            order.append("server")
            return await continuation(details)

    class Retry(aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            order.append("client")
            await (await continuation(details, request))
            return await continuation(details, request)

    with observed("grpc") as seen:
        answer = asyncio.run(aserving(ACALLS["Reverse"], Server(), client=[Retry()], **AALL))
    assert answer == b"ba"
    assert order == ["client", "server", "server"]
    assert len(of_kind(seen, SpanKind.CLIENT)) == len(of_kind(seen, SpanKind.SERVER)) == 2


def test_an_asyncio_call_is_freed_at_once(observed: Observe) -> None:
    """What ends the span makes no cycle with the call."""
    import weakref

    async def use(channel: Any) -> Any:
        gc.disable()
        try:
            call = channel.unary_unary(f"/{SERVICE}/Reverse")(b"ab")
            await call
            gone = weakref.ref(call)
            del call
            for _ in range(5):
                await asyncio.sleep(0)
            return gone()
        finally:
            gc.enable()

    with observed("grpc"):
        watched = asyncio.run(aserving(use, **AALL))
    bare = asyncio.run(aserving(use, **AALL))
    assert (watched is None) == (bare is None)
