"""The contract's wrappers, on a library made for the purpose."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from noops_agent import _diagnostics, suppress
from noops_agent.instrument import (
    CLIENT,
    CONSUMED,
    NOT_AN_ERROR,
    SERVER,
    After,
    Before,
    Call,
    Duration,
    Hook,
    Instrumentation,
    Patch,
    Quiet,
    carried,
    extract,
    link_to,
    registry,
)
from tests.instrumentation.conftest import Seen

LIBRARY = '''
import contextlib, trace_probe

class Base:
    def inherited(self, key):
        """Documented."""
        return trace_probe.note(key)

class Client(Base):
    def get(self, key, *, times=1):
        return trace_probe.note(key)

    async def aget(self, key, *, times=1):
        return trace_probe.note(key)

    def each(self, *keys):
        for key in keys:
            got = yield trace_probe.note(key)
        return "end"

    async def aeach(self, *keys):
        for key in keys:
            yield trace_probe.note(key)

    @staticmethod
    def still(key):
        return trace_probe.note(key)

    @classmethod
    def made(cls, key):
        return cls, trace_probe.note(key)

    def fail(self, error):
        raise error

    async def afail(self, error):
        raise error

    def outer(self, key):
        return self.get(key)

    def scan(self, *keys):
        return iter([trace_probe.note(key) for key in keys])

    @contextlib.contextmanager
    def opened(self, key):
        yield trace_probe.note(key)

def get(key):
    return trace_probe.note(key)

shout = str.upper
'''

DURATION = Duration("lib.duration", "How long calls take.", ("lib.key", "error.type"), (0.1, 1.0))


class Library:
    """The library, and what it saw of the current span each time that it was at work."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        probe = types.ModuleType("trace_probe")
        probe.note = self.note  # type: ignore[attr-defined]
        sys.modules["trace_probe"] = probe
        self.module: Any = types.ModuleType("madelib")
        sys.modules["madelib"] = self.module
        exec(LIBRARY, self.module.__dict__)
        for name in ("Base", "Client"):
            getattr(self.module, name).__module__ = "madelib"
        self.client = self.module.Client()

    def note(self, key: Any) -> Any:
        """Note the current span; give the key back."""
        self.spans.append(trace.get_current_span())
        return key


@pytest.fixture
def library() -> Iterator[Library]:
    """A fresh copy of the library."""
    yield Library()
    del sys.modules["madelib"], sys.modules["trace_probe"]


def keyed(instance: Any, args: Any, kwargs: Any) -> Call:
    """Describe a call by its first argument."""
    return Call(f"call {args[0]}" if args else "call", {"lib.key": str(args[0]) if args else ""})


class Enabled:
    """The library with some hooks in place."""

    def __init__(self, *hooks: Patch, **options: Any) -> None:
        self.seen = Seen()
        providers = {"tracer_provider": self.seen.tracer_provider, "meter_provider": self.seen.meter_provider}
        self.handle = registry.put_in_place(
            Instrumentation("madelib", hooks=hooks, options=("own",)), {**providers, **options}
        )

    def __enter__(self) -> Seen:
        self.seen.handle = self.handle
        return self.seen

    def __exit__(self, *error: object) -> None:
        self.handle.disable()


async def collected(items: Any) -> list[Any]:
    """Use an asynchronous iterator up."""
    return [item async for item in items]


CALLS: dict[str, Any] = {
    "get": lambda client: client.get("k"),
    "inherited": lambda client: client.inherited("k"),
    "still": lambda client: client.still("k"),
    "made": lambda client: client.made("k")[1],
    "aget": lambda client: asyncio.run(client.aget("k")),
    "each": lambda client: [*client.each("k")].pop(),
    "aeach": lambda client: asyncio.run(collected(client.aeach("k")))[0],
}


@pytest.mark.parametrize("method", list(CALLS))
def test_each_kind_of_callable_gets_a_span_that_is_current_in_its_body(library: Library, method: str) -> None:
    """And nowhere else; the result is the library's."""
    target = f"madelib:Client.{method}"
    with Enabled(Hook(target, CLIENT, keyed, duration=DURATION)) as seen:
        assert CALLS[method](library.client) == "k"
        assert not trace.get_current_span().is_recording()
        span = seen.span
        assert (span.name, span.kind, dict(span.attributes)) == ("call k", CLIENT, {"lib.key": "k"})
        assert [inside.get_span_context().span_id for inside in library.spans] == [span.context.span_id]
        (point,) = seen.metrics()["lib.duration"]
        assert (point.count, dict(point.attributes), point.explicit_bounds) == (1, {"lib.key": "k"}, (0.1, 1.0))


