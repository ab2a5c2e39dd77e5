"""A Kafka broker on the loopback that knows as much of the protocol as the clients need to send and read records.

It is one node without replication, keeps everything in memory, and takes record batches as they are: what a client
wrote comes back byte for byte, but for the offset. It knows no groups beyond where their coordinator is and what they
have committed: a consumer is assigned its partitions.

Source: https://kafka.apache.org/protocol; versions of each request that have no tagged fields yet.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PRODUCE, FETCH, LIST_OFFSETS, METADATA, OFFSET_COMMIT, OFFSET_FETCH = 0, 1, 2, 3, 8, 9
FIND_COORDINATOR, API_VERSIONS, INIT_PRODUCER_ID = 10, 18, 22
VERSIONS = {
    PRODUCE: (3, 3),
    FETCH: (4, 4),
    LIST_OFFSETS: (1, 1),
    METADATA: (0, 4),
    OFFSET_COMMIT: (2, 2),
    OFFSET_FETCH: (1, 1),
    FIND_COORDINATOR: (0, 1),
    API_VERSIONS: (0, 0),
    INIT_PRODUCER_ID: (0, 0),
}
"""Request -> the lowest and highest version that is answered."""

UNSUPPORTED_VERSION = 35
OFFSET_OUT_OF_RANGE = 1
MESSAGE_TOO_LARGE = 10
NEWEST = -1


class Reader:
    """Takes values from the front of a request."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.version = 0

    def number(self, code: str) -> int:
        """Take a number in big-endian order; *code* is that of `struct`."""
        (found,) = struct.unpack_from(f">{code}", self.data, self.at)
        self.at += struct.calcsize(f">{code}")
        return int(found)

    def bytes(self, code: str = "i") -> bytes | None:
        """Take bytes behind their length; -1 stands for none."""
        size = self.number(code)
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size : self.at]

    def text(self) -> str:
        """Take a text; none is an empty one."""
        return (self.bytes("h") or b"").decode()

    def many(self, take: Callable[[], Any]) -> list[Any]:
        """Take an array."""
        return [take() for _ in range(self.number("i"))]


def text(value: str) -> bytes:
    """Write a text."""
    data = value.encode()
    return struct.pack(">h", len(data)) + data


def many(items: list[bytes]) -> bytes:
    """Write an array."""
    return struct.pack(">i", len(items)) + b"".join(items)


