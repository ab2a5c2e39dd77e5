"""The segment format: constants, reader, joiner, folders and locks.

The format itself is described in docs/design.md. Nothing here needs the interpreter that wrote a segment to
be alive; the adopting process, `show` and the viewer use this module alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

MAGIC = b"NOOPSEG1"
VERSION = 1
HEADER = struct.Struct("<8sHHIQQQQ16s")
HEADER_BYTES = 128
SHIPPED_OFFSET = 40
RECORD = struct.Struct("<IBBH")
U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")

TORN, READY = 0, 1
SCOPE, SPAN, METRIC, LOG, PROFILE = range(5)
ERROR = 0x80

LOCAL = bytes(16)
"""Destination of records that stay on this machine."""

OWNER_LOCK = "owner.lock"
SUFFIX = ".seg"

Memory = bytes | bytearray | memoryview | mmap.mmap


class Header(NamedTuple):
    """The facts at the start of a segment."""

    capacity: int
    pid: int
    created_ns: int
    shipped: int
    destination: bytes


class Record(NamedTuple):
    """One ready record: where it begins, what it is, its bytes."""

    offset: int
    signal: int
    error: bool
    scope: int
    payload: bytes


def pack_header(capacity: int, pid: int, created_ns: int, destination: bytes) -> bytes:
    """Give the header of an empty segment, `HEADER_BYTES` long."""
    packed = HEADER.pack(
        MAGIC, VERSION, 0, HEADER_BYTES, capacity, pid, created_ns, HEADER_BYTES, destination
    )
    return packed.ljust(HEADER_BYTES, b"\0")


def read_header(memory: Memory) -> Header:
    """Read a header.

    Raises:
        ValueError: The bytes are not a segment of a version that this module knows.
    """
    if len(memory) < HEADER_BYTES:
        raise ValueError("shorter than a segment header")
    magic, version, _, header_bytes, capacity, pid, created_ns, shipped, destination = HEADER.unpack_from(
        memory
    )
    if magic != MAGIC or version != VERSION or header_bytes != HEADER_BYTES:
        raise ValueError("not a segment of version 1")
    return Header(capacity, pid, created_ns, shipped, destination)


def aligned(size: int) -> int:
    """Round up to the 8 bytes that records are aligned to."""
    return (size + 7) & ~7


def positions(
    memory: Memory, start: int = HEADER_BYTES, end: int | None = None
) -> Iterator[tuple[int, int, int, int, int]]:
    """Walk the records between two offsets: (offset, payload bytes, state, signal, scope), torn ones included."""
    limit = len(memory) if end is None else min(end, len(memory))
    offset = start
    while offset + RECORD.size <= limit:
        length, state, signal, scope = RECORD.unpack_from(memory, offset)
        # A length that reaches past the end can only come from a damaged file: nothing behind it can be trusted.
        if length == 0 or offset + RECORD.size + length > limit:
            return
        yield offset, length, state, signal, scope
        offset += aligned(RECORD.size + length)


def end_of_records(memory: Memory) -> int:
    """Find the offset after the last record, torn ones included."""
    end = HEADER_BYTES
    for offset, length, *_ in positions(memory):
        end = offset + aligned(RECORD.size + length)
    return end


def records(memory: Memory, start: int = HEADER_BYTES, end: int | None = None) -> Iterator[Record]:
    """Walk the ready records between two offsets; torn ones are passed over."""
    for offset, length, state, signal, scope in positions(memory, start, end):
        if state == READY:
            begin = offset + RECORD.size
            payload = bytes(memory[begin : begin + length])
            yield Record(offset, signal & ~ERROR, bool(signal & ERROR), scope, payload)


def varint(value: int) -> bytes:
    """Encode an unsigned integer as a protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def split_scope(payload: bytes) -> tuple[bytes, bytes]:
    """Split the payload of a scope record into its resource and its scope fields."""
    (size,) = U32.unpack_from(payload)
    return payload[4 : 4 + size], payload[4 + size :]


