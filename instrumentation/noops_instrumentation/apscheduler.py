"""Jobs of APScheduler 3 and 4: each run is a trace of its own, on every executor.

A run is told as the processing of a message: `process {job}`, with the time since it was due as its dwell time. A run
that came too late for `misfire_grace_time` has `error.type` "missed". What the scheduler looks up in its job stores is
its own book.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/messaging-spans.md, docs/registry/attributes/code.md.
"""

from __future__ import annotations

from typing import Any

from noops_agent.instrument import (
    CONSUMER,
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

_FUNCTION = "code.function.name"
_EVENT_JOB_MISSED = 2**14
"""`apscheduler.events.EVENT_JOB_MISSED`, which version 4 doesn't have."""
_EXECUTORS = tuple(
    f"apscheduler.executors.{name}" for name in ("asyncio", "debug", "gevent", "pool", "tornado", "twisted")
)

_PROCESSING = Duration(
    messaging.PROCESSING.name,
    messaging.PROCESSING.description,
    (*messaging.PROCESSING.keys, _FUNCTION),
    messaging.PROCESSING.bounds,
    also=messaging.PROCESSING.also,
)


def _described(job: Any, name: str, store: str, due: Any, function: Any, runs: int = 1) -> Call:
    attributes: dict[str, Any] = {}
    if hasattr(function, "__qualname__"):
        attributes[_FUNCTION] = f"{function.__module__}.{function.__qualname__}"
    if runs > 1:
        attributes[messaging.BATCH_COUNT] = runs
    call = messaging.process(
        "apscheduler", store, message_id=str(job.id), sent_at=messaging.amqp_time(due), attributes=attributes
    )
    call.name = f"process {name}"
    call.request = job
    return call


# ---- version 3 -------------------------------------------------------------------------------------------


def _run(_: Any, args: Args, kwargs: Kwargs) -> Call:
    job, store, due = args[:3]
    return _described(job, job.name, store or "default", due[0], job.func, len(due))


def _ran(call: Call, events: Any) -> Attributes | BaseException | None:
    """Read what became of a run: the executor keeps the job's exception in an event."""
    for event in reversed(events):
        if isinstance(event.exception, BaseException):
            return event.exception
    missed = events and all(event.code == _EVENT_JOB_MISSED for event in events)
    return {"error.type": "missed"} if missed else None


def _runner(module: str, name: str, *, optional: bool = False) -> Everywhere:
    hook = Hook(f"{module}:{name}", CONSUMER, _run, result=_ran, duration=_PROCESSING, optional=optional)
    return Everywhere(hook, *_EXECUTORS)


# ---- version 4 -------------------------------------------------------------------------------------------


def _execute(executor: Any, args: Args, kwargs: Kwargs) -> Call:
    function, job = args
    return _described(job, job.task_id, "default", job.scheduled_fire_time or job.created_at, function)


INSTRUMENTATION = Instrumentation(
    library="apscheduler",
    distribution="apscheduler",
    versions=">=3.6",
    hooks=(
        _runner("apscheduler.executors.base", "run_job"),
        _runner("apscheduler.executors.base", "run_coroutine_job", optional=True),
        _runner("apscheduler.executors.base_py3", "run_coroutine_job", optional=True),
        Muted("apscheduler.schedulers.base:BaseScheduler._process_jobs", "db"),
        *(
            Hook(f"apscheduler.executors.{target}.run_job", CONSUMER, _execute, duration=_PROCESSING, optional=True)
            for target in (
                "async_:AsyncJobExecutor",
                "subprocess:ProcessPoolJobExecutor",
                "thread:ThreadPoolJobExecutor",
            )
        ),
    ),
)
