"""Kafka: what records mean, whichever client sends and reads them, and calls whose outcome is told later.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/kafka.md.
"""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from . import messaging
from .carriers import Pairs
from .model import Call
from .outcome import Outcome
from .patch import Patch

if TYPE_CHECKING:
    from .live import Live

SYSTEM = "kafka"
KEY = "messaging.kafka.message.key"
OFFSET = "messaging.kafka.offset"
TOMBSTONE = "messaging.kafka.message.tombstone"

DEFAULT_PORT = 9092
MAX_KEY = 256
"""Characters of a key that are told; what is longer is no key but data."""


# ---- what records mean -----------------------------------------------------------------------------------


def server(bootstrap: Any) -> tuple[str, int | None]:
    """Give host and port of the first of the servers that a client was told of: a text with commas, or a list."""
    return _address(_first(bootstrap))


def _first(bootstrap: Any) -> str:
    if type(bootstrap) is not list and not isinstance(bootstrap, str):
        bootstrap = list(bootstrap or ())
    first = bootstrap[0] if type(bootstrap) is list and bootstrap else bootstrap
    return first if isinstance(first, str) else ""


@lru_cache(maxsize=64)
def _address(servers: str) -> tuple[str, int | None]:
    first = servers.partition(",")[0].strip()
    first = first.rpartition("://")[2]
    host, found, number = first.rpartition(":")
    if not found or not number.isdigit() or (":" in host and not host.startswith("[")):
        return first.strip("[]"), None
    port = int(number)
    return host.strip("[]"), None if port == DEFAULT_PORT else port


def key_of(key: Any) -> str | None:
    """Give a key as text; None where there is none, or where it has no text of its own."""
    if isinstance(key, bytes):
        try:
            key = key.decode()
        except UnicodeDecodeError:
            return None
    if isinstance(key, str):
        return key if len(key) <= MAX_KEY and key.isprintable() else None
    return str(key) if type(key) is int else None


@lru_cache(maxsize=1024)
def _sending(topic: str, servers: str) -> tuple[str, dict[str, Any]]:
    """Give the name and the attributes of sending to a topic, which are the same for each record."""
    address, port = _address(servers)
    call = messaging.send(SYSTEM, topic, address=address, port=port)
    return call.name, call.attributes


def sent(topic: str, key: Any, value: Any, partition: Any, headers: Pairs | None, bootstrap: Any) -> Call:
    """Describe sending a record.

    Args:
        key: Of whatever type the application's serializer takes.
        value: The same; None deletes what has the key.
        partition: The number that the application chose; None or -1: it chose none.
        headers: Where the context goes; None: nowhere. Records have a time of their own.
        bootstrap: The servers that the client was told of.
    """
    name, shared = _sending(topic, _first(bootstrap))
    attributes = shared.copy()
    if key is not None:
        text = key_of(key)
        if text is not None:
            attributes[KEY] = text
    if value is None:
        attributes[TOMBSTONE] = True
    elif isinstance(value, (bytes, bytearray)):
        attributes[messaging.BODY_SIZE] = len(value)
    if partition is not None and partition >= 0:
        attributes[messaging.PARTITION_ID] = str(partition)
    return Call(name, attributes, inject=headers)


def carrier_of(headers: Iterable[Sequence[Any]] | None) -> messaging.Carrier:
    """Give the headers of a record by their keys; of those with the same key the last one, as Kafka's clients do."""
    return {pair[0]: pair[1] for pair in headers} if headers else messaging.NO_HEADERS


def facts(partition: int, offset: int, key: Any, value: Any) -> dict[str, Any]:
    """Give the attributes of a record that was read."""
    attributes: dict[str, Any] = {messaging.PARTITION_ID: str(partition), OFFSET: offset}
    text = key_of(key)
    if text is not None:
        attributes[KEY] = text
    if value is None:
        attributes[TOMBSTONE] = True
    return attributes


def processed(record: Any, group: str, bootstrap: Any) -> Call:
    """Describe the processing of a record of a client in Python: it has `topic`, `partition`, `offset` and so on."""
    address, port = server(bootstrap)
    size = getattr(record, "serialized_value_size", -1)
    return messaging.process(
        SYSTEM,
        record.topic,
        carrier_of(record.headers),
        group=group,
        address=address,
        port=port,
        body_size=size if size >= 0 else None,
        sent_at=record.timestamp * 1_000_000 if record.timestamp > 0 else None,
        attributes=facts(record.partition, record.offset, record.key, record.value),
    )


