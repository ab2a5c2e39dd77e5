"""Segments that dead processes left: shipped once, or kept for the viewer within the cap of the local store."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from .._core.segment import (
    HEADER_BYTES,
    LOCAL,
    MAGIC,
    OWNER_LOCK,
    FileSegment,
    Folder,
    Header,
    process_folders,
    read_header,
    segment_paths,
)
from .._diagnostics import count, say
from .backlog import Backlog
from .shipment import Shipment, Shipper

SCAN_S = 10.0
SHARE_OF_TIME = 50
"""A scan that takes long is repeated after this many times its own duration."""

MAX_DAMAGED = 8


class Found(NamedTuple):
    """A segment file of a dead process."""

    path: str
    created_ns: int
    size_bytes: int


class Left(NamedTuple):
    """The folder of a dead process that holds records for our destination."""

    path: str
    created_ns: int
    unshipped_bytes: int


class Orphans:
    """Looks for what dead processes left, one folder at a time; the lock of a folder is held while it is shipped.

    Args:
        state: The state folder.
        destination: What our own segments say about where they may be sent.
        kept_bytes: Most bytes of segments that stay on this machine.
        shipper: Ships what was found.
    """

    def __init__(self, state: str, destination: bytes, kept_bytes: int, shipper: Shipper) -> None:
        self._state = state
        self._destination = destination
        self._kept_bytes = kept_bytes
        self._shipper = shipper
        self._left: list[Left] = []
        self._held: Folder | None = None
        self._shipments: list[Shipment] = []
        self._full: set[str] = set()
        self._full_before: set[str] = set()
        self._next_scan = 0.0

    def unshipped_bytes(self) -> int:
        """Bytes that dead processes left and that wait for our sinks."""
        held = sum(shipment.unshipped_bytes() for shipment in self._shipments)
        return held + sum(left.unshipped_bytes for left in self._left)

    # -- looking around

    def scan_due(self) -> bool:
        """Whether it is time to look around again."""
        return time.monotonic() >= self._next_scan

    def scan(self, own: str | None, mapped: set[str]) -> None:
        """Look at the folders of all processes, and keep the local store within its cap.

        Args:
            own: The folder of this process. Its lock must not be touched.
            mapped: Paths of the segments that this process still works with.
        """
        began = time.monotonic()
        self._left = []
        self._full, self._full_before = set(), self._full
        kept: list[Found] = []
        held = None if self._held is None else self._held.path
        folders = [path for path in process_folders(self._state) if path not in (own, held)]
        for path in folders:
            folder = adopt(path)
            if folder is None:
                kept.extend(self._living(path))
                continue
            try:
                kept.extend(self._look_into(folder))
            finally:
                let_go(folder)
        if own is not None:
            kept.extend(self._own(own, mapped))
        self._expire(kept, own)
        self._left.sort(key=lambda left: left.created_ns)
        now = time.monotonic()
        self._next_scan = now + max(SCAN_S, (now - began) * SHARE_OF_TIME)

    def _look_into(self, folder: Folder) -> list[Found]:
        kept: list[Found] = []
        waiting = oldest_ns = 0
        for path in folder.segments():
            header, size = self._inspect(path)
            if header is None:
                continue
            unshipped = max(size - header.shipped, 0)
            if self._ours(header) and unshipped:
                waiting += unshipped
                oldest_ns = min(oldest_ns or header.created_ns, header.created_ns)
            elif not self._ours(header) or self._shipper.keeps:
                kept.append(Found(path, header.created_ns, size))
            else:
                os.unlink(path)
        if waiting:
            self._left.append(Left(folder.path, oldest_ns, waiting))
        return kept

    def _ours(self, header: Header) -> bool:
        return header.destination == self._destination and header.destination != LOCAL

    def _inspect(self, path: str) -> tuple[Header | None, int]:
        """Read the header of a dead process's segment, and cut the file to what is used of it."""
        try:
            header, size = peek(path)
            if size >= header.capacity:
                if path not in self._full_before:
                    FileSegment.open(path).keep()
                    size = os.path.getsize(path)
                self._full.add(path)
            return header, size
        except FileNotFoundError:
            return None, 0
        except (OSError, ValueError) as error:
            self._set_aside(path, error)
            return None, 0

    def _living(self, path: str) -> list[Found]:
        """What a living process keeps on this machine; it keeps its own house."""
        if not os.path.exists(os.path.join(path, OWNER_LOCK)):
            # Somebody died between the two steps of deleting it.
            with contextlib.suppress(OSError):
                os.rmdir(path)
        found = []
        for segment in segment_paths(path):
            try:
                header, size = peek(segment)
            except (OSError, ValueError):
                continue
            if header.destination == LOCAL:
                found.append(Found("", header.created_ns, size))
        return found

    def _own(self, own: str, mapped: set[str]) -> list[Found]:
        found = []
        for path in segment_paths(own):
            try:
                if path not in mapped:
                    header, size = peek(path)
                    found.append(Found(path, header.created_ns, size))
            except (OSError, ValueError):
                continue
        return found

    def _expire(self, kept: list[Found], own: str | None) -> None:
        excess = sum(found.size_bytes for found in kept) - self._kept_bytes
        mine = [found for found in kept if found.path and os.path.dirname(found.path) == own]
        others = [found for found in kept if found.path and os.path.dirname(found.path) != own]
        for found in (*sorted(others, key=_age), *sorted(mine, key=_age)):
            if excess <= 0:
                return
            if self._delete(found.path, own):
                excess -= found.size_bytes
                count("expired.segments")

    def _delete(self, path: str, own: str | None) -> bool:
        parent = os.path.dirname(path)
        folder = None if parent == own else adopt(parent)
        if parent != own and folder is None:
            return False
        try:
            os.unlink(path)
        except OSError:
            return False
        finally:
            if folder is not None:
                let_go(folder)
        return True

    def _set_aside(self, path: str, error: Exception) -> None:
        """Move what can't be read out of the way; the newest few are left for whoever looks into it."""
        if is_newer_format(path):
            return
        say("segment.damaged", path=path, error=error)
        count("segments.damaged")
        aside = os.path.join(self._state, "damaged")
        try:
            os.makedirs(aside, mode=0o700, exist_ok=True)
            os.rename(path, os.path.join(aside, "-".join(path.split(os.sep)[-2:])))
            files = sorted((os.path.join(aside, name) for name in os.listdir(aside)), key=os.path.getmtime)
            for old in files[:-MAX_DAMAGED]:
                os.unlink(old)
        except OSError:
            count("segments.damaged.stuck")

    # -- shipping

    def ship(self, left_s: Callable[[], float]) -> None:
        """Ship what was found, until a sink is unavailable or the time is over."""
        while self._shipper.ready() and left_s() > 0:
            if not self._shipments and not self._take_next():
                return
            if not self._shipper.ship(self._shipments[0], left_s):
                return
            self._shipments.pop(0)
            self._leave_if_done()

    def _take_next(self) -> bool:
        while self._left:
            folder = adopt(self._left.pop(0).path)
            if folder is not None:
                self._held = folder
                self._shipments = self._load(folder)
                count("orphans.adopted")
                if self._shipments:
                    return True
                self._leave_if_done()
        return False

    def _load(self, folder: Folder) -> list[Shipment]:
        shipments = []
        for path in folder.segments():
            try:
                if self._ours(peek(path)[0]):
                    shipment = self._shipper.load(FileSegment.open(path))
                    shipments.append(shipment)
            except (OSError, ValueError) as error:
                self._set_aside(path, error)
        return shipments

    def _leave_if_done(self) -> None:
        if not self._shipments and self._held is not None:
            let_go(self._held)
            self._held = None

    def shed(self, backlog: Backlog, excess_bytes: int) -> None:
        """Drop the oldest folders until *excess_bytes* are freed."""
        while excess_bytes > 0 and (self._shipments or self._take_next()):
            shipment = self._shipments.pop(0)
            excess_bytes -= shipment.unshipped_bytes()
            backlog.drop(shipment, rescue=True)
            self._shipper.let_go(shipment)
            self._leave_if_done()

    def leave(self) -> None:
        """Let go of everything, as it stands, for others to adopt."""
        for shipment in self._shipments:
            shipment.segment.keep()
        self._shipments = []
        if self._held is not None:
            let_go(self._held)
            self._held = None


