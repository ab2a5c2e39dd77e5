"""kombu: sending to a broker in memory, and asking for what was sent."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Calls on one connection."""
    kombu = pytest.importorskip("kombu")
    with kombu.Connection("memory://") as connection:
        producer = connection.Producer()
        queue = kombu.Queue(f"noops-case-{uuid.uuid4().hex}")(connection.default_channel)
        queue.declare()

        def round_trip() -> Any:
            producer.publish("x", routing_key=queue.name)
            return queue.get(no_ack=True).payload

        def fails() -> None:
            producer.publish("x", routing_key=queue.name, serializer="no such serializer")

        yield [Case("kombu", round_trip, spans=2, fails=fails, many=2000)]
