"""Servers that put the system's own reaction to signals back in their workers: the agent hears of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .model import Args, Kwargs

_listeners: list[Callable[[], object]] = []


def listen(listener: Callable[[], object]) -> Callable[[], None]:
    """Call *listener* whenever signals have been reset; gives what takes that back."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def signals_reset(_: Any, args: Args, kwargs: Kwargs, returned: Any) -> Any:
    """Tell that the signals have been reset: for `After`."""
    for listener in list(_listeners):
        listener()
    return returned
