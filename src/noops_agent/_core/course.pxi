# Calls of observed libraries: what one means, and its course from the start of its span to the end. Part of
# `native.pyx`; `course.py` is its specification.

from opentelemetry.baggage import _BAGGAGE_KEY

from .layer import HTTP as HTTP_LAYER, LAYERS

cdef object layers_var = LAYERS
cdef int http_bit = HTTP_LAYER
cdef object ERROR_TYPE = "error.type"
cdef object BAGGAGE_KEY = _BAGGAGE_KEY


@cython.freelist(64)
cdef class Call:
    """What one call means; see `course.Call`."""

    cdef public object name, attributes, parent, links, inject, args, kwargs, request, labels, kind, start_time
    cdef public object state, span

    def __init__(self, name, attributes, *, parent=None, links=(), inject=None, args=None, kwargs=None, request=None,
                 labels=None, kind=None, start_time=None, state=None):
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


cdef class Enabled:
    """What operations read of the enabled state of their library; see `course.Enabled`."""

    cdef public object tracer, inject
    cdef public bint on, plain


cdef int layers() except -1:
    cdef PyObject *value = NULL
    PyContextVar_Get(layers_var, NULL, &value)
    found = <object>value
    Py_DECREF(value)
    return found


def speaks(int bit):
    """Whether an operation of a layer is to be recorded here: nothing suppresses it, and no outer one of it speaks."""
    return not suppresses(bit == http_bit) and not (bit and layers() & bit)


def plain_header(span, parent):
    """Give the `traceparent` of a span of ours where it is all that is to be written: no state, and no baggage in the
    context *parent* (None: the current one); else None."""
    if type(span) is not Span:
        return None
    if PyDict_GetItem(current_context() if parent is None else parent, BAGGAGE_KEY) is not NULL:
        return None
    if (<Span>span)._trace_state is not None and (<Span>span)._trace_state:
        return None
    return (<Span>span).traceparent


cdef class Pairs:
    """Headers that are a list of pairs; see `course.Pairs`."""

    cdef readonly list pairs
    cdef bint encoded

    def __init__(self, given, bint encoded=False):
        self.pairs = list(given) if given else []
        self.encoded = encoded

    def __call__(self, str key, str value):
        for pair in self.pairs:
            if pair[0] == key:
                self.pairs[:] = [other for other in self.pairs if other[0] != key]
                break
        self.pairs.append((key, value.encode("latin-1") if self.encoded else value))


def labels_of(dict attributes, tuple keys):
    """Give those of the attributes that have one of the keys."""
    cdef PyObject *found
    cdef dict kept = {}
    for key in keys:
        found = PyDict_GetItem(attributes, key)
        if found is not NULL:
            kept[key] = <object>found
    return kept


cdef object start_of(Call call, object kind, object tracer):
    if isinstance(tracer, Tracer):
        return start(<Tracer>tracer, call.name, call.parent, kind, call.attributes, call.links, call.start_time,
                     True, True)
    return tracer.start_span(call.name, call.parent, kind, call.attributes, call.links, call.start_time)


cdef class Course(Attachment):
    """The hot half of an operation: what happens at each call where nobody asked for more."""

    cdef public Call call
    cdef public bint closed
    cdef public bint recording
    cdef public double _began
    cdef readonly Enabled _live
    cdef readonly int _bit
    cdef object duration, layers_token
    cdef public object _undo

    def __init__(self, Enabled live, Call call, kind, duration, int bit):
        self._live = live
        self.call = call
        self.duration = duration
        if call.kind is None:
            call.kind = kind
        else:
            kind = call.kind
        # A server or consumer begins anew: what it calls is not part of the call that reached it in this process.
        self._bit = -1 if kind is SERVER or kind is CONSUMER else bit
        if not live.plain:
            self._prepare()
        self.span = start_of(call, kind, live.tracer)
        self.recording = records(self.span)
        if call.inject is not None:
            live.inject(call.inject, self.span, call.parent)
        if not live.plain:
            self._started()
        self._began = noops_monotonic_ns() * 1e-9

    @classmethod
    def begun(cls, Enabled live, Call call, span, duration, double began):
        """Give the operation of a call that began without one; it isn't current, and has only to be closed."""
        cdef Course made = cls.__new__(cls)
        made._live = live
        made.call = call
        made.span = span
        made.recording = records(span)
        made.duration = duration
        made._began = began
        return made

    def began(self, double at):
        """Measure the duration from *at*, a reading of `time.perf_counter`: what is told of was over before."""
        self._began = at

    # -- what is current

    def attach(self):
        """Make the span the current one."""
        cdef int before, now
        if self._bit:
            before = layers()
            now = 0 if self._bit == -1 else before | self._bit
            if now != before:
                self.layers_token = PyContextVar_Set(layers_var, now)
        parent = self.call.parent
        if parent is not None and len(parent) > 1:
            self._bring(parent)
        self.enter()

    def detach(self):
        """Make current what was so before; in another context there is nothing to restore, and nothing happens."""
        self.leave()
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()
        token, self.layers_token = self.layers_token, None
        if token is not None:
            try:
                PyContextVar_Reset(layers_var, token)
            except ValueError:
                pass

    def __enter__(self):
        self.attach()
        return self

    def __exit__(self, *error):
        self.detach()

    # -- what becomes known, and the end

    def add(self, attributes):
        """Add attributes to the span, and to what the measurement is taken from."""
        if not self._live.plain:
            attributes = self._named(attributes)
        known = self.call.attributes
        if type(known) is dict and type(attributes) is dict:
            PyDict_Update(known, attributes)
        else:
            known.update(attributes)
        if self.recording:
            if type(self.span) is Span:
                (<Span>self.span).set_attributes(attributes)
            else:
                self.span.set_attributes(attributes)

    def close(self, error=None, attributes=None, failure=None):
        """End the span and record the duration; only the first call does anything."""
        cdef int64_t now
        cdef Call call = self.call
        if self.closed:
            return
        self.closed = True
        try:
            now = noops_monotonic_ns()
            if error is not None:
                self._fail(error, failure)
            if attributes:
                self.add(attributes)
                if error is None and self.recording and ERROR_TYPE in attributes:
                    self.mark_failed()
            if type(self.span) is not Span:
                self.span.end()
            elif error is None:
                (<Span>self.span).finish(now + (<Span>self.span).clock_offset)
            else:
                (<Span>self.span).finish((<Span>self.span).now())  # no earlier than the event of the exception
            if self.duration is not None:
                self._live.record(self.duration, now * 1e-9 - self._began,
                                  call.attributes if call.labels is None else call.labels, call.labels is not None)
        except Exception as problem:
            self._live.failed("end", problem)

    cdef int mark_failed(self) except -1:
        cdef Span span
        if type(self.span) is Span:
            span = <Span>self.span
            if span.recording and span.status_code != 1:
                span.status_code, span.status_text = 2, None
        else:
            self.span.set_status(StatusCode.ERROR)
        return 0


cdef bint records(object span) except -1:
    return (<Span>span).recording if type(span) is Span else span.is_recording()
