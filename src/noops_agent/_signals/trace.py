"""The tracer provider: a drop-in for the SDK's class on our core."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.trace import NoOpTracer
from opentelemetry.trace import Tracer as APITracer
from opentelemetry.trace import TracerProvider as APITracerProvider

from .. import _core
from .._core.model import Limits, as_name, bounded, sdk_face
from .._core.wire import resource_fields, scope_fields
from .._diagnostics import say

SDK = "opentelemetry.sdk.trace"


class InstrumentationScope:
    """Who makes spans; shaped like the SDK's class, and equal to it."""

    __slots__ = ("attributes", "name", "schema_url", "version")

    def __init__(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = as_name(name)
        self.version = None if version is None else as_name(version)
        self.schema_url = as_name(schema_url or "")
        self.attributes = bounded(attributes, None, None)[0] or {}

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face("opentelemetry.sdk.util.instrumentation", "InstrumentationScope", InstrumentationScope)

    def _key(self) -> tuple[Any, ...]:
        return self.name, self.version, self.schema_url, dict(self.attributes)

    def __eq__(self, other: object) -> bool:
        try:
            return self._key() == (other.name, other.version, other.schema_url, dict(other.attributes or {}))  # type: ignore[attr-defined]
        except AttributeError:
            return NotImplemented

    def __hash__(self) -> int:
        return hash((self.name, self.version, self.schema_url))

    def __lt__(self, other: Any) -> bool:
        return (self.name, self.version or "", self.schema_url) < (other.name, other.version or "", other.schema_url)

    def __repr__(self) -> str:
        return f"InstrumentationScope({self.name}, {self.version}, {self.schema_url}, {self.attributes})"

    def to_json(self, indent: int | None = 4) -> str:
        """Give the scope as the SDK's class does."""
        import json

        shown = {"name": self.name, "version": self.version, "schema_url": self.schema_url}
        return json.dumps({**shown, "attributes": dict(self.attributes) or None}, indent=indent, default=str)

    @property
    def _name(self) -> str:
        return self.name

    @property
    def _version(self) -> str | None:
        return self.version

    @property
    def _schema_url(self) -> str:
        return self.schema_url

    @property
    def _attributes(self) -> Mapping[str, Any]:
        return self.attributes


class SpanProcessors(_core.ProcessorList):  # type: ignore[misc]
    """Forwards to each processor in the order in which it was added. What one raises is said once, and stays here."""

    def add_span_processor(self, span_processor: Any) -> None:
        """Add a processor behind those that are there."""
        self._span_processors += (span_processor,)

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Tell each processor that a span has started."""
        for processor in self._span_processors:
            try:
                processor.on_start(span, parent_context=parent_context)
            except Exception as error:
                failed(processor, "on_start", error)

    def _on_ending(self, span: Any) -> None:
        for processor in self._span_processors:
            try:
                ending = getattr(processor, "_on_ending", None)
                if ending is not None:
                    ending(span)
            except Exception as error:
                failed(processor, "_on_ending", error)

    def on_end(self, span: Any) -> None:
        """Tell each processor that a span has ended."""
        for processor in self._span_processors:
            try:
                processor.on_end(span)
            except Exception as error:
                failed(processor, "on_end", error)

    def shutdown(self) -> None:
        """Shut each processor down."""
        for processor in self._span_processors:
            try:
                processor.shutdown()
            except Exception as error:
                failed(processor, "shutdown", error)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush each processor; False where one did not in the time that all have together."""
        deadline = time.monotonic() + timeout_millis / 1000
        flushed = True
        for processor in self._span_processors:
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms <= 0:
                return False
            try:
                flushed = processor.force_flush(left_ms) is not False and flushed
            except Exception as error:
                failed(processor, "force_flush", error)
                flushed = False
        return flushed


def failed(part: Any, call: str, error: BaseException) -> None:
    """Say once that a processor, sampler or identifier generator raised."""
    name = type(part).__name__
    say("processor.failed", key=f"{name}.{call}", name=name, call=call, error=repr(error))


class Tracer(_core.Tracer, APITracer):  # type: ignore[misc]
    """Starts spans; what the SDK's tracer offers beside that is here."""

    def __init__(self, provider: TracerProvider, instrumentation_scope: Any) -> None:
        self._provider = provider
        tracing = provider._tracing
        super().__init__(tracing, instrumentation_scope, provider._scope_index(instrumentation_scope))
        self.enabled = provider._allows(instrumentation_scope)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face(SDK, "Tracer", Tracer)

    @property
    def resource(self) -> Any:
        """The resource of the provider."""
        return self.tracing.resource

    @property
    def sampler(self) -> Any:
        """The sampler of the provider."""
        return self.tracing.sampler

    @property
    def span_processor(self) -> Any:
        """The processors of the provider."""
        return self.tracing.processors

    @property
    def id_generator(self) -> Any:
        """What makes identifiers."""
        return self._provider.id_generator

    @property
    def instrumentation_info(self) -> Any:
        """The scope under its former name."""
        return self.instrumentation_scope

    @property
    def _instrumentation_scope(self) -> Any:
        return self.instrumentation_scope

    @property
    def _span_limits(self) -> Any:
        return self.tracing.limits

    def _is_enabled(self) -> bool:
        return bool(self.enabled)


class NativeIds:
    """The core's own generator, seen through the SDK's interface."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face("opentelemetry.sdk.trace.id_generator", "IdGenerator", NativeIds)

    def generate_span_id(self) -> int:
        """64 random bits."""
        return int(_core.random_ids()[1])

    def generate_trace_id(self) -> int:
        """128 random bits."""
        return int(_core.random_ids()[0])

    def is_trace_id_random(self) -> bool:
        """The identifiers are random in the sense of W3C Trace Context Level 2."""
        return True


def read_limits(given: Any) -> Limits:
    """Read the SDK's `SpanLimits`; ours, or None, are taken as they are."""
    if given is None:
        return Limits()
    if isinstance(given, Limits):
        return given
    return Limits(
        attributes=given.max_span_attributes,
        value_length=given.max_span_attribute_length,
        detail_length=given.max_attribute_length,
        events=given.max_events,
        links=given.max_links,
        event_attributes=given.max_event_attributes,
        link_attributes=given.max_link_attributes,
    )


class TracerProvider(APITracerProvider):
    """Drop-in for `opentelemetry.sdk.trace.TracerProvider`: same arguments, same behaviour, our core.

    Args:
        sampler: Ours or the SDK's; None: as `OTEL_TRACES_SAMPLER` says.
        resource: Ours or the SDK's; None: as the environment says.
        shutdown_on_exit: Shut the processors down when the interpreter ends.
        active_span_processor: The SDK's multi-processors, or None for ours.
        id_generator: The SDK's interface; None: the core's own.
        span_limits: The SDK's `SpanLimits`, or None for the environment's.
        meter_provider: Accepted for the sake of the signature.
    """

    def __init__(
        self,
        sampler: Any = None,
        resource: Any = None,
        shutdown_on_exit: bool = True,
        active_span_processor: Any = None,
        id_generator: Any = None,
        span_limits: Any = None,
        *,
        meter_provider: Any = None,
        _tracer_configurator: Callable[[Any], Any] | None = None,
        _settings: Any = None,
    ) -> None:
        settings = _settings
        if settings is None and (sampler is None or resource is None or span_limits is None):
            from .._config import load

            settings = load()
        if sampler is None:
            from .sampling import make_sampler

            sampler = make_sampler(settings)
        if resource is None:
            from .resource import make_resource

            resource = make_resource(settings)
        if span_limits is None:
            span_limits = settings_limits(settings)
        self._disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
        processors = active_span_processor or SpanProcessors()
        self._tracing = _core.Tracing(sampler, read_limits(span_limits), processors, resource)
        self._tracing.on_fault = failed
        self.use_id_generator(id_generator)
        self._resource_index = 0
        self._tracers: dict[Any, Tracer] = {}
        self._tracer_configurator = _tracer_configurator
        self._enabled = True
        self.deliver: Callable[[float], bool] | None = None
        """Delivers what was recorded, within seconds, where this is the agent's own provider."""
        self._atexit_handler = atexit.register(self.shutdown) if shutdown_on_exit else None

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return sdk_face(SDK, "TracerProvider", TracerProvider)

    def use_id_generator(self, generator: Any) -> None:
        """Make identifiers with an object of the SDK's interface; None: with the core's own generator."""
        self.id_generator = generator or NativeIds()
        self._tracing.id_generator = generator
        self._tracing.random_ids = generator is None or bool(
            getattr(generator, "is_trace_id_random", lambda: False)()
        )

    # -- what records

    def record_into(self, recorder: Any) -> None:
        """Let ended spans go to a recorder of the core, beside the processors."""
        self._resource_index = recorder.resource(resource_fields(self.resource))
        self._tracing.recorder = recorder
        for scope, tracer in self._tracers.items():
            tracer.scope = self._scope_index(scope)

    def _scope_index(self, scope: Any) -> int:
        recorder = self._tracing.recorder
        return 0 if recorder is None else int(recorder.scope(self._resource_index, scope_fields(scope)))

    # -- the SDK's surface

    @property
    def sampler(self) -> Any:
        """What decides which spans are recorded."""
        return self._tracing.sampler

    @sampler.setter
    def sampler(self, sampler: Any) -> None:
        self._tracing.sampler = sampler

    @property
    def resource(self) -> Any:
        """What the spans of this provider come from."""
        return self._tracing.resource

    @property
    def _resource(self) -> Any:
        return self._tracing.resource

    @_resource.setter
    def _resource(self, resource: Any) -> None:
        self._tracing.resource = resource
        if self._tracing.recorder is not None:
            self._tracing.recorder.set_resource(self._resource_index, resource_fields(resource))

    def _update_resource(self, resource: Any) -> None:
        self._resource = self._tracing.resource.merge(resource)

    @property
    def _active_span_processor(self) -> Any:
        return self._tracing.processors

    @_active_span_processor.setter
    def _active_span_processor(self, processors: Any) -> None:
        self._tracing.processors = processors

    @property
    def _span_limits(self) -> Limits:
        limits: Limits = self._tracing.limits
        return limits

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Any = None,
    ) -> Any:
        """Give the tracer of an instrumentation scope; equal scopes share one."""
        if self._disabled:
            return NoOpTracer()
        name = instrumenting_module_name if isinstance(instrumenting_module_name, str) else ""
        if not name:
            say("tracer.unnamed")
        scope = InstrumentationScope(name, instrumenting_library_version or "", schema_url, attributes)
        tracer = self._tracers.get(scope)
        if tracer is None:
            tracer = self._tracers.setdefault(scope, Tracer(self, scope))
        return tracer

    def add_span_processor(self, span_processor: Any) -> None:
        """Add a processor, ours or the SDK's, behind those that are there."""
        self._tracing.processors.add_span_processor(span_processor)

    def shutdown(self) -> None:
        """Shut the processors down."""
        processors = self._tracing.processors
        try:
            processors.shutdown()
        except Exception as error:
            failed(processors, "shutdown", error)
        if self._atexit_handler is not None:
            atexit.unregister(self._atexit_handler)
            self._atexit_handler = None

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the processors, and deliver what was recorded; False where that failed or took too long."""
        processors = self._tracing.processors
        deadline = time.monotonic() + timeout_millis / 1000
        try:
            flushed = processors.force_flush(timeout_millis) is not False
        except Exception as error:
            failed(processors, "force_flush", error)
            flushed = False
        if self.deliver is None:
            return flushed
        return self.deliver(max(0.0, deadline - time.monotonic())) and flushed

    # -- configurators (experimental in the specification)

    def _allows(self, scope: Any) -> bool:
        if self._tracer_configurator is None or not self._enabled:
            return self._enabled
        try:
            return bool(self._tracer_configurator(scope).is_enabled)
        except Exception as error:
            say("configurator.failed", error=repr(error))
            return True

    def _set_tracer_configurator(self, *, tracer_configurator: Callable[[Any], Any]) -> None:
        self._tracer_configurator = tracer_configurator
        self.enable(True)

    def enable(self, on: bool) -> None:
        """Switch all tracers off, or back on as far as the configurator allows."""
        self._enabled = on
        for scope, tracer in self._tracers.items():
            tracer.enabled = self._allows(scope)


def settings_limits(settings: Any) -> Limits:
    """Read the limits out of the settings."""
    return Limits(
        attributes=settings.span_attribute_count_limit,
        value_length=settings.span_attribute_value_length_limit,
        detail_length=settings.span_attribute_value_length_limit,
        events=settings.span_event_count_limit,
        links=settings.span_link_count_limit,
        event_attributes=settings.event_attribute_count_limit,
        link_attributes=settings.link_attribute_count_limit,
    )
