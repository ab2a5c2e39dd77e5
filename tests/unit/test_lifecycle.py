"""`init`, `shutdown` and what lies between."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as context_api
from opentelemetry import propagate, trace
from opentelemetry.sdk import trace as theirs
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import noops_agent
from noops_agent import _lifecycle

from .conftest import Messages

early = trace.get_tracer("early", "1.0")
"""A tracer as libraries get theirs: when they are imported, long before anybody calls `init`."""


@noops_agent.span
def bare() -> str:
    """Decorated before `init`."""
    return trace.get_current_span().name if trace.get_current_span().is_recording() else "off"


@noops_agent.span("named", k=1)
def named() -> str:
    """Decorated before `init`, with a name."""
    return bare()


@noops_agent.span("later")
async def later() -> str:
    """A coroutine function decorated before `init`."""
    await asyncio.sleep(0)
    return bare()


@noops_agent.span("counted")
def counted() -> Iterator[int]:
    """A generator function decorated before `init`."""
    yield 1
    yield 2


class Globals:
    """All that `init` changes outside of the package."""

    def __init__(self) -> None:
        self.seen = (
            trace._TRACER_PROVIDER,
            trace._TRACER_PROVIDER_SET_ONCE._done,
            context_api._RUNTIME_CONTEXT,
            propagate.get_global_textmap(),
            [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)],
        )


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    before = Globals().seen
    yield
    noops_agent.shutdown()
    assert Globals().seen == before
    if _lifecycle._provider is not None:
        _lifecycle._provider._active_span_processor._span_processors = ()


def keep_spans() -> InMemorySpanExporter:
    """Let the global provider show the spans that it ends."""
    exporter = InMemorySpanExporter()
    provider: Any = trace.get_tracer_provider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


def names(exporter: InMemorySpanExporter) -> list[str]:
    """Names of ended spans."""
    return [span.name for span in exporter.get_finished_spans()]


def recorded() -> int:
    """How many spans this run of the agent has written."""
    return noops_agent.stats().get("otel.sdk.processor.span.processed", 0)


# ---- on and off ------------------------------------------------------------------------------------------


def test_init_makes_everything_record() -> None:
    """Our own spans, and those of any code written for opentelemetry-api, whenever it asked for its tracer."""
    noops_agent.init()
    exporter = keep_spans()
    with noops_agent.span("ours", k=1), early.start_as_current_span("of a library"):
        trace.get_tracer("late").start_span("late").end()
    assert names(exporter) == ["late", "of a library", "ours"]
    assert len({span.context.trace_id for span in exporter.get_finished_spans()}) == 1
    assert recorded() == 3
    assert noops_agent.flush(20)


def test_a_second_init_changes_nothing() -> None:
    """Neither its settings nor its patches are applied."""
    noops_agent.init(service_name="first")
    before = Globals().seen
    noops_agent.init(service_name="second")
    assert Globals().seen == before
    assert noops_agent.status()["service"] == "first"


def test_shutdown_undoes_what_init_did() -> None:
    """Global provider, context, propagator and signal handlers are as they were; a second shutdown does nothing."""
    before = Globals().seen
    noops_agent.init()
    changed = Globals().seen
    assert all(mine is not theirs_ for mine, theirs_ in zip(changed[:4], before[:4], strict=True))
    assert changed[4][0] is not signal.SIG_DFL
    assert changed[4][1] == before[4][1]
    noops_agent.shutdown()
    assert Globals().seen == before
    noops_agent.shutdown()
    assert Globals().seen == before


def test_shutdown_before_init_does_nothing() -> None:
    """There is nothing to undo."""
    before = Globals().seen
    noops_agent.shutdown()
    assert Globals().seen == before


def test_init_works_again_and_old_tracers_record_again() -> None:
    """Each tracer, decorated function and span object of the run before is quiet in between, and back afterwards."""
    for _ in range(3):
        noops_agent.init()
        exporter = keep_spans()
        tracer = trace.get_tracer("kept", "2")
        with early.start_as_current_span("early"), tracer.start_as_current_span("kept"):
            assert bare() == "bare"
        assert names(exporter) == ["bare", "kept", "early"]
        assert recorded() == 3
        noops_agent.shutdown()
        with early.start_as_current_span("quiet") as span, tracer.start_as_current_span("quiet too"):
            assert not span.is_recording()
            assert bare() == "off"
        assert names(exporter) == ["bare", "kept", "early"]


def test_the_next_init_has_its_own_settings() -> None:
    """Nothing of the former run's sampler, limits, resource or identifiers is left."""
    noops_agent.init(
        service_name="first", sampler="always_off", span_attribute_count_limit=1, resource_attributes={"only": "first"}
    )
    with noops_agent.span("s") as span:
        assert not span.is_recording()
    noops_agent.shutdown()
    noops_agent.init(service_name="second")
    exporter = keep_spans()
    with noops_agent.span("s", a=1, b=2):
        pass
    (found,) = exporter.get_finished_spans()
    assert dict(found.attributes) == {"a": 1, "b": 2}
    assert found.resource.attributes["service.name"] == "second"
    assert "only" not in found.resource.attributes


