"""Imports in the shipper thread, kept away from forks.

A child that is forked while another thread imports a module finds that module half made and its lock held by a
thread that is gone: whoever imports it there, the application included, waits for ever. So a fork waits for
an import that is under way, for a moment that comes at most once in a process, and not without end.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from .._env import allocate_lock

LONGEST_WAIT_S = 1.0


class Loading:
    """Whether an import is under way in the shipper thread. A fork takes the lock, so that none begins meanwhile."""

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.held = False

    def before_fork(self) -> None:
        """Wait for an import to end."""
        self.held = self.lock.acquire(True, LONGEST_WAIT_S)

    def after_fork_in_parent(self) -> None:
        """Let imports go on."""
        if self.held:
            self.held = False
            self.lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew: the thread that may have held the lock is not here."""
        self.lock = allocate_lock()
        self.held = False


_loading = Loading()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_loading.before_fork,
        after_in_parent=_loading.after_fork_in_parent,
        after_in_child=_loading.after_fork_in_child,
    )


def load(name: str, package: str | None = None) -> Any:
    """Import a module; no fork happens meanwhile.

    Raises:
        ImportError: It is not there.
    """
    with _loading.lock:
        return importlib.import_module(name, package)


def resolve(found: Any) -> Any:
    """Load an entry point; no fork happens meanwhile."""
    with _loading.lock:
        return found.load()
