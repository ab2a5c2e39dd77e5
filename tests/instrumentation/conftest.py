"""One library at a time, enabled on providers of its own."""

from __future__ import annotations

# Before the SDK's meter provider, whose fork hook waits in the child for a lock that this module's own fork hook frees:
# hooks run in the order in which they were registered.
import concurrent.futures.thread  # noqa: F401
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from noops_agent._signals import context
from noops_agent.instrument import registry
from noops_agent.sdk import TracerProvider
from tests.conftest import Always


class Keeper:
    """A span processor that keeps what has ended."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Nothing is done."""

    def on_end(self, span: Any) -> None:
        """Keep a span."""
        self.spans.append(span)

    def shutdown(self) -> None:
        """Nothing is done."""

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """All is there."""
        return True


class Seen:
    """What an enabled library has recorded."""

    def __init__(self, sampler: Any = None) -> None:
        self._keeper = Keeper()
        resource = Resource({})
        self.tracer_provider = TracerProvider(sampler or Always(), resource, shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(self._keeper)
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader], resource, shutdown_on_exit=False)
        self.tracer = self.tracer_provider.get_tracer("tests")
        """For spans around the calls of a test."""
        self.handle: registry.Handle | None = None

    @property
    def spans(self) -> list[Any]:
        """The spans that have ended, in that order; those of `tracer` too."""
        return self._keeper.spans

    @property
    def span(self) -> Any:
        """The only span that has ended."""
        (span,) = self.spans
        return span

    def named(self, name: str) -> Any:
        """The only span with a name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def clear(self) -> None:
        """Forget the spans so far."""
        self.spans.clear()

    def metrics(self) -> dict[str, list[Any]]:
        """The data points of each instrument."""
        data = self.reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found.setdefault(metric.name, []).extend(metric.data.data_points)
        return found


@contextmanager
def observe(library: str, /, *more: str, sampler: Any = None, **options: Any) -> Iterator[Seen]:
    """Enable a library, and more beside it; the options are those of the first."""
    seen = Seen(sampler)
    providers = {"tracer_provider": seen.tracer_provider, "meter_provider": seen.meter_provider}
    restore = context.install()
    handles = [registry.enable(library, **providers, **options)]
    seen.handle = handles[0]
    try:
        handles += [registry.enable(name, **providers) for name in more]
        yield seen
    finally:
        for handle in reversed(handles):
            handle.disable()
        restore()
        seen.meter_provider.shutdown()


Observe = Callable[..., AbstractContextManager[Seen]]


@pytest.fixture
def observed() -> Observe:
    """`with observed("redis", **options) as seen:` enables a library; see `Seen`."""
    return observe
