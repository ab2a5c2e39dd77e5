"""Celery: eager tasks, a worker in this process, and real workers under `noops-agent run` over Redis and RabbitMQ."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from tests.system.conftest import Collector

celery = pytest.importorskip("celery")
pytest.importorskip("celery.beat")
redis = pytest.importorskip("redis")

BROKERS = {
    "redis": ("redis://127.0.0.1:6379/5", 6379, "Redis", "redis-server --port 6379"),
    "rabbitmq": ("amqp://guest:guest@127.0.0.1:5672//", 5672, "RabbitMQ", "rabbitmq-server -detached"),
}
PROGRAMS = Path(__file__).parent / "programs"
LIMIT_S = 30.0


def ids(context: Any) -> tuple[int, int]:
    """What tells a span; whether it came from another process doesn't matter here."""
    return context.trace_id, context.span_id


@pytest.fixture(scope="module", autouse=True)
def swept() -> Iterator[None]:
    """Delete what the transport leaves behind in Redis of queues that are gone."""
    yield
    with redis.Redis(host="127.0.0.1", port=6379, db=5) as store, contextlib.suppress(redis.ConnectionError):
        for key in store.scan_iter("_kombu.binding*noops-test-*"):
            store.delete(key)


def need(broker: str) -> str:
    """Give the URL of a broker, or skip."""
    url, port, name, start = BROKERS[broker]
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        pytest.skip(f"{name} does not answer at 127.0.0.1:{port}; start it with: {start}")
    return url


def application(**settings: Any) -> Any:
    """An application with the tasks of the tests, on a queue of its own."""
    made = celery.Celery(f"noops{uuid.uuid4().hex[:8]}", set_as_current=False)
    made.conf.update(task_default_queue=f"noops-test-{uuid.uuid4().hex}", result_expires=60, **settings)

    @made.task(name="add", shared=False)
    def add(left: int, right: int) -> int:
        return left + right

    @made.task(name="fail", shared=False)
    def fail() -> None:
        raise KeyError("no such thing")

    @made.task(name="again", shared=False, bind=True, max_retries=1)
    def again(task: Any) -> int:
        if not task.request.retries:
            raise task.retry(countdown=0)
        return 1

    @made.task(name="ignore", shared=False)
    def ignore() -> None:
        raise celery.exceptions.Ignore

    @made.task(name="reject", shared=False, acks_late=True)
    def reject() -> None:
        raise celery.exceptions.Reject("no", requeue=False)

    @made.task(name="lookup", shared=False)
    def lookup() -> Any:
        with redis.Redis(host="127.0.0.1", port=6379, db=5) as client:
            return client.get("noops-test-nothing")

    return made


# ---- eager tasks -----------------------------------------------------------------------------------------


def test_an_eager_task_is_a_child_of_what_is_current(observed: Any) -> None:
    """Nothing is sent, so there is no producer; the task runs within its caller's trace."""
    app = application(task_always_eager=True)
    with observed("celery") as seen, seen.tracer.start_as_current_span("request"):
        assert app.tasks["add"].delay(1, 2).get() == 3
    processed, request = seen.spans
    assert (processed.name, processed.kind, processed.parent) == ("process add", SpanKind.CONSUMER, request.context)
    assert processed.attributes["celery.state"] == "SUCCESS"


@pytest.mark.parametrize("propagates", [False, True])
def test_an_eager_failure_is_recorded_once(observed: Any, propagates: bool) -> None:
    """Whether Celery keeps the exception in the result or lets it out."""
    app = application(task_always_eager=True, task_eager_propagates=propagates)
    with observed("celery") as seen, pytest.raises(KeyError):
        app.tasks["fail"].delay().get()
    assert seen.span.status.status_code is StatusCode.ERROR
    assert seen.span.attributes["error.type"] == "KeyError"
    assert seen.span.attributes["celery.state"] == "FAILURE"
    assert [event.name for event in seen.span.events] == ["exception"]


