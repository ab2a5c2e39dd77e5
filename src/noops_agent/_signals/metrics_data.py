"""Points of the core as the SDK's `MetricsData`, for its readers and exporters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._core.measured import HISTOGRAM, LAST, SUM, Shape
from .reading import Entry


def metrics_data(resource: Any, found: Sequence[tuple[Entry, list[Any]]], now_ns: int) -> Any:
    """Build the SDK's tree; None where there are no points."""
    from opentelemetry.sdk.metrics import export as sdk

    scopes: dict[Any, list[Any]] = {}
    for entry, points in found:
        scopes.setdefault(entry.instrument.instrumentation_scope, []).append(metric(sdk, entry, points, now_ns))
    if not scopes:
        return None
    of_scopes = [
        sdk.ScopeMetrics(scope=scope, metrics=metrics, schema_url=scope.schema_url)
        for scope, metrics in scopes.items()
    ]
    of_resource = sdk.ResourceMetrics(resource=resource, scope_metrics=of_scopes, schema_url=resource.schema_url)
    return sdk.MetricsData(resource_metrics=[of_resource])


def metric(sdk: Any, entry: Entry, points: Sequence[Any], now_ns: int) -> Any:
    """Build one metric."""
    shape, unit = entry.sight.shape, entry.instrument.unit
    data = data_of(sdk, shape, points, now_ns)
    return sdk.Metric(name=entry.sight.name, description=entry.sight.description, unit=unit, data=data)


def data_of(sdk: Any, shape: Shape, points: Sequence[Any], now_ns: int) -> Any:
    """Build the points of one metric."""
    if shape.kind == LAST:
        return sdk.Gauge(data_points=[number_point(sdk, None, now_ns, point) for point in points])
    temporality = sdk.AggregationTemporality.DELTA if shape.delta else sdk.AggregationTemporality.CUMULATIVE
    if shape.kind == SUM:
        made = [number_point(sdk, point[1], now_ns, point) for point in points]
        return sdk.Sum(data_points=made, aggregation_temporality=temporality, is_monotonic=shape.monotonic)
    if shape.kind == HISTOGRAM:
        made = [histogram_point(sdk, shape.bounds, now_ns, point) for point in points]
        return sdk.Histogram(data_points=made, aggregation_temporality=temporality)
    made = [exponential_point(sdk, now_ns, point) for point in points]
    return sdk.ExponentialHistogram(data_points=made, aggregation_temporality=temporality)


def number_point(sdk: Any, start_ns: int | None, now_ns: int, point: Any) -> Any:
    """Build the point of a sum or a gauge; a gauge has no start."""
    attributes, _, value, exemplars = point
    return sdk.NumberDataPoint(
        attributes=dict(attributes),
        start_time_unix_nano=start_ns,
        time_unix_nano=now_ns,
        value=value,
        exemplars=as_exemplars(exemplars),
    )


def histogram_point(sdk: Any, bounds: tuple[float, ...], now_ns: int, point: Any) -> Any:
    """Build the point of a histogram with explicit buckets."""
    attributes, start_ns, (count, total, least, greatest, counts), exemplars = point
    return sdk.HistogramDataPoint(
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


def exponential_point(sdk: Any, now_ns: int, point: Any) -> Any:
    """Build the point of a histogram with exponential buckets; the SDK shows an empty side as one empty bucket."""
    attributes, start_ns, value, exemplars = point
    count, total, least, greatest, scale, zeros, *sides = value
    positive, negative = (sdk.Buckets(offset=low, bucket_counts=counts or [0]) for low, counts in sides)
    return sdk.ExponentialHistogramDataPoint(
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


def as_exemplars(exemplars: Sequence[Any]) -> list[Any]:
    """Build the SDK's exemplars."""
    if not exemplars:
        return []
    from opentelemetry.sdk.metrics import Exemplar

    return [Exemplar(*exemplar) for exemplar in exemplars]