def test_a_span_that_outlives_shutdown_ends_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """It is not recorded, and the run after knows nothing of it."""
    noops_agent.init()
    span = early.start_span("long")
    noops_agent.shutdown()
    caplog.clear()
    span.set_attribute("a", 1)
    span.end()
    noops_agent.init()
    assert recorded() == 0
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


@pytest.mark.parametrize(
    "variables", [{"OTEL_SDK_DISABLED": "true"}, {"NOOPS_ENABLED": "false"}], ids=lambda given: next(iter(given))
)
def test_an_agent_that_is_switched_off_touches_nothing(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By either variable."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = Globals().seen
    noops_agent.init()
    assert Globals().seen == before
    assert noops_agent.status()["running"] is False
    assert bare() == "off"


BAD = {
    "unknown": {"no_such_setting": 1},
    "wrong types": {"export_interval_s": "soon", "segment_bytes": object(), "exporters": 7, "service_name": 5},
    "unknown names": {"sampler": "dice", "propagators": "smoke", "exporters": "pigeon", "id_generator": "clock"},
    "negative": {"export_queue_size": -1, "exit_timeout_s": -3, "span_attribute_count_limit": -7},
    "bad sampling": {"sample_rules": "=,=,", "sampler": "traceidratio", "sampler_arg": "many", "keep": "everything"},
    "no folder": {"state_dir": "/dev/null/none"},
    "no endpoint": {"endpoint": "::::", "exporters": "otlp"},
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_settings_are_said_and_never_raised(case: str, said: Messages) -> None:
    """The agent starts with what is left, and spans go on working."""
    noops_agent.init(**BAD[case])
    assert noops_agent.status()["running"] is True
    with noops_agent.span("s", a=1) as span:
        span.add_event("e")
    assert bare() in ("bare", "off")
    noops_agent.stats()
    noops_agent.shutdown()
    assert len(said) > 1


def test_bad_variables_are_said_and_never_raised(monkeypatch: pytest.MonkeyPatch, said: Messages) -> None:
    """The environment is not ours to trust."""
    for name in ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_TRACES_SAMPLER", "OTEL_PROPAGATORS",
                 "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TIMEOUT", "NOOPS_SEGMENT_BYTES",
                 "OTEL_PYTHON_ID_GENERATOR", "OTEL_RESOURCE_ATTRIBUTES", "NOOPS_SAMPLE_BUDGET"):  # fmt: skip
        monkeypatch.setenv(name, "\x7f%%nonsense==")
    noops_agent.init()
    with noops_agent.span("s"):
        pass
    assert noops_agent.status()["running"] is True
    assert recorded() == 1
    assert len(said) > 3


# ---- beside others ---------------------------------------------------------------------------------------


def test_a_provider_of_the_application_stays(said: Messages) -> None:
    """Its spans are its own; `noops_agent.span` records to us, in the same traces; both go away cleanly."""
    other, exporter = theirs.TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    other.add_span_processor(SimpleSpanProcessor(exporter))
    trace._set_tracer_provider(other, log=False)
    try:
        noops_agent.init()
        assert trace.get_tracer_provider() is other
        assert "TracerProvider" in said
        with trace.get_tracer("app").start_as_current_span("theirs") as outer, noops_agent.span("ours") as inner:
            assert inner.get_span_context().trace_id == outer.get_span_context().trace_id
        assert names(exporter) == ["theirs"]
        assert recorded() == 1
        noops_agent.shutdown()
        assert trace.get_tracer_provider() is other
    finally:
        trace._TRACER_PROVIDER = None
        trace._TRACER_PROVIDER_SET_ONCE._done = False


def test_a_signal_handler_of_the_application_stays() -> None:
    """One that was there before is not replaced; one that comes later is not removed."""

    def mine(number: int, frame: object) -> None:
        """Do nothing."""

    signal.signal(signal.SIGTERM, mine)
    try:
        noops_agent.init()
        assert signal.getsignal(signal.SIGTERM) is mine
        signal.signal(signal.SIGHUP, mine)
        noops_agent.shutdown()
        assert signal.getsignal(signal.SIGHUP) is mine
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_signals_can_be_left_alone() -> None:
    """`handle_signals=False`."""
    noops_agent.init(handle_signals=False)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_init_outside_of_the_main_thread_works() -> None:
    """Signals can't be handled from there; all else works."""
    thread = threading.Thread(target=noops_agent.init)
    thread.start()
    thread.join()
    assert noops_agent.status()["running"]
    assert bare() == "bare"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_many_threads_may_call_init_at_once() -> None:
    """Two calls never start two agents that undo each other's patches."""
    before = Globals().seen
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        noops_agent.init()

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    noops_agent.shutdown()
    assert Globals().seen == before


def test_a_start_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, said: Messages) -> None:
    """Half an agent would be worse than none; the next try may succeed."""
    before = Globals().seen

    def fail(agent: Any) -> Any:
        raise RuntimeError("no signals today")

    with monkeypatch.context() as broken:
        broken.setattr(_lifecycle, "handle_signals", fail)
        noops_agent.init()
    assert Globals().seen == before
    assert noops_agent.status()["running"] is False
    assert bare() == "off"
    assert "no signals today" in said
    noops_agent.init()
    assert bare() == "bare"


