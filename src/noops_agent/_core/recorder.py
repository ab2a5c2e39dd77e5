"""The slow half of the recorder, the same for both cores: processes, folders, segments, scopes.

The hot half (`Appender`) writes into the current segment while nothing is in its way: another process, a scope
that the segment does not have yet, no room. Then it calls `_make_room`, here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .._env import allocate_lock, thread_id
from .segment import HEADER_BYTES, LOCAL, RECORD, SCOPE, Folder, aligned, join_scope

MAX_SCOPES = 65535
MAX_RECORD_BYTES = 64 << 20


class RecorderPolicy:
    """Finished records of this process, in segments. Any thread may append; the shipper alone takes segments.

    Args:
        folder: State folder; None keeps everything in anonymous memory.
        segment_bytes: Size of a segment's file; a record that is larger gets a segment of its own.
        destination: 16 bytes that say where these records may be sent; zeros: they stay on this machine.
        on_process: Called at the first record of each process, before that record is written.
    """

    segment_class: Any
    current: Any
    mark: int
    written: bytearray
    process_mark: Callable[[], int]

    def __init__(
        self,
        folder: str | None,
        segment_bytes: int,
        destination: bytes,
        on_process: Callable[[Any], object] | None = None,
    ) -> None:
        self.folder: Folder | None = None
        self.folder_error: OSError | None = None
        self.closed = self._left = False
        self.keeps = destination == LOCAL
        """Whether what was shipped stays in its files, too, for the viewer."""
        self._state = folder
        self._capacity = max(aligned(segment_bytes), 4096)
        self._destination = destination
        self._on_process = on_process
        self._resources: list[list[bytes]] = []
        self._scopes: list[tuple[int, bytes]] = []
        self._segments: list[Any] = []
        self._spare: Any = None
        self._number = 0
        self._locks: dict[int, Any] = {}
        self._busy = 0
        self._bells: dict[int, Any] = {}

    # -- what is recorded

    def resource(self, encoded: bytes) -> int:
        """Register a resource (fields of ResourceSpans without its field 2); gives its index."""
        cell = [encoded]
        self._resources.append(cell)
        return next(index for index, other in enumerate(self._resources) if other is cell)

    def set_resource(self, index: int, encoded: bytes) -> None:
        """Replace a resource; records from now on belong to the new one."""
        if self._resources[index][0] != encoded:
            self._resources[index][0] = encoded
            self.written[:] = bytes(len(self.written))

    def scope(self, resource: int, encoded: bytes) -> int:
        """Register a scope (fields of ScopeSpans without its field 2); gives its index.

        Equal scopes share an index; past `MAX_SCOPES` all others share the last one.
        """
        entry = (resource, encoded)
        if entry in self._scopes:
            return self._scopes.index(entry)
        if len(self._scopes) >= MAX_SCOPES:
            return MAX_SCOPES - 1
        # In this order, and asked for again: other threads, and a fork, may come in between.
        self.written.append(0)
        self._scopes.append(entry)
        return self._scopes.index(entry)

    # -- the slow path of append

    def _make_room(self, scope: int, size: int) -> bool:
        """Bring the current segment into a state in which a record of *size* bytes fits; False: it can't be."""
        return not self.closed and size <= MAX_RECORD_BYTES and self._alone(lambda: self._prepare(scope, size))

    def _alone(self, step: Callable[[], bool]) -> bool:
        """Do a step while no other thread of this process does one; False where this thread is in one already.

        That is a signal handler, or a finalizer, that ends a span in the middle of a step: it can't wait for itself.
        """
        lock = self._locks.get(os.getpid()) or self._locks.setdefault(os.getpid(), allocate_lock())
        me = thread_id()
        if self._busy == me and lock.locked():
            return False
        with lock:
            self._busy = me
            try:
                return step()
            finally:
                self._busy = 0

    def _prepare(self, scope: int, size: int) -> bool:
        if self.mark != self.process_mark():
            self._enter_process()
        if scope >= len(self._scopes):
            return False
        resource, encoded = self._scopes[scope]
        described = join_scope(self._resources[resource][0], encoded)
        needed = aligned(RECORD.size + size) + aligned(RECORD.size + len(described))
        if self.current is None or self.current.used + needed > self.current.capacity:
            self._rotate(needed)
        if not self.written[scope]:
            self.written[scope] = self.current.put(SCOPE, scope, described)
        return bool(self.written[scope])

    def _enter_process(self) -> None:
        for segment in [*self._segments, self._spare]:
            if segment is not None:
                segment.abandon()
        if self.folder is not None:
            self.folder.forget()
        self.folder, self.folder_error = None, None
        self._segments, self._spare, self.current, self._number = [], None, None, 0
        self.recorded = self.dropped = 0
        self.mark = self.process_mark()
        if self._state is not None:
            try:
                self.folder = Folder.create(self._state)
            except OSError as error:
                self.folder_error = error
        if self._on_process is not None:
            self._on_process(self)

    def _rotate(self, needed: int) -> None:
        spare, self._spare = self._spare, None
        if spare is None or HEADER_BYTES + needed > spare.capacity:
            spare = self._new_segment(max(self._capacity, HEADER_BYTES + aligned(needed)))
        if self.current is not None:
            self.current.sealed = True
            self.wake()
        self.written[:] = bytes(len(self.written))
        self._segments.append(spare)
        self.current = spare

    def _new_segment(self, capacity: int) -> Any:
        self._number += 1
        if self._left and self._state is not None:
            self._left = False
            return self._new_folder_segment(capacity)
        if self.folder is not None:
            try:
                return self.segment_class.create(self.folder.path, self._number, capacity, self._destination)
            except OSError as error:
                self.folder_error = error
                if self._folder_is_gone():
                    return self._new_folder_segment(capacity)
        return self.segment_class.create(None, self._number, capacity, self._destination)

    def _folder_is_gone(self) -> bool:
        return self.folder is not None and not os.path.isdir(self.folder.path)

    def _new_folder_segment(self, capacity: int) -> Any:
        """The folder is gone, or was left: make a new one, or go on in memory."""
        try:
            if self.folder is not None:
                self.folder.forget()
            self.folder = Folder.create(self._state or "")
            return self.segment_class.create(self.folder.path, self._number, capacity, self._destination)
        except OSError as error:
            self.folder, self.folder_error = None, error
            return self.segment_class.create(None, self._number, capacity, self._destination)

    # -- the shipper's side

    def segments(self) -> list[Any]:
        """The segments of this process, oldest first; the last one is being written."""
        if self.mark != self.process_mark():
            return []
        self._segments = [segment for segment in self._segments if segment.mapped]
        return list(self._segments)

    def prepare(self) -> None:
        """Have an empty segment ready, so that no application thread waits for the making of a file."""
        current = self.current
        if self._spare is None and current is not None and current.used * 2 > current.capacity and not self.closed:
            self._alone(self._make_spare)

    def _make_spare(self) -> bool:
        if self._spare is None and self.mark == self.process_mark():
            self._spare = self._new_segment(self._capacity)
        return True

    def _bell(self) -> Any:
        bell = self._bells.get(os.getpid())
        if bell is None:
            fresh = allocate_lock()
            fresh.acquire()
            bell = self._bells.setdefault(os.getpid(), fresh)
        return bell

    def wait(self, timeout_s: float) -> bool:
        """Wait until woken, or for *timeout_s* seconds; True: woken. For the shipper thread alone."""
        return bool(self._bell().acquire(True, max(timeout_s, 0)))

    def wake(self) -> None:
        """End the wait of the shipper, or its next one."""
        try:
            self._bell().release()
        except RuntimeError:  # it is awake already
            pass

    def close(self) -> None:
        """Take nothing any more; what is unshipped, or local, stays in its files for others to read."""
        self.closed = True
        self._let_go()

    def leave(self) -> None:
        """Close at the exit, but for daemon threads that still record: the next process ships what they add."""
        self._left = True
        self._let_go()

    def _let_go(self) -> None:
        current, self.current = self.current, None
        if self.mark != self.process_mark():
            return
        segments, self._segments = self._segments, []
        spare, self._spare = self._spare, None
        folder, self.folder = self.folder, None
        if current is not None:
            current.sealed = True
        for segment in segments:
            if segment.mapped:
                if segment.used == HEADER_BYTES or (segment.shipped >= segment.used and not self.keeps):
                    segment.release()
                else:
                    segment.keep()
        if spare is not None:
            spare.release()
        if folder is not None:
            folder.close()
