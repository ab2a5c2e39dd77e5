# cython: language_level=3, binding=False, boundscheck=False, wraparound=False, initializedcheck=False
# cython: freethreading_compatible=False
"""The native core: span, context, identifiers, encoder, recorder. `python.py` is its specification."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.contextvars cimport PyContextVar_CheckExact
from cpython.dict cimport PyDict_Copy, PyDict_GetItem, PyDict_Next, PyDict_SetItem, PyDict_Size, PyDict_Update
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free

import os
import time
from types import MappingProxyType

import opentelemetry.context as context_api
from opentelemetry.context.context import Context
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace import Span as APISpan
from opentelemetry.trace import TraceFlags, TraceState
from opentelemetry.trace.propagation import _SPAN_KEY

from . import model
from .decorate import decorate
from .recorder import RecorderPolicy
from .values import clean, text_of, utf8

cdef extern from "Python.h":
    int PyUnicode_IS_COMPACT_ASCII(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    int PyContextVar_Get(object var, PyObject *default, PyObject **value) except -1
    object PyContextVar_Set(object var, object value)
    int PyContextVar_Reset(object var, object token) except -1
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1
    double PyFloat_AS_DOUBLE(object number)
    void Py_DECREF(PyObject *)
    void Py_XDECREF(PyObject *)
    void PyType_Modified(PyTypeObject *)
    ctypedef struct PyTypeObject:
        object (*tp_new)(PyTypeObject *, object, PyObject *)
        Py_ssize_t tp_dictoffset

cdef extern from "wire.h":
    ctypedef struct noops_buffer:
        uint8_t *data
        size_t length
        int failed
    noops_buffer *noops_buffer_take()
    void noops_buffer_give(noops_buffer *)
    void noops_raw(noops_buffer *, const void *, size_t)
    void noops_field_varint(noops_buffer *, uint32_t tag, uint64_t)
    void noops_field_fixed64(noops_buffer *, uint8_t tag, uint64_t)
    void noops_field_fixed32(noops_buffer *, uint32_t tag, uint32_t)
    void noops_field_bytes(noops_buffer *, uint8_t tag, const void *, size_t)
    void noops_field_id(noops_buffer *, uint8_t tag, const uint64_t *, int)
    size_t noops_message_open(noops_buffer *, uint8_t tag)
    void noops_message_close(noops_buffer *, size_t)

cdef extern from "segment.h":
    ctypedef struct noops_segment:
        uint8_t *base
        size_t capacity
        size_t used
    int noops_segment_create(noops_segment *, const char *, size_t, uint64_t, uint64_t, const uint8_t *)
    void noops_segment_unmap(noops_segment *)
    int noops_segment_put(noops_segment *, uint8_t, uint16_t, const void *, size_t)
    int noops_collect(const uint8_t *, size_t, size_t, uint8_t, size_t, size_t, uint8_t **, size_t *, size_t *, size_t *) nogil
    int noops_fork_watch()
    uint64_t noops_process_mark()
    uint64_t noops_realtime_ns()
    uint64_t noops_monotonic_ns()
    uint64_t noops_random()
    int noops_guard_signal(int, int)
    enum: NOOPS_HEADER, NOOPS_SHIPPED, NOOPS_SPAN, NOOPS_ERROR

NAME = "native"

noops_fork_watch()

cdef object CONTEXT = Context
cdef object SPAN_KEY = _SPAN_KEY
cdef object SUPPRESS_KEY = context_api._SUPPRESS_INSTRUMENTATION_KEY
cdef object SUPPRESS_PLAIN = "suppress_instrumentation"
cdef object SUPPRESS_HTTP = context_api._SUPPRESS_HTTP_INSTRUMENTATION_KEY
cdef object INTERNAL = SpanKind.INTERNAL
cdef object SERVER = SpanKind.SERVER
cdef object CLIENT = SpanKind.CLIENT
cdef object PRODUCER = SpanKind.PRODUCER
cdef object CONSUMER = SpanKind.CONSUMER
cdef tuple FLAGS = tuple(TraceFlags(flags) for flags in range(256))
cdef object NO_STATE = TraceState.get_default()
cdef object EMPTY_CONTEXT = Context()
cdef object ATTRIBUTES = model.Attributes
cdef uint8_t SAMPLED = 1, RANDOM = 2

# The context variable of opentelemetry-api; None where an application chose another runtime context.
cdef object current_var = getattr(context_api._RUNTIME_CONTEXT, "_current_context", None)
if current_var is not None and not PyContextVar_CheckExact(current_var):
    current_var = None


def clock_ns():
    """Nanoseconds since the epoch."""
    return noops_realtime_ns()


def random_ids():
    """Make a trace id and a span id (128 and 64 random bits), for tests of their quality."""
    return (int(noops_random()) << 64) | noops_random(), noops_random()


def guard_signal(int number, int budget_ms):
    """Let a signal end the process after *budget_ms* even where its Python handler does not get to run."""
    return noops_guard_signal(number, budget_ms) == 0


def process_mark():
    """Give a number that is another one in a forked child, however it was forked."""
    return noops_process_mark()


# ---- context ---------------------------------------------------------------------------------------------


cdef inline object current_context():
    cdef PyObject *value = NULL
    if current_var is None:
        return context_api.get_current()
    PyContextVar_Get(current_var, NULL, &value)
    if value is NULL:
        return EMPTY_CONTEXT
    found = <object>value
    Py_DECREF(value)
    return found


cdef inline object context_with(object current, object span):
    # Context refuses item assignment, and its constructor runs Python code: it is filled here as the dict it is.
    cdef object made = (<PyTypeObject *>CONTEXT).tp_new(<PyTypeObject *>CONTEXT, (), NULL)
    if PyDict_Size(current):
        PyDict_Update(made, current)
    PyDict_SetItem(made, SPAN_KEY, span)
    return made


def suppressed(bint http=False):
    """Whether instrumentation is suppressed in the current context, or that of HTTP calls alone where *http*."""
    return suppresses(http)


cdef bint suppresses(bint http) except -1:
    cdef object context = current_context()
    if not PyDict_Size(context):
        return False
    return (holds(context, SUPPRESS_KEY) or holds(context, SUPPRESS_PLAIN) or (http and holds(context, SUPPRESS_HTTP)))


cdef bint holds(object context, object key) except -1:
    cdef PyObject *found = PyDict_GetItem(context, key)
    return found is not NULL and <object>found


cdef class Attachment:
    """Makes a span the current one while its body runs.

    Leaving restores what was current before; where the body was left in another context (a generator that the
    garbage collector closed, say) there is nothing of ours to restore, and nothing happens.
    """

    cdef readonly object span
    cdef object previous
    cdef object mine
    cdef object token

    def __init__(self, span):
        self.span = span

    cdef int enter(self) except -1:
        self.previous = current_context()
        self.mine = context_with(self.previous, self.span)
        if current_var is None:
            self.token = context_api.attach(self.mine)
        else:
            self.token = PyContextVar_Set(current_var, self.mine)
        return 0

    cdef int leave(self) except -1:
        token, self.token = self.token, None
        if token is None:
            return 0
        try:
            if current_var is None:
                context_api._RUNTIME_CONTEXT.detach(token)
            elif current_context() is self.mine:
                try:
                    PyContextVar_Reset(current_var, token)
                except ValueError:  # a copy of the context that it was entered in
                    PyContextVar_Set(current_var, self.previous)
            elif not self.stale():
                PyContextVar_Reset(current_var, token)
        except (ValueError, RuntimeError, LookupError):
            pass
        self.previous = self.mine = None
        return 0

    cdef bint stale(self):
        # Left out of order, after the span that was current before: an ended span is nobody's parent.
        cdef PyObject *before = PyDict_GetItem(self.previous, SPAN_KEY)
        return before is not NULL and type(<object>before) is Span and (<Span>before).ended

    def __enter__(self):
        self.enter()
        return self.span

    def __exit__(self, *error):
        self.leave()


# ---- encoder ---------------------------------------------------------------------------------------------


cdef int put_text(noops_buffer *b, uint8_t tag, object text) except -1:
    cdef Py_ssize_t size
    cdef const char *data
    if PyUnicode_IS_COMPACT_ASCII(text):
        noops_field_bytes(b, tag, PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))
        return 0
    try:
        data = PyUnicode_AsUTF8AndSize(text, &size)
    except UnicodeEncodeError:
        encoded = utf8(text)
        noops_field_bytes(b, tag, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))
        return 0
    noops_field_bytes(b, tag, data, size)
    return 0


cdef int put_value(noops_buffer *b, uint8_t tag, object value, int depth) except -1:
    """Write an AnyValue as field *tag*."""
    cdef size_t start = noops_message_open(b, tag)
    cdef size_t inner
    cdef int overflow = 0
    cdef long long number
    cdef double real
    kind = type(value)
    if kind is str:
        put_text(b, 0x0A, value)
    elif kind is bool:
        noops_field_varint(b, 0x10, value is True)
    elif kind is int:
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            put_text(b, 0x0A, text_of(value, None))
        else:
            noops_field_varint(b, 0x18, <uint64_t>number)
    elif kind is float:
        real = PyFloat_AS_DOUBLE(value)
        noops_field_fixed64(b, 0x21, (<uint64_t *>&real)[0])
    elif kind is tuple or kind is list:
        inner = noops_message_open(b, 0x2A)
        for item in tuple(value):
            put_value(b, 0x0A, item if depth < 20 else text_of(item, None), depth + 1)
        noops_message_close(b, inner)
    elif kind is dict:
        inner = noops_message_open(b, 0x32)
        put_attributes(b, 0x0A, value, depth + 1)
        noops_message_close(b, inner)
    elif kind is bytes:
        noops_field_bytes(b, 0x3A, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    elif value is not None:
        # What clean gives is of the types above, so this ends.
        b.length = start - 2
        return put_value(b, tag, clean(value), depth + 1)
    noops_message_close(b, start)
    return 0


cdef int put_pair(noops_buffer *b, uint8_t tag, object key, object value, int depth) except -1:
    cdef size_t start = noops_message_open(b, tag)
    put_text(b, 0x0A, key if type(key) is str else text_of(key, None))
    put_value(b, 0x12, value if depth < 20 else text_of(value, None), depth)
    noops_message_close(b, start)
    return 0


cdef inline bint plain(object value):
    kind = type(value)
    return kind is str or kind is int or kind is float or kind is bool or value is None


cdef inline bint are_texts(object value):
    if type(value) is not list and type(value) is not tuple:
        return False
    for item in value:
        if type(item) is not str:
            return False
    return True


cdef int put_attributes(noops_buffer *b, uint8_t tag, object attributes, int depth) except -1:
    cdef Py_ssize_t at = 0
    cdef PyObject *key
    cdef PyObject *value
    if attributes is None:
        return 0
    if isinstance(attributes, dict):
        while PyDict_Next(attributes, &at, &key, &value):
            if not plain(<object>value) or type(<object>key) is not str:
                break
        else:
            at = 0
            while PyDict_Next(attributes, &at, &key, &value):
                put_pair(b, tag, <object>key, <object>value, depth)
            return 0
    # Describing an object runs its code, which might change the mapping: walk over a copy.
    for name, item in list(attributes.items()):
        put_pair(b, tag, name, item, depth)
    return 0


cdef bytes taken(noops_buffer *b):
    if b.failed:
        raise MemoryError
    return PyBytes_FromStringAndSize(<char *>b.data, b.length)


def encode_attributes(tag, attributes):
    """Encode a mapping as repeated KeyValue fields whose number and wire type are *tag*."""
    cdef noops_buffer *b = noops_buffer_take()
    if b is NULL:
        raise MemoryError
    try:
        put_attributes(b, tag, attributes, 0)
        return taken(b)
    finally:
        noops_buffer_give(b)


# ---- traceparent -----------------------------------------------------------------------------------------

cdef char *HEX = b"0123456789abcdef"


cdef inline void put_hex(char *at, uint64_t value, int digits) noexcept:
    cdef int i
    for i in range(digits):
        at[digits - 1 - i] = HEX[value & 15]
        value >>= 4


cdef inline int take_hex(const char *at, int digits, uint64_t *value) noexcept:
    cdef uint64_t result = 0
    cdef int i
    cdef char c
    for i in range(digits):
        c = at[i]
        if 48 <= c <= 57:
            result = result << 4 | (c - 48)
        elif 97 <= c <= 102:
            result = result << 4 | (c - 87)
        else:
            return 0
    value[0] = result
    return 1


cdef object traceparent_of(uint64_t hi, uint64_t lo, uint64_t span_id, uint8_t flags):
    cdef char text[55]
    text[0] = text[1] = 48
    text[2] = text[35] = text[52] = 45
    put_hex(text + 3, hi, 16)
    put_hex(text + 19, lo, 16)
    put_hex(text + 36, span_id, 16)
    put_hex(text + 53, flags & (SAMPLED | RANDOM), 2)
    return PyUnicode_DecodeASCII(text, 55, NULL)


def format_traceparent(trace_id, span_id, flags):
    """Give the W3C `traceparent` header of version 00."""
    return traceparent_of(trace_id >> 64, trace_id & 0xFFFFFFFFFFFFFFFF, span_id, flags)


cdef int read_traceparent(object value, uint64_t *hi, uint64_t *lo, uint64_t *span_id, uint64_t *flags) except -1:
    cdef Py_ssize_t size
    cdef const char *text
    cdef uint64_t version
    if type(value) is not str or not value.isascii():
        return 0
    text = PyUnicode_AsUTF8AndSize(value, &size)
    if size < 55 or text[2] != 45 or text[35] != 45 or text[52] != 45:
        return 0
    if not (take_hex(text, 2, &version) and take_hex(text + 3, 16, hi) and take_hex(text + 19, 16, lo)
            and take_hex(text + 36, 16, span_id) and take_hex(text + 53, 2, flags)):
        return 0
    if version == 255 or not (hi[0] | lo[0]) or not span_id[0]:
        return 0
    return not (size > 55 and (version == 0 or text[55] != 45))


def parse_traceparent(value):
    """Read a W3C `traceparent` header: (trace id, span id, flags), or None where it is not one.

    Source: W3C Trace Context Level 2, section 3.2.
    """
    cdef uint64_t hi, lo, span_id, flags
    if not read_traceparent(value, &hi, &lo, &span_id, &flags):
        return None
    return (int(hi) << 64) | lo, span_id, flags


cdef class RemoteHalf:
    """What a header told of the span of another process; see `remote.Remote`."""

    cdef uint64_t trace_hi, trace_lo, span_id
    cdef uint8_t flags
    cdef object made

    def get_span_context(self):
        if self.made is None:
            self.made = SpanContext((int(self.trace_hi) << 64) | self.trace_lo, self.span_id, True, FLAGS[self.flags])
        return self.made


class Remote(RemoteHalf, NonRecordingSpan):
    """The span of another process, whose context is made where somebody asks for it; else that costs more than ours."""

    __slots__ = ()

    @property
    def _context(self):
        return self.get_span_context()


def remote_parent(header):
    """Give a context that holds the span of which a `traceparent` header tells; None where it is no valid one."""
    cdef uint64_t hi, lo, span_id, flags
    cdef RemoteHalf made
    if not read_traceparent(header, &hi, &lo, &span_id, &flags):
        return None
    made = Remote.__new__(Remote)
    made.trace_hi, made.trace_lo, made.span_id, made.flags = hi, lo, span_id, flags & (SAMPLED | RANDOM)
    return context_with(EMPTY_CONTEXT, made)


# ---- recorder --------------------------------------------------------------------------------------------


cdef class Segment:
    """A mapped segment that this process writes; see docs/design.md."""

    cdef noops_segment held
    cdef readonly object path
    cdef readonly int number
    cdef public bint sealed
    cdef int exports
    cdef bint unmapping

    @staticmethod
    def create(folder, int number, size_t capacity, bytes destination):
        """Make an empty segment; in anonymous memory where *folder* is None. Raises OSError."""
        cdef Segment made = Segment.__new__(Segment)
        cdef const char *path = NULL
        made.number = number
        if folder is not None:
            made.path = os.path.join(folder, f"{number:08d}.seg")
            encoded = os.fsencode(made.path)
            path = PyBytes_AS_STRING(encoded)
        error = noops_segment_create(&made.held, path, capacity, os.getpid(), noops_realtime_ns(),
                                     <const uint8_t *>PyBytes_AS_STRING(destination))
        if error:
            raise OSError(error, os.strerror(error), made.path)
        return made

    def __dealloc__(self):
        noops_segment_unmap(&self.held)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.held.base is NULL:
            raise BufferError("the segment is not mapped any more")
        PyBuffer_FillInfo(buffer, self, self.held.base, self.held.capacity, 0, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1
        if self.unmapping and not self.exports:
            noops_segment_unmap(&self.held)

    @property
    def memory(self):
        return memoryview(self)

    @property
    def capacity(self):
        return self.held.capacity

    @property
    def used(self):
        return self.held.used

    @property
    def mapped(self):
        return self.held.base is not NULL and not self.unmapping

    @property
    def shipped(self):
        return (<uint64_t *>(self.held.base + NOOPS_SHIPPED))[0] if self.mapped else self.held.used

    def mark_shipped(self, uint64_t offset):
        """Store that every record before *offset* was acknowledged."""
        if self.mapped:
            (<uint64_t *>(self.held.base + NOOPS_SHIPPED))[0] = offset

    def put(self, uint8_t signal, uint16_t scope, bytes payload):
        """Write one record; False where it doesn't fit."""
        return self.mapped and noops_segment_put(
            &self.held, signal, scope, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload)) == 1

    def abandon(self):
        """Unmap, and leave the file as it is: in a forked child it is the parent's."""
        self.sealed = True
        self.unmapping = True
        if not self.exports:
            noops_segment_unmap(&self.held)

    def release(self):
        """Unmap the segment and delete its file."""
        self.abandon()
        if self.path is not None:
            try:
                os.unlink(self.path)
            except OSError:
                pass

    def keep(self):
        """Unmap the segment and leave its file, cut to the size that is used."""
        self.abandon()
        if self.path is not None:
            try:
                os.truncate(self.path, self.held.used)
            except OSError:
                pass


