"""Our meter provider on each core, the SDK's, and what both say in comparable form."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from noops_agent import _core
from tests.unit.metric_cores import CORES

ROOMS = [f"noops_agent._signals.{name}" for name in ("instruments", "views", "reading", "metrics_data", "metric")]
NAMES = ("Adding", "Bound", "Recording", "Setting", "Stream")


def on_core(core: ModuleType) -> ModuleType:
    """Load the meter provider on a core: the names of the core are bound when its modules are loaded."""
    if core is _core.measuring:
        return importlib.import_module(ROOMS[-1])
    chosen = {name: getattr(_core, name) for name in NAMES}
    loaded = {name: sys.modules.pop(name) for name in ROOMS if name in sys.modules}
    try:
        for name in NAMES:
            setattr(_core, name, getattr(core, name))
        return importlib.import_module(ROOMS[-1])
    finally:
        for name in NAMES:
            setattr(_core, name, chosen[name])
        for name in ROOMS:
            sys.modules.pop(name, None)
        sys.modules.update(loaded)


METERS = {core.NAME: on_core(core) for core in CORES}


def comparable(data: Any) -> dict[Any, Any]:
    """Metrics by scope and name: what they are, and their points by attributes."""
    found: dict[Any, Any] = {}
    for of_resource in data.resource_metrics if data is not None else ():
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                place = (of_scope.scope.name, metric.name, metric.description, metric.unit)
                assert place not in found, place
                found[place] = (facts_of(metric.data), {key_of(p.attributes): p for p in metric.data.data_points})
                assert len(found[place][1]) == len(metric.data.data_points)
    return found


def facts_of(data: Any) -> tuple[Any, ...]:
    """What a metric is, beside its points."""
    temporality = getattr(data, "aggregation_temporality", None)
    return type(data).__name__, temporality, getattr(data, "is_monotonic", None)


def key_of(value: Any) -> Any:
    """Make attributes hashable; equal only where type and value are."""
    if isinstance(value, dict):
        return frozenset((key, key_of(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(key_of(item) for item in value)
    return type(value).__name__, value


def assert_same(ours: Any, theirs: Any, most: float) -> None:
    """Two collections say the same. *most* is the sum of all amounts measured, to judge rounding by."""
    left, right = comparable(ours), comparable(theirs)
    assert left.keys() == right.keys()
    for place, (facts, points) in left.items():
        assert facts == right[place][0], place
        assert points.keys() == right[place][1].keys(), place
        for key, point in points.items():
            assert_same_point(point, right[place][1][key], most)


def assert_same_point(ours: Any, theirs: Any, most: float) -> None:
    """Two points say the same; sums of doubles may have been added in another order."""
    assert type(ours) is type(theirs)
    assert (ours.start_time_unix_nano is None) == (theirs.start_time_unix_nano is None)
    assert (ours.start_time_unix_nano or 0) <= ours.time_unix_nano
    total = "value" if hasattr(ours, "value") else "sum"
    assert_close(getattr(ours, total), getattr(theirs, total), most)
    if total == "sum":
        assert (ours.count, ours.min, ours.max) == (theirs.count, theirs.min, theirs.max)
    if hasattr(ours, "explicit_bounds"):
        assert tuple(ours.explicit_bounds) == tuple(theirs.explicit_bounds)
        assert tuple(ours.bucket_counts) == tuple(theirs.bucket_counts)
    elif hasattr(ours, "zero_count"):
        assert_same_buckets(ours, theirs)


def assert_close(ours: Any, theirs: Any, most: float) -> None:
    """Two sums are equal; whole ones exactly. A boolean in a gauge of the SDK stays one; here it is 0 or 1."""
    theirs = int(theirs) if isinstance(theirs, bool) else theirs
    assert type(ours) is type(theirs)
    assert ours == theirs or math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-9 * most)


def assert_same_buckets(ours: Any, theirs: Any) -> None:
    """Ours are never coarser, and at the SDK's scale the same.

    The SDK is coarser than it need be where one interval held zeros alone (it reports scale 0 for it, which stays in
    the sum of the intervals), and after an interval with a wide range (its scale never rises again). The
    specification asks for the best resolution that the size allows. It also shows empty buckets at the end.
    """
    assert ours.zero_count == theirs.zero_count
    assert ours.scale >= theirs.scale
    for side in ("positive", "negative"):
        assert coarse(ours, side, theirs.scale) == coarse(theirs, side, theirs.scale)


def coarse(point: Any, side: str, scale: int) -> dict[int, int]:
    """Counts by index at a scale, without empty buckets."""
    buckets = getattr(point, side)
    found: dict[int, int] = {}
    for place, count in enumerate(buckets.bucket_counts):
        if count:
            index = (buckets.offset + place) >> (point.scale - scale)
            found[index] = found.get(index, 0) + count
    return found


def amounts(values: Sequence[Any]) -> float:
    """Sum of the sizes of all finite amounts."""
    return sum(abs(value) for value in values if math.isfinite(value))
