"""What a server's own objects tell of it, read when metrics are collected: nothing is added to a request.

The names are ours, as no convention has any yet: `noops.server.*`.
"""

from __future__ import annotations

import functools
import os
import struct
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .live import Live
from .patch import Patch, Wrapper


class Gauge(NamedTuple):
    """A number that is read off an object."""

    name: str
    unit: str
    description: str
    read: Callable[[Any], int | None]
    """Gives the number; None where there is none now."""
    grows: bool = False
    """It is a count since the beginning."""


WORKERS = ("noops.server.workers", "{worker}", "Worker processes, or threads, that run.")
CONNECTIONS = ("noops.server.connections", "{connection}", "Open connections of clients.")
ACTIVE = ("noops.server.requests.active", "{request}", "Requests that are being answered, by the server's own count.")
REQUESTS = ("noops.server.requests", "{request}", "Requests that were answered, by the server's own count.")
BACKLOG = ("noops.server.backlog", "{connection}", "Connections that wait to be accepted.")
RESPAWNS = ("noops.server.worker.respawns", "{worker}", "Workers that were replaced: failed, too old, or on reload.")
"""Names, units and descriptions that several servers share."""


class Watches(Patch):
    """A method that an object is made or begins with: from then on its gauges are observed, as long as it lives.

    A forked process does not tell of the objects of its parent.
    """

    def __init__(self, target: str, gauges: Sequence[Gauge], *, optional: bool = False) -> None:
        super().__init__(target, optional=optional)
        self.gauges = tuple(gauges)

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper; the instruments are made with the first object."""
        watched: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        made: list[Any] = []

        @functools.wraps(original)
        def begin(self_: Any, *args: Any, **kwargs: Any) -> Any:
            if live.on:
                try:
                    watched[self_] = os.getpid()
                    if not made:
                        made.extend(instruments(live, self.gauges, watched))
                except Exception as error:
                    live.failed(self.target, error)
            return original(self_, *args, **kwargs)

        return begin


def instruments(live: Live, gauges: Iterable[Gauge], watched: Any) -> list[Any]:
    """Make the instruments that observe what is watched."""
    meter = live.meter
    return [
        (meter.create_observable_counter if gauge.grows else meter.create_observable_up_down_counter)(
            gauge.name, [observer(live, gauge, watched)], gauge.unit, gauge.description
        )
        for gauge in gauges
    ]


def observer(live: Live, gauge: Gauge, watched: Any) -> Callable[[Any], list[Any]]:
    """Make what is called when metrics are collected: the sum over all objects of this process."""
    from opentelemetry.metrics import Observation

    def observe(options: Any) -> list[Any]:
        if not live.on:
            return []
        pid = os.getpid()
        try:
            numbers = [gauge.read(item) for item, own in list(watched.items()) if own == pid]
        except Exception as error:
            live.failed(gauge.name, error)
            return []
        known = [number for number in numbers if number is not None]
        return [Observation(sum(known))] if known else []

    return observe


class Counts(Patch):
    """A method that something happens in: `count(instance, before, args)` says how often.

    *before* is what `look(instance)` gave before the call.
    """

    def __init__(
        self,
        target: str,
        counter: tuple[str, str, str],
        count: Callable[[Any, Any, tuple[Any, ...]], int],
        look: Callable[[Any], Any] = lambda instance: None,
        *,
        optional: bool = False,
    ) -> None:
        """
        Args:
            target: "module:Qualified.name" of a method.
            counter: Name, unit and description of the counter.
            count: How often it happened in a call.
            look: What to remember of the instance before the call.
            optional: The target is missing in some supported versions.
        """
        super().__init__(target, optional=optional)
        self.counter = counter
        self.count = count
        self.look = look

    def make(self, live: Live, original: Wrapper, bound: bool) -> Wrapper:
        """Make the wrapper."""

        def happened(instance: Any, before: Any, args: tuple[Any, ...]) -> None:
            try:
                times = self.count(instance, before, args) if live.on else 0
                if times:
                    live.counter(*self.counter).add(times)
            except Exception as error:
                live.failed(self.target, error)

        @functools.wraps(original)
        def call(instance: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                before = self.look(instance)
            except Exception as error:
                live.failed(self.target, error)
                return original(instance, *args, **kwargs)
            try:
                return original(instance, *args, **kwargs)
            finally:
                happened(instance, before, args)

        return call


_TCP_INFO = getattr(__import__("socket"), "TCP_INFO", None)
_LISTENS = 10
"""State of a listening socket, TCP_LISTEN of Linux' include/net/tcp_states.h."""


def backlog(listeners: Iterable[Any]) -> int | None:
    """Count the connections that wait to be accepted by listening sockets; None where the system doesn't tell.

    Source: struct tcp_info in Linux' include/uapi/linux/tcp.h; for a listener, tcpi_unacked is the queue's length.
    """
    waiting = None
    for sock in listeners:
        try:
            info = sock.getsockopt(6, _TCP_INFO, 28)
        except (OSError, TypeError, AttributeError):
            continue  # another system, no TCP, or closed
        if info[0] == _LISTENS:
            waiting = (waiting or 0) + struct.unpack_from("=I", info, 24)[0]
    return waiting
