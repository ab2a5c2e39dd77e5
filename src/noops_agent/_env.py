"""Facts about this interpreter, and primitives that no other library has replaced."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Protocol

PROVEN = (3, 10) <= sys.version_info < (3, 16) and sys.implementation.name == "cpython"
"""Whether this is an interpreter that the agent was tested on."""

FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


class Lock(Protocol):
    """What `_thread.allocate_lock` gives."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def locked(self) -> bool: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, *error: object) -> None: ...


def original(module: str, name: str) -> Any:
    """Give an attribute of a module as it was before gevent or eventlet replaced it.

    Our thread must be one of the operating system, and its locks must block that thread alone.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None:
        return getattr(patcher.original(module), name)
    return getattr(sys.modules[module], name)


def allocate_lock() -> Lock:
    """Make a lock of the operating system's threads."""
    lock: Lock = original("_thread", "allocate_lock")()
    return lock


def start_thread(body: Callable[[], object]) -> None:
    """Run *body* in a new thread of the operating system that does not hold up the exit, and that takes no signal.

    Signals are for the application's threads: one that waits for a signal which it has blocked would miss it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - FAULTS)
    try:
        original("_thread", "start_new_thread")(body, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def thread_id() -> int:
    """Identify the running thread of the operating system."""
    return original("_thread", "get_ident")()  # type: ignore[no-any-return]


def in_thread() -> bool:
    """Whether the running thread was started by `threading`: in a child that it forks, its end is not the program's."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_name == "_bootstrap" and frame.f_globals.get("__name__") == "threading"


def sleep(seconds: float) -> None:
    """Sleep in this thread of the operating system."""
    original("time", "sleep")(seconds)


def process_name() -> str:
    """Name the running program: its script, its module, or the folder that is run; else the interpreter."""
    arguments = getattr(sys, "orig_argv", None) or getattr(sys, "argv", None) or [""]
    return program_of(list(arguments[1:])) or os.path.basename(sys.executable or "") or "python"


def program_of(words: list[str]) -> str:
    """Find the program among the arguments of an interpreter; empty where there is none."""
    while words:
        word = words.pop(0)
        if word == "-m" and words:
            return words[0]
        if word == "-c":
            return ""
        if word in ("-W", "-X", "--check-hash-based-pycs") and words:
            words.pop(0)
        elif not word.startswith("-"):
            name = os.path.basename(os.path.abspath(word))
            return name[:-3] if name.endswith(".py") else name
    return ""