def collect(memory, size_t start, size_t end, uint8_t signal, size_t max_bytes, size_t max_records):
    """Join ready records into an OTLP request without the interpreter's lock; see `segment.collect`."""
    cdef Py_buffer view
    cdef uint8_t *body = NULL
    cdef size_t size = 0, next = 0, records = 0
    cdef int error
    PyObject_GetBuffer(memory, &view, PyBUF_SIMPLE)
    try:
        if end > <size_t>view.len:
            end = view.len
        with nogil:
            error = noops_collect(<const uint8_t *>view.buf, start, end, signal, max_bytes, max_records,
                                  &body, &size, &next, &records)
        if error:
            raise MemoryError
        return PyBytes_FromStringAndSize(<char *>body, size), next, records
    finally:
        free(body)
        PyBuffer_Release(&view)


cdef class Appender:
    """The hot half of the recorder: one record into the current segment."""

    cdef public Segment current
    cdef public uint64_t mark
    cdef public bytearray written
    cdef public uint64_t recorded
    cdef public uint64_t dropped

    segment_class = Segment

    def __cinit__(self):
        self.written = bytearray()

    cdef bint put(self, uint8_t signal, uint16_t scope, const void *data, size_t size) except -1:
        cdef Segment segment = self.current
        if (segment is not None and self.mark == noops_process_mark() and scope < len(self.written)
                and self.written[scope] and segment.held.base is not NULL
                and noops_segment_put(&segment.held, signal, scope, data, size)):
            self.recorded += 1
            return True
        # Between the making of room and its use another thread may take it.
        for _ in range(8):
            if not self._make_room(scope, size):
                break
            segment = self.current
            if (segment is not None and scope < len(self.written) and self.written[scope]
                    and segment.held.base is not NULL
                    and noops_segment_put(&segment.held, signal, scope, data, size)):
                self.recorded += 1
                return True
        self.dropped += 1
        return False

    def append(self, uint8_t signal, uint16_t scope, bytes payload):
        """Record finished bytes; False: there was no room, and the loss is counted."""
        return self.put(signal, scope, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))


