"""What the pipeline expects of a place that records go to."""

from __future__ import annotations

from typing import NamedTuple, Protocol

DELIVERED, REFUSED, TOO_LARGE, UNAVAILABLE = "delivered", "refused", "too large", "unavailable"


class Answer(NamedTuple):
    """What became of one request.

    `DELIVERED`: it was taken, but for *rejected* records. `REFUSED`: sending it again is of no use.
    `TOO_LARGE`: fewer records at once may pass. `UNAVAILABLE`: to be sent again, not before *retry_after_s*
    where the server says so.
    """

    outcome: str
    rejected: int = 0
    reason: str = ""
    retry_after_s: float | None = None


class Sink(Protocol):
    """A place that records go to. One thread at a time calls it; nothing heavy is loaded before the first `send`."""

    name: str
    signals: tuple[int, ...]

    def send(self, signal: int, body: bytes, records: int, timeout_s: float) -> Answer:
        """Send one encoded `Export*ServiceRequest` within *timeout_s* seconds; raises nothing that is expected."""
        ...

    def close(self) -> None:
        """Close connections; the sink may be used again."""
        ...

    def forget(self) -> None:
        """Drop connections without a word to the other side: in a forked child they are the parent's."""
        ...
