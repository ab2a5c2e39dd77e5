"""confluent-kafka: a record that is handed to the client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from . import Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Yield a record that is produced, and one that is too large."""
    confluent_kafka = pytest.importorskip("confluent_kafka")
    made: dict[type, Any] = {}

    def producer() -> Any:
        """Give a client of the class that is there now: it is another one while the library is observed."""
        kind = confluent_kafka.Producer
        if kind not in made:
            made[kind] = kind({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0})
        return made[kind]

    def produce() -> None:
        producer().produce("cases", b"x")
        producer().poll(0)

    yield [
        Case(
            "confluent_kafka",
            call=produce,
            fails=lambda: producer().produce("cases", bytes(2_000_000)),
            many=5000,
        )
    ]
    for client in made.values():
        client.purge()
        client.flush(1)
