"""The shop's queue: a folder of files that both sides see.

A job carries headers beside its body, as a message of any broker does. This queue is the shop's own, which nothing can
know of, so it puts the trace context into the headers, and makes the two spans, itself: the only tracing code of the
shop. It uses the OpenTelemetry API alone, which does nothing in a process without an agent.
"""

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry import propagate, trace

READY = "waiting for jobs"
"""What a worker says once it takes jobs; whoever started it can wait for that."""

tracer = trace.get_tracer("shop.jobs")


@dataclass
class Job:
    id: str
    kind: str
    body: dict[str, Any]
    headers: dict[str, str]
    attempts: int = 0


class Jobs:
    """The queue in the folder at *path*. Any number of threads and processes may use it.

    A file is a job; its name begins with the time from which on it may be taken, in milliseconds since the epoch. To
    take it is to move it: that succeeds for one.
    """

    def __init__(self, path: str) -> None:
        self.new, self.waiting, self.taken = (Path(path, name) for name in ("new", "waiting", "taken"))
        for folder in (self.new, self.waiting, self.taken):
            folder.mkdir(parents=True, exist_ok=True)

    def put(self, kind: str, body: dict[str, Any]) -> None:
        """Add a job, due at once."""
        job = Job(uuid.uuid4().hex, kind, body, {})
        with tracer.start_as_current_span(
            f"send {kind}", kind=trace.SpanKind.PRODUCER, attributes=described("send", job)
        ):
            propagate.inject(job.headers)
            self._lay_down(job, time.time())

    def take(self) -> Job | None:
        """Take the job that is due longest; None when there is none."""
        now_ms = time.time() * 1000
        for name in sorted(os.listdir(self.waiting)):
            due_ms, _, number = name.partition("-")
            if int(due_ms) > now_ms:
                break
            with suppress(FileNotFoundError):  # somebody else was faster
                place = (self.waiting / name).rename(self.taken / number)
                job = Job(**json.loads(place.read_text()))
                job.attempts += 1
                return job
        return None

    @contextmanager
    def processing(self, job: Job) -> Iterator[None]:
        """Work on *job* inside the trace of the one who put it."""
        with tracer.start_as_current_span(
            f"process {job.kind}",
            context=propagate.extract(job.headers),
            kind=trace.SpanKind.CONSUMER,
            attributes={**described("process", job), "shop.job.attempt": job.attempts},
        ):
            yield

    def put_back(self, job: Job, delay_s: float) -> None:
        """Let *job* be taken again, not before *delay_s* from now."""
        self._lay_down(job, time.time() + delay_s)
        self.remove(job)

    def remove(self, job: Job) -> None:
        (self.taken / job.id).unlink()

    def count(self) -> int:
        """Jobs that are waiting or being worked on."""
        return len({name.rpartition("-")[2] for folder in (self.waiting, self.taken) for name in os.listdir(folder)})

    def _lay_down(self, job: Job, due: float) -> None:
        """Write the file where nobody looks, then move it: no one finds half a job."""
        place = self.new / f"{round(due * 1000):014d}-{job.id}"
        place.write_text(json.dumps(vars(job)))
        place.rename(self.waiting / place.name)


def described(operation: str, job: Job) -> dict[str, str]:
    """Attributes of a message, by the semantic conventions for messaging."""
    return {
        "messaging.system": "shop_jobs",
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": job.kind,
        "messaging.message.id": job.id,
    }