def test_an_eager_retry_is_no_error(observed: Any) -> None:
    """Both runs are told, the first with what became of it."""
    app = application(task_always_eager=True)
    with observed("celery") as seen:
        assert app.tasks["again"].delay().get() == 1
    assert [span.attributes["celery.state"] for span in seen.spans] == ["RETRY", "SUCCESS"]
    assert {span.status.status_code for span in seen.spans} == {StatusCode.UNSET}


def test_a_task_that_is_called_is_no_task(observed: Any) -> None:
    """A plain call of the function runs it, and nothing else."""
    app = application(task_always_eager=True)
    with observed("celery") as seen:
        assert app.tasks["add"](1, 2) == 3
    assert seen.spans == []


# ---- a worker in this process ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worked() -> Iterator[Any]:
    """An application with a worker in a thread of this process, started once Celery is observed, and what was seen."""
    from celery.contrib.testing.worker import start_worker

    from .conftest import observe

    url = need("redis")
    app = application(broker_url=url, result_backend=url, broker_connection_retry_on_startup=True)
    queue = app.conf.task_default_queue
    with observe("celery", "kombu", "redis") as seen:
        with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=20, loglevel="critical"):
            yield app, seen
        with app.connection() as connection:
            connection.default_channel.queue_delete(queue)
        app.close()


@pytest.fixture
def worker(worked: Any) -> Any:
    """The same, with nothing seen so far."""
    worked[1].clear()
    return worked


def ended(seen: Any, count: int) -> list[Any]:
    """Wait until *count* tasks have ended, since a result is there before the span of the task is."""
    waiting = threading.Event()
    for _ in range(1000):
        found = [span for span in seen.spans if span.kind is SpanKind.CONSUMER]
        if len(found) >= count:
            return found
        waiting.wait(0.01)
    raise AssertionError(f"{len(found)} of {count} tasks have ended")