class Broker:
    """The broker; any topic that is asked for exists, with one partition."""

    def __init__(self) -> None:
        self.logs: dict[str, list[tuple[int, bytes]]] = {}
        """Topic -> its batches, each with the offset of its first record."""
        self.committed: dict[tuple[str, str], int] = {}
        """Group and topic -> offset."""
        self.keeps = True
        """Whether records are kept; else only the last one of each topic is, which is what says the next offset."""
        self.refused: set[str] = set()
        """Topics whose records are too large."""
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.port: int = self._server.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Close all connections."""
        self._server.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as source:
            try:
                while size := source.read(4):
                    request = Reader(source.read(*struct.unpack(">i", size)))
                    key, version, correlation = request.number("h"), request.number("h"), request.number("i")
                    request.text()  # the client's id
                    body = self._answer(key, version, request)
                    if body is not None:
                        answer = struct.pack(">i", correlation) + body
                        connection.sendall(struct.pack(">i", len(answer)) + answer)
            except (OSError, ValueError):
                return

    def _answer(self, key: int, version: int, request: Reader) -> bytes | None:
        if key == API_VERSIONS:
            error = 0 if version == 0 else UNSUPPORTED_VERSION
            return struct.pack(">h", error) + many([struct.pack(">hhh", key, *VERSIONS[key]) for key in VERSIONS])
        lowest, highest = VERSIONS[key]
        if not lowest <= version <= highest:
            raise ValueError(f"request {key} version {version}")
        request.version = version
        return self._ANSWERS[key](self, request)

    # -- requests

    def _metadata(self, request: Reader) -> bytes:
        number = request.number("i")
        every = number < 0 or (number == 0 and request.version == 0)
        topics = list(self.logs) if every else [request.text() for _ in range(number)]
        newer = request.version > 0
        node = struct.pack(">i", 1) + text("127.0.0.1") + struct.pack(">i", self.port) + (b"\xff\xff" if newer else b"")
        partition = struct.pack(">hii", 0, 0, 1) + many([struct.pack(">i", 1)]) * 2
        internal = b"\0" if newer else b""
        listed = [struct.pack(">h", 0) + text(topic) + internal + many([partition]) for topic in topics]
        throttled = struct.pack(">i", 0) if request.version > 2 else b""
        cluster = text("fake") if request.version > 1 else b""
        controller = struct.pack(">i", 1) if newer else b""
        return throttled + many([node]) + cluster + controller + many(listed)

    def _produce(self, request: Reader) -> bytes | None:
        request.text()
        acks, _timeout = request.number("h"), request.number("i")
        answers = []
        for topic, parts in request.many(lambda: self._topic(request, lambda: request.bytes())):
            done = []
            for partition, records in parts:
                offset = self._append(topic, records)
                error = 0 if offset >= 0 else MESSAGE_TOO_LARGE
                done.append(struct.pack(">ihqq", partition, error, offset, -1))
            answers.append(text(topic) + many(done))
        return many(answers) + struct.pack(">i", 0) if acks else None

    def _append(self, topic: str, records: bytes) -> int:
        if topic in self.refused:
            return -1
        with self._arrived:
            log = self.logs.setdefault(topic, [])
            offset = self._end(topic)
            if not self.keeps:
                log.clear()
            log.append((offset, struct.pack(">q", offset) + records[8:]))
            self._arrived.notify_all()
            return offset

    def _end(self, topic: str) -> int:
        """Give the offset that the next record gets."""
        log = self.logs.get(topic)
        if not log:
            return 0
        offset, records = log[-1]
        return offset + int(struct.unpack_from(">i", records, 23)[0]) + 1

    def _fetch(self, request: Reader) -> bytes:
        request.number("i")
        wait_s = request.number("i") / 1000
        request.number("i"), request.number("i"), request.number("b")
        wanted = request.many(lambda: self._topic(request, lambda: (request.number("q"), request.number("i"))))
        with self._arrived:
            self._arrived.wait_for(
                lambda: any(part[1][0] < self._end(topic) for topic, parts in wanted for part in parts), wait_s
            )
            return struct.pack(">i", 0) + many(
                [
                    text(topic) + many([self._records(topic, partition, offset) for partition, (offset, _) in parts])
                    for topic, parts in wanted
                ]
            )

    def _records(self, topic: str, partition: int, wanted: int) -> bytes:
        end = self._end(topic)
        error = OFFSET_OUT_OF_RANGE if not 0 <= wanted <= end else 0
        found = b""
        for number, (_, records) in enumerate(self.logs.get(topic, ())):
            log = self.logs[topic]
            following = log[number + 1][0] if number + 1 < len(log) else end
            if following > wanted and not error:
                found += records
        return struct.pack(">ihqqi", partition, error, end, end, -1) + struct.pack(">i", len(found)) + found

    def _list_offsets(self, request: Reader) -> bytes:
        request.number("i")
        answers = []
        for topic, parts in request.many(lambda: self._topic(request, lambda: request.number("q"))):
            done = [
                struct.pack(">ihqq", partition, 0, -1, self._end(topic) if time == NEWEST else 0)
                for partition, time in parts
            ]
            answers.append(text(topic) + many(done))
        return many(answers)

    def _find_coordinator(self, request: Reader) -> bytes:
        node = struct.pack(">i", 1) + text("127.0.0.1") + struct.pack(">i", self.port)
        if request.version == 0:
            return struct.pack(">h", 0) + node
        return struct.pack(">ihh", 0, 0, -1) + node

    def _offset_commit(self, request: Reader) -> bytes:
        group = request.text()
        request.number("i"), request.text(), request.number("q")
        answers = []
        for topic, parts in request.many(lambda: self._topic(request, lambda: (request.number("q"), request.text()))):
            for _, (offset, _) in parts:
                self.committed[group, topic] = offset
            answers.append(text(topic) + many([struct.pack(">ih", partition, 0) for partition, _ in parts]))
        return many(answers)

    def _offset_fetch(self, request: Reader) -> bytes:
        group = request.text()
        answers = []
        for topic, parts in request.many(lambda: self._topic(request, lambda: None)):
            offset = self.committed.get((group, topic), -1)
            done = [struct.pack(">iq", partition, offset) + text("") + b"\0\0" for partition, _ in parts]
            answers.append(text(topic) + many(done))
        return many(answers)

    def _init_producer_id(self, request: Reader) -> bytes:
        return struct.pack(">ihqh", 0, 0, 7, 0)

    @staticmethod
    def _topic(request: Reader, take: Callable[[], Any]) -> tuple[str, list[tuple[int, Any]]]:
        """Take a topic, and its partitions with what is said of each."""
        return request.text(), request.many(lambda: (request.number("i"), take()))

    _ANSWERS: dict[int, Callable[[Broker, Reader], bytes | None]] = {  # noqa: RUF012
        PRODUCE: _produce,
        FETCH: _fetch,
        LIST_OFFSETS: _list_offsets,
        METADATA: _metadata,
        OFFSET_COMMIT: _offset_commit,
        OFFSET_FETCH: _offset_fetch,
        FIND_COORDINATOR: _find_coordinator,
        INIT_PRODUCER_ID: _init_producer_id,
    }


@contextmanager
def broker() -> Iterator[Broker]:
    """Run a broker."""
    made = Broker()
    try:
        yield made
    finally:
        made.close()
