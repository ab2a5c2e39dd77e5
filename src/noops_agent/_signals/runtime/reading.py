"""A metric that is read when somebody collects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

Value = tuple[float, Mapping[str, str | int] | None]
"""A number and its attributes."""

COUNTER, UP_DOWN_COUNTER, GAUGE = "counter", "up_down_counter", "gauge"


class Reading(NamedTuple):
    """One metric, and the function that reads it."""

    kind: str
    name: str
    unit: str
    description: str
    read: Callable[[], Iterable[Value]]