# ---- decorated before init -------------------------------------------------------------------------------


def test_functions_decorated_before_init_record_once_it_runs() -> None:
    """Plain, named, coroutine and generator functions."""
    assert (bare(), named(), asyncio.run(later()), list(counted())) == ("off", "off", "off", [1, 2])
    noops_agent.init()
    exporter = keep_spans()
    assert (named(), asyncio.run(later()), list(counted())) == ("bare", "bare", [1, 2])
    assert names(exporter) == ["bare", "named", "bare", "later", "counted"]
    assert dict(exporter.get_finished_spans()[1].attributes) == {"k": 1}


def test_functions_decorated_while_it_runs_are_quiet_after_shutdown() -> None:
    """And record again with the next run."""
    noops_agent.init()

    @noops_agent.span("new")
    def new() -> bool:
        return trace.get_current_span().is_recording()

    assert new()
    noops_agent.shutdown()
    assert not new()
    noops_agent.init()
    assert new()


class Methods:
    """Methods of all kinds, decorated before `init` in either order."""

    @noops_agent.span
    def plain(self) -> str:
        return type(self).__name__

    @noops_agent.span
    @staticmethod
    def static() -> str:
        return "static"

    @noops_agent.span
    @classmethod
    def above(cls) -> str:
        return cls.__name__

    @classmethod
    @noops_agent.span
    def below(cls) -> str:
        return cls.__name__


def test_methods_of_all_kinds_can_be_decorated() -> None:
    """They are called as before, and their spans have their qualified names."""
    for _ in range(2):
        assert (Methods().plain(), Methods.static(), Methods.above(), Methods.below()) == (
            "Methods",
            "static",
            "Methods",
            "Methods",
        )
        noops_agent.init()
    assert recorded() == 4
    exporter = keep_spans()
    assert Methods().above() == "Methods"
    assert names(exporter) == ["Methods.above"]


