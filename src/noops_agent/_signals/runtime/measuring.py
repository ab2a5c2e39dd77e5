"""The ready-made metrics on one meter."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.metrics import CallbackOptions, Observation

from ... import _diagnostics
from . import process
from .interpreter import PAUSE, PAUSE_BOUNDS, Counts, Pauses
from .loops import LAG, LAG_BOUNDS, Loops
from .pools import Pools
from .reading import COUNTER, UP_DOWN_COUNTER, Reading

SCOPE, SCHEMA = "noops_agent.runtime", "https://opentelemetry.io/schemas/1.44.0"


class Measuring:
    """Measures as long as it is on and a meter provider collects: before the first collection nothing is touched.

    That the API has no provider yet, only its stand-in, shows in its instruments; the first collection shows that
    there is one by now.
    """

    def __init__(self, meter: Any) -> None:
        self.on = False
        self.active = False
        self._pid = os.getpid()
        self._counts = Counts()
        self.pauses = Pauses()
        self._pause = meter.create_histogram(
            PAUSE,
            "s",
            "Time that collections of garbage held the program up, by generation.",
            explicit_bucket_boundaries_advisory=PAUSE_BOUNDS,
        )
        self._lag = meter.create_histogram(
            LAG, "s", "How late an event loop runs what is due.", explicit_bucket_boundaries_advisory=LAG_BOUNDS
        )
        self.loops = Loops(self._lag)
        for reading in self._readings():
            create_observable(meter, reading.kind)(
                reading.name, [self._observer(reading)], reading.unit, reading.description
            )
        enter_child_after_fork(self)

    def _readings(self) -> list[Reading]:
        return [
            *process.readings(),
            *self._counts.readings(),
            *self.loops.readings(),
            *Pools().readings(),
        ]

    def start(self) -> None:
        """Be on. What has a cost begins at once where there is a provider, else when one first collects."""
        if self.on:
            return
        self.on = True
        self.loops.start()
        if getattr(self._pause, "_real_instrument", self._pause) is not None:
            self._activate()

    def _activate(self) -> None:
        self.active = True
        self.pauses.start()
        self.loops.time()

    def stop(self) -> None:
        """Touch nothing any more, and tell nothing."""
        self.on = self.active = False
        self.pauses.stop()
        self.loops.stop()

    def enter_child(self) -> None:
        """Leave behind, in a forked child, what was the parent's."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._counts.enter_child()
            self.pauses.clear()
            self.loops.forget_all()

    def _observer(self, reading: Reading) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """Make the callback of an observable instrument."""

        def observe(options: CallbackOptions) -> Iterable[Observation]:
            if not self.on:
                return ()
            try:
                self.enter_child()
                if not self.active:
                    self._activate()
                self.pauses.record(self._pause)
                return [Observation(value, attributes) for value, attributes in reading.read()]
            except Exception as error:
                _diagnostics.say("runtime.unread", key=reading.name, name=reading.name, error=repr(error))
                return ()

        return observe


def create_observable(meter: Any, kind: str) -> Any:
    """Give what makes the observable instruments of a kind on a meter."""
    if kind == COUNTER:
        return meter.create_observable_counter
    return meter.create_observable_up_down_counter if kind == UP_DOWN_COUNTER else meter.create_observable_gauge


def enter_child_after_fork(measuring: Measuring) -> None:
    """Let it know of forks at once; those that run no hook it sees at the next collection."""
    if not hasattr(os, "register_at_fork"):
        return
    reference = weakref.ref(measuring)

    def enter() -> None:
        there = reference()
        if there is not None:
            try:
                there.enter_child()
            except Exception:
                _diagnostics.count("runtime.failed")

    os.register_at_fork(after_in_child=enter)
