"""One record handed to librdkafka, which has no broker and keeps it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

CONTRIB = "opentelemetry.instrumentation.confluent_kafka:ConfluentKafkaInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-confluent-kafka"
DDTRACE = "kafka"
REQUIRES = ("confluent-kafka",)


def prepare() -> Callable[[], object]:
    """Give the call: what is kept is thrown away now and then."""
    import confluent_kafka

    producer: Any = confluent_kafka.Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    calls = count(1)

    def call() -> None:
        producer.produce("benchmark", b"x")
        if next(calls) % 10_000 == 0:
            producer.purge()
            producer.poll(0)

    return call
