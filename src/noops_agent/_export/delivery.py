"""How one sink is doing: batches, back-off, and what is said about it."""

from __future__ import annotations

import random
import time
from typing import Any

from .._core import collect
from .._diagnostics import count, say
from .otlp import SIGNALS
from .sink import DELIVERED, REFUSED, TOO_LARGE, UNAVAILABLE, Answer, Sink

MAX_REQUEST_BYTES = (4 << 20) - (64 << 10)
"""Just under what gRPC servers take by default."""

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 30.0
LONGEST_RETRY_AFTER_S = 300.0
REPEAT_S = 600.0
"""A sink that fails and recovers all the time is told of this often."""

GROW_AFTER = 8


class Delivery:
    """Sends ranges of segments to one sink. For the thread whose turn it is alone."""

    def __init__(self, sink: Sink, batch_records: int) -> None:
        self.sink = sink
        self.records = self.most_records = max(batch_records, 1)
        self.failures = 0
        self.retry_at = 0.0
        self.told_to_wait = False
        self.inflight = 0
        self.exported = self.failed = self.requests = 0
        self.request_s = self.slowest_s = 0.0
        self.last_reason = ""
        self._good = 0
        self._said_at: float | None = None
        self._said = False

    def ready(self) -> bool:
        """Whether the sink may be tried now."""
        return time.monotonic() >= self.retry_at

    def hurry(self) -> None:
        """Try at once, unless the server itself asked for patience."""
        if not self.told_to_wait:
            self.retry_at = 0.0

    def advance(self, segment: Any, signal: int, start: int, end: int, timeout_s: float) -> int | None:
        """Send the next batch of a range; gives the offset to go on from, None while the sink is unavailable."""
        body, reached, records = collect(segment.memory, start, end, signal, MAX_REQUEST_BYTES, self.records)
        following: int = reached
        if not records:
            return end
        answer = self._send(signal, body, records, timeout_s)
        if answer.outcome == UNAVAILABLE:
            self._back_off(answer)
            return None
        if answer.outcome == TOO_LARGE and records > 1:
            self.records, self._good = records // 2, 0
            return start
        self._settle(signal, records, answer)
        return following

    def _send(self, signal: int, body: bytes, records: int, timeout_s: float) -> Answer:
        began = time.monotonic()
        self.inflight = records
        try:
            return self.sink.send(signal, body, records, timeout_s)
        except Exception as error:
            # A sink answers for what can be foreseen. The rest would fail again: rather lose one batch than all.
            self._say("exporter.failed", name=self.sink.name, error=repr(error))
            return Answer(REFUSED, reason=repr(error))
        finally:
            self.inflight = 0
            self.requests += 1
            took_s = time.monotonic() - began
            self.request_s += took_s
            self.slowest_s = max(self.slowest_s, took_s)

    def _settle(self, signal: int, records: int, answer: Answer) -> None:
        rejected = min(answer.rejected, records) if answer.outcome == DELIVERED else records
        self.exported += records - rejected
        self.failed += rejected
        named = SIGNALS[signal]
        counter = f"otel.sdk.exporter.{named.counter}.exported"
        if records > rejected:
            count(counter, records - rejected)
        if rejected:
            count(f"{counter}.failed", rejected)
        if answer.outcome == DELIVERED:
            self._recover()
            if rejected:
                self._say(
                    "export.partial", rejected=f"{rejected} {named.noun}", message=answer.reason or "no reason given"
                )
        else:
            self.last_reason = answer.reason
            self._say("export.refused", reason=answer.reason)

    def _say(self, slug: str, **facts: object) -> None:
        say(slug, key=self.sink.name, target=self.sink.name, **facts)

    def _recover(self) -> None:
        self._good += 1
        if self._good >= GROW_AFTER and self.records < self.most_records:
            self.records, self._good = min(self.records * 2, self.most_records), 0
        if self._said:
            say("export.recovered", key=(self.sink.name, self._said_at), target=self.sink.name)
        self._said = False
        self.failures, self.retry_at, self.told_to_wait, self.last_reason = 0, 0.0, False, ""

    def _back_off(self, answer: Answer) -> None:
        now = time.monotonic()
        self.failures += 1
        self.last_reason = answer.reason
        count("export.retries")
        self.told_to_wait = answer.retry_after_s is not None
        if answer.retry_after_s is not None:
            delay_s = min(max(answer.retry_after_s, 0.0), LONGEST_RETRY_AFTER_S)
        else:
            longest_s = min(FIRST_BACKOFF_S * 2.0 ** min(self.failures - 1, 10), LONGEST_BACKOFF_S)
            delay_s = longest_s * random.uniform(0.5, 1.0)
        self.retry_at = now + delay_s
        if not self._said and (self._said_at is None or now - self._said_at > REPEAT_S):
            self._said, self._said_at = True, now
            say("export.failed", key=(self.sink.name, now), target=self.sink.name, reason=answer.reason)

    def status(self) -> dict[str, Any]:
        """Figures for `status` and `doctor`; durations in seconds."""
        return {
            "sink": self.sink.name,
            "state": "unavailable" if self.failures else "delivering" if self.exported else "untried",
            "reason": self.last_reason,
            "failures": self.failures,
            "exported": self.exported,
            "failed": self.failed,
            "inflight": self.inflight,
            "requests": self.requests,
            "request_s": self.request_s,
            "slowest_s": self.slowest_s,
        }