class Recorder(RecorderPolicy, Appender):
    """Finished records of this process, in segments."""

    process_mark = staticmethod(process_mark)


# ---- tracing ---------------------------------------------------------------------------------------------


cdef class ProcessorList:
    """The processors of a provider; the SDK's name of the tuple is kept, since tests assign to it."""

    cdef public tuple _span_processors

    def __cinit__(self, *args, **kwargs):
        self._span_processors = ()


cdef class Tracing:
    """What the tracers of one provider share."""

    cdef public Appender recorder
    cdef public object resource
    cdef public object id_generator
    cdef public object rescue
    cdef public object on_fault
    cdef public bint random_ids
    cdef object _sampler
    cdef bint static
    cdef uint8_t mode[5]
    cdef uint64_t bound[5]
    cdef object _processors
    cdef ProcessorList own_processors
    cdef object _limits
    cdef Py_ssize_t max_attributes, max_length, max_events
    cdef public uint64_t started
    cdef public uint64_t ended

    def __init__(self, sampler, limits, processors, resource):
        self.sampler = sampler
        self.limits = limits
        self.processors = processors
        self.resource = resource
        self.random_ids = True

    @property
    def sampler(self):
        return self._sampler

    @sampler.setter
    def sampler(self, sampler):
        self._sampler = sampler
        ratios = getattr(sampler, "static", None)
        self.static = type(ratios) is tuple
        for case, ratio in enumerate(ratios if self.static else ()):
            self.mode[case] = 0 if ratio <= 0 else 1 if ratio >= 1 else 2
            self.bound[case] = 0 if self.mode[case] != 2 else min(round(ratio * 2**64), 2**64 - 1)

    @property
    def limits(self):
        return self._limits

    @limits.setter
    def limits(self, limits):
        self._limits = limits
        self.max_attributes = -1 if limits.attributes is None else limits.attributes
        self.max_length = -1 if limits.value_length is None else limits.value_length
        self.max_events = -1 if limits.events is None else limits.events

    @property
    def processors(self):
        return self._processors

    @processors.setter
    def processors(self, processors):
        self._processors = processors
        self.own_processors = processors if isinstance(processors, ProcessorList) else None

    cdef inline bint observed(self):
        return self.own_processors is None or len(self.own_processors._span_processors) != 0

    cdef int fault(self, object culprit, str call, object error) except -1:
        """Tell whoever wants to know that a part which the application gave has failed."""
        if self.on_fault is not None:
            self.on_fault(culprit, call, error)
        return 0

    cdef object made_id(self, str call, int bits):
        """Give an identifier of the generator's, or random bits where it fails."""
        try:
            return model.ask_id(self.id_generator, call, bits)
        except Exception as error:
            self.fault(self.id_generator, call, error)
        return noops_random() if bits == 64 else (int(noops_random()) << 64) | noops_random()


