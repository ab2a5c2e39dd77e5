"""Calls of observed libraries: what one means, and its course from the start of its span to the end.

The Python twin, and the specification, of `course.pxi`, which is a part of the native core.
"""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

import opentelemetry.context as context_api
from opentelemetry.baggage import _BAGGAGE_KEY
from opentelemetry.trace import SpanKind, StatusCode

from .layer import HTTP, LAYERS
from .python import Attachment, Span, suppressed

if TYPE_CHECKING:
    from opentelemetry.context.context import Context
    from opentelemetry.trace import Link

perf_counter = time.perf_counter


class Call:
    """What one call means; a describer makes it, result functions get it back."""

    __slots__ = (
        "args",
        "attributes",
        "inject",
        "kind",
        "kwargs",
        "labels",
        "links",
        "name",
        "parent",
        "request",
        "span",
        "start_time",
        "state",
    )

    def __init__(
        self,
        name: str,
        attributes: dict[str, Any],
        *,
        parent: Context | None = None,
        links: Sequence[Link] = (),
        inject: MutableMapping[str, str] | Callable[[str, str], object] | None = None,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        request: Any = None,
        labels: dict[str, Any] | None = None,
        kind: SpanKind | None = None,
        start_time: int | None = None,
        state: Any = None,
    ) -> None:
        """
        Args:
            name: Name of the span.
            attributes: A dict of the describer's own; what is learnt later is added to it.
            parent: Context that holds the remote parent, from `extract`; None: the current context.
            links: Links to other spans.
            inject: Where the propagator writes its headers once the span has started: a mapping, or a function of
                a key and a value.
            args: Positional arguments (without the instance) that the callable gets in place of its own.
            kwargs: Keyword arguments that it gets in place of its own.
            request: What a user's `request_hook` is given; None: the instance.
            labels: Attributes of the metrics; None: those of `attributes` that the `Duration` names.
            kind: Kind of the span where it is not the one of the hook.
            start_time: Nanoseconds since the epoch; None: now.
            state: What the describer wants to find again in its result function.
        """
        self.name = name
        self.attributes = attributes
        self.parent = parent
        self.links = links
        self.inject = inject
        self.args = args
        self.kwargs = kwargs
        self.request = request
        self.labels = labels
        self.kind = kind
        self.start_time = start_time
        self.state = state
        self.span: Any = None
        """The span of the call, where it is made by a leaf hook; set when it has started."""


class Enabled:
    """What operations read of the enabled state of their library. They call `record` and `failed` besides."""

    inject: Callable[[Any, Any, Any], None]
    """Writes the headers of a span and the baggage of a context into what `Call.inject` gave."""
    on: bool
    plain: bool
    """Whether operations go on as the core does it: nobody asks for former names, or for the user's request hook."""
    tracer: Any


def speaks(bit: int) -> bool:
    """Whether an operation of a layer is to be recorded here: nothing suppresses it, and no outer one of it speaks."""
    return not suppressed(bit == HTTP) and not (bit and LAYERS.get() & bit)


def plain_header(span: Any, parent: Context | None) -> str | None:
    """Give the `traceparent` of a span of ours where it is all that is to be written: no state, and no baggage in the
    context *parent* (None: the current one); else None."""
    if type(span) is not Span or _BAGGAGE_KEY in (context_api.get_current() if parent is None else parent):
        return None
    return None if span.trace_state_header else span.traceparent


class Pairs:
    """Headers that are a list of pairs, copied from the caller's, which are never changed; where an injector writes to.

    Args:
        given: The caller's pairs; None or empty: it has none.
        encoded: Whether values are bytes.
    """

    __slots__ = ("_encoded", "pairs")

    def __init__(self, given: Any, encoded: bool = False) -> None:
        self.pairs: list[Any] = list(given) if given else []
        self._encoded = encoded

    def __call__(self, key: str, value: str) -> None:
        """Set a header: it takes the place of one that came with what the caller hands on."""
        pairs = self.pairs
        for pair in pairs:
            if pair[0] == key:
                pairs[:] = [other for other in pairs if other[0] != key]
                break
        pairs.append((key, value.encode("latin-1") if self._encoded else value))


