"""Points of the core as the SDK's `MetricsData`, for its readers and exporters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._core.measured import HISTOGRAM, LAST, SUM
from .reading import Entry


def metrics_data(resource: Any, found: Sequence[tuple[Entry, list[Any]]], now_ns: int) -> Any:
    """Build the SDK's tree; None where there are no points."""
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics

    scopes: dict[Any, list[Any]] = {}
    for entry, points in found:
        scopes.setdefault(entry.instrument.instrumentation_scope, []).append(metric(entry, points, now_ns))
    if not scopes:
        return None
    of_scopes = [
        ScopeMetrics(scope=scope, metrics=metrics, schema_url=scope.schema_url) for scope, metrics in scopes.items()
    ]
    return MetricsData(
        resource_metrics=[
            ResourceMetrics(resource=resource, scope_metrics=of_scopes, schema_url=resource.schema_url)
        ]
    )


def metric(entry: Entry, points: Sequence[Any], now_ns: int) -> Any:
    """Build one metric."""
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        ExponentialHistogram,
        Gauge,
        Histogram,
        Metric,
        Sum,
    )

    shape = entry.sight.shape
    temporality = AggregationTemporality.DELTA if shape.delta else AggregationTemporality.CUMULATIVE
    data: Any
    if shape.kind == LAST:
        data = Gauge(data_points=[number_point(None, now_ns, point) for point in points])
    elif shape.kind == SUM:
        made = [number_point(point[1], now_ns, point) for point in points]
        data = Sum(data_points=made, aggregation_temporality=temporality, is_monotonic=shape.monotonic)
    elif shape.kind == HISTOGRAM:
        made = [histogram_point(shape.bounds, now_ns, point) for point in points]
        data = Histogram(data_points=made, aggregation_temporality=temporality)
    else:
        made = [exponential_point(now_ns, point) for point in points]
        data = ExponentialHistogram(data_points=made, aggregation_temporality=temporality)
    if shape.kind > LAST and not shape.extremes:
        data = without_extremes(data)
    instrument = entry.instrument
    return Metric(name=entry.sight.name, description=entry.sight.description, unit=instrument.unit, data=data)


def number_point(start_ns: int | None, now_ns: int, point: Any) -> Any:
    """Build the point of a sum or a gauge; a gauge has no start."""
    from opentelemetry.sdk.metrics.export import NumberDataPoint

    attributes, _, value, exemplars = point
    return NumberDataPoint(
        attributes=dict(attributes),
        start_time_unix_nano=start_ns,  # type: ignore[arg-type]
        time_unix_nano=now_ns,
        value=value,
        exemplars=as_exemplars(exemplars),
    )


def histogram_point(bounds: tuple[float, ...], now_ns: int, point: Any) -> Any:
    """Build the point of a histogram with explicit buckets."""
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    attributes, start_ns, (count, total, least, greatest, counts), exemplars = point
    return HistogramDataPoint(
        attributes=dict(attributes),
        start_time_unix_nano=start_ns,
        time_unix_nano=now_ns,
        count=count,
        sum=total,
        bucket_counts=counts,
        explicit_bounds=bounds,
        min=least,
        max=greatest,
        exemplars=as_exemplars(exemplars),
    )


def exponential_point(now_ns: int, point: Any) -> Any:
    """Build the point of a histogram with exponential buckets; the SDK shows an empty side as one empty bucket."""
    from opentelemetry.sdk.metrics._internal.point import Buckets
    from opentelemetry.sdk.metrics.export import ExponentialHistogramDataPoint

    attributes, start_ns, value, exemplars = point
    count, total, least, greatest, scale, zeros, *sides = value
    positive, negative = (Buckets(offset=low, bucket_counts=counts or [0]) for low, counts in sides)
    return ExponentialHistogramDataPoint(
        attributes=dict(attributes),
        start_time_unix_nano=start_ns,
        time_unix_nano=now_ns,
        count=count,
        sum=total,
        scale=scale,
        zero_count=zeros,
        positive=positive,
        negative=negative,
        flags=0,
        min=least,
        max=greatest,
        exemplars=as_exemplars(exemplars),
    )


def without_extremes(data: Any) -> Any:
    """Show the extremes as the SDK does where it was told not to record them."""
    from dataclasses import replace

    points = [replace(point, min=float("inf"), max=float("-inf")) for point in data.data_points]
    return replace(data, data_points=points)


def as_exemplars(exemplars: Sequence[Any]) -> list[Any]:
    """Build the SDK's exemplars."""
    if not exemplars:
        return []
    from opentelemetry.sdk.metrics import Exemplar

    return [Exemplar(*exemplar) for exemplar in exemplars]