cdef class Tracer:
    """Starts spans for one instrumentation scope."""

    cdef public Tracing tracing
    cdef public object instrumentation_scope
    cdef public int scope
    cdef public bint enabled
    cdef public bint suppressible

    def __init__(self, Tracing tracing, instrumentation_scope, int scope, bint enabled=True):
        self.tracing = tracing
        self.instrumentation_scope = instrumentation_scope
        self.scope = scope
        self.enabled = enabled

    def start_span(self, name, context=None, kind=INTERNAL, attributes=None, links=(), start_time=None,
                   record_exception=True, set_status_on_exception=True):
        """Start a span without making it the current one; see `opentelemetry.trace.Tracer`."""
        return start(self, name, context, kind, attributes, links, start_time, record_exception,
                     set_status_on_exception)

    def start_as_current_span(self, name, context=None, kind=INTERNAL, attributes=None, links=(),
                              start_time=None, record_exception=True, set_status_on_exception=True,
                              end_on_exit=True):
        """Give a context manager, and decorator, that starts a span and makes it the current one."""
        cdef Activation made = Activation.__new__(Activation)
        made.tracer = self
        made.name = name
        made.context = context
        made.kind = kind
        made.attributes = attributes
        made.links = links
        made.start_time = start_time
        made.record_exception = record_exception
        made.set_status_on_exception = set_status_on_exception
        made.end_on_exit = end_on_exit
        return made