def test_a_function_of_a_module_has_no_instance(library: Library) -> None:
    """All of its arguments are arguments."""
    seen_by: list[Any] = []

    def describe(instance: Any, args: Any, kwargs: Any) -> Call:
        seen_by.append((instance, args, kwargs))
        return keyed(instance, args, kwargs)

    with Enabled(Hook("madelib:get", CLIENT, describe), Hook("madelib:Client.get", CLIENT, describe)):
        library.module.get("k")
        library.client.get("k", times=2)
    assert seen_by == [(None, ("k",), {}), (library.client, ("k",), {"times": 2})]


def test_a_method_that_is_inherited_is_patched_where_it_is_named(library: Library) -> None:
    """The base class stays as it is, and so does the class once that is undone."""
    with Enabled(Hook("madelib:Client.inherited", CLIENT, keyed)) as seen:
        library.module.Base().inherited("k")
        assert seen.spans == []
        assert library.client.inherited.__doc__ == "Documented."
    assert "inherited" not in vars(library.module.Client)


def test_a_builtin_keeps_its_kind(library: Library) -> None:
    """What is no plain function gets a proxy that is told apart from it by nothing."""
    with Enabled(Hook("madelib:shout", CLIENT, keyed)) as seen:
        assert library.module.shout("k") == "K"
        assert isinstance(library.module.shout, type(str.upper))
        assert library.module.shout == str.upper
        assert seen.span.name == "call k"
    assert library.module.shout is str.upper


def test_a_generator_takes_what_is_sent_and_thrown_and_gives_what_it_returns(library: Library) -> None:
    """The span is not current at its consumer, and its length is that of the use."""
    with Enabled(Hook("madelib:Client.each", CLIENT, keyed)) as seen:
        walk = library.client.each("a", "b")
        assert next(walk) == "a"
        assert not trace.get_current_span().is_recording()
        assert seen.spans == []
        assert walk.send("x") == "b"
        with pytest.raises(StopIteration) as end:
            next(walk)
        assert end.value.value == "end"
        assert seen.span.status.status_code is StatusCode.UNSET
        seen.clear()
        dropped = library.client.each("a")
        next(dropped)
        dropped.close()
        assert "error.type" not in seen.span.attributes
        seen.clear()
        thrown = library.client.each("a")
        next(thrown)
        with pytest.raises(KeyError):
            thrown.throw(KeyError("mine"))
        assert seen.span.attributes["error.type"] == "KeyError"


class Refused(Exception):
    """An error of the library's."""


@pytest.mark.parametrize("flavour", ["fail", "afail"])
def test_an_error_is_recorded_and_reaches_the_caller(library: Library, flavour: str) -> None:
    """The very exception; its qualified class is the `error.type`."""
    error = Refused("no")
    with Enabled(Hook(f"madelib:Client.{flavour}", CLIENT, lambda *call: Call("call", {}), duration=DURATION)) as seen:
        with pytest.raises(Refused) as caught:
            made = library.client.fail(error) if flavour == "fail" else asyncio.run(library.client.afail(error))
            assert made is None
        assert caught.value is error
        span = seen.span
        assert span.attributes["error.type"] == f"{__name__}.Refused"
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "Refused: no")
        assert [event.name for event in span.events] == ["exception"]
        (point,) = seen.metrics()["lib.duration"]
        assert dict(point.attributes) == {"error.type": f"{__name__}.Refused"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (SystemExit(0), None),
        (SystemExit(3), "SystemExit"),
        (GeneratorExit(), None),
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
    ids=repr,
)
def test_control_flow_is_no_failure(library: Library, error: BaseException, expected: str | None) -> None:
    """A call that was cancelled says so, and nothing more."""
    with Enabled(Hook("madelib:Client.fail", CLIENT, lambda *call: Call("call", {}))) as seen:
        with pytest.raises(type(error)):
            library.client.fail(error)
        assert seen.span.attributes.get("error.type") == expected
        failed = seen.span.status.status_code is StatusCode.ERROR
        assert failed == (expected is not None and "Cancelled" not in expected)


