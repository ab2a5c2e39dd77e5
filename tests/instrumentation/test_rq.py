"""RQ: enqueuing, both kinds of workers in this process, and a real worker with work-horses under `noops-agent run`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from tests.system.conftest import Collector

rq = pytest.importorskip("rq")
redis = pytest.importorskip("redis")
from .programs import rq_jobs  # noqa: E402

PROGRAMS = Path(__file__).parent / "programs"
LIMIT_S = 30.0
JOBS = "tests.instrumentation.programs.rq_jobs"


def ids(context: Any) -> tuple[int, int]:
    """What tells a span; whether it came from another process doesn't matter here."""
    return context.trace_id, context.span_id


@pytest.fixture
def client() -> Iterator[Any]:
    """A client of the database that the queues are in."""
    with redis.Redis(host="127.0.0.1", port=6379, db=5) as made:
        try:
            made.ping()
        except redis.ConnectionError:
            pytest.skip("Redis does not answer at 127.0.0.1:6379; start it with: redis-server --port 6379")
        yield made


@pytest.fixture
def queue(client: Any) -> Iterator[Any]:
    """A queue of its own."""
    made = rq.Queue(f"noops-test-{uuid.uuid4().hex}", connection=client)
    yield made
    for registry in (made.finished_job_registry, made.failed_job_registry, made.scheduled_job_registry):
        for job_id in registry.get_job_ids():
            registry.remove(job_id, delete_job=True)
            client.delete(f"rq:results:{job_id}")
    made.delete(delete_jobs=True)


