"""The Python core: the native core's twin and specification, used where no compiler was at hand."""

from __future__ import annotations

import os
import random
import struct
import time
from types import MappingProxyType
from typing import Any

import opentelemetry.context as context_api
from opentelemetry.context.context import Context
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, SpanKind, Status, TraceFlags, TraceState
from opentelemetry.trace import Span as APISpan
from opentelemetry.trace.propagation import _SPAN_KEY

from . import model
from .decorate import decorate
from .recorder import MAX_RECORD_BYTES, RecorderPolicy
from .segment import ERROR, SPAN, FileSegment, collect, varint
from .traceparent import format_traceparent, parse_traceparent
from .values import clean, text_of, utf8

NAME = "python"
SAMPLED, RANDOM = 1, 2
PLAIN = frozenset((str, int, float, bool, type(None)))
FLAGS = tuple(TraceFlags(flags) for flags in range(256))
NO_STATE = TraceState.get_default()
SUPPRESS_KEY = context_api._SUPPRESS_INSTRUMENTATION_KEY
SUPPRESS_PLAIN = "suppress_instrumentation"
"""The same key as contrib's older packages write it."""
SUPPRESS_HTTP = context_api._SUPPRESS_HTTP_INSTRUMENTATION_KEY
FIXED64 = struct.Struct("<Q")
DOUBLE = struct.Struct("<d")
MASK64 = 2**64 - 1

clock_ns = time.time_ns
_monotonic_ns = time.monotonic_ns

_random = random.SystemRandom()
_generator = random.Random()
_generator_pid = 0


def guard_signal(number: int, budget_ms: int) -> bool:
    """Let a signal end the process after *budget_ms* even where its Python handler does not get to run; not here."""
    return False


def process_mark() -> int:
    """Give a number that is another one in a forked child."""
    return os.getpid()


def _bits(count: int) -> int:
    """Random bits that are not all zero, from a generator that is seeded anew in each process."""
    global _generator_pid
    pid = os.getpid()
    if pid != _generator_pid:
        _generator.seed(_random.getrandbits(256))
        _generator_pid = pid
    return _generator.getrandbits(count) or 1


def random_ids() -> tuple[int, int]:
    """Make a trace id and a span id (128 and 64 random bits)."""
    return _bits(128), _bits(64)


def suppressed(http: bool = False) -> bool:
    """Whether instrumentation is suppressed in the current context, or that of HTTP calls alone where *http*."""
    context = context_api.get_current()
    if not context:
        return False
    return bool(
        context.get(SUPPRESS_KEY) or context.get(SUPPRESS_PLAIN) or (http and context.get(SUPPRESS_HTTP))
    )


# ---- context ---------------------------------------------------------------------------------------------


class Attachment:
    """Makes a span the current one while its body runs.

    Leaving restores what was current before; where the body was left in another context (a generator that the
    garbage collector closed, say) there is nothing of ours to restore, and nothing happens.
    """

    def __init__(self, span: Any) -> None:
        self.span = span
        self._previous: Any = None
        self._mine: Any = None
        self._token: Any = None

    def _enter(self) -> None:
        self._previous = context_api.get_current()
        self._mine = context_api.set_value(_SPAN_KEY, self.span, self._previous)
        self._token = context_api.attach(self._mine)

    def _leave(self) -> None:
        token, self._token = self._token, None
        if token is None:
            return
        try:
            if context_api.get_current() is self._mine:
                context_api.attach(self._previous)
            elif not self._stale():
                context_api._RUNTIME_CONTEXT.detach(token)
        except (ValueError, RuntimeError, LookupError):
            pass
        self._previous = self._mine = None

    def _stale(self) -> bool:
        # Left out of order, after the span that was current before: an ended span is nobody's parent.
        before = self._previous.get(_SPAN_KEY)
        return type(before) is Span and before._ended

    def __enter__(self) -> Any:
        self._enter()
        return self.span

    def __exit__(self, kind: Any = None, error: BaseException | None = None, stack: Any = None) -> None:
        self._leave()


def remote_parent(header: Any) -> Context | None:
    """Give a context that holds the span of which a `traceparent` header tells; None where it is no valid one."""
    read = parse_traceparent(header)
    if read is None:
        return None
    parent = SpanContext(read[0], read[1], True, FLAGS[read[2] & (SAMPLED | RANDOM)])
    return Context({_SPAN_KEY: NonRecordingSpan(parent)})


