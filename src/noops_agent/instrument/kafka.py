"""Kafka: what records mean, whichever client sends and reads them, and calls whose outcome is told later.

Source: OpenTelemetry semantic conventions 1.44, docs/messaging/kafka.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from .._core import decorate
from . import messaging
from .carriers import Pairs
from .hook import Hook, Observed
from .patch import Patch, Wrapper

if TYPE_CHECKING:
    from .live import Live
    from .model import Args, Call, Kwargs
    from .operation import Operation

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
    if isinstance(bootstrap, str):
        return _address(bootstrap)
    for first in bootstrap or ():
        return _address(first) if isinstance(first, str) else ("", None)
    return "", None


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


def sent(topic: str, key: Any, value: Any, partition: Any, headers: Pairs | None, bootstrap: Any) -> Call:
    """Describe sending a record.

    Args:
        key: Of whatever type the application's serializer takes.
        value: The same; None deletes what has the key.
        partition: The number that the application chose; None or -1: it chose none.
        headers: Where the context goes; None: nowhere.
        bootstrap: The servers that the client was told of.
    """
    address, port = server(bootstrap)
    attributes: dict[str, Any] = {}
    text = key_of(key)
    if text is not None:
        attributes[KEY] = text
    if value is None:
        attributes[TOMBSTONE] = True
    if partition is not None and partition >= 0:
        attributes[messaging.PARTITION_ID] = str(partition)
    return messaging.send(
        SYSTEM,
        topic,
        headers,
        address=address,
        port=port,
        body_size=len(value) if isinstance(value, (bytes, bytearray)) else None,
        stamped=True,
        attributes=attributes,
    )


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


# ---- calls whose outcome comes later ---------------------------------------------------------------------

Follow = Callable[[Observed, "Operation", Any], None]
"""(the hook in force, operation, what was returned): ends the operation once the outcome is known."""


class Delivering(Hook):
    """A hook for calls that hand a record over: it is sent later, with others, and its span ends with the delivery.

    Args:
        follow: Ends the operation when the outcome comes, at once if there is none to wait for.
        (all others: see `Hook`)
    """

    def __init__(self, *given: Any, follow: Follow, **more: Any) -> None:
        super().__init__(*given, **more)
        self.follow = follow

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""
        observed = Observed(self, live, bound)
        if decorate.flags_of(original) & (decorate.CO_COROUTINE | decorate.CO_ITERABLE_COROUTINE):

            @functools.wraps(original)
            async def later(*args: Any, **kwargs: Any) -> Any:
                operation = observed.begin(args, kwargs)
                if operation is None:
                    return await original(*args, **kwargs)
                args, kwargs = self.prepared(observed, operation, args, kwargs)
                try:
                    returned = await original(*args, **kwargs)
                except BaseException as error:
                    operation.close(error, None, self.error)
                    raise
                self.watch(observed, operation, returned)
                return returned

            return later

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            operation = observed.begin(args, kwargs)
            if operation is None:
                return original(*args, **kwargs)
            args, kwargs = self.prepared(observed, operation, args, kwargs)
            try:
                returned = original(*args, **kwargs)
            except BaseException as error:
                operation.close(error, None, self.error)
                raise
            self.watch(observed, operation, returned)
            return returned

        return call

    def prepared(self, observed: Observed, operation: Operation, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Give the arguments of the call; a report among them may come before the call has returned."""
        report = operation.call.state
        if report is not None:
            report.observed = observed
            report.operation = operation
        return observed.arguments(operation, args, kwargs)

    def watch(self, observed: Observed, operation: Operation, returned: Any) -> None:
        """Wait for the outcome."""
        try:
            self.follow(observed, operation, returned)
        except Exception as error:
            observed.live.failed(self.target, error)
            operation.close()


def future_done(observed: Observed, operation: Operation, future: Any) -> None:
    """Follow a future of kafka-python, whose callbacks run in the thread that sends."""
    future.add_callback(partial(observed.finish, operation))
    future.add_errback(partial(_lost, observed, operation))


def _lost(observed: Observed, operation: Operation, error: BaseException) -> None:
    operation.close(error, None, observed.hook.error)


class Report:
    """The delivery report of one record: the application's callback for it, and the operation that it ends."""

    __slots__ = ("callback", "observed", "operation")

    def __init__(self, callback: Callable[[Any, Any], Any]) -> None:
        self.callback = callback
        self.observed: Observed | None = None
        self.operation: Operation | None = None

    def __call__(self, error: Any, message: Any) -> Any:
        """End the operation, and call the application's own."""
        operation, observed = self.operation, self.observed
        if operation is not None and observed is not None:
            if error is None:
                observed.finish(operation, message)
            else:
                operation.close(None, {"error.type": error.name()})
        return self.callback(error, message)


def report_done(observed: Observed, operation: Operation, returned: Any) -> None:
    """Wait for the report in the call's state; where the application asked for none, the call is all there is.

    A report of ours would have to be fetched by the application, by a `poll` that it has no other reason for.
    """
    if operation.call.state is None:
        observed.finish(operation, None)


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
        return type(original.__name__, (original,), {**about, **body})
