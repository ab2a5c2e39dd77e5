"""What waits while a sink is unavailable, kept within its cap: the oldest go first, errors last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .._core.segment import ERROR, HEADER_BYTES, READY, RECORD, SCOPE, aligned, positions, split_scope
from .._diagnostics import count, say
from .._env import sleep
from .otlp import SIGNALS
from .shipment import Lane, Shipment

MAX_FOREIGN_SCOPES = 1024
YIELD_AFTER = 64
"""A walk lets the threads of the application run after this many records."""


class Waiting(NamedTuple):
    """A ready record that was not shipped: where it stands, where the next begins, what it is."""

    offset: int
    following: int
    signal: int
    error: bool
    scope: bytes


class Tally(NamedTuple):
    """What waits in a segment: records, bytes, and how many of these bytes tell of errors."""

    records: int
    size_bytes: int
    error_bytes: int


def waiting(shipment: Shipment) -> Iterator[Waiting]:
    """Walk the records of a segment that some lane has not taken."""
    segment = shipment.segment
    start = shipment.passed() if shipment.offsets else HEADER_BYTES
    memory = segment.memory
    scopes: dict[int, bytes] = {}
    for number, (offset, length, state, tagged, scope) in enumerate(positions(memory, HEADER_BYTES, segment.used)):
        if number % YIELD_AFTER == 0:
            sleep(0)
        begin = offset + RECORD.size
        following = offset + aligned(RECORD.size + length)
        signal = tagged & ~ERROR
        if state != READY:
            continue
        if signal == SCOPE:
            scopes[scope] = bytes(memory[begin : begin + length])
        elif offset >= start and scope in scopes:
            yield Waiting(offset, following, signal, bool(tagged & ERROR), scopes[scope])


def tally(shipment: Shipment) -> Tally:
    """Count what waits in a segment; once, where it does not change any more."""
    state = (shipment.passed(), shipment.segment.used)
    if shipment.counted is None or shipment.counted[0] != state:
        shipment.counted = (state, _count(shipment))
    counted: Tally = shipment.counted[1]
    return counted


def _count(shipment: Shipment) -> Tally:
    records = size = errors = 0
    for record in waiting(shipment):
        taken = record.following - record.offset
        records += 1
        size += taken
        errors += taken if record.error else 0
    return Tally(records, size, errors)


class Backlog:
    """Drops records where more wait than may.

    Args:
        recorder: Takes the error records of dropped segments back.
        lanes: All lanes of the shipper.
        unshipped_bytes: Most bytes that may wait.
        queue_size: Most records that may wait; None: any number.
    """

    def __init__(self, recorder: Any, lanes: list[Lane], unshipped_bytes: int, queue_size: int | None) -> None:
        self._recorder = recorder
        self._lanes = lanes
        self.capacity_bytes = unshipped_bytes
        self._queue_size = queue_size
        self._scopes: dict[bytes, int] = {}

    def over_bytes(self, shipments: list[Shipment], others_bytes: int) -> int:
        """Bytes above the cap; *others_bytes* wait elsewhere."""
        return sum(shipment.unshipped_bytes() for shipment in shipments) + others_bytes - self.capacity_bytes

    def shed(self, shipments: list[Shipment], others_bytes: int = 0) -> list[Shipment]:
        """Drop what is over the cap, oldest first; gives the shipments that nothing is left of.

        A segment that tells mostly of errors is dropped where no other is left to drop.
        """
        emptied: list[Shipment] = []
        for spare_errors in (True, False):
            for shipment in shipments:
                if self.over_bytes(shipments, others_bytes) <= 0:
                    break
                if not shipment.segment.sealed or shipment in emptied:
                    continue
                counted = tally(shipment)
                if spare_errors and counted.error_bytes * 2 > counted.size_bytes:
                    continue
                self.drop(shipment, rescue=spare_errors)
                emptied.append(shipment)
        self._shorten(shipments)
        return emptied

    def _shorten(self, shipments: list[Shipment]) -> None:
        if self._queue_size is None:
            return
        # No record takes less than 16 bytes, so a short queue need not be counted.
        if sum(shipment.unshipped_bytes() for shipment in shipments) < 16 * self._queue_size:
            return
        counts = [(shipment, tally(shipment).records) for shipment in shipments if shipment.segment.mapped]
        excess = sum(records for _, records in counts) - self._queue_size
        for shipment, records in counts:
            if excess <= 0:
                break
            self.drop(shipment, rescue=False, most=excess)
            excess -= records

    def drop(self, shipment: Shipment, rescue: bool, most: int | None = None) -> None:
        """Give up the records that wait in a segment, the first *most* of them; *rescue* writes errors anew."""
        lost: dict[int, int] = {}
        end = shipment.segment.used
        for number, record in enumerate(waiting(shipment)):
            if record.offset >= end or (most is not None and number >= most):
                end = min(end, record.offset)
                break
            if rescue and record.error and not self._sent_somewhere(shipment, record):
                payload = self._payload(shipment, record)
                # Marked before it is written anew: a crash in between loses one record rather than doubles it.
                shipment.pass_over(record.following)
                if self._append(record, payload):
                    continue
            lost[record.signal] = lost.get(record.signal, 0) + 1
        shipment.pass_over(end)
        for signal, records in lost.items():
            noun = SIGNALS[signal].noun if signal in SIGNALS else "records"
            count(f"lost.{noun}", records)
        if lost:
            say("records.lost", reason=f"more than {self.capacity_bytes} bytes, or the longest queue, waited")

    def _sent_somewhere(self, shipment: Shipment, record: Waiting) -> bool:
        reached = (shipment.offsets[lane.place] for lane in self._lanes if lane.signal == record.signal)
        return any(offset > record.offset for offset in reached)

    def _payload(self, shipment: Shipment, record: Waiting) -> bytes:
        memory = shipment.segment.memory
        begin = record.offset + RECORD.size
        (length,) = RECORD.unpack_from(memory, record.offset)[:1]
        return bytes(memory[begin : begin + length])

    def _append(self, record: Waiting, payload: bytes) -> bool:
        scope = self._scopes.get(record.scope)
        if scope is None:
            if len(self._scopes) >= MAX_FOREIGN_SCOPES:
                return False
            resource, described = split_scope(record.scope)
            scope = self._scopes[record.scope] = self._recorder.scope(self._recorder.resource(resource), described)
        return bool(self._recorder.append(record.signal | ERROR, scope, payload))