cdef object start(Tracer tracer, object name, object context, object kind, object attributes, object links,
                  object start_time, bint record_exception, bint set_status):
    cdef Tracing tracing = tracer.tracing
    cdef object scope = current_context() if context is None else context
    cdef PyObject *found = PyDict_GetItem(scope, SPAN_KEY)
    cdef Span span = Span.__new__(Span)
    cdef Span local
    cdef int case = 0
    cdef uint8_t decision
    span.tracer = tracer
    span.mark = noops_process_mark()
    if found is not NULL:
        if type(<object>found) is Span:
            local = <Span>found
            span.adopt(local)
            case = 3 if local.flags & SAMPLED else 4
        else:
            case = span.adopt_foreign(<object>found)
    if not tracer.enabled or (tracer.suppressible and PyDict_GetItem(scope, SUPPRESS_KEY) is not NULL
                              and scope.get(SUPPRESS_KEY)):
        return passive(found)
    if case == 0:
        span.new_trace(tracing)
    span.span_id = noops_random() if tracing.id_generator is None else tracing.made_id("generate_span_id", 64)
    if tracing.static:
        decision = tracing.mode[case]
        if decision == 2:
            decision = span.trace_lo < tracing.bound[case]
        decision *= 2
    else:
        decision = span.ask(tracing, context, name, kind, attributes, links)
        attributes, span.asked = span.asked, None
    if decision == 2:
        span.flags |= SAMPLED
    else:
        span.flags &= ~SAMPLED
        if decision == 0 and not span.hold(tracing, case < 3, name):
            return span
    span.recording = True
    span.label = name if type(name) is str else model.as_name(name)
    span.kind_code = 0 if kind is INTERNAL else 1 if kind is SERVER else 2 if kind is CLIENT else kind_value(kind)
    span.local_root = case < 3
    span.record_on_exception = record_exception
    span.status_on_exception = set_status
    if attributes:
        span.put_attributes(attributes)
    if links:
        span.link_list, span.lost_links = model.as_links(links, tracing._limits)
    tracing.started += 1
    if case < 3:
        span.start_ns = <int64_t>noops_realtime_ns()
        span.clock_offset = span.start_ns - <int64_t>noops_monotonic_ns()
    else:
        span.start_ns = span.now()
    if start_time is not None:
        span.start_ns = model.as_time(start_time, span.start_ns)
    if tracing.observed():
        try:
            tracing._processors.on_start(span, parent_context=context)
        except Exception as error:
            tracing.fault(tracing._processors, "on_start", error)
    return span


cdef object passive(PyObject *parent):
    """Carry the parent's context on, recording nothing."""
    if parent is NULL or not isinstance(<object>parent, APISpan):
        return INVALID_SPAN
    return NonRecordingSpan((<object>parent).get_span_context())


cdef int kind_value(object kind):
    if kind is PRODUCER:
        return 3
    if kind is CONSUMER:
        return 4
    try:
        return model.KINDS.index(kind)
    except ValueError:
        return 0


