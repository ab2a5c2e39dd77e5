"""Segments on their way to the sinks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .._core.segment import HEADER_BYTES
from .delivery import Delivery
from .sink import Sink


class Lane(NamedTuple):
    """One signal on its way to one sink; *place* is its index in `Shipment.offsets`."""

    place: int
    delivery: Delivery
    signal: int


class Shipment:
    """One segment, and the offset that each lane has come to."""

    __slots__ = ("counted", "offsets", "segment")

    def __init__(self, segment: Any, lanes: int) -> None:
        self.segment = segment
        self.counted: Any = None
        self.offsets: list[int] = [max(segment.shipped, HEADER_BYTES)] * lanes

    def passed(self) -> int:
        """Offset before which every lane has taken every record."""
        return min(self.offsets)

    def unshipped_bytes(self) -> int:
        """Bytes of records that some lane has not taken yet."""
        return max(self.segment.used - self.passed(), 0) if self.segment.mapped and self.offsets else 0

    def pass_over(self, offset: int) -> None:
        """Let no lane take what stands before *offset* any more."""
        self.offsets = [max(reached, offset) for reached in self.offsets]
        self.mark()

    def mark(self) -> None:
        """Store in the segment how far all lanes have come."""
        passed = self.passed()
        if passed > self.segment.shipped:
            self.segment.mark_shipped(passed)


class Shipper:
    """Takes shipments to all sinks; each sink goes at its own pace.

    Args:
        sinks: Where records go; with none, they stay in their segments.
        batch_records: Most records in one request.
        keeps: Whether segments stay on this machine once they are shipped.
    """

    def __init__(self, sinks: Sequence[Sink], batch_records: int, keeps: bool) -> None:
        self.keeps = keeps
        self.deliveries = [Delivery(sink, batch_records) for sink in sinks]
        self.lanes: list[Lane] = []
        for delivery in self.deliveries:
            for signal in delivery.sink.signals:
                self.lanes.append(Lane(len(self.lanes), delivery, signal))

    def load(self, segment: Any) -> Shipment:
        """Begin to ship a segment, from where its mark stands."""
        return Shipment(segment, len(self.lanes))

    def ready(self) -> bool:
        """Whether every sink may be tried now."""
        return all(delivery.ready() for delivery in self.deliveries)

    def ship(self, shipment: Shipment, left_s: Callable[[], float]) -> bool:
        """Send what a segment holds; True: nothing is left of it and it was let go.

        Args:
            shipment: The segment; a mapped one.
            left_s: Seconds that the next request may take; none left: stop.
        """
        segment = shipment.segment
        # In this order: what is sealed is not written any more, so its end is final.
        sealed, end = segment.sealed, segment.used
        for delivery in self.deliveries:
            self._ship_to(delivery, shipment, end, left_s)
        if not sealed or (self.lanes and shipment.passed() < end):
            return False
        self.let_go(shipment)
        return True

    def let_go(self, shipment: Shipment) -> None:
        """Delete a segment that is done with, or leave it to the local store."""
        if self.keeps:
            shipment.segment.keep()
        else:
            shipment.segment.release()

    def _ship_to(self, delivery: Delivery, shipment: Shipment, end: int, left_s: Callable[[], float]) -> None:
        lanes = [lane for lane in self.lanes if lane.delivery is delivery]
        while lanes and delivery.ready():
            # The lane that is furthest behind goes first: the stored mark follows it, and what is sent again after a
            # crash is what lies between the lanes.
            lane = min(lanes, key=lambda lane: shipment.offsets[lane.place])
            start = shipment.offsets[lane.place]
            timeout_s = left_s()
            if start >= end or timeout_s <= 0:
                return
            following = delivery.advance(shipment.segment, lane.signal, start, end, timeout_s)
            if following is None:
                return
            shipment.offsets[lane.place] = following
            shipment.mark()

    def next_try_s(self) -> float | None:
        """Seconds until the first unavailable sink may be tried again; None: all are well."""
        waits = [delivery.retry_at for delivery in self.deliveries if delivery.failures]
        return max(min(waits) - time.monotonic(), 0.0) if waits else None