# ---- encoder ---------------------------------------------------------------------------------------------


def _field(tag: int, payload: bytes) -> bytes:
    return bytes((tag,)) + varint(len(payload)) + payload


def _value(value: Any, depth: int = 0) -> bytes:
    """Encode an AnyValue."""
    kind = type(value)
    if depth > 20:
        return _field(0x0A, utf8(text_of(value, None)))
    if kind is str:
        return _field(0x0A, utf8(value))
    if kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    if kind is int:
        if -(2**63) <= value < 2**63:
            return b"\x18" + varint(value & MASK64)
        return _field(0x0A, utf8(text_of(value, None)))
    if kind is float:
        return b"\x21" + DOUBLE.pack(value)
    if kind is tuple or kind is list:
        return _field(0x2A, b"".join([_field(0x0A, _value(item, depth + 1)) for item in tuple(value)]))
    if kind is dict:
        return _field(0x32, _attributes(0x0A, value, depth + 1))
    if kind is bytes:
        return _field(0x3A, value)
    return b"" if value is None else _value(clean(value), depth + 1)


def _attributes(tag: int, attributes: Any, depth: int = 0) -> bytes:
    if not attributes:
        return b""
    return b"".join(
        [
            _field(tag, _field(0x0A, utf8(model.as_name(key))) + _field(0x12, _value(value, depth)))
            for key, value in list(attributes.items())
        ]
    )


def encode_attributes(tag: int, attributes: Any) -> bytes:
    """Encode a mapping as repeated KeyValue fields whose number and wire type are *tag*."""
    return _attributes(tag, attributes)


def _fixed64(tag: int, value: int) -> bytes:
    return bytes((tag,)) + FIXED64.pack(value & MASK64)


def _number(tag: int, value: int) -> bytes:
    return bytes((tag,)) + varint(value) if value else b""


def _text(tag: int, text: str | None) -> bytes:
    return _field(tag, utf8(text)) if text else b""


def _flags(tag: bytes, flags: int, remote: bool) -> bytes:
    return tag + struct.pack("<I", flags & 0xFF | 0x100 | (0x200 if remote else 0))


def _event(event: Any) -> bytes:
    name, timestamp, attributes, dropped = event if type(event) is tuple else model.event_fields(event)
    return _field(
        0x5A, _fixed64(0x09, timestamp) + _text(0x12, name) + _attributes(0x1A, attributes) + _number(0x20, dropped)
    )


def _link(link: Any) -> bytes:
    context = link.context
    return _field(
        0x6A,
        _field(0x0A, context.trace_id.to_bytes(16, "big"))
        + _field(0x12, context.span_id.to_bytes(8, "big"))
        + _text(0x1A, context.trace_state.to_header())
        + _attributes(0x22, link.attributes)
        + _number(0x28, link.dropped_attributes)
        + _flags(b"\x35", context.trace_flags, context.is_remote),
    )


# ---- recorder --------------------------------------------------------------------------------------------


class Appender:
    """The hot half of the recorder: one record into the current segment."""

    segment_class = FileSegment

    current: FileSegment | None = None
    mark = 0
    recorded = 0
    dropped = 0
    written: bytearray
    closed: bool
    _alone: Any
    _prepare: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__new__(cls)
        made.written = bytearray()
        return made

    def append(self, signal: int, scope: int, payload: bytes) -> bool:
        """Record finished bytes; False: there was no room, and the loss is counted.

        The native core does this in one step that no other thread can come between; here it takes a lock.
        """
        if not self.closed and self._alone(lambda: self._put(signal, scope, payload)):
            return True
        self.dropped += 1
        return False

    def _put(self, signal: int, scope: int, payload: bytes) -> bool:
        segment = self.current
        ready = segment is not None and self.mark == os.getpid() and scope < len(self.written) and self.written[scope]
        if not (ready and segment is not None and segment.put(signal, scope, payload)):
            if len(payload) > MAX_RECORD_BYTES or not self._prepare(scope, len(payload)) or self.current is None:
                return False
            if not self.current.put(signal, scope, payload):
                return False
        self.recorded += 1
        return True


class Recorder(RecorderPolicy, Appender):
    """Finished records of this process, in segments."""

    process_mark = staticmethod(process_mark)


