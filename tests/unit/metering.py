"""A meter provider, and what it has collected: the SDK's, and ours where it is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import noops_agent.sdk

OURS = getattr(noops_agent.sdk, "MeterProvider", None)
PROVIDERS: dict[str, Callable[..., Any]] = {"sdk": MeterProvider, **({"ours": OURS} if OURS is not None else {})}
"""By name: the same is expected of each."""


class Metering:
    """One provider with a reader."""

    def __init__(self, name: str = "sdk") -> None:
        self.reader = InMemoryMetricReader()
        self.provider: Any = PROVIDERS[name](metric_readers=[self.reader], shutdown_on_exit=False)

    def collect(self) -> dict[str, Any]:
        """Collect; metrics by name."""
        data = self.reader.get_metrics_data()
        scopes = [scope for part in (data.resource_metrics if data else ()) for scope in part.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def values(self) -> dict[str, dict[Any, Any]]:
        """Collect; by name, and by the values of the attributes, the number, or count and sum of a histogram."""
        return {name: points_of(metric) for name, metric in self.collect().items()}

    def close(self) -> None:
        """End the provider."""
        self.provider.shutdown()


def points_of(metric: Any) -> dict[Any, Any]:
    """Give the points of a metric by the values of their attributes."""
    found: dict[Any, Any] = {}
    for point in metric.data.data_points:
        key = tuple((point.attributes or {}).values())
        found[key] = point.value if hasattr(point, "value") else (point.count, point.sum)
    return found