def join_scope(resource: bytes, scope: bytes) -> bytes:
    """Make the payload of a scope record."""
    return U32.pack(len(resource)) + resource + scope


def collect(
    memory: Memory, start: int, end: int, signal: int, max_bytes: int, max_records: int
) -> tuple[bytes, int, int]:
    """Join the ready records of one signal between two offsets into an OTLP request.

    Args:
        memory: The segment from its first byte, since scopes may stand before *start*.
        start: Offset of the first record to take.
        end: Offset to stop at.
        signal: `SPAN`, `METRIC` or `LOG`; records of other signals are passed over.
        max_bytes: Payload bytes at which to stop; at least one record is taken.
        max_records: Records at which to stop.

    Returns:
        The encoded request, the offset to go on from, the number of records in it.
    """
    scopes: dict[int, bytes] = {}
    parts: dict[bytes, list[bytes]] = {}
    size = count = 0
    position = start
    for offset, length, state, tagged, scope in positions(memory, HEADER_BYTES, end):
        kind = tagged & ~ERROR
        begin = offset + RECORD.size
        if kind == SCOPE:
            if state == READY:
                scopes[scope] = bytes(memory[begin : begin + length])
        elif offset >= start and kind == signal and state == READY and scope in scopes:
            if count and (count >= max_records or size + length > max_bytes):
                break
            parts.setdefault(scopes[scope], []).append(bytes(memory[begin : begin + length]))
            size += length
            count += 1
        position = max(position, offset + aligned(RECORD.size + length))
    return _request(parts), position, count


def _request(parts: dict[bytes, list[bytes]]) -> bytes:
    resources: dict[bytes, list[bytes]] = {}
    for described, payloads in parts.items():
        resource, scope = split_scope(described)
        body = scope + b"".join(payloads)
        resources.setdefault(resource, []).append(b"\x12" + varint(len(body)) + body)
    out = []
    for resource, scoped in resources.items():
        body = resource + b"".join(scoped)
        out.append(b"\x0a" + varint(len(body)) + body)
    return b"".join(out)


# Folders and locks ---------------------------------------------------------------------------------------