@cython.freelist(64)
cdef class Span:
    """A span. It lives on one thread at a time; its end writes its bytes and lets go of it."""

    cdef Tracer tracer
    cdef uint64_t trace_hi, trace_lo, span_id, parent_id, mark
    cdef int64_t start_ns, end_ns, clock_offset
    cdef uint8_t flags, parent_flags
    cdef bint recording, ended, local_root, parent_remote
    cdef bint record_on_exception, status_on_exception
    cdef int kind_code, status_code
    cdef object label, status_text, _trace_state, _parent_state, cached_context, cached_parent, held
    cdef object _attrs
    cdef list _event_list
    cdef object link_list
    cdef Py_ssize_t lost_attributes, lost_events, lost_links
    cdef object asked, __weakref__
    cdef PyObject *others

    def __dealloc__(self):
        Py_XDECREF(self.others)

    # -- birth

    cdef inline void adopt(self, Span parent):
        self.trace_hi = parent.trace_hi
        self.trace_lo = parent.trace_lo
        self.parent_id = parent.span_id
        self.flags = self.parent_flags = parent.flags
        self._trace_state = self._parent_state = parent._trace_state
        self.clock_offset = parent.clock_offset
        self.held = parent.held

    cdef int adopt_foreign(self, object parent) except -1:
        """Take over the context of another implementation's span; gives the sampler's case."""
        if isinstance(parent, RemoteHalf):
            return self.adopt_remote(<RemoteHalf>parent)
        context = parent.get_span_context() if isinstance(parent, APISpan) else None
        if not isinstance(context, SpanContext) or not context.is_valid:
            return 0
        self.trace_hi = context.trace_id >> 64
        self.trace_lo = context.trace_id & 0xFFFFFFFFFFFFFFFF
        self.parent_id = context.span_id
        self.flags = self.parent_flags = context.trace_flags & 0xFF
        self.cached_parent = context
        self.parent_remote = context.is_remote
        if context.trace_state:
            self._trace_state = self._parent_state = context.trace_state
        self.clock_offset = <int64_t>(noops_realtime_ns() - noops_monotonic_ns())
        if self.parent_remote:
            return 1 if self.flags & SAMPLED else 2
        return 3 if self.flags & SAMPLED else 4

    cdef int adopt_remote(self, RemoteHalf parent):
        self.trace_hi = parent.trace_hi
        self.trace_lo = parent.trace_lo
        self.parent_id = parent.span_id
        self.flags = self.parent_flags = parent.flags
        self.parent_remote = True
        return 1 if self.flags & SAMPLED else 2

    cdef int new_trace(self, Tracing tracing) except -1:
        self.flags = RANDOM if tracing.random_ids else 0
        if tracing.id_generator is None:
            self.trace_hi = noops_random()
            self.trace_lo = noops_random()
        else:
            trace_id = tracing.made_id("generate_trace_id", 128)
            self.trace_hi = trace_id >> 64
            self.trace_lo = trace_id & 0xFFFFFFFFFFFFFFFF
        return 0

    cdef int ask(self, Tracing tracing, object context, object name, object kind, object attributes,
                 object links) except -1:
        """Ask a sampler that is not static: 0 drop, 1 record only, 2 record and sample."""
        try:
            decision, self.asked, self._trace_state = model.ask_sampler(
                tracing._sampler, context, self.trace_id, name, kind, attributes, links)
            return decision
        except Exception as error:
            self.asked = attributes
            tracing.fault(tracing._sampler, "should_sample", error)
            return 0

    cdef bint hold(self, Tracing tracing, bint local_root, object name) except -1:
        """Whether a span that was not sampled is recorded all the same, to be decided on later."""
        if local_root:
            self.held = None if tracing.rescue is None else tracing.rescue.open(name)
        return self.held is not None

    # -- what may be set

    cdef int put_attributes(self, object attributes) except -1:
        cdef Tracing tracing = self.tracer.tracing
        cdef Py_ssize_t at = 0
        cdef PyObject *key
        cdef PyObject *value
        cdef Py_ssize_t held = 0 if self._attrs is None else PyDict_Size(self._attrs)
        if (type(attributes) is dict and tracing.max_length < 0
                and (tracing.max_attributes < 0 or held + PyDict_Size(attributes) <= tracing.max_attributes)):
            while PyDict_Next(attributes, &at, &key, &value):
                if not plain(<object>value) or type(<object>key) is not str or not <object>key:
                    break
            else:
                if self._attrs is None:
                    self._attrs = PyDict_Copy(attributes)
                else:
                    PyDict_Update(self._attrs, attributes)
                return 0
        try:
            pairs = list(attributes.items())
        except Exception:
            self.lost_attributes += 1
            return 0
        for name, item in pairs:
            self.put_attribute(name, item)
        return 0

    cdef int put_attribute(self, object key, object value) except -1:
        cdef Tracing tracing = self.tracer.tracing
        if type(key) is not str:
            key = model.as_key(key)
        if not key:
            self.lost_attributes += 1
            return 0
        if not plain(value):
            if tracing.max_length < 0 and are_texts(value):
                value = tuple(value)
            else:
                value = clean(value, None if tracing.max_length < 0 else tracing.max_length)
        elif tracing.max_length >= 0 and type(value) is str and len(<str>value) > tracing.max_length:
            value = value[:tracing.max_length]
        if self._attrs is None:
            self._attrs = {}
        if tracing.max_attributes >= 0 and len(self._attrs) >= tracing.max_attributes and key not in self._attrs:
            self.lost_attributes += 1
        else:
            self._attrs[key] = value
        return 0

    def set_attribute(self, key, value):
        if self.recording:
            self.put_attribute(key, value)

    def set_attributes(self, attributes):
        if self.recording and attributes:
            self.put_attributes(attributes)

    def add_event(self, name, attributes=None, timestamp=None):
        if not self.recording:
            return
        cdef Tracing tracing = self.tracer.tracing
        limits = tracing._limits
        kept, dropped = model.bounded(attributes, limits.event_attributes, limits.detail_length)
        if self._event_list is None:
            self._event_list = []
        now_ns = self.now()
        time_ns = now_ns if timestamp is None else model.as_time(timestamp, now_ns)
        self._event_list.append((model.as_name(name), time_ns, kept, dropped))
        if tracing.max_events >= 0 and len(self._event_list) > tracing.max_events:
            del self._event_list[0]
            self.lost_events += 1

    def add_link(self, context, attributes=None):
        if not self.recording or not model.valid_link(context, attributes):
            return
        limits = self.tracer.tracing._limits
        if self.link_list is None:
            self.link_list = []
        self.link_list.append(model.make_link(context, attributes, limits))
        if limits.links is not None and len(self.link_list) > limits.links:
            del self.link_list[0]
            self.lost_links += 1

    def record_exception(self, exception, attributes=None, timestamp=None, escaped=False):
        if self.recording:
            self.add_event("exception", model.exception_attributes(exception, attributes, escaped), timestamp)

    def set_status(self, status, description=None):
        if not self.recording or self.status_code == 1:
            return
        read = model.make_status(status, description)
        if read is not None and read[0]:
            self.status_code, self.status_text = read

    def update_name(self, name):
        if self.recording:
            self.label = model.as_name(name)

    def is_recording(self):
        return self.recording

    def get_span_context(self):
        if self.cached_context is None:
            self.cached_context = SpanContext(self.trace_id, self.span_id, False, FLAGS[self.flags],
                                              NO_STATE if self._trace_state is None else self._trace_state)
        return self.cached_context

    # -- end

    cdef inline int64_t now(self):
        # The distance from a monotonic clock: a wall clock that is set back makes no negative duration.
        return <int64_t>noops_monotonic_ns() + self.clock_offset

    def __enter__(self):
        return self

    def __exit__(self, kind, error, stack):
        cdef int64_t end_ns = self.now()
        if error is not None:
            self.fail(error, end_ns, self.record_on_exception, self.status_on_exception, True)
        self.finish(end_ns)

    cdef int fail(self, object error, int64_t end_ns, bint record, bint status, bint escaped) except -1:
        if not self.recording or not isinstance(error, Exception):
            return 0
        if record:
            self.record_exception(error, None, end_ns, escaped)
        if status and self.status_code != 1:
            self.status_code = 2
            self.status_text = f"{type(error).__name__}: {model.clean_message(error)}"
        return 0

    def end(self, end_time=None):
        """End the span; times are nanoseconds since the epoch. Only the first call does anything."""
        self.finish(self.now() if end_time is None else model.as_time(end_time, self.now()))

    cdef int finish(self, int64_t end_ns) except -1:
        cdef Tracing tracing
        if not self.recording or self.ended:
            return 0
        if self.mark != noops_process_mark():
            # Open when this process was forked: it is the parent's, which ends it for itself.
            self.recording = False
            return 0
        tracing = self.tracer.tracing
        self.end_ns = end_ns
        self.ended = True
        tracing.ended += 1
        if tracing.observed():
            self.tell(tracing)
        self.recording = False
        if tracing.recorder is not None and (self.flags & SAMPLED or self.held is not None):
            try:
                self.write(tracing)
            except Exception as error:
                tracing.recorder.dropped += 1
                tracing.fault(self, "end", error)
        if self.local_root and tracing.rescue is not None:
            tracing.rescue.observe(self.label, self.end_ns - self.start_ns)
        return 0

    cdef int tell(self, Tracing tracing) except -1:
        try:
            tracing._processors._on_ending(self)
        except Exception as error:
            tracing.fault(tracing._processors, "_on_ending", error)
        self.recording = False
        try:
            tracing._processors.on_end(self)
        except Exception as error:
            tracing.fault(tracing._processors, "on_end", error)
        return 0

    cdef int write(self, Tracing tracing) except -1:
        cdef noops_buffer *b = noops_buffer_take()
        cdef uint8_t signal = NOOPS_SPAN | (NOOPS_ERROR if self.status_code == 2 else 0)
        if b is NULL:
            tracing.recorder.dropped += 1
            return 0
        try:
            self.encode(b)
            if b.failed:
                tracing.recorder.dropped += 1
            elif self.flags & SAMPLED:
                tracing.recorder.put(signal, self.tracer.scope, b.data, b.length)
            else:
                self.held.add(self.tracer.scope, taken(b), self.status_code == 2)
                if self.local_root:
                    self.held.finish(tracing.recorder, self.label, self.end_ns - self.start_ns,
                                     self.status_code == 2)
        finally:
            noops_buffer_give(b)
        return 0

    cdef int encode(self, noops_buffer *b) except -1:
        """Write the span as field 2 of ScopeSpans.

        Source: opentelemetry-proto 1.11, trace/v1/trace.proto, Span.
        """
        cdef size_t start = noops_message_open(b, 0x12)
        cdef size_t inner
        cdef uint64_t words[2]
        words[0] = self.trace_hi
        words[1] = self.trace_lo
        noops_field_id(b, 0x0A, words, 2)
        noops_field_id(b, 0x12, &self.span_id, 1)
        if self._trace_state is not None:
            state = self._trace_state.to_header()
            if state:
                put_text(b, 0x1A, state)
        if self.parent_id:
            noops_field_id(b, 0x22, &self.parent_id, 1)
        if self.label:
            put_text(b, 0x2A, self.label)
        noops_field_varint(b, 0x30, self.kind_code + 1)
        noops_field_fixed64(b, 0x39, <uint64_t>self.start_ns)
        noops_field_fixed64(b, 0x41, <uint64_t>self.end_ns)
        put_attributes(b, 0x4A, self._attrs, 0)
        if self.lost_attributes:
            noops_field_varint(b, 0x50, self.lost_attributes)
        if self._event_list is not None:
            for event in self._event_list:
                put_event(b, event)
        if self.lost_events:
            noops_field_varint(b, 0x60, self.lost_events)
        if self.link_list is not None:
            for link in self.link_list:
                put_link(b, link)
        if self.lost_links:
            noops_field_varint(b, 0x70, self.lost_links)
        inner = noops_message_open(b, 0x7A)
        if self.status_text:
            put_text(b, 0x12, self.status_text)
        if self.status_code:
            noops_field_varint(b, 0x18, self.status_code)
        noops_message_close(b, inner)
        noops_field_fixed32(b, 0x85, self.flags | 0x100 | (0x200 if self.parent_remote else 0))
        noops_message_close(b, start)
        return 0

    # -- what the SDK's ReadableSpan offers

    @property
    def __class__(self):
        return model.sdk_face("opentelemetry.sdk.trace", "_Span", Span)

    @property
    def trace_id(self):
        return (int(self.trace_hi) << 64) | self.trace_lo

    @property
    def traceparent(self):
        return traceparent_of(self.trace_hi, self.trace_lo, self.span_id, self.flags)

    @property
    def trace_state_header(self):
        return "" if self._trace_state is None else self._trace_state.to_header()

    @property
    def context(self):
        return self.get_span_context()

    @property
    def _context(self):
        return self.get_span_context()

    @property
    def parent(self):
        if self.cached_parent is None and self.parent_id:
            self.cached_parent = SpanContext(self.trace_id, self.parent_id, self.parent_remote,
                                             FLAGS[self.parent_flags],
                                             NO_STATE if self._parent_state is None else self._parent_state)
        return self.cached_parent

    @property
    def _parent(self):
        return self.parent

    @property
    def name(self):
        return self.label

    @property
    def _name(self):
        return self.label

    @_name.setter
    def _name(self, name):
        self.label = name

    @property
    def kind(self):
        return model.KINDS[self.kind_code]

    @property
    def _kind(self):
        return self.kind

    @property
    def attributes(self):
        return MappingProxyType(self._attributes)

    @property
    def _attributes(self):
        if type(self._attrs) is not ATTRIBUTES:
            self._attrs = ATTRIBUTES(self._attrs or ())
        return self._attrs

    @_attributes.setter
    def _attributes(self, attributes):
        self._attrs = None if attributes is None else ATTRIBUTES(attributes)

    @property
    def dropped_attributes(self):
        return self.lost_attributes

    @property
    def events(self):
        return tuple(self._events)

    @property
    def _events(self):
        # Events that were shown stay the same objects, since processors write on them.
        self._event_list = [
            model.Event(*event) if type(event) is tuple else event for event in self._event_list or ()
        ]
        return self._event_list

    @_events.setter
    def _events(self, events):
        self._event_list = list(events)

    @property
    def dropped_events(self):
        return self.lost_events

    @property
    def links(self):
        return tuple(self.link_list or ())

    @property
    def _links(self):
        if self.link_list is None:
            self.link_list = []
        return self.link_list

    @_links.setter
    def _links(self, links):
        self.link_list = list(links)

    @property
    def dropped_links(self):
        return self.lost_links

    @property
    def status(self):
        if not self.status_code:
            return model.UNSET
        return Status(model.STATUS_CODES[self.status_code], self.status_text)

    @property
    def _status(self):
        return self.status

    @_status.setter
    def _status(self, status):
        self.status_code, self.status_text = model.make_status(status, None) or (0, None)

    @property
    def start_time(self):
        return self.start_ns

    @property
    def _start_time(self):
        return self.start_ns

    @_start_time.setter
    def _start_time(self, value):
        self.start_ns = value

    @property
    def end_time(self):
        return self.end_ns if self.ended else None

    @property
    def _end_time(self):
        return self.end_time

    @_end_time.setter
    def _end_time(self, value):
        self.end_ns = value

    @property
    def resource(self):
        return self.tracer.tracing.resource

    @property
    def _resource(self):
        return self.resource

    @property
    def instrumentation_scope(self):
        return self.tracer.instrumentation_scope

    @property
    def _instrumentation_scope(self):
        return self.tracer.instrumentation_scope

    @property
    def instrumentation_info(self):
        return self.tracer.instrumentation_info

    @property
    def _limits(self):
        return self.tracer.tracing.limits

    def _readable_span(self):
        return model.readable(self)

    def to_json(self, indent=4):
        return model.to_json(self, indent)

    def __repr__(self):
        return f"Span(name={self.label!r}, context={self.get_span_context()!r})"