def test_a_task_is_sent_and_processed_in_one_trace(worker: Any) -> None:
    """Names, kinds and attributes of both sides; neither broker nor result backend shows up."""
    app, seen = worker
    with seen.tracer.start_as_current_span("request"):
        result = app.tasks["add"].delay(1, 2)
        assert result.get(timeout=LIMIT_S) == 3
    (processed,) = ended(seen, 1)
    sent, request = seen.named("send add"), seen.named("request")
    assert len(seen.spans) == 3
    assert (sent.kind, sent.parent) == (SpanKind.PRODUCER, request.context)
    assert ids(processed.parent) == ids(sent.context)
    common = {
        "messaging.system": "redis",
        "messaging.destination.name": app.conf.task_default_queue,
        "messaging.message.id": result.id,
        "server.address": "127.0.0.1",
        "celery.task_name": "add",
    }
    assert dict(sent.attributes) == {
        **common,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    found = dict(processed.attributes)
    assert found.pop("noops.messaging.dwell_time") >= 0
    assert found.pop("celery.hostname")
    assert found == {
        **common,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "celery.state": "SUCCESS",
    }


def test_the_tasks_own_commands_are_its_children(worker: Any) -> None:
    """Celery's Redis is bookkeeping, the application's is not."""
    app, seen = worker
    app.tasks["lookup"].delay().get(timeout=LIMIT_S)
    (processed,) = ended(seen, 1)
    (command,) = [span for span in seen.spans if span.kind is SpanKind.CLIENT]
    assert (command.name, command.parent) == ("GET", processed.context)


def test_a_failure_is_recorded_with_its_state(worker: Any) -> None:
    """The exception stays inside of Celery; the span has it all the same, once."""
    app, seen = worker
    with pytest.raises(KeyError):
        app.tasks["fail"].delay().get(timeout=LIMIT_S)
    (processed,) = ended(seen, 1)
    assert processed.status.status_code is StatusCode.ERROR
    assert processed.attributes["error.type"] == "KeyError"
    assert processed.attributes["celery.state"] == "FAILURE"
    assert [event.name for event in processed.events] == ["exception"]


def test_a_retry_is_sent_from_the_run_that_asked_for_it(worker: Any) -> None:
    """The trace shows run, sending and second run in a row, and no error."""
    app, seen = worker
    assert app.tasks["again"].delay().get(timeout=LIMIT_S) == 1
    first, second = ended(seen, 2)
    _, resent = [span for span in seen.spans if span.kind is SpanKind.PRODUCER]
    assert (first.attributes["celery.state"], second.attributes["celery.state"]) == ("RETRY", "SUCCESS")
    assert ids(resent.parent) == ids(first.context)
    assert ids(second.parent) == ids(resent.context)
    assert second.attributes["celery.retries"] == 1
    assert {span.status.status_code for span in seen.spans} == {StatusCode.UNSET}


@pytest.mark.parametrize(("task", "state"), [("ignore", "IGNORED"), ("reject", "REJECTED")])
def test_what_a_task_says_of_itself_is_no_error(worker: Any, task: str, state: str) -> None:
    """`Ignore` and `Reject` are exceptions by form alone."""
    app, seen = worker
    app.tasks[task].delay()
    (processed,) = ended(seen, 1)
    assert processed.attributes["celery.state"] == state
    assert processed.status.status_code is StatusCode.UNSET
    assert not processed.events


def test_a_revoked_task_leaves_the_sending_alone(worker: Any) -> None:
    """It never runs: no process span, no error, and the next task is as ever."""
    app, seen = worker
    task_id = uuid.uuid4().hex
    app.control.revoke(task_id)
    app.tasks["add"].apply_async((1, 2), task_id=task_id, countdown=0.2)
    assert app.tasks["add"].apply_async((1, 1), countdown=0.3).get(timeout=LIMIT_S) == 2
    (processed,) = ended(seen, 1)
    assert processed.attributes["messaging.message.id"] != task_id


def test_a_chord_is_one_trace(worker: Any) -> None:
    """Chain, group and chord are sent by tasks that have ended, from inside of the result backend."""
    app, seen = worker
    add = app.tasks["add"]
    with seen.tracer.start_as_current_span("request") as span:
        workflow = celery.chord([add.s(1, 2), add.s(3, 4)], app=app)(add.si(5, 6) | add.s(7))
        assert workflow.get(timeout=LIMIT_S) == 18
    assert len(ended(seen, 4)) == 4
    assert {found.context.trace_id for found in seen.spans} == {span.get_span_context().trace_id}
    assert sum(found.kind is SpanKind.PRODUCER for found in seen.spans) == 4
    assert len(seen.spans) == 9


def test_senders_headers_stay_as_they_were(worker: Any) -> None:
    """The dictionary that a caller hands over may be used again."""
    app, seen = worker
    headers = {"mine": "1"}
    app.tasks["add"].apply_async((1, 2), headers=headers).get(timeout=LIMIT_S)
    ended(seen, 1)
    assert headers == {"mine": "1"}


def test_tasks_are_measured_by_name(worked: Any) -> None:
    """Durations, messages and dwell time; the task is one of their attributes, as a queue has tasks of all sizes."""
    app, seen = worked
    app.tasks["add"].delay(1, 2).get(timeout=LIMIT_S)
    metrics = seen.metrics()
    for name in (
        "messaging.client.operation.duration",
        "messaging.client.sent.messages",
        "messaging.process.duration",
        "messaging.client.consumed.messages",
        "noops.messaging.dwell_time",
    ):
        assert any(point.attributes.get("celery.task_name") == "add" for point in metrics[name]), name


def test_a_refused_connection_is_the_senders_error(observed: Any) -> None:
    """The producer's span tells why the task was not sent."""
    once = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
    app = application(broker_url="amqp://127.0.0.1:1//", broker_transport_options=once)
    with observed("celery") as seen, pytest.raises(celery.exceptions.OperationalError):
        app.tasks["add"].apply_async((1, 2), retry=False, ignore_result=True)
    assert seen.span.attributes["error.type"] == "kombu.exceptions.OperationalError"
    assert seen.span.attributes["server.port"] == 1


def test_each_run_of_a_schedule_is_a_trace_of_its_own(observed: Any) -> None:
    """Beat sends from one loop that runs for months."""
    app = application(broker_url="memory://")
    app.conf.beat_schedule = {"often": {"task": "add", "schedule": 60.0, "args": (1, 2)}}
    with observed("celery", "kombu") as seen:
        scheduler = celery.beat.Scheduler(app)
        for _ in range(2):
            scheduler.apply_async(scheduler.schedule["often"], advance=False)
    assert [(span.name, span.parent) for span in seen.spans] == [("send add", None)] * 2


def test_senders_can_be_linked_to_instead(observed: Any) -> None:
    """Who keeps traces apart at queues sets the option `links`."""
    app = application()
    header = f"00-{7:032x}-{8:016x}-01"
    with observed("celery", links=True) as seen:
        celery.app.trace.trace_task(app.tasks["add"], "id", (1, 2), {}, {"traceparent": header}, app=app)
    assert seen.span.parent is None
    assert [ids(link.context) for link in seen.span.links] == [(7, 8)]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://user:secret@one:5672//;amqp://two//", ("rabbitmq", "one", None)),
        ("amqps://one:5671/vhost", ("rabbitmq", "one", None)),
        ("pyamqp://one:5673//", ("rabbitmq", "one", 5673)),
        ("rediss://:secret@one/1", ("redis", "one", None)),
        ("redis+socket:///tmp/redis.sock", ("redis", None, None)),
        ("sentinel://one:26379", ("redis", None, None)),
        ("sqs://key:secret@", ("aws_sqs", None, None)),
        (["amqp://one//", "amqp://two//"], ("rabbitmq", "one", None)),
        ("memory://", ("memory", None, None)),
        ("amqp://[broken", ("rabbitmq", "broken", None)),
    ],
)
def test_brokers_are_told_by_system_and_host(observed: Any, url: Any, expected: tuple[Any, ...]) -> None:
    """Without what a URL keeps secret; of several brokers the first one counts."""
    app = application(broker_url=url)
    with observed("celery") as seen:
        task = app.tasks["add"]
        celery.app.trace.trace_task(task, "id", (1, 2), {}, {"traceparent": "x"}, app=app)
    found = seen.span.attributes
    names = ("messaging.system", "server.address", "server.port")
    assert tuple(found.get(name) for name in names) == expected
    assert "secret" not in str(dict(found))