class Folder:
    """The folder of one process, locked for as long as this object (and the process) lives.

    The lock is a POSIX record lock: it belongs to the process that took it, a forked child does not have it.
    Never open a lock file of the own process a second time: closing any descriptor of it drops the lock.
    """

    def __init__(self, path: str, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._pid = os.getpid()

    @classmethod
    def create(cls, state: str) -> Folder:
        """Make and lock the folder of this process below *state*.

        Raises:
            OSError: The folder can't be written.
        """
        parent = segments_folder(state)
        os.makedirs(parent, mode=0o700, exist_ok=True)
        name = f"{os.getpid()}-{os.urandom(4).hex()}"
        hidden = os.path.join(parent, "." + name)
        os.mkdir(hidden, 0o700)
        lock = os.open(os.path.join(hidden, OWNER_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path = os.path.join(parent, name)
            os.rename(hidden, path)
        except OSError:
            os.close(lock)
            raise
        return cls(path, lock)

    @classmethod
    def adopt(cls, path: str) -> Folder | None:
        """Take over the folder of a process that is gone; None while it has an owner, or is gone itself."""
        try:
            lock = os.open(os.path.join(path, OWNER_LOCK), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:
                return cls(path, lock)
        except OSError:
            pass
        os.close(lock)
        return None

    def segments(self) -> list[str]:
        """Paths of the segments, oldest first."""
        return segment_paths(self.path)

    def close(self) -> None:
        """Let go of the lock, and delete the folder where no segment is left. Does nothing in a forked child."""
        if os.getpid() == self._pid and not self.segments():
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self.path, OWNER_LOCK))
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
        self.forget()

    def forget(self) -> None:
        """Close the lock file without touching the folder; in a forked child the owner keeps its lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def segments_folder(state: str) -> str:
    """Where the folders of all processes are."""
    return os.path.join(state, "segments")


def process_folders(state: str) -> list[str]:
    """Paths of the folders of all processes, dead or alive."""
    parent = segments_folder(state)
    try:
        names = os.listdir(parent)
    except OSError:
        return []
    return [os.path.join(parent, name) for name in sorted(names) if not name.startswith(".")]


def segment_paths(folder: str) -> list[str]:
    """Paths of the segments in a process folder, oldest first."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in sorted(names) if name.endswith(SUFFIX)]


class FileSegment:
    """A segment in a mapped file, or in anonymous memory: written by the Python core, opened by an adopter."""

    def __init__(self, memory: mmap.mmap, path: str | None, number: int, used: int, sealed: bool) -> None:
        self.path = path
        self.number = number
        self.used = used
        self.sealed = sealed
        self.mapped = True
        self._map = memory
        self.memory = memoryview(memory)

    @classmethod
    def create(cls, folder: str | None, number: int, capacity: int, destination: bytes) -> FileSegment:
        """Make an empty segment; in anonymous memory where *folder* is None.

        Raises:
            OSError: No room on the disk, or the folder is gone.
        """
        path = None
        if folder is None:
            memory = mmap.mmap(-1, capacity)
        else:
            path = os.path.join(folder, f"{number:08d}{SUFFIX}")
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(file, 0, capacity)
                memory = mmap.mmap(file, capacity)
            except OSError:
                os.unlink(path)
                raise
            finally:
                os.close(file)
        memory[:HEADER_BYTES] = pack_header(capacity, os.getpid(), time.time_ns(), destination)
        return cls(memory, path, number, HEADER_BYTES, sealed=False)

    @classmethod
    def open(cls, path: str) -> FileSegment:
        """Open a segment whose owner is gone.

        Raises:
            OSError: It can't be read.
            ValueError: It is not a segment.
        """
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            memory = mmap.mmap(file, 0)
        finally:
            os.close(file)
        try:
            read_header(memory)
        except ValueError:
            memory.close()
            raise
        number = int(os.path.basename(path)[: -len(SUFFIX)])
        return cls(memory, path, number, end_of_records(memory), sealed=True)

    @property
    def header(self) -> Header:
        """The header as it stands now."""
        return read_header(self._map)

    @property
    def capacity(self) -> int:
        """Size of the whole segment in bytes."""
        return len(self.memory) if self.mapped else 0

    @property
    def shipped(self) -> int:
        """Offset before which every record was acknowledged."""
        return U64.unpack_from(self._map, SHIPPED_OFFSET)[0] if self.mapped else self.used

    def mark_shipped(self, offset: int) -> None:
        """Store that every record before *offset* was acknowledged."""
        if self.mapped:
            U64.pack_into(self._map, SHIPPED_OFFSET, offset)

    def put(self, signal: int, scope: int, payload: bytes) -> bool:
        """Write one record; False where it doesn't fit any more."""
        size = RECORD.size + len(payload)
        if not self.mapped or self.used + size > len(self._map):
            return False
        offset = self.used
        # The state comes last: a process that dies in between leaves a torn record, which readers pass over.
        RECORD.pack_into(self._map, offset, len(payload), TORN, signal, scope)
        self._map[offset + RECORD.size : offset + size] = payload
        self._map[offset + 4] = READY
        self.used = min(offset + aligned(size), len(self._map))
        return True

    def abandon(self) -> None:
        """Unmap, and leave the file as it is: in a forked child it is the parent's."""
        if self.mapped:
            self.mapped = False
            self.sealed = True
            self.memory.release()
            with contextlib.suppress(BufferError):  # somebody still reads: the memory goes with the last view
                self._map.close()

    def release(self) -> None:
        """Unmap the segment and delete its file."""
        self.abandon()
        if self.path is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def keep(self) -> None:
        """Unmap the segment and leave its file, cut to the size that is used."""
        self.abandon()
        if self.path is not None:
            with contextlib.suppress(OSError):
                os.truncate(self.path, self.used)