def test_a_block_that_began_before_init_ends_after_it() -> None:
    """It records nothing, and harms nothing."""
    with noops_agent.span("before", a=1) as span:
        noops_agent.init()
        assert not span.is_recording()
        assert bare() == "bare"
    assert recorded() == 1


def test_a_block_that_began_in_a_run_ends_after_it() -> None:
    """The context is as it was before."""
    noops_agent.init()
    with noops_agent.span("during"):
        noops_agent.shutdown()
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_any_word_is_an_attribute_of_a_span() -> None:
    """`name` and `self` too."""
    noops_agent.init()
    exporter = keep_spans()
    with noops_agent.span("s", name="n", self=1, attributes={"a": 1}):
        pass
    (span,) = exporter.get_finished_spans()
    assert span.name == "s"
    assert dict(span.attributes) == {"name": "n", "self": 1, "attributes": {"a": 1}}


# ---- what it says of itself ------------------------------------------------------------------------------


def test_status_tells_what_runs() -> None:
    """Before, during and after; it is data that can be written as JSON."""
    import json

    assert noops_agent.status()["running"] is False
    noops_agent.init(service_name="shop")
    bare()
    assert noops_agent.flush(20)
    told = noops_agent.status()
    assert (told["running"], told["service"], told["exporters"]) == (True, "shop", ["local"])
    assert told["core"] in ("native", "python")
    json.dumps(told)
    noops_agent.shutdown()
    assert noops_agent.status()["running"] is False


def test_stats_count_spans() -> None:
    """Started, ended and written."""
    noops_agent.init()
    before = noops_agent.stats()
    open_span = early.start_span("open")
    bare()
    after = noops_agent.stats()
    assert after["otel.sdk.span.started"] - before["otel.sdk.span.started"] == 2
    assert after["otel.sdk.span.ended"] - before["otel.sdk.span.ended"] == 1
    assert after["spans.dropped"] == 0
    open_span.end()
    assert recorded() == 2


def test_flush_without_an_agent_succeeds() -> None:
    """There is nothing to wait for."""
    assert noops_agent.flush(0.0) is True


def test_the_start_is_one_line(said: Messages) -> None:
    """At INFO: with the core and where records go."""
    noops_agent.init()
    bare()
    assert noops_agent.flush(20)
    assert len(said) == 1
    noops_agent.shutdown()
    assert len(said) == 1


# ---- types -----------------------------------------------------------------------------------------------

TYPED = """
from collections.abc import AsyncIterator, Iterator
from typing_extensions import assert_type
import noops_agent
from opentelemetry.trace import Span

@noops_agent.span
def plain(left: int, *, right: str = "") -> bool: return True

@noops_agent.span("named", k=1)
async def coroutine(left: int) -> str: return ""

@noops_agent.span("generator")
def generator(left: int) -> Iterator[int]: yield left

@noops_agent.span
async def agen() -> AsyncIterator[int]: yield 1

assert_type(plain(1, right="x"), bool)
async def use() -> None: assert_type(await coroutine(1), str)
assert_type(generator(1), Iterator[int])
assert_type(agen(), AsyncIterator[int])
with noops_agent.span("block", anything={"a": 1}) as span:
    assert_type(span, Span)
with noops_agent.suppress():
    pass
assert_type(noops_agent.flush(1.0), bool)
noops_agent.init(service_name="x")
"""


def test_decorated_functions_keep_their_types(tmp_path: Any) -> None:
    """mypy sees the parameters and results that the function was written with, and complains of wrong calls."""
    pytest.importorskip("mypy")
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(TYPED)
    bad.write_text(TYPED + '\nplain("wrong")\ngenerator(1, 2)\nnoops_agent.span(5)\n')
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", f"--cache-dir={tmp_path / 'cache'}"]
    environ = {**os.environ, "MYPYPATH": str(Path(noops_agent.__file__).parents[1])}
    shown = [
        subprocess.run(
            [*command, str(file)], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False
        ).stdout
        for file in (good, bad)
    ]
    assert "Success" in shown[0], shown[0]
    for code in ("arg-type", "call-arg", "call-overload"):
        assert f"[{code}]" in shown[1], shown[1]