cdef int put_event(noops_buffer *b, object shown) except -1:
    cdef tuple event = shown if type(shown) is tuple else model.event_fields(shown)
    cdef size_t start = noops_message_open(b, 0x5A)
    noops_field_fixed64(b, 0x09, event[1])
    if event[0]:
        put_text(b, 0x12, event[0])
    put_attributes(b, 0x1A, event[2], 0)
    if event[3]:
        noops_field_varint(b, 0x20, event[3])
    noops_message_close(b, start)
    return 0


cdef int put_link(noops_buffer *b, object link) except -1:
    cdef size_t start = noops_message_open(b, 0x6A)
    cdef uint64_t words[2]
    context = link.context
    words[0] = context.trace_id >> 64
    words[1] = context.trace_id & 0xFFFFFFFFFFFFFFFF
    noops_field_id(b, 0x0A, words, 2)
    words[0] = context.span_id
    noops_field_id(b, 0x12, words, 1)
    state = context.trace_state.to_header()
    if state:
        put_text(b, 0x1A, state)
    put_attributes(b, 0x22, link.attributes, 0)
    if link.dropped_attributes:
        noops_field_varint(b, 0x28, link.dropped_attributes)
    noops_field_fixed32(b, 0x35, (context.trace_flags & 0xFF) | 0x100 | (0x200 if context.is_remote else 0))
    noops_message_close(b, start)
    return 0


