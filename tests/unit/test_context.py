"""The current context: detaching never fails, and what suppression does."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as context_api
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled, is_instrumentation_enabled

import noops_agent
from noops_agent._signals import context as ours


@pytest.fixture
def installed() -> Iterator[None]:
    restore = ours.install()
    yield
    restore()


def begin_and_leave_open() -> Any:
    """A context manager of the API's kind, inside a generator that somebody else closes."""

    def body() -> Iterator[int]:
        token = context_api.attach(baggage.set_baggage("k", "inner"))
        try:
            yield 1
        finally:
            context_api.detach(token)

    generator = body()
    contextvars.copy_context().run(next, generator)
    return generator


@pytest.mark.usefixtures("installed")
def test_detaching_in_another_context_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """`Token was created in a different Context` is never logged, and what is current here stays."""
    caplog.set_level(logging.DEBUG)
    generator = begin_and_leave_open()
    token = context_api.attach(baggage.set_baggage("k", "outer"))
    generator.close()
    assert baggage.get_baggage("k") == "outer"
    context_api.detach(token)
    context_api.detach(token)
    assert baggage.get_baggage("k") is None
    assert caplog.records == []


def test_without_us_the_api_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    """What the test above holds is not so anyway."""
    begin_and_leave_open().close()
    assert any("detach" in record.getMessage() for record in caplog.records)


@pytest.mark.usefixtures("installed")
def test_a_failed_detach_of_the_application_is_not_ours() -> None:
    """A token that is none raises as it would without us; the API logs it."""
    with pytest.raises(TypeError):
        context_api._RUNTIME_CONTEXT.detach("no token")  # type: ignore[arg-type]


def test_installing_keeps_what_is_current() -> None:
    """The variable stays the API's own, so contexts attached before can be detached after, both ways."""
    token = context_api.attach(baggage.set_baggage("k", "before"))
    restore = ours.install()
    assert baggage.get_baggage("k") == "before"
    inner = context_api.attach(baggage.set_baggage("k", "during"))
    restore()
    assert baggage.get_baggage("k") == "during"
    context_api.detach(inner)
    assert baggage.get_baggage("k") == "before"
    context_api.detach(token)
    assert baggage.get_baggage("k") is None


def test_a_runtime_context_of_the_applications_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OTEL_PYTHON_CONTEXT` names another one, or a test has put one there."""

    class Own(type(context_api._RUNTIME_CONTEXT)):  # type: ignore[misc]
        """Somebody's own."""

    theirs = Own()
    monkeypatch.setattr(context_api, "_RUNTIME_CONTEXT", theirs)
    restore = ours.install()
    assert context_api._RUNTIME_CONTEXT is theirs
    restore()
    assert context_api._RUNTIME_CONTEXT is theirs


def test_what_came_after_us_is_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoing restores what we replaced, where ours is still in place."""
    monkeypatch.setattr(context_api, "_RUNTIME_CONTEXT", context_api._RUNTIME_CONTEXT)
    restore = ours.install()
    later = type(context_api._RUNTIME_CONTEXT)(context_api._RUNTIME_CONTEXT)  # type: ignore[call-arg]
    context_api._RUNTIME_CONTEXT = later
    restore()
    assert context_api._RUNTIME_CONTEXT is later


# ---- suppression -----------------------------------------------------------------------------------------


@pytest.fixture
def running() -> Iterator[None]:
    noops_agent.init()
    yield
    noops_agent.shutdown()


@pytest.mark.usefixtures("running")
def test_nothing_of_ours_is_recorded_while_suppressed() -> None:
    """Neither our spans nor those of instrumentation that asks; afterwards all is as before."""
    with noops_agent.span("outer") as outer:
        with noops_agent.suppress():
            assert ours.suppressed()
            assert not is_instrumentation_enabled()
            assert not is_http_instrumentation_enabled()
            with noops_agent.span("inner") as inner:
                assert not inner.is_recording()
                assert inner.get_span_context() == outer.get_span_context()
        assert not ours.suppressed()
        assert is_instrumentation_enabled()
        with noops_agent.span("after") as after:
            assert after.is_recording()


@pytest.mark.usefixtures("running")
def test_suppression_outside_of_a_trace() -> None:
    """There is no context to carry on."""
    with noops_agent.suppress(), noops_agent.span("s") as span:
        assert span is trace.INVALID_SPAN


@pytest.mark.usefixtures("running")
def test_suppression_nests_and_may_be_left_by_an_exception() -> None:
    """The outer one still holds after the inner one."""
    with pytest.raises(KeyError), noops_agent.suppress():
        with noops_agent.suppress():
            pass
        assert ours.suppressed()
        raise KeyError
    assert not ours.suppressed()


def test_one_suppression_may_be_entered_twice() -> None:
    """Kept as an object, and used inside of itself and again later."""
    quiet = noops_agent.suppress()
    for _ in range(2):
        with quiet:
            with quiet:
                pass
            assert ours.suppressed()
        assert not ours.suppressed()


def test_suppression_is_for_one_task() -> None:
    """Other tasks, and code outside, are not suppressed."""

    async def quiet(entered: asyncio.Event, leave: asyncio.Event) -> bool:
        with noops_agent.suppress():
            entered.set()
            await leave.wait()
            return ours.suppressed()

    async def both() -> tuple[bool, bool]:
        entered, leave = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(quiet(entered, leave))
        await entered.wait()
        here = ours.suppressed()
        leave.set()
        return here, await task

    assert asyncio.run(both()) == (False, True)


def test_suppression_in_a_generator_closed_elsewhere_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """It does not reach into the context that closes it."""

    def body() -> Iterator[int]:
        with noops_agent.suppress():
            yield 1

    generator = body()
    contextvars.copy_context().run(next, generator)
    generator.close()
    assert not ours.suppressed()
    assert caplog.records == []


@pytest.mark.usefixtures("running")
def test_another_librarys_suppression_is_ours_too() -> None:
    """The API's own key counts."""
    token = context_api.attach(context_api.set_value(context_api._SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        with noops_agent.span("s") as span:
            assert not span.is_recording()
    finally:
        context_api.detach(token)