# ---- tracing ---------------------------------------------------------------------------------------------


class ProcessorList:
    """The processors of a provider; the SDK's name of the tuple is kept, since tests assign to it."""

    _span_processors: tuple[Any, ...] = ()


class Tracing:
    """What the tracers of one provider share."""

    def __init__(self, sampler: Any, limits: model.Limits, processors: Any, resource: Any) -> None:
        self.sampler = sampler
        self.limits = limits
        self.processors = processors
        self.resource = resource
        self.recorder: Any = None
        self.id_generator: Any = None
        self.rescue: Any = None
        self.on_fault: Any = None
        self.random_ids = True
        self.started = 0
        self.ended = 0

    def observed(self) -> bool:
        """Whether a processor is there to be told of spans."""
        return not isinstance(self.processors, ProcessorList) or bool(self.processors._span_processors)

    def fault(self, culprit: Any, call: str, error: Exception) -> None:
        """Tell whoever wants to know that a part which the application gave has failed."""
        if self.on_fault is not None:
            self.on_fault(culprit, call, error)

    def make_id(self, call: str, bits: int) -> int:
        """Give an identifier: the generator's, or random bits where there is none or it fails."""
        if self.id_generator is not None:
            try:
                return model.ask_id(self.id_generator, call, bits)
            except Exception as error:
                self.fault(self.id_generator, call, error)
        return _bits(bits)


