"""Pools of database connections, read when metrics are collected: a query pays nothing for them.

Source: OpenTelemetry semantic conventions 1.44, docs/db/database-metrics.md, "Connection pools".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, Observation

from .db import CONNECTION_COUNT, CONNECTION_IDLE_MAX, CONNECTION_MAX, CONNECTION_POOL_NAME, CONNECTION_STATE

if TYPE_CHECKING:
    from .live import Live


class Pool(NamedTuple):
    """The state of a pool of connections, in connections."""

    used: int
    idle: int
    most: int
    """How many there can be; negative: without limit."""
    most_idle: int

    def with_(self, other: Pool) -> Pool:
        """Join two states."""
        most = self.most + other.most if self.most >= 0 and other.most >= 0 else -1
        return Pool(self.used + other.used, self.idle + other.idle, most, self.most_idle + other.most_idle)


class Pools:
    """The pools of one enabled library."""

    def __init__(self, live: Live, state: Callable[[Any], Pool | None]) -> None:
        """
        Args:
            live: The enabled library; no pool is told of when it isn't any more.
            state: Reads the pool of an owner; None: there is nothing to count.
        """
        self._live = live
        self._read = state
        self._names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def add(self, owner: Any, name: str) -> None:
        """Add the pool of an owner, which is kept weakly. The first one offers the metrics."""
        if not self._names:
            counter = self._live.meter.create_observable_up_down_counter
            counter(CONNECTION_COUNT, [self._counts], "{connection}", "Connections in the state of the attribute.")
            counter(CONNECTION_MAX, [self._limits], "{connection}", "Connections that the pool may open.")
            counter(CONNECTION_IDLE_MAX, [self._idle], "{connection}", "Connections that the pool keeps while idle.")
        self._names[owner] = name

    def _states(self) -> dict[str, Pool]:
        """Read all pools; those of one name count as one."""
        found: dict[str, Pool] = {}
        for owner, name in list(self._names.items()) if self._live.on else ():
            state = self._read(owner)
            if state is not None:
                before = found.get(name)
                found[name] = state if before is None else before.with_(state)
        return found

    def _counts(self, options: CallbackOptions) -> Iterator[Observation]:
        for name, state in self._states().items():
            yield Observation(state.used, {CONNECTION_POOL_NAME: name, CONNECTION_STATE: "used"})
            yield Observation(state.idle, {CONNECTION_POOL_NAME: name, CONNECTION_STATE: "idle"})

    def _limits(self, options: CallbackOptions) -> Iterator[Observation]:
        for name, state in self._states().items():
            if state.most >= 0:
                yield Observation(state.most, {CONNECTION_POOL_NAME: name})

    def _idle(self, options: CallbackOptions) -> Iterator[Observation]:
        for name, state in self._states().items():
            yield Observation(state.most_idle, {CONNECTION_POOL_NAME: name})
