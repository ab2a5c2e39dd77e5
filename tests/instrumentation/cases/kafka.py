"""kafka-python: a record that is sent and acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ..fake_kafka import broker
from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a record that is sent."""
    kafka = pytest.importorskip("kafka")
    with broker() as server:
        server.keeps = False
        producer = kafka.KafkaProducer(bootstrap_servers=server.address, linger_ms=0)

        def send() -> None:
            done = threading.Event()
            future = producer.send("cases", b"x")
            future.add_both(lambda _: done.set())  # after what observes it, which was there first
            assert done.wait(5)

        yield [Case("kafka", call=send, fails=lambda: producer.send("cases"), many=1000)]
        producer.close()