class Tracer:
    """Starts spans for one instrumentation scope."""

    def __init__(self, tracing: Tracing, instrumentation_scope: Any, scope: int, enabled: bool = True) -> None:
        self.tracing = tracing
        self.instrumentation_scope = instrumentation_scope
        self.scope = scope
        self.enabled = enabled
        self.suppressible = False

    def start_span(
        self,
        name: str,
        context: Any = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Any = None,
        links: Any = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Any:
        """Start a span without making it the current one; see `opentelemetry.trace.Tracer`."""
        scope = context_api.get_current() if context is None else context
        if not isinstance(scope, dict):
            scope = Context()
        parent = scope.get(_SPAN_KEY)
        if not self.enabled or (self.suppressible and scope.get(SUPPRESS_KEY)):
            if not isinstance(parent, APISpan):
                return INVALID_SPAN
            return NonRecordingSpan(parent.get_span_context())
        span = Span.__new__(Span)
        span._born(self, parent, record_exception, set_status_on_exception)
        attributes = span._decide(context, name, kind, attributes, links)
        if span._recording:
            span._fill(name, kind, attributes, links, start_time, context)
        return span

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Activation:
        """Give a context manager, and decorator, that starts a span and makes it the current one."""
        return Activation(self, args, kwargs)


class Span:
    """A span. It lives on one thread at a time; its end writes its bytes and lets go of it."""

    def _born(self, tracer: Tracer, parent: Any, record_exception: bool, set_status: bool) -> None:
        tracing = tracer.tracing
        self._tracer = tracer
        self._mark = process_mark()
        self._recording = self._ended = False
        self._record_exception, self._set_status_on_exception = record_exception, set_status
        self._attrs: dict[str, Any] | None = None
        self._event_list: list[Any] = []
        self._link_list: list[Any] = []
        self.dropped_attributes = self.dropped_events = self.dropped_links = 0
        self._status_code = 0
        self._status_text: str | None = None
        self._name, self._kind_code = "", 0
        self._start_time = self._end = 0
        self._held: Any = None
        self._own_context: SpanContext | None = None
        context = parent.get_span_context() if isinstance(parent, APISpan) else None
        if not isinstance(context, SpanContext) or not context.is_valid:
            context = None
        self.parent = context
        self._local_root = not isinstance(parent, Span) or context is None
        if context is None:
            self.trace_id = tracing.make_id("generate_trace_id", 128)
            self._flags, self._trace_state = RANDOM if tracing.random_ids else 0, NO_STATE
        else:
            self.trace_id, self._flags = context.trace_id, context.trace_flags & 0xFF
            self._trace_state = context.trace_state
        if self._local_root:
            self._clock_offset = clock_ns() - _monotonic_ns()
        else:
            self._clock_offset, self._held = parent._clock_offset, parent._held
        self.span_id = tracing.make_id("generate_span_id", 64)

    def _decide(self, context: Any, name: str, kind: Any, attributes: Any, links: Any) -> Any:
        """Ask the sampler; gives the attributes that the span begins with."""
        tracing = self._tracer.tracing
        sampler = tracing.sampler
        ratios = getattr(sampler, "static", None)
        if type(ratios) is tuple:
            ratio = ratios[self._sampling_case()]
            decision = 2 if ratio >= 1 or (ratio > 0 and self.trace_id & MASK64 < round(ratio * 2**64)) else 0
        else:
            try:
                decision, attributes, state = model.ask_sampler(
                    sampler, context, self.trace_id, name, kind, attributes, links
                )
                self._trace_state = state or NO_STATE
            except Exception as error:
                decision = 0
                tracing.fault(sampler, "should_sample", error)
        if decision == 2:
            self._flags |= SAMPLED
        else:
            self._flags &= ~SAMPLED
            if decision == 0 and self._local_root:
                self._held = None if tracing.rescue is None else tracing.rescue.open(name)
        self._recording = decision != 0 or self._held is not None
        return attributes

    def _sampling_case(self) -> int:
        """Root, remote parent sampled or not, local parent sampled or not."""
        if self.parent is None:
            return 0
        return (1 if self.parent.is_remote else 3) + (0 if self.parent.trace_flags.sampled else 1)

    def _fill(self, name: str, kind: Any, attributes: Any, links: Any, start_time: int | None, context: Any) -> None:
        tracing = self._tracer.tracing
        self._name = model.as_name(name)
        self._kind_code = model.KINDS.index(kind) if kind in model.KINDS else 0
        if attributes:
            self.set_attributes(attributes)
        if links:
            made, self.dropped_links = model.as_links(links, tracing.limits)
            self._link_list = made or []
        tracing.started += 1
        now_ns = self._now()
        self._start_time = now_ns if start_time is None else model.as_time(start_time, now_ns)
        if tracing.observed():
            try:
                tracing.processors.on_start(self, parent_context=context)
            except Exception as error:
                tracing.fault(tracing.processors, "on_start", error)

    def _now(self) -> int:
        return _monotonic_ns() + self._clock_offset

    # -- what may be set

    def set_attribute(self, key: Any, value: Any) -> None:
        if not self._recording:
            return
        limits = self._tracer.tracing.limits
        key = model.as_key(key)
        if not key:
            self.dropped_attributes += 1
            return
        if self._attrs is None:
            self._attrs = {}
        held = self._attrs
        if type(value) not in PLAIN or limits.value_length is not None:
            value = clean(value, limits.value_length)
        if limits.attributes is not None and len(held) >= limits.attributes and key not in held:
            self.dropped_attributes += 1
        else:
            held[key] = value

    def set_attributes(self, attributes: Any) -> None:
        if not self._recording or not attributes:
            return
        try:
            pairs = list(attributes.items())
        except Exception:
            self.dropped_attributes += 1
            return
        for key, value in pairs:
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        if not self._recording:
            return
        limits = self._tracer.tracing.limits
        kept, dropped = model.bounded(attributes, limits.event_attributes, limits.detail_length)
        now_ns = self._now()
        time_ns = now_ns if timestamp is None else model.as_time(timestamp, now_ns)
        self._event_list.append((model.as_name(name), time_ns, kept, dropped))
        if limits.events is not None and len(self._event_list) > limits.events:
            del self._event_list[0]
            self.dropped_events += 1

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        if not self._recording or not model.valid_link(context, attributes):
            return
        limits = self._tracer.tracing.limits
        self._link_list.append(model.make_link(context, attributes, limits))
        if limits.links is not None and len(self._link_list) > limits.links:
            del self._link_list[0]
            self.dropped_links += 1

    def record_exception(
        self, exception: BaseException, attributes: Any = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        if self._recording:
            self.add_event("exception", model.exception_attributes(exception, attributes, escaped), timestamp)

    def set_status(self, status: Any, description: str | None = None) -> None:
        if not self._recording or self._status_code == 1:
            return
        read = model.make_status(status, description)
        if read is not None and read[0]:
            self._status_code, self._status_text = read

    def update_name(self, name: str) -> None:
        if self._recording:
            self._name = model.as_name(name)

    def is_recording(self) -> bool:
        return self._recording

    def get_span_context(self) -> SpanContext:
        if self._own_context is None:
            self._own_context = SpanContext(self.trace_id, self.span_id, False, FLAGS[self._flags], self._trace_state)
        return self._own_context

    # -- end

    def __enter__(self) -> Span:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, stack: Any) -> None:
        end_ns = self._now()
        if error is not None:
            self._fail(error, end_ns, self._record_exception, self._set_status_on_exception, True)
        self.end(end_ns)

    def _fail(self, error: BaseException, end_ns: int, record: bool, status: bool, escaped: bool) -> None:
        if not self._recording or not isinstance(error, Exception):
            return
        if record:
            self.record_exception(error, None, end_ns, escaped)
        if status and self._status_code != 1:
            self._status_code = 2
            self._status_text = f"{type(error).__name__}: {model.clean_message(error)}"

    def end(self, end_time: int | None = None) -> None:
        """End the span; times are nanoseconds since the epoch. Only the first call does anything."""
        if not self._recording or self._ended:
            return
        if self._mark != process_mark():
            # Open when this process was forked: it is the parent's, which ends it for itself.
            self._recording = False
            return
        tracing = self._tracer.tracing
        now_ns = self._now()
        self._end = now_ns if end_time is None else model.as_time(end_time, now_ns)
        self._ended = True
        tracing.ended += 1
        if tracing.observed():
            self._tell(tracing)
        self._recording = False
        if tracing.recorder is not None and (self._flags & SAMPLED or self._held is not None):
            try:
                self._write(tracing)
            except Exception as error:
                tracing.recorder.dropped += 1
                tracing.fault(self, "end", error)
        if self._local_root and tracing.rescue is not None:
            tracing.rescue.observe(self._name, self._end - self._start_time)

    def _tell(self, tracing: Tracing) -> None:
        try:
            tracing.processors._on_ending(self)
        except Exception as error:
            tracing.fault(tracing.processors, "_on_ending", error)
        self._recording = False
        try:
            tracing.processors.on_end(self)
        except Exception as error:
            tracing.fault(tracing.processors, "on_end", error)

    def _write(self, tracing: Tracing) -> None:
        failed = self._status_code == 2
        payload = self._encode()
        scope = self._tracer.scope
        if self._flags & SAMPLED:
            tracing.recorder.append(SPAN | ERROR if failed else SPAN, scope, payload)
            return
        self._held.add(scope, payload, failed)
        if self._local_root:
            self._held.finish(tracing.recorder, self._name, self._end - self._start_time, failed)

    def _encode(self) -> bytes:
        """Encode the span as field 2 of ScopeSpans.

        Source: opentelemetry-proto 1.11, trace/v1/trace.proto, Span.
        """
        status = _text(0x12, self._status_text) + _number(0x18, self._status_code)
        parent = self.parent
        parts = [
            _field(0x0A, self.trace_id.to_bytes(16, "big")),
            _field(0x12, self.span_id.to_bytes(8, "big")),
            _text(0x1A, self._trace_state.to_header()),
            b"" if parent is None else _field(0x22, parent.span_id.to_bytes(8, "big")),
            _text(0x2A, self._name),
            _number(0x30, self._kind_code + 1),
            _fixed64(0x39, self._start_time),
            _fixed64(0x41, self._end),
            _attributes(0x4A, self._attrs),
            _number(0x50, self.dropped_attributes),
            *map(_event, self._event_list),
            _number(0x60, self.dropped_events),
            *map(_link, self._link_list),
            _number(0x70, self.dropped_links),
            _field(0x7A, status),
            _flags(b"\x85\x01", self._flags, parent is not None and parent.is_remote),
        ]
        return _field(0x12, b"".join(parts))

    # -- what the SDK's ReadableSpan offers

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return model.sdk_face("opentelemetry.sdk.trace", "_Span", Span)

    @property
    def traceparent(self) -> str:
        """The W3C header that carries this span on."""
        return format_traceparent(self.trace_id, self.span_id, self._flags)

    @property
    def trace_state_header(self) -> str:
        """The W3C header that carries the trace state on; empty: there is none."""
        return self._trace_state.to_header()

    @property
    def context(self) -> SpanContext:
        return self.get_span_context()

    _context = context

    @property
    def _parent(self) -> SpanContext | None:
        return self.parent

    @property
    def name(self) -> str:
        return self._name

    @property
    def kind(self) -> SpanKind:
        return model.KINDS[self._kind_code]

    _kind = kind

    @property
    def attributes(self) -> Any:
        return MappingProxyType(self._attributes)

    @property
    def _attributes(self) -> dict[str, Any]:
        if type(self._attrs) is not model.Attributes:
            self._attrs = model.Attributes(self._attrs or ())
        return self._attrs

    @_attributes.setter
    def _attributes(self, attributes: Any) -> None:
        self._attrs = None if attributes is None else model.Attributes(attributes)

    @property
    def events(self) -> tuple[model.Event, ...]:
        return tuple(self._events)

    @property
    def _events(self) -> list[Any]:
        # Events that were shown stay the same objects, since processors write on them.
        self._event_list = [model.Event(*event) if type(event) is tuple else event for event in self._event_list]
        return self._event_list

    @_events.setter
    def _events(self, events: Any) -> None:
        self._event_list = list(events)

    @property
    def links(self) -> tuple[Any, ...]:
        return tuple(self._link_list)

    @property
    def _links(self) -> list[Any]:
        return self._link_list

    @_links.setter
    def _links(self, links: Any) -> None:
        self._link_list = list(links)

    @property
    def status(self) -> Status:
        if not self._status_code:
            return model.UNSET
        return Status(model.STATUS_CODES[self._status_code], self._status_text)

    @property
    def _status(self) -> Status:
        return self.status

    @_status.setter
    def _status(self, status: Any) -> None:
        self._status_code, self._status_text = model.make_status(status, None) or (0, None)

    @property
    def start_time(self) -> int:
        return self._start_time

    @property
    def end_time(self) -> int | None:
        return self._end if self._ended else None

    @property
    def _end_time(self) -> int | None:
        return self.end_time

    @_end_time.setter
    def _end_time(self, value: int) -> None:
        self._end = value

    @property
    def resource(self) -> Any:
        return self._tracer.tracing.resource

    _resource = resource

    @property
    def instrumentation_scope(self) -> Any:
        return self._tracer.instrumentation_scope

    _instrumentation_scope = instrumentation_scope

    @property
    def instrumentation_info(self) -> Any:
        return self._tracer.instrumentation_info  # type: ignore[attr-defined]

    @property
    def _limits(self) -> model.Limits:
        return self._tracer.tracing.limits

    def _readable_span(self) -> Any:
        return model.readable(self)

    def to_json(self, indent: int | None = 4) -> str:
        return model.to_json(self, indent)

    def __repr__(self) -> str:
        return f"Span(name={self._name!r}, context={self.get_span_context()!r})"


class Activation(Attachment):
    """A span to be started and made current on entry, and ended on exit; or a decorator that does so."""

    def __init__(self, tracer: Tracer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(None)
        self._tracer = tracer
        self._args = args
        self._kwargs = kwargs
        self._end_on_exit = args[8] if len(args) > 8 else kwargs.get("end_on_exit", True)

    def __enter__(self) -> Any:
        self.start()
        self._enter()
        return self.span

    def __exit__(self, kind: Any = None, error: BaseException | None = None, stack: Any = None) -> None:
        span = self.span
        end_ns = span._now() if type(span) is Span else 0
        self._leave()
        self._close(error, end_ns)

    def _close(self, error: BaseException | None, end_ns: int) -> None:
        span = self.span
        if type(span) is Span:
            if error is not None:
                span._fail(error, end_ns, span._record_exception, span._set_status_on_exception, False)
            if self._end_on_exit:
                span.end(end_ns)

    def __call__(self, function: Any) -> Any:
        return decorate(function, self)

    # For the wrappers of generators, whose span outlives each of the times that it is current.

    def attachment(self) -> Attachment:
        """Give what makes the started span current."""
        return Attachment(self.span)

    def again(self) -> Activation:
        """Give a fresh activation with the same arguments."""
        return Activation(self._tracer, self._args, self._kwargs)

    def start(self) -> Any:
        """Start the span, without making it current."""
        given = {key: value for key, value in self._kwargs.items() if key != "end_on_exit"}
        self.span = self._tracer.start_span(*self._args[:8], **given)
        return self.span

    def stop(self, error: BaseException | None = None) -> None:
        """End the span."""
        if type(self.span) is Span:
            self._close(error, self.span._now())


APISpan.register(Span)

__all__ = ["collect", "encode_attributes", "parse_traceparent"]