_adopted: dict[tuple[int, str], object] = {}
"""Folders that this process has adopted: (pid, path). The lock alone does not keep two threads of one process apart."""


def adopt(path: str) -> Folder | None:
    """Take over the folder of a dead process; None where it lives, or is in the hands of this very process."""
    if path.rpartition(os.sep)[2].startswith(f"{os.getpid()}-") and held_by_this_process(path):
        return None
    mine = object()
    if _adopted.setdefault((os.getpid(), path), mine) is not mine:
        return None
    folder = Folder.adopt(path)
    if folder is None:
        del _adopted[os.getpid(), path]
    return folder


def let_go(folder: Folder) -> None:
    """Unlock a folder that was adopted; an empty one is deleted."""
    folder.close()
    _adopted.pop((os.getpid(), folder.path), None)


def held_by_this_process(path: str) -> bool:
    """Whether this process has the lock file of a folder open. It is not opened here: closing it would unlock it.

    The pid in a folder's name does not tell: in a container, every run of a program has the same one.
    """
    try:
        lock = os.stat(os.path.join(path, OWNER_LOCK))
    except OSError:
        return False
    try:
        descriptors = os.listdir("/dev/fd")
    except OSError:
        return True
    for descriptor in descriptors:
        try:
            held = os.fstat(int(descriptor))
        except (OSError, ValueError):
            continue
        if (held.st_dev, held.st_ino) == (lock.st_dev, lock.st_ino):
            return True
    return False


def _age(found: Found) -> int:
    return found.created_ns


def peek(path: str) -> tuple[Header, int]:
    """Read the header of a segment file, and its size in bytes.

    Raises:
        OSError: It can't be read.
        ValueError: It is not a segment.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_header(os.read(file, HEADER_BYTES)), os.fstat(file).st_size
    finally:
        os.close(file)


def is_newer_format(path: str) -> bool:
    """Whether a file is a segment of a version that only a newer agent can read: that is no damage."""
    try:
        with open(path, "rb") as file:
            start = file.read(HEADER_BYTES)
        return len(start) == HEADER_BYTES and start.startswith(MAGIC) and start[8:10] != b"\x01\x00"
    except OSError:
        return True
