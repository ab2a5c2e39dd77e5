"""Any exporter written for the SDK, as a sink. The SDK is loaded when the first batch is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._core.segment import SPAN
from .._diagnostics import say
from .loading import load, resolve
from .sink import DELIVERED, REFUSED, Answer

GROUP = "opentelemetry_traces_exporter"


class AdapterSink:
    """Feeds a `SpanExporter` of the SDK.

    What an exporter refuses is given up, as the specification says: exporters do their own retrying.

    Args:
        name: What it is called.
        make: Gives the exporter; called in the thread that ships, once a process. LookupError: there is none.
    """

    signals: tuple[int, ...] = (SPAN,)

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self.name = name
        self._make = make
        self._exporter: Any = None
        self._failure = ""

    def send(self, signal: int, body: bytes, records: int, timeout_s: float) -> Answer:
        """Export one batch; the exporter keeps to its own timeout."""
        if self._failure or not self._load():
            return Answer(REFUSED, reason=self._failure)
        try:
            result = self._exporter.export(load(".readable", __package__).readable_spans(body))
        except Exception as error:
            say("exporter.failed", key=self.name, name=self.name, error=repr(error))
            return Answer(REFUSED, reason=repr(error))
        if getattr(result, "name", "SUCCESS") == "SUCCESS":
            return Answer(DELIVERED)
        return Answer(REFUSED, reason="the exporter says that it failed")

    def close(self) -> None:
        """Shut the exporter down."""
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            try:
                exporter.shutdown()
            except Exception as error:
                say("exporter.failed", key=self.name, name=self.name, error=repr(error))

    def forget(self) -> None:
        """Make a new exporter from now on."""
        self._exporter = None

    def _load(self) -> bool:
        if self._exporter is None:
            try:
                self._exporter = self._make()
            except Exception as error:
                self._failure = f"it can't be loaded: {error}" if str(error) else "it can't be loaded"
                slug = "exporter.unknown" if isinstance(error, LookupError) else "exporter.failed"
                say(slug, key=self.name, name=self.name, error=repr(error))
        return self._exporter is not None


def named_exporter(name: str) -> AdapterSink:
    """Make a sink of the exporter that an installed package offers under a name; `console` is the SDK's own."""

    def make() -> Any:
        for found in load("importlib.metadata").entry_points(group=GROUP, name=name):
            return resolve(found)()
        if name == "console":
            return load("opentelemetry.sdk.trace.export").ConsoleSpanExporter()
        raise LookupError(f"no installed package offers {name!r}")

    return AdapterSink(name, make)