@cython.freelist(64)
cdef class Activation(Attachment):
    """A span to be started and made current on entry, and ended on exit; or a decorator that does so."""

    cdef Tracer tracer
    cdef object name, context, kind, attributes, links, start_time
    cdef bint record_exception, set_status_on_exception, end_on_exit

    def __enter__(self):
        self.begin()
        self.enter()
        return self.span

    cdef int begin(self) except -1:
        self.span = start(self.tracer, self.name, self.context, self.kind, self.attributes, self.links,
                          self.start_time, self.record_exception, self.set_status_on_exception)
        return 0

    def __exit__(self, kind, error, stack):
        cdef int64_t end_ns
        if type(self.span) is Span and (<Span>self.span).recording:
            end_ns = (<Span>self.span).now()
            self.leave()
            self.close(error, end_ns)
        else:
            self.leave()

    cdef int close(self, object error, int64_t end_ns) except -1:
        cdef Span span = <Span>self.span
        if error is not None:
            span.fail(error, end_ns, self.record_exception, self.set_status_on_exception, False)
        if self.end_on_exit:
            span.finish(end_ns)
        return 0

    def __call__(self, function):
        return decorate(function, self)

    # For the wrappers of generators, whose span outlives each of the times that it is current.

    def attachment(self):
        """Give what makes the started span current."""
        return Attachment(self.span)

    def again(self):
        """Give a fresh activation with the same arguments."""
        return self.tracer.start_as_current_span(
            self.name, self.context, self.kind, self.attributes, self.links, self.start_time,
            self.record_exception, self.set_status_on_exception, self.end_on_exit)

    def start(self):
        """Start the span, without making it current."""
        self.begin()
        return self.span

    def stop(self, error=None):
        """End the span."""
        if type(self.span) is Span:
            self.close(error, (<Span>self.span).now())


include "course.pxi"

APISpan.register(Span)


cdef allow_attributes_of_others():
    """Let other code put attributes of its own on a span, as some instrumentation does.

    Cython would make a dict for each span; the interpreter makes one when the first such attribute is set, where a type
    says at which offset its pointer is.
    """
    cdef Span sample = Span.__new__(Span)
    (<PyTypeObject *>Span).tp_dictoffset = <char *>&sample.others - <char *><PyObject *>sample
    PyType_Modified(<PyTypeObject *>Span)


allow_attributes_of_others()
