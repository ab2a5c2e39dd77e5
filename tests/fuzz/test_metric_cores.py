"""The native core of metrics against its Python twin, for arbitrary streams."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import ScopeMetrics

from noops_agent._core.measured import EXEMPLARS_OFF, EXPONENTIAL, HISTOGRAM, LAST, SUM, Shape
from tests.unit.metric_cores import CORES

BOUNDS = st.lists(st.floats(-1e6, 1e6), max_size=20, unique=True).map(lambda bounds: tuple(sorted(bounds)))
SHAPES = st.builds(
    Shape,
    kind=st.sampled_from([SUM, LAST, HISTOGRAM, EXPONENTIAL]),
    monotonic=st.booleans(),
    delta=st.booleans(),
    observed=st.booleans(),
    signed=st.just(True),
    keys=st.none() | st.frozensets(st.sampled_from(["a", "b", ""]), max_size=2),
    bounds=BOUNDS,
    max_size=st.integers(2, 40),
    max_scale=st.integers(-10, 20),
    extremes=st.booleans(),
    limit=st.integers(0, 6),
    exemplars=st.just(EXEMPLARS_OFF),
    reservoir=st.none(),
)


class Named(str):
    """A string of another type."""


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([0.0, -0.0, float("nan"), float("inf"), 1.0, Named("x"), "x", b"x", "\ud800", object]),
    st.text(max_size=2),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=1), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from(["a", "b", "", Named("a"), None, 5, b"a", "\ud800"])
ATTRIBUTES = st.none() | st.dictionaries(KEYS, VALUES, max_size=4) | st.sampled_from(["text", 5, [("a", 1)]])
AMOUNTS = st.one_of(
    st.integers(-(2**65), 2**65),
    st.integers(-5, 5),
    st.floats(),
    st.floats(0, 1e10),
    st.sampled_from([2**63 - 1, -(2**63), 2**63, 10**400, True, "1", None]),
)
STEPS = st.lists(st.tuples(AMOUNTS, ATTRIBUTES) | st.sampled_from(["collect", "encode", "bind"]), max_size=30)


def points_of(stream: Any) -> list[Any]:
    """Points without their times."""
    return [(key, value, exemplars) for key, _, value, exemplars in stream.collect(1)]


def metrics_of(stream: Any) -> str:
    """The encoded points, decoded and without their start."""
    payload = stream.encode(b"\x0a\x01m", 1)
    if payload is None:
        return ""
    (metric,) = ScopeMetrics.FromString(payload).metrics
    for point in getattr(metric, metric.WhichOneof("data")).data_points:
        point.ClearField("start_time_unix_nano")
    return str(metric)


@pytest.mark.skipif(len(CORES) == 1, reason="the native core is not built here")
@given(shape=SHAPES, steps=STEPS)
@settings(max_examples=150, deadline=None)
def test_both_cores_say_the_same(shape: Shape, steps: list[Any]) -> None:
    """Whatever is measured, whatever its attributes: points, bytes, limits and refusals are equal, to the last bit."""
    streams = [core.Stream(shape) for core in CORES]
    instruments = [core.Adding() for core in CORES]
    for made, stream in zip(instruments, streams, strict=True):
        made.streams = (stream,)
    adders: list[Any] = list(instruments)
    bound = False
    for step in [*steps, "collect"]:
        if step == "collect":
            first, second = (repr(points_of(stream)) for stream in streams)
            assert first == second
        elif step == "encode":
            first, second = (metrics_of(stream) for stream in streams)
            assert first == second
        elif step == "bind":
            bound = not bound
            adders = [made.bind({"a": 1}) if bound else made for made in instruments]
        else:
            amount, attributes = step
            given = (amount,) if bound else (amount, attributes)
            for at in range(len(adders)):  # no name may hold a bound instrument longer than the list does
                adders[at].add(*given)
        assert len({(stream.series, stream.overflowed) for stream in streams}) == 1
        assert len({made.unreadable for made in instruments}) == 1