def test_an_integration_knows_more_of_errors(library: Library) -> None:
    """A code of the system beneath, or that it is none."""

    def known(call: Call, error: BaseException) -> Any:
        return NOT_AN_ERROR if isinstance(error, StopIteration | LookupError) else {"error.type": "42"}

    with Enabled(Hook("madelib:Client.fail", CLIENT, lambda *call: Call("call", {}), error=known)) as seen:
        for error in (LookupError("over"), Refused("no")):
            with pytest.raises(type(error)):
                library.client.fail(error)
        control, failure = seen.spans
        assert "error.type" not in control.attributes
        assert control.status.status_code is StatusCode.UNSET
        assert failure.attributes["error.type"] == "42"


def test_a_result_tells_more_and_may_be_a_failure(library: Library) -> None:
    """`error.type` among its attributes makes it one."""

    def result(call: Call, returned: Any) -> dict[str, Any]:
        assert call.state == "kept"
        return {"lib.returned": returned} | ({"error.type": "404"} if returned == "bad" else {})

    def describe(instance: Any, args: Any, kwargs: Any) -> Call:
        return Call("call", {}, state="kept")

    with Enabled(Hook("madelib:Client.get", CLIENT, describe, result=result)) as seen:
        library.client.get("good")
        library.client.get("bad")
        good, bad = seen.spans
        assert good.attributes["lib.returned"] == "good"
        assert good.status.status_code is StatusCode.UNSET
        assert bad.status.status_code is StatusCode.ERROR


def test_a_description_may_change_arguments(library: Library) -> None:
    """Of functions and methods, positional and by keyword."""

    def describe(instance: Any, args: Any, kwargs: Any) -> Call:
        return Call("call", {}, args=("changed",), kwargs={"times": 7})

    with Enabled(Hook("madelib:Client.get", CLIENT, describe), Before("madelib:get", lambda i, a, k: (("b",), k))):
        assert library.client.get("k") == "changed"
        assert library.module.get("k") == "b"


def test_headers_go_out_and_come_in(library: Library) -> None:
    """The span whose headers went out is the parent of the one that takes them in, and can be linked to."""
    carrier: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []

    def send(instance: Any, args: Any, kwargs: Any) -> Call:
        inject = carrier if args[0] == "mapping" else lambda key, value: pairs.append((key, value))
        return Call("send", {}, inject=inject)

    def receive(instance: Any, args: Any, kwargs: Any) -> Call:
        link = link_to(carrier)
        return Call("receive", {}, parent=extract(carrier), links=[link] if link else [])

    with Enabled(Hook("madelib:Client.get", CLIENT, send), Hook("madelib:get", SERVER, receive)) as seen:
        library.client.get("mapping")
        library.client.get("function")
        library.module.get("k")
        sent, _, received = seen.spans
        assert received.parent.span_id == sent.context.span_id
        assert received.context.trace_id == sent.context.trace_id
        assert received.parent.is_remote
        assert received.links[0].context.span_id == sent.context.span_id
        assert dict(pairs).keys() == {"traceparent"}
    assert link_to({}) is None
    assert link_to({"traceparent": "nonsense"}) is None
    assert dict(extract({})) == {}


def test_the_outermost_call_of_a_layer_speaks(library: Library) -> None:
    """A client on top of another one makes one span; a server inside of the process begins anew."""

    def describe(instance: Any, args: Any, kwargs: Any) -> Call:
        return Call("outer" if args == ("served",) else "call", {})

    hooks = (
        Hook("madelib:Client.outer", CLIENT, describe, layer="http"),
        Hook("madelib:Client.get", CLIENT, describe, layer="http"),
    )
    with Enabled(*hooks) as seen:
        library.client.outer("k")
        assert len(seen.spans) == 1
        library.client.get("k")
        assert len(seen.spans) == 2
    library.module.get = lambda key: library.client.outer(key)
    server = Hook("madelib:Client.outer", SERVER, describe)
    serving = (server, hooks[1], Hook("madelib:get", CLIENT, describe, layer="http"))
    with Enabled(*serving) as seen:
        library.module.get("served")
        assert [span.kind for span in seen.spans] == [CLIENT, SERVER, CLIENT]


