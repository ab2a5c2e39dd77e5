"""APScheduler 3: blocking, background and asyncio schedulers, and every executor that runs here."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

apscheduler = pytest.importorskip("apscheduler.schedulers.background")
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_JOB_MISSED  # noqa: E402
from apscheduler.executors import base, pool  # noqa: E402
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # noqa: E402

LIMIT_S = 20.0


@contextmanager
def scheduling(**options: Any) -> Iterator[tuple[Any, threading.Semaphore]]:
    """A scheduler in a thread, and what is released whenever a job has ended."""
    scheduler = apscheduler.BackgroundScheduler(timezone="UTC", **options)
    done = threading.Semaphore(0)
    mask = EVENT_JOB_EXECUTED | EVENT_JOB_ERROR | EVENT_JOB_MISSED
    scheduler.add_listener(lambda event: done.release(), mask)
    scheduler.start()
    try:
        yield scheduler, done
    finally:
        scheduler.shutdown()


def job() -> int:
    """A job that can be pickled."""
    return 1


def test_a_run_is_a_trace_of_its_own_with_the_jobs_name(observed: Any) -> None:
    """It begins when it is due, not within what was current when it was added."""
    due = datetime.now(timezone.utc) - timedelta(seconds=2)
    with observed("apscheduler") as seen, scheduling() as (scheduler, done):

        def work() -> None:
            with seen.tracer.start_as_current_span("work"):
                pass

        with seen.tracer.start_as_current_span("request"):
            options = {"run_date": due, "misfire_grace_time": 60}
            scheduler.add_job(work, "date", name="nightly report", id="j1", **options)
        assert done.acquire(timeout=LIMIT_S)
    run = seen.named("process nightly report")
    assert (run.kind, run.parent) == (SpanKind.CONSUMER, None)
    assert seen.named("work").parent == run.context
    found = dict(run.attributes)
    assert found.pop("noops.messaging.dwell_time") >= 2
    assert found.pop("code.function.name").endswith(".work")
    assert found == {
        "messaging.system": "apscheduler",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": "j1",
    }


def test_a_failed_run_is_recorded_once(observed: Any) -> None:
    """The executor keeps the exception in an event; the span has it all the same."""

    def fail() -> None:
        raise KeyError("boom")

    with observed("apscheduler") as seen, scheduling() as (scheduler, done):
        scheduler.add_job(fail)
        assert done.acquire(timeout=LIMIT_S)
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.span.attributes["error.type"] == "KeyError"
    assert [event.name for event in seen.span.events] == ["exception"]


def test_a_run_that_was_missed_is_told(observed: Any) -> None:
    """Nothing ran, and that is what whoever waits for it has to know."""
    long_ago = datetime.now(timezone.utc) - timedelta(hours=1)
    with observed("apscheduler") as seen:
        found = apscheduler.BackgroundScheduler(timezone="UTC").add_job(
            job, "interval", seconds=1, name="missed", misfire_grace_time=1
        )
        events = base.run_job(found, "default", [long_ago], "test")
    assert [event.code for event in events] == [EVENT_JOB_MISSED]
    assert seen.span.attributes["error.type"] == "missed"
    assert seen.span.status.status_code is StatusCode.ERROR
    assert not seen.span.events


def test_the_asyncio_scheduler_runs_coroutines_and_functions(observed: Any) -> None:
    """Coroutines in the loop, functions in a thread: both without what is current where the loop was started."""

    async def main() -> None:
        done: asyncio.Queue[None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.add_listener(
            lambda event: loop.call_soon_threadsafe(done.put_nowait, None), EVENT_JOB_EXECUTED | EVENT_JOB_ERROR
        )

        async def coroutine() -> None:
            await asyncio.sleep(0)
            with seen.tracer.start_as_current_span("work"):
                pass

        async def failing() -> None:
            raise KeyError("boom")

        with seen.tracer.start_as_current_span("main"):
            scheduler.start()
            for function in (coroutine, failing, job):
                scheduler.add_job(function)
            for _ in range(3):
                await asyncio.wait_for(done.get(), LIMIT_S)
        scheduler.shutdown()

    with observed("apscheduler") as seen:
        asyncio.run(main())
    runs = [span for span in seen.spans if span.kind is SpanKind.CONSUMER]
    names = {span.attributes["code.function.name"].rpartition(".")[2] for span in runs}
    assert names == {"coroutine", "failing", "job"}
    assert [span.parent for span in runs] == [None] * 3
    assert seen.named("work").parent in [span.context for span in runs]
    assert [span.attributes.get("error.type") for span in runs].count("KeyError") == 1


def test_what_a_process_pool_sends_can_be_pickled(observed: Any) -> None:
    """The executors have imported the function that runs jobs by name: it is the same everywhere, on and off."""
    original = base.run_job
    with observed("apscheduler"):
        assert pool.run_job is base.run_job is not original
        assert pickle.loads(pickle.dumps(pool.run_job)) is base.run_job
    assert pool.run_job is base.run_job is original


def test_runs_are_measured_by_function(observed: Any) -> None:
    """Duration, number of runs, and how late they were."""
    with observed("apscheduler") as seen, scheduling() as (scheduler, done):
        scheduler.add_job(job)
        assert done.acquire(timeout=LIMIT_S)
        metrics = seen.metrics()
    for name in ("messaging.process.duration", "messaging.client.consumed.messages", "noops.messaging.dwell_time"):
        (point,) = metrics[name]
        assert point.attributes["code.function.name"].endswith("test_apscheduler.job"), name
