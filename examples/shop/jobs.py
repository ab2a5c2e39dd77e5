"""The shop's queue: a table of jobs in a SQLite file that both sides open.

A job carries headers beside its body, as a message of any broker does. Putting the trace context into them,
and the two spans, is the only tracing code of the shop: it stands in until the agent instruments the queue.
It uses the OpenTelemetry API alone, which does nothing in a process without an agent.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry import propagate, trace

TABLE = """CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY, kind TEXT, body TEXT, headers TEXT, due REAL, attempts INTEGER, taken INTEGER)"""

READY = "waiting for jobs"
"""What a worker says once it takes jobs; whoever started it can wait for that."""

OLDEST_DUE = """SELECT id, kind, body, headers, attempts + 1 FROM jobs
    WHERE taken = 0 AND due <= ? ORDER BY id LIMIT 1"""

tracer = trace.get_tracer("shop.jobs")


@dataclass
class Job:
    id: int
    kind: str
    body: dict[str, Any]
    headers: dict[str, str]
    attempts: int


class Jobs:
    """The queue in the file at *path*. Any number of threads and processes may use it."""

    def __init__(self, path: str) -> None:
        self.path = path
        with closing(self._open()) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute(TABLE)

    def put(self, kind: str, body: dict[str, Any]) -> None:
        """Add a job, due at once."""
        headers: dict[str, str] = {}
        with tracer.start_as_current_span(f"send {kind}", kind=trace.SpanKind.PRODUCER) as span:
            propagate.inject(headers)
            number = self._insert(kind, body, headers)
            span.set_attributes(described("send", kind, number))

    def take(self) -> Job | None:
        """Take the oldest job that is due; None when there is none."""
        with closing(self._open()) as database:
            database.execute("BEGIN IMMEDIATE")  # two workers never take the same job
            row = database.execute(OLDEST_DUE, (time.time(),)).fetchone()
            if row is not None:
                database.execute("UPDATE jobs SET taken = 1, attempts = attempts + 1 WHERE id = ?", row[:1])
            database.execute("COMMIT")
        return None if row is None else Job(row[0], row[1], json.loads(row[2]), json.loads(row[3]), row[4])

    @contextmanager
    def processing(self, job: Job) -> Iterator[None]:
        """Work on *job* inside the trace of the one who put it."""
        with tracer.start_as_current_span(
            f"process {job.kind}",
            context=propagate.extract(job.headers),
            kind=trace.SpanKind.CONSUMER,
            attributes={**described("process", job.kind, job.id), "shop.job.attempt": job.attempts},
        ):
            yield

    def put_back(self, job: Job, delay_s: float) -> None:
        """Let *job* be taken again, not before *delay_s* from now."""
        self._execute("UPDATE jobs SET taken = 0, due = ? WHERE id = ?", (time.time() + delay_s, job.id))

    def remove(self, job: Job) -> None:
        self._execute("DELETE FROM jobs WHERE id = ?", (job.id,))

    def count(self) -> int:
        """Jobs that are waiting or being worked on."""
        with closing(self._open()) as database:
            return int(database.execute("SELECT count(*) FROM jobs").fetchone()[0])

    def _insert(self, kind: str, body: dict[str, Any], headers: dict[str, str]) -> int:
        return self._execute(
            "INSERT INTO jobs (kind, body, headers, due, attempts, taken) VALUES (?, ?, ?, ?, 0, 0)",
            (kind, json.dumps(body), json.dumps(headers), time.time()),
        )

    def _execute(self, statement: str, values: tuple[object, ...]) -> int:
        with closing(self._open()) as database:
            return int(database.execute(statement, values).lastrowid or 0)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=10, isolation_level=None)


def described(operation: str, kind: str, number: int) -> dict[str, str]:
    """Attributes of a message, by the semantic conventions for messaging."""
    return {
        "messaging.system": "shop_jobs",
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": kind,
        "messaging.message.id": str(number),
    }
