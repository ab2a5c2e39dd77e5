"""RQ: enqueuing and scheduling of jobs, and their execution, in work-horses, in `SimpleWorker` and at once.

Spans are named by the function: `send {function}` where the job is enqueued, `process {function}` where it runs, as the
child of its sender (or, with the option `links`, linked to it). The headers travel in the job's `meta`, under one key,
and stay there: a retry, and a job that waited for others or for its time, belongs to the trace that asked for it.
What a worker does in Redis is its own book.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/messaging-spans.md, docs/registry/attributes/code.md.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timezone
from typing import Any

from noops_agent.instrument import (
    CONSUMER,
    PRODUCER,
    Args,
    Attributes,
    Call,
    Duration,
    Hook,
    Instrumentation,
    Kwargs,
    messaging,
)
from noops_agent.instrument.frameworks import Everywhere, Muted

_HEADERS = "noops_headers"
"""Key in the `meta` of a job."""
_FUNCTION = "code.function.name"
_DEFAULT_PORT = 6379

_SENDING = Duration(
    messaging.SENDING.name,
    messaging.SENDING.description,
    (*messaging.SENDING.keys, _FUNCTION),
    messaging.SENDING.bounds,
    also=messaging.SENDING.also,
)
_PROCESSING = Duration(
    messaging.PROCESSING.name,
    messaging.PROCESSING.description,
    (*messaging.PROCESSING.keys, _FUNCTION),
    messaging.PROCESSING.bounds,
    also=messaging.PROCESSING.also,
)


def _server(connection: Any) -> tuple[str, int | None]:
    """Give host and port of the Redis server."""
    get = connection.connection_pool.connection_kwargs.get
    port = get("port")
    return get("host") or get("path") or "", None if port == _DEFAULT_PORT else port


def _named(function: Any) -> str:
    """Name a function as RQ does; it takes them by their name as well."""
    if isinstance(function, str):
        return function
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', '')}.{name}".lstrip(".")


def _function_of(job: Any) -> str:
    """Name the function of a job; empty where its data can't be read, which RQ finds out as well."""
    with suppress(Exception):
        return str(job.func_name)
    return ""


# ---- sending ---------------------------------------------------------------------------------------------


def _send(queue: Any, function: str, carrier: Any, operation: str = "send", count: int | None = None) -> Call:
    address, port = _server(queue.connection)
    call = messaging.send(
        "redis",
        queue.name,
        carrier,
        operation=operation,
        address=address,
        port=port,
        count=count,
        stamped=True,
        attributes={_FUNCTION: function} if function else None,
    )
    if function:
        call.name = f"{operation} {function}"
    return call


def _enqueue_call(queue: Any, args: Args, kwargs: Kwargs) -> Call:
    headers: dict[str, str] = {}
    kwargs["meta"] = {**(kwargs.get("meta") or {}), _HEADERS: headers}
    return _send(queue, _named(args[0] if args else kwargs["func"]), headers)


def _enqueue_job(queue: Any, args: Args, kwargs: Kwargs) -> Call | None:
    return _send_job(queue, args[0] if args else kwargs["job"], "send")


def _schedule_job(queue: Any, args: Args, kwargs: Kwargs) -> Call | None:
    return _send_job(queue, args[0] if args else kwargs["job"], "schedule")


def _send_job(queue: Any, job: Any, operation: str) -> Call | None:
    if _HEADERS in job.meta:
        return None  # a worker or scheduler puts it where it was on its way to
    headers: dict[str, str] = {}
    job.meta[_HEADERS] = headers
    call = _send(queue, _function_of(job), headers, operation)
    call.attributes[messaging.MESSAGE_ID] = job.id
    return call


def _enqueue_many(queue: Any, args: Args, kwargs: Kwargs) -> Call:
    given = list(args[0] if args else kwargs["job_datas"])
    headers: dict[str, str] = {}
    jobs = [data._replace(meta={**(data.meta or {}), _HEADERS: headers}) for data in given]
    call = _send(queue, "", headers, count=len(jobs))
    if args:
        call.args = (jobs, *args[1:])
    else:
        kwargs["job_datas"] = jobs
    return call


def _sent(call: Call, job: Any) -> Attributes | None:
    return None if messaging.MESSAGE_ID in call.attributes else {messaging.MESSAGE_ID: job.id}


# ---- running ---------------------------------------------------------------------------------------------


def _execute(job: Any, args: Args, kwargs: Kwargs) -> Call:
    address, port = _server(job.connection)
    function = _function_of(job)
    call = messaging.process(
        "redis",
        job.origin or "",
        job.meta.get(_HEADERS),
        address=address,
        port=port,
        message_id=job.id,
        sent_at=_enqueued(job.enqueued_at),
        linked=INSTRUMENTATION.options.get("links", False),
        attributes={_FUNCTION: function} if function else None,
    )
    if function:
        call.name = f"process {function}"
    return call


def _enqueued(at: Any) -> int | None:
    """Give when a job was enqueued; before RQ 2 that is in UTC and doesn't say so."""
    if at is not None and at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    return messaging.amqp_time(at)


_SUSPENDED = "rq.suspension:is_suspended"
_SENDERS = {"enqueue_call": _enqueue_call, "enqueue_job": _enqueue_job, "schedule_job": _schedule_job}
_BOOKS = (
    *(f"rq.queue:Queue.{name}" for name in (*_SENDERS, "enqueue_many")),
    *(f"rq.worker:{worker}.{name}" for worker in ("BaseWorker", "Worker") for name in ("__init__", "work")),
    "rq.scheduler:RQScheduler.acquire_locks",
    "rq.scheduler:RQScheduler.work",
)

INSTRUMENTATION = Instrumentation(
    library="rq",
    distribution="rq",
    versions=">=1.10",
    options=("links",),
    hooks=(
        *(Muted(target, "db", optional=True) for target in _BOOKS),
        Everywhere(Muted(_SUSPENDED, "db", optional=True), "rq.cli.cli", "rq.cli.workers", "rq.worker.base"),
        *(
            Hook(
                f"rq.queue:Queue.{name}",
                PRODUCER,
                describe,
                result=_sent,
                duration=_SENDING,
                layer=messaging.LAYER,
                optional=True,
            )
            for name, describe in _SENDERS.items()
        ),
        Hook("rq.queue:Queue.enqueue_many", PRODUCER, _enqueue_many, duration=_SENDING, layer=messaging.LAYER),
        Hook("rq.job:Job._execute", CONSUMER, _execute, duration=_PROCESSING),
    ),
)