def received(record: Any, group: str, bootstrap: Any) -> Call:
    """Describe a record that was asked for alone."""
    address, port = server(bootstrap)
    size = getattr(record, "serialized_value_size", -1)
    return messaging.receive(
        SYSTEM,
        record.topic,
        (carrier_of(record.headers),),
        operation="poll",
        group=group,
        address=address,
        port=port,
        body_size=size if size >= 0 else None,
        sent_at=record.timestamp * 1_000_000 if record.timestamp > 0 else None,
        attributes=facts(record.partition, record.offset, record.key, record.value),
    )


def polled(
    topics: set[str], partitions: set[int], carriers: list[messaging.Carrier], first_ms: int, group: str, bootstrap: Any
) -> Call:
    """Describe a batch of records: topic and partition are told where all of them are of one.

    Args:
        first_ms: When the first of them was sent, in milliseconds since the epoch; 0 or less: unknown.
    """
    address, port = server(bootstrap)
    one = len(topics) == 1
    attributes = {messaging.PARTITION_ID: str(next(iter(partitions)))} if one and len(partitions) == 1 else None
    return messaging.receive(
        SYSTEM,
        next(iter(topics)) if one else "",
        carriers,
        operation="poll",
        group=group,
        address=address,
        port=port,
        sent_at=first_ms * 1_000_000 if first_ms > 0 else None,
        batch=True,
        attributes=attributes,
    )


def batch(records: dict[Any, list[Any]], group: str, bootstrap: Any) -> Call | None:
    """Describe what a poll gave: records by their topics and partitions; None where there are none."""
    flat = [record for some in records.values() for record in some]
    if not flat:
        return None
    return polled(
        {place.topic for place in records},
        {place.partition for place in records},
        [carrier_of(record.headers) for record in flat[: messaging.MAX_LINKS]]
        + [messaging.NO_HEADERS] * (len(flat) - messaging.MAX_LINKS),
        min(record.timestamp for record in flat),
        group,
        bootstrap,
    )


# ---- what becomes of records -----------------------------------------------------------------------------


def future_done(outcome: Outcome, producer: Any, future: Any) -> None:
    """Follow a future of kafka-python, whose callbacks run in the thread that sends."""
    together = getattr(future, "_add_cb_eb", None)  # since 3.0, at half of the cost
    if together is None:
        future.add_callback(outcome.told)
        future.add_errback(outcome.lost)
    else:
        together(outcome.told, outcome.lost)


def aio_future_done(outcome: Outcome, producer: Any, future: Any) -> None:
    """Follow a future of asyncio."""
    future.add_done_callback(partial(_settled, outcome))


def _settled(outcome: Outcome, future: Any) -> None:
    """Tell what became of a future; asyncio reports exceptions that nobody asked for, so we look without asking."""
    if future.cancelled():
        outcome.lost(CancelledError())
        return
    error = future._exception if hasattr(future, "_exception") else future.exception()
    if error is None:
        outcome.told(future.result())
    else:
        outcome.lost(error)


class Report:
    """The application's callback for the delivery of one record, which tells the outcome first."""

    __slots__ = ("callback", "outcome")

    def __init__(self, callback: Callable[[Any, Any], Any]) -> None:
        self.callback = callback
        self.outcome: Outcome | None = None

    def __call__(self, error: Any, message: Any) -> Any:
        """Tell the outcome, and call the application's own."""
        if self.outcome is not None:
            self.outcome.told(message if error is None else error)
        return self.callback(error, message)


def expect_report(outcome: Outcome) -> None:
    """Let the report among the arguments of a call know what it ends."""
    report = outcome.call.state
    if report is not None:
        report.outcome = outcome


def report_done(outcome: Outcome, producer: Any, returned: Any) -> None:
    """Wait for the report in the call's state; where the application asked for none, the call is all there is.

    A report of ours would have to be fetched by the application, by a `poll` that it has no other reason for.
    """
    if outcome.call.state is None:
        outcome.told(None)


class Subclass(Patch):
    """Puts a subclass in the place of a class that is written in C, with methods that are observed.

    Args:
        target: The class.
        methods: The patches of its methods, by their names.
    """

    def __init__(self, target: str, **methods: Patch) -> None:
        super().__init__(target)
        self.methods = methods

    def wrap(self, live: Live, original: Any, method: bool) -> Any:
        """Make the subclass; it says of itself what the class says."""
        found = {name: getattr(original, name, None) for name in self.methods}
        body = {name: self.methods[name].make(live, here, True) for name, here in found.items() if here is not None}
        about = {name: getattr(original, name) for name in ("__module__", "__doc__", "__qualname__")}
        try:
            inspect.signature(original)
        except ValueError:  # C doesn't tell; nor shall the `__init__` of ours, which takes whatever comes
            about["__signature__"] = "unknown"
        return type(original.__name__, (original,), {**about, **body})