def test_routed_tasks_tell_their_queue(observed: Any) -> None:
    """A table of routes is looked into; functions of the user's are not called a second time."""
    asked = []

    def route(*args: Any, **kwargs: Any) -> None:
        asked.append(args)

    for routes, expected in (({"add": {"queue": "fast"}}, "fast"), ([route], None)):
        app = application(broker_url="memory://", task_routes=routes)
        with observed("celery") as seen:
            app.tasks["add"].delay(1, 2)
        assert seen.span.attributes.get("messaging.destination.name") == expected
    assert len(asked) == 1


# ---- real workers ----------------------------------------------------------------------------------------


def environment(collector: Collector, broker: str, queue: str) -> dict[str, str]:
    """What a worker is started with."""
    return {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_SERVICE_NAME": "worker",
        "CELERY_BROKER": need(broker),
        "CELERY_BACKEND": need("redis"),
        "TASKS_QUEUE": queue,
        "TASKS_KEY": f"{queue}-count",
        "PYTHONPATH": str(PROGRAMS),
    }


@contextlib.contextmanager
def forgotten(broker: str, queue: str) -> Iterator[None]:
    """Delete what Celery leaves behind of a queue."""
    yield
    with celery.Celery(broker=need(broker), set_as_current=False).connection() as connection:
        connection.default_channel.queue_delete(queue)
        connection.default_channel.exchange_delete(queue)
    with redis.Redis(host="127.0.0.1", port=6379, db=5) as store:
        store.delete(queue, f"{queue}-count")