def work(queue: Any) -> None:
    """Run all jobs of a queue in this process; a worker puts signal handlers of its own in place."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        rq.SimpleWorker([queue], connection=queue.connection).work(burst=True, logging_level="CRITICAL")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_job_is_sent_and_processed_in_one_trace(observed: Any, queue: Any) -> None:
    """Names, kinds and attributes of both sides; RQ's own commands don't show up, the job's own do."""
    with observed("rq", "redis") as seen:
        with seen.tracer.start_as_current_span("request"):
            job = queue.enqueue(rq_jobs.look, "noops-test-nothing", meta={"mine": 1})
        work(queue)
    sent, request, command, processed = seen.spans
    assert (sent.name, sent.kind, sent.parent) == (f"send {JOBS}.look", SpanKind.PRODUCER, request.context)
    assert (processed.name, processed.kind) == (f"process {JOBS}.look", SpanKind.CONSUMER)
    assert ids(processed.parent) == ids(sent.context)
    assert (command.name, command.parent) == ("GET", processed.context)
    common = {
        "messaging.system": "redis",
        "messaging.destination.name": queue.name,
        "messaging.message.id": job.id,
        "server.address": "127.0.0.1",
        "code.function.name": f"{JOBS}.look",
    }
    assert dict(sent.attributes) == {
        **common,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    found = dict(processed.attributes)
    assert found.pop("noops.messaging.dwell_time") >= 0
    assert found == {
        **common,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
    }
    assert job.get_meta()["mine"] == 1


def test_a_failure_is_recorded_once(observed: Any, queue: Any) -> None:
    """The worker keeps the exception to itself; the span has it all the same."""
    with observed("rq") as seen:
        job = queue.enqueue(rq_jobs.fail)
        work(queue)
        assert job.is_failed
    processed = seen.spans[-1]
    assert processed.status.status_code is StatusCode.ERROR
    assert processed.attributes["error.type"] == "KeyError"
    assert [event.name for event in processed.events] == ["exception"]


def test_a_retry_belongs_to_the_sender(observed: Any, queue: Any) -> None:
    """The worker puts the job back by itself: both runs are children of the one sending."""
    with observed("rq") as seen:
        queue.enqueue(rq_jobs.fail, retry=rq.Retry(max=1))
        work(queue)
    sent, *runs = seen.spans
    assert [run.kind for run in runs] == [SpanKind.CONSUMER] * 2
    assert [ids(run.parent) for run in runs] == [ids(sent.context)] * 2


def test_a_job_that_waits_for_another_belongs_to_its_own_sender(observed: Any, queue: Any) -> None:
    """It is enqueued by a worker, at the end of the job that it waits for."""
    with observed("rq") as seen:
        first = queue.enqueue(rq_jobs.nothing)
        queue.enqueue(rq_jobs.look, "noops-test-nothing", depends_on=first)
        work(queue)
    _, sent, _, processed = seen.spans
    assert ids(processed.parent) == ids(sent.context)


def test_a_scheduled_job_belongs_to_who_scheduled_it(observed: Any, queue: Any) -> None:
    """The scheduler only moves it when its time has come."""
    with observed("rq") as seen:
        queue.enqueue_at(datetime.now(timezone.utc) - timedelta(seconds=5), rq_jobs.nothing)
        scheduler = rq.scheduler.RQScheduler([queue], connection=queue.connection)
        scheduler.acquire_locks()
        scheduler.enqueue_scheduled_jobs()
        scheduler.release_locks()
        work(queue)
    scheduled, processed = seen.spans
    assert scheduled.name == f"schedule {JOBS}.nothing"
    assert ids(processed.parent) == ids(scheduled.context)


def test_jobs_that_are_enqueued_together_are_one_sending(observed: Any, queue: Any) -> None:
    """Their number is told, and each run has it for its parent."""
    with observed("rq") as seen:
        queue.enqueue_many([queue.prepare_data(rq_jobs.nothing) for _ in range(3)])
        work(queue)
        metrics = seen.metrics()
    sent, *runs = seen.spans
    assert sent.name == f"send {queue.name}"
    assert sent.attributes["messaging.batch.message_count"] == 3
    assert [ids(run.parent) for run in runs] == [ids(sent.context)] * 3
    assert [point.value for point in metrics["messaging.client.sent.messages"]] == [3]
    assert [point.value for point in metrics["messaging.client.consumed.messages"]] == [3]
    assert [point.count for point in metrics["noops.messaging.dwell_time"]] == [3]


def test_senders_can_be_linked_to_instead(observed: Any, queue: Any) -> None:
    """Who keeps traces apart at queues sets the option `links`."""
    with observed("rq", links=True) as seen:
        queue.enqueue(rq_jobs.nothing)
        work(queue)
    sent, processed = seen.spans
    assert processed.parent is None
    assert [ids(link.context) for link in processed.links] == [ids(sent.context)]


def test_a_queue_without_workers_runs_the_job_within_its_sender(observed: Any, client: Any) -> None:
    """`is_async=False` is what tests of applications use; one trace, in the order of events."""
    queue = rq.Queue(f"noops-test-{uuid.uuid4().hex}", connection=client, is_async=False)
    with observed("rq", "redis") as seen:
        job = queue.enqueue(rq_jobs.look, "noops-test-nothing")
    assert [span.name for span in seen.spans] == ["GET", f"process {JOBS}.look", f"send {JOBS}.look"]
    assert len({span.context.trace_id for span in seen.spans}) == 1
    job.delete()
    queue.delete()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that takes everything."""
    made = Collector()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_the_spans_of_work_horses_arrive(collector: Collector, queue: Any, observed: Any, tmp_path: Path) -> None:
    """Each job runs in a process of its own, which leaves by `os._exit`; nothing of the worker itself is seen.

    What a work-horse leaves is sent by the worker, or by the next program under the agent.
    """
    environ = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_SERVICE_NAME": "rq",
        "NOOPS_STATE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    under = (sys.executable, "-m", "noops_agent", "run", sys.executable)
    with observed("rq") as seen:
        for _ in range(3):
            queue.enqueue(rq_jobs.look, "noops-test-nothing")
        queue.enqueue(rq_jobs.fail)
    for words in (
        ("-m", "rq.cli", "worker", "--burst", "--url", "redis://127.0.0.1:6379/5", queue.name),
        ("-c", "from opentelemetry import trace; trace.get_tracer('next').start_span('next').end()"),
    ):
        done = subprocess.run(
            (*under, *words), env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert done.returncode == 0, done.stderr
    assert collector.await_spans(
        lambda received: len([item for item in received if item.span.name.startswith("process ")]) == 4, LIMIT_S
    ), [item.span.name for item in collector.received()]
    spans = [item.span for item in collector.received() if item.span.name != "next"]
    senders = {span.context.span_id for span in seen.spans}
    runs = [span for span in spans if span.name.startswith("process ")]
    assert {int.from_bytes(span.parent_span_id, "big") for span in runs} == senders
    assert sorted(span.name for span in spans if span not in runs) == ["GET"] * 3
    assert {span.parent_span_id for span in spans if span.name == "GET"} <= {span.span_id for span in runs}