def test_a_describer_that_fails_three_times_is_left_out(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    """Each of its calls runs, and it is said once."""
    asked = []

    def describe(instance: Any, args: Any, kwargs: Any) -> Call:
        asked.append(args)
        raise RuntimeError("ours")

    with Enabled(Hook("madelib:Client.get", CLIENT, describe)) as seen:
        assert [library.client.get(number) for number in range(6)] == list(range(6))
        assert seen.spans == []
    assert len(asked) == 3
    assert [record.getMessage() for record in caplog.records if "3 times" in record.getMessage()] != []
    assert len(caplog.records) == 1
    assert _diagnostics.counters()["instrument.failed"] == 3


def test_what_else_of_ours_fails_stays_inside_too(library: Library) -> None:
    """Result functions, error functions, changes, hooks of the user."""

    def broken(*args: Any) -> Any:
        raise RuntimeError("ours")

    hooks = (
        Hook("madelib:Client.get", CLIENT, keyed, result=broken),
        Hook("madelib:Client.fail", CLIENT, lambda *call: Call("call", {}), error=broken),
        Before("madelib:Client.still", broken),
        After("madelib:Client.made", broken),
    )
    with Enabled(*hooks, request_hook=broken, response_hook=broken) as seen:
        assert library.client.get("k") == "k"
        with pytest.raises(Refused):
            library.client.fail(Refused())
        assert library.client.still("k") == "k"
        assert library.client.made("k")[1] == "k"
        assert len(seen.spans) == 2


def test_the_users_hooks_enrich_and_rename(library: Library) -> None:
    """With the request and the response."""

    def request_hook(span: Any, request: Any) -> None:
        span.update_name("renamed")
        span.set_attribute("request", request is library.client)

    def response_hook(span: Any, request: Any, response: Any) -> None:
        span.set_attribute("response", response)

    hook = Hook("madelib:Client.get", CLIENT, keyed)
    with Enabled(hook, request_hook=request_hook, response_hook=response_hook) as seen:
        library.client.get("k")
        assert seen.span.name == "renamed"
        assert (seen.span.attributes["request"], seen.span.attributes["response"]) == (True, "k")


def test_results_and_arguments_can_be_replaced_and_calls_kept_quiet(library: Library) -> None:
    """In functions of each kind."""
    hooks = (
        After("madelib:Client.get", lambda instance, args, kwargs, returned: returned * 2),
        After("madelib:Client.aget", lambda instance, args, kwargs, returned: returned * 2),
        Before("madelib:Client.each", lambda instance, args, kwargs: (("x", "y"), kwargs)),
        Before("madelib:Client.aeach", lambda instance, args, kwargs: (("x", "y"), kwargs)),
        Quiet("madelib:Client.outer"),
        Hook("madelib:Client.inherited", CLIENT, keyed),
        Hook("madelib:get", CLIENT, keyed),
    )
    with Enabled(*hooks) as seen:
        assert library.client.get("k") == "kk"
        assert asyncio.run(library.client.aget("k")) == "kk"
        assert list(library.client.each("a")) == ["x", "y"]
        assert asyncio.run(collected(library.client.aeach("a"))) == ["x", "y"]
        library.module.Client.get = lambda self, key: library.module.get(key)
        library.client.outer("k")
        assert seen.spans == []


def test_a_result_that_is_the_work_ends_the_span_when_it_is_used_up(library: Library) -> None:
    """Or closed, or dropped; it is what the library returned in every respect."""
    hooks = (
        Hook("madelib:Client.scan", CLIENT, keyed, ends=CONSUMED),
        Hook("madelib:Client.opened", CLIENT, keyed, ends=CONSUMED),
    )
    with Enabled(*hooks) as seen:
        found = library.client.scan("a", "b")
        assert isinstance(found, type(iter([])))
        assert next(found) == "a"
        assert seen.spans == []
        assert list(found) == ["b"]
        assert len(seen.spans) == 1
        library.client.scan("a")
        gc.collect()
        assert len(seen.spans) == 2
        with library.client.opened("k") as key:
            assert key == "k"
            assert len(seen.spans) == 2
        assert len(seen.spans) == 3
        with pytest.raises(Refused), library.client.opened("k"):
            raise Refused
        assert seen.spans[-1].attributes["error.type"].endswith("Refused")


def test_suppressed_calls_are_left_alone(library: Library) -> None:
    """They are not even described."""
    with Enabled(Hook("madelib:Client.get", CLIENT, keyed, duration=DURATION)) as seen:
        with suppress():
            library.client.get("k")
        assert seen.spans == []
        assert seen.metrics() == {}


def test_what_somebody_else_wrapped_since_passes_calls_on(library: Library) -> None:
    """Undoing takes nothing away that is not ours."""
    with Enabled(Hook("madelib:Client.get", CLIENT, keyed)) as seen:
        ours = library.module.Client.get

        def theirs(self: Any, key: Any) -> Any:
            return "theirs", ours(self, key)

        library.module.Client.get = theirs
    assert library.client.get("k") == ("theirs", "k")
    assert seen.spans == []
    assert library.module.Client.get is theirs


def test_a_target_that_is_missing_is_told_and_the_others_are_patched(library: Library) -> None:
    """Newer versions are taken on trust and checked target by target."""
    hooks = (
        Hook("madelib:Client.gone", CLIENT, keyed),
        Hook("madelib:Client.maybe", CLIENT, keyed, optional=True),
        Hook("madelib:Client.get", CLIENT, keyed),
        Hook("madelib.later:never", CLIENT, keyed),
    )
    with Enabled(*hooks) as seen:
        library.client.get("k")
        assert len(seen.spans) == 1
        assert seen.handle is not None
        report = seen.handle.report()
        assert report.state == registry.PARTLY
        assert "madelib:Client.gone" in report.why
        assert "maybe" not in report.why
        assert report.targets["madelib:Client.get"] == registry.PATCHED
        assert report.targets["madelib.later:never"] == registry.WAITING


def test_context_is_carried_to_where_a_function_is_called(library: Library) -> None:
    """And what was current there is so again afterwards."""
    seen = Seen()
    with seen.tracer.start_as_current_span("parent") as parent:
        function = carried(lambda: trace.get_current_span())
    assert function() is parent
    assert trace.get_current_span() is not parent
    assert inspect.isfunction(carried(library.module.get))


def test_former_names_are_added_where_they_are_asked_for(library: Library) -> None:
    """Beside the stable ones, for dashboards that were made before."""

    def describe(instance: Any, args: Any, kwargs: Any) -> Call:
        return Call("GET", {"http.request.method": "GET", "server.address": "a", "url.full": "http://a/"})

    def database(instance: Any, args: Any, kwargs: Any) -> Call:
        return Call("SELECT", {"db.system.name": "sqlite", "db.query.text": "SELECT ?", "server.address": "a"})

    def result(call: Call, returned: Any) -> dict[str, Any]:
        return {"http.response.status_code": 200}

    hooks = (
        Hook("madelib:Client.get", CLIENT, describe, result=result),
        Hook("madelib:Client.inherited", SERVER, describe),
        Hook("madelib:get", CLIENT, database),
    )
    with Enabled(*hooks, semconv_opt_in=("http/dup", "database/dup")) as seen:
        library.client.get("k")
        library.client.inherited("k")
        library.module.get("k")
        client, server, query = (dict(span.attributes) for span in seen.spans)
    assert client["http.method"] == client["http.request.method"] == "GET"
    assert (client["net.peer.name"], client["http.url"], client["http.status_code"]) == ("a", "http://a/", 200)
    assert server["net.host.name"] == "a"
    assert (query["db.system"], query["db.statement"], query["net.peer.name"]) == ("sqlite", "SELECT ?", "a")
    with Enabled(*hooks, semconv_opt_in=("http",)) as seen:
        library.client.get("k")
        assert "http.method" not in seen.span.attributes


def test_an_unknown_option_is_told(library: Library, caplog: pytest.LogCaptureFixture) -> None:
    """It would do nothing, silently."""
    with Enabled(Hook("madelib:get", CLIENT, keyed), own=1, hook=2):
        pass
    assert [record.getMessage().split()[-1] for record in caplog.records] == ["'hook'"]


def test_an_unknown_library_is_an_error_of_the_caller() -> None:
    """`enable` is called from code, by somebody who can mend it."""
    with pytest.raises(LookupError, match="no_such"):
        registry.enable("no_such")