def labels_of(attributes: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Give those of the attributes that have one of the keys."""
    return {key: attributes[key] for key in keys if key in attributes}


class Course(Attachment):
    """The hot half of an operation: what happens at each call where nobody asked for more.

    The other half, which is asked for by what begins with an underscore, is `instrument.operation.Operation`.
    """

    def __init__(self, live: Any, call: Call, kind: Any, duration: Any, bit: int) -> None:
        if call.kind is None:
            call.kind = kind
        # A server or consumer begins anew: what it calls is not part of the call that reached it in this process.
        self._take(live, call, duration, -1 if call.kind in (SpanKind.SERVER, SpanKind.CONSUMER) else bit)
        if not live.plain:
            self._prepare()
        super().__init__(
            live.tracer.start_span(call.name, call.parent, call.kind, call.attributes, call.links, call.start_time)
        )
        self.recording = self.span.is_recording()
        if call.inject is not None:
            live.inject(call.inject, self.span, call.parent)
        if not live.plain:
            self._started()
        self._began = perf_counter()

    def _take(self, live: Any, call: Call, duration: Any, bit: int) -> None:
        self.call = call
        self.closed = False
        self._live = live
        self._duration = duration
        self._bit = bit
        self._layers: Any = None
        self._undo: Callable[[], None] | None = None

    @classmethod
    def begun(cls, live: Any, call: Call, span: Any, duration: Any, began: float) -> Any:
        """Give the operation of a call that began without one; it isn't current, and has only to be closed."""
        made = cls.__new__(cls)
        Attachment.__init__(made, span)
        made._take(live, call, duration, 0)
        made.recording = span.is_recording()
        made._began = began
        return made

    def began(self, at: float) -> None:
        """Measure the duration from *at*, a reading of `time.perf_counter`: what is told of was over before."""
        self._began = at

    # -- what is current

    def attach(self) -> None:
        """Make the span the current one."""
        if self._bit:
            before = LAYERS.get()
            now = 0 if self._bit == -1 else before | self._bit
            if now != before:
                self._layers = LAYERS.set(now)
        parent = self.call.parent
        if parent is not None and len(parent) > 1:
            self._bring(parent)
        self._enter()

    def detach(self) -> None:
        """Make current what was so before; in another context there is nothing to restore, and nothing happens."""
        self._leave()
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()
        token, self._layers = self._layers, None
        if token is not None:
            try:
                LAYERS.reset(token)
            except ValueError:
                pass

    def __enter__(self) -> Any:
        self.attach()
        return self

    def __exit__(self, *error: object) -> None:
        self.detach()

    # -- what becomes known, and the end

    def add(self, attributes: Any) -> None:
        """Add attributes to the span, and to what the measurement is taken from."""
        if not self._live.plain:
            attributes = self._named(attributes)
        self.call.attributes.update(attributes)
        if self.recording:
            self.span.set_attributes(attributes)

    def close(self, error: BaseException | None = None, attributes: Any = None, failure: Any = None) -> None:
        """End the span and record the duration; only the first call does anything.

        Args:
            error: The exception that the call ended with.
            attributes: Attributes known only now; `error.type` among them makes the call a failure.
            failure: What the integration knows of exceptions.
        """
        if self.closed:
            return
        self.closed = True
        try:
            seconds = perf_counter() - self._began
            if error is not None:
                self._fail(error, failure)
            if attributes:
                self.add(attributes)
                if "error.type" in attributes and error is None and self.recording:
                    self.span.set_status(StatusCode.ERROR)
            self.span.end()
            if self._duration is not None:
                labels = self.call.labels
                known = self.call.attributes if labels is None else labels
                self._live.record(self._duration, seconds, known, labels is not None)
        except Exception as problem:
            self._live.failed("end", problem)

    # -- the other half

    def _prepare(self) -> None:
        """Called before the span starts, where `live.plain` is False."""

    def _started(self) -> None:
        """Called when it has started, there too."""

    def _named(self, attributes: Any) -> Any:
        """Give attributes as they are to be added, where `live.plain` is False."""
        return attributes

    def _bring(self, parent: Context) -> None:
        """Make current what the parent brought beside its span; sets `_undo`, which `detach` calls."""

    def _fail(self, error: BaseException, failure: Any) -> None:
        """Say what an exception means, before the span ends."""


__all__ = ["Call", "Course", "Enabled", "Pairs", "labels_of", "plain_header", "speaks"]
