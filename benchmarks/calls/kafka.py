"""One record handed to kafka-python: all that its `send` does but the thread that sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CONTRIB = "opentelemetry.instrumentation.kafka:KafkaInstrumentor"
CONTRIB_PACKAGE = "opentelemetry-instrumentation-kafka-python"
DDTRACE = None
REQUIRES = ("kafka-python",)


class Cluster:
    """What is known of the cluster."""

    def partitions_for_topic(self, _: str) -> set[int]:
        """There is one."""
        return {0}

    def topics(self) -> set[str]:
        """There is one."""
        return {"benchmark"}


class Accumulator:
    """Where records wait: here the broker has them at once."""

    def append(self, place: Any, *_: Any, **__: Any) -> tuple[Any, bool, bool, bool]:
        """Take a record."""
        from kafka.producer.future import FutureProduceResult, FutureRecordMetadata

        produced = FutureProduceResult(place)
        future = FutureRecordMetadata(produced, 0, 1, None, -1, 1, -1)
        produced.success((0, -1, None))
        return future, False, False, False


def prepare() -> Callable[[], object]:
    """Give the call: `send` of a real producer that has no connection."""
    from kafka import KafkaProducer

    producer: Any = KafkaProducer.__new__(KafkaProducer)
    producer.config = {**KafkaProducer.DEFAULT_CONFIG, "api_version": (2, 8), "bootstrap_servers": ["127.0.0.1:9092"]}
    producer._metadata = Cluster()
    producer._accumulator = Accumulator()
    producer._transaction_manager = None
    producer._closed = False
    return lambda: producer.send("benchmark", b"x", partition=0)