@contextlib.contextmanager
def working(
    environ: dict[str, str], *options: str, ending: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[str]]:
    """A worker under the agent, from when it is ready until it has ended."""
    command = (sys.executable, "-m", "noops_agent", "run", sys.executable, "-m", "celery", "-A", "tasks", "worker")
    words = (*command, "--loglevel=INFO", "--without-gossip", "--without-mingle", *options)
    process = subprocess.Popen(words, env=environ, cwd=PROGRAMS, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines: list[str] = []
    ready = threading.Event()

    def read() -> None:
        for line in process.stderr:  # type: ignore[union-attr]
            lines.append(line)
            if " ready." in line:
                ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(LIMIT_S), "".join(lines)
        yield process
    finally:
        process.send_signal(ending)
        try:
            process.wait(LIMIT_S)
        finally:
            process.kill()
            reader.join(LIMIT_S)
            process.stderr.close()


def names(collector: Collector) -> dict[str, int]:
    """How often each span has been received."""
    return dict(Counter(item.span.name for item in collector.received()))


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


@pytest.mark.parametrize(
    ("broker", "options"), [("redis", ("--max-tasks-per-child=6",)), ("rabbitmq", ())], ids=["redis", "rabbitmq"]
)
def test_nothing_is_lost_or_astray_in_a_real_worker(
    collector: Collector, broker: str, options: tuple[str, ...], observed: Any
) -> None:
    """Two prefork children, one of which is replaced; the worker is ended once the last result is there.

    Every task that ran has its span, as a child of its sender; the application's own Redis commands lie beneath; and
    what Celery does for itself is nowhere.
    """
    queue = f"noops-test-{uuid.uuid4().hex}"
    environ = environment(collector, broker, queue)
    with forgotten(broker, queue), working(environ, "--concurrency=2", *options), observed("celery", "kombu") as seen:
        app = celery.Celery(broker=need(broker), backend=need("redis"), set_as_current=False)
        app.conf.task_default_queue = queue
        with seen.tracer.start_as_current_span("request"):
            results = [app.send_task("tasks.count", (1,)) for _ in range(6)]
            failed, sender = app.send_task("tasks.fail"), app.send_task("tasks.many", (3,))
            results += [app.AsyncResult(task_id) for task_id in sender.get(timeout=LIMIT_S)]
            for result in results:
                result.get(timeout=LIMIT_S)
            failed.get(timeout=LIMIT_S, propagate=False)
        app.close()
    # 11 tasks, 9 commands, and 3 tasks that the worker has sent
    assert collector.await_spans(lambda received: len(received) >= 23, LIMIT_S), names(collector)
    assert names(collector) == {
        "send tasks.count": 3,
        "process tasks.count": 9,
        "process tasks.many": 1,
        "process tasks.fail": 1,
        "INCRBY": 9,
    }
    spans = [item.span for item in collector.received()]
    assert {int.from_bytes(span.trace_id, "big") for span in spans} == {seen.named("request").context.trace_id}
    parents = {span.span_id: span.name for span in spans}
    parents.update((span.context.span_id.to_bytes(8, "big"), span.name) for span in seen.spans)
    for span in spans:
        expected = "process tasks.count" if span.name == "INCRBY" else span.name.replace("process", "send")
        if span.name == "send tasks.count":
            expected = "process tasks.many"
        assert parents[span.parent_span_id] == expected
    (failure,) = [span for span in spans if span.name == "process tasks.fail"]
    assert [event.name for event in failure.events] == ["exception"]


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_tasks_of_other_pools_are_told_as_well(collector: Collector, pool: str) -> None:
    """Threads and greenlets begin without a context; the message brings one."""
    if pool == "gevent":
        pytest.importorskip("gevent")
    queue = f"noops-test-{uuid.uuid4().hex}"
    environ = environment(collector, "redis", queue)
    with forgotten("redis", queue), working(environ, f"--pool={pool}", "--concurrency=2", ending=signal.SIGKILL):
        app = celery.Celery(broker=environ["CELERY_BROKER"], set_as_current=False)
        for number in range(1, 5):
            headers = {"traceparent": f"00-{number:032x}-{number:016x}-01"}
            app.send_task("tasks.pid", queue=queue, headers=headers, ignore_result=True)
        app.close()
        assert collector.await_spans(lambda received: len(received) >= 4, LIMIT_S)
    received = collector.received()
    assert [item.span.name for item in received] == ["process tasks.pid"] * 4
    assert sorted(int.from_bytes(item.span.trace_id, "big") for item in received) == [1, 2, 3, 4]
    assert sorted(int.from_bytes(item.span.parent_span_id, "big") for item in received) == [1, 2, 3, 4]
