# cython: language_level=3, binding=False, boundscheck=False, wraparound=False, initializedcheck=False
# cython: freethreading_compatible=False
"""The native core of metrics: streams of series, instruments, points and their OTLP bytes.

`aggregation.py` is its specification. What touches a table or a value is C without a call into Python in between, so
that neither another thread nor a finalizer finds it half done; whatever may run Python code is done before.
"""

cimport cython
from cpython.dict cimport PyDict_Copy, PyDict_GetItem, PyDict_Next, PyDict_Size
from cpython.object cimport Py_EQ, PyObject, PyTypeObject
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.contextvars cimport PyContextVar_CheckExact
from libc.math cimport isfinite
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

import opentelemetry.context as context_api
from opentelemetry.trace.propagation import _SPAN_KEY

from . import measured
from .measured import number_of, tidy
from .native import encode_attributes

cdef extern from "Python.h":
    int PyContextVar_Get(object var, PyObject *default, PyObject **value) except -1
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1
    double PyLong_AsDouble(object number) except? -1
    double PyFloat_AS_DOUBLE(object number)
    int PyObject_RichCompareBool(PyObject *, PyObject *, int) except -1
    Py_hash_t PyObject_Hash(PyObject *) except -1
    int PySet_Contains(object, PyObject *) except -1
    int PyDict_CheckExact(object)
    int PyUnicode_CheckExact(PyObject *)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *)
    int PyLong_CheckExact(PyObject *)
    int PyFloat_CheckExact(PyObject *)
    int PyTuple_CheckExact(PyObject *)
    int PyBool_Check(PyObject *)
    PyTypeObject *Py_TYPE(PyObject *)
    PyObject *Py_None
    void Py_INCREF(PyObject *)
    void Py_DECREF(PyObject *)
    void Py_XDECREF(PyObject *)

cdef extern from "wire.h":
    ctypedef struct noops_buffer:
        uint8_t *data
        size_t length
        int failed
    noops_buffer *noops_buffer_take()
    void noops_buffer_give(noops_buffer *)
    void noops_raw(noops_buffer *, const void *, size_t)
    void noops_varint(noops_buffer *, uint64_t)
    void noops_field_varint(noops_buffer *, uint32_t tag, uint64_t)
    void noops_field_fixed64(noops_buffer *, uint8_t tag, uint64_t)
    void noops_field_id(noops_buffer *, uint8_t tag, const uint64_t *, int)
    size_t noops_message_open(noops_buffer *, uint8_t tag)
    void noops_message_close(noops_buffer *, size_t)

cdef extern from "segment.h":
    int noops_fork_watch()
    uint64_t noops_process_mark()
    uint64_t noops_realtime_ns()
    uint64_t noops_random()

cdef extern from "aggregate.h":
    ctypedef struct noops_value:
        uint64_t start_ns, count
        int64_t whole
        double number
        double least, greatest
        uint64_t zeros
        int32_t scale
        int32_t low[2]
        int32_t size[2]
        uint8_t real
    ctypedef struct noops_number:
        int64_t whole
        double number
        int real
    ctypedef struct noops_values:
        size_t record
    uint64_t *noops_buckets(noops_value *)
    void noops_add(noops_value *, const noops_number *)
    void noops_set(noops_value *, const noops_number *)
    void noops_difference(noops_value *, noops_value *)
    void noops_clear(noops_value *, size_t buckets, int max_scale, uint64_t start_ns)
    void noops_extremes(noops_value *, double)
    size_t noops_bucket(const double *, size_t, double)
    void noops_count_exponential(noops_value *, int max_size, int sides, double)
    noops_value *noops_value_take(noops_values *)
    void noops_value_give(noops_values *, noops_value *)
    void noops_values_free(noops_values *)

NAME = "native"

noops_fork_watch()

cdef enum:
    SUM, LAST, HISTOGRAM, EXPONENTIAL

cdef enum:
    OFF, TRACED, ON, ASK

cdef object SPAN_KEY = _SPAN_KEY
cdef dict OVERFLOW = measured.OVERFLOW
cdef object DEFAULT = measured.Shape(SUM)

cdef object current_var = getattr(context_api._RUNTIME_CONTEXT, "_current_context", None)
if current_var is not None and not PyContextVar_CheckExact(current_var):
    current_var = None

# The last span that was seen not to be sampled: most measurements of its trace need not ask it again.
cdef object unsampled = None

cdef struct Series:
    Py_hash_t hash
    PyObject *key        # dict: what it is found by
    PyObject *shown      # dict: its attributes
    PyObject *encoded    # bytes of its attributes, or NULL
    PyObject *exemplars  # list of as many cells as it may keep, or NULL
    PyObject *reservoir  # of the SDK's interface, or NULL
    uint32_t *seen       # measurements offered since the last collection, by cell
    noops_value *value
    uint32_t pins        # bound instruments, and calls under way, that point at it
    bint idle            # nothing was measured between the last two collections


cdef void forget(Series *series) noexcept:
    """Let go of a series that no table holds any more."""
    Py_XDECREF(series.key)
    Py_XDECREF(series.shown)
    Py_XDECREF(series.encoded)
    Py_XDECREF(series.exemplars)
    Py_XDECREF(series.reservoir)
    free(series.seen)
    free(series)


# ---- numbers and attributes ------------------------------------------------------------------------------


cdef int read_number(object amount, noops_number *n) except -1:
    """Read a measurement: 1 where it is a finite number."""
    cdef int overflow = 0
    kind = type(amount)
    if kind is float:
        n.number = PyFloat_AS_DOUBLE(amount)
        n.real = 1
        return isfinite(n.number) != 0
    if kind is int:
        n.whole = PyLong_AsLongLongAndOverflow(amount, &overflow)
        if not overflow:
            n.number = <double>n.whole
            n.real = 0
            return 1
        try:
            n.number = PyLong_AsDouble(amount)
        except OverflowError:
            return 0
        n.real = 1
        return 1
    plain = number_of(amount)
    return plain is not None and read_number(plain, n)


cdef inline bint is_plain(PyObject *value) noexcept:
    return (PyUnicode_CheckExact(value) or PyLong_CheckExact(value) or PyFloat_CheckExact(value)
            or PyBool_Check(value) or value is Py_None)


cdef inline bint same(PyObject *a, PyObject *b) except -1:
    cdef double x, y
    if a is b:
        return True
    if Py_TYPE(a) is not Py_TYPE(b):
        return False
    if PyFloat_CheckExact(a):
        x = PyFloat_AS_DOUBLE(<object>a)
        y = PyFloat_AS_DOUBLE(<object>b)
        return x == y or (x != x and y != y)
    return PyObject_RichCompareBool(a, b, Py_EQ)


cdef inline uint64_t mixed(PyObject *key, PyObject *value) except? 0:
    cdef uint64_t h = <uint64_t>PyObject_Hash(key)
    cdef uint64_t v = 0
    if not (PyFloat_CheckExact(value) and PyFloat_AS_DOUBLE(<object>value) != PyFloat_AS_DOUBLE(<object>value)):
        v = <uint64_t>PyObject_Hash(value)
    h = (h ^ (v << 21 | v >> 43)) * <uint64_t>0x9E3779B97F4A7C15
    return h ^ h >> 32


cdef object current_span(object context):
    """The span of a context, None: of the current one; None where there is none."""
    cdef PyObject *found = NULL
    if context is None:
        if current_var is None:
            context = context_api.get_current()
        else:
            PyContextVar_Get(current_var, NULL, &found)
            if found is NULL:
                return None
            context = <object>found
            Py_DECREF(found)
    if not isinstance(context, dict):
        return None
    found = PyDict_GetItem(context, SPAN_KEY)
    return None if found is NULL else <object>found


# ---- encoder ---------------------------------------------------------------------------------------------

# By kind: tags of the data in Metric, of the attributes, of `min`, of the exemplars in a point.
cdef uint8_t DATA[4]
cdef uint8_t POINT_ATTRIBUTES[4]
cdef uint8_t EXTREMES[4]
cdef uint8_t EXEMPLARS[4]
DATA[:] = [0x3A, 0x2A, 0x4A, 0x52]
POINT_ATTRIBUTES[:] = [0x3A, 0x3A, 0x4A, 0x0A]
EXTREMES[:] = [0, 0, 0x59, 0x61]
EXEMPLARS[:] = [0x2A, 0x2A, 0x42, 0x5A]


cdef inline uint64_t zigzag(int32_t value) noexcept:
    return (<uint32_t>value << 1) ^ <uint32_t>(value >> 31)


cdef inline void put_double(noops_buffer *b, uint8_t tag, double number) noexcept:
    cdef uint64_t bits
    memcpy(&bits, &number, sizeof(bits))
    noops_field_fixed64(b, tag, bits)


cdef void put_words(noops_buffer *b, uint8_t tag, const void *words, size_t n) noexcept:
    """Write packed numbers of 64 bits, the least significant byte first."""
    cdef uint8_t word[8]
    cdef uint64_t bits
    cdef size_t i
    cdef int k
    if not n:
        return
    noops_varint(b, tag)
    noops_varint(b, 8 * n)
    for i in range(n):
        memcpy(&bits, <const uint8_t *>words + 8 * i, 8)
        for k in range(8):
            word[k] = <uint8_t>(bits >> 8 * k)
        noops_raw(b, word, 8)


cdef int put_exemplar(noops_buffer *b, uint8_t tag, tuple exemplar) except -1:
    cdef uint64_t words[2]
    cdef size_t start
    left, amount, time_ns, span_id, trace_id = exemplar
    cdef bytes encoded = encode_attributes(0x3A, left)
    cdef noops_number n
    if not read_number(amount, &n):
        return 0
    start = noops_message_open(b, tag)
    noops_field_fixed64(b, 0x11, time_ns)
    if n.real:
        put_double(b, 0x19, n.number)
    else:
        noops_field_fixed64(b, 0x31, <uint64_t>n.whole)
    if span_id is not None and trace_id is not None:
        words[0] = span_id
        noops_field_id(b, 0x22, words, 1)
        words[0], words[1] = trace_id >> 64, trace_id & 0xFFFFFFFFFFFFFFFF
        noops_field_id(b, 0x2A, words, 2)
    noops_raw(b, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))
    noops_message_close(b, start)
    return 0


# ---- streams ---------------------------------------------------------------------------------------------


@cython.final
cdef class Stream:
    """The series of one instrument for one reader, as one view sees it."""

    cdef readonly object shape
    cdef int kind, max_size, max_scale, sides, asks, cells
    cdef bint delta, observed, extremes
    cdef object keys, filter, make_reservoir
    cdef double *bounds
    cdef size_t bounds_size, buckets
    cdef Py_ssize_t limit
    cdef uint64_t mark, since_ns
    cdef noops_values values
    cdef noops_value *scratch
    cdef Series **table
    cdef Series **order
    cdef size_t mask
    cdef Py_ssize_t size, room
    cdef Series *overflow
    cdef public uint64_t overflowed
    """Measurements that went to the series of the overflow."""

    def __cinit__(self, shape=DEFAULT):
        self.shape = shape
        self.kind, self.delta, self.observed = shape.kind, shape.delta, shape.observed
        self.keys, self.limit = shape.keys, shape.limit
        self.max_size, self.max_scale = shape.max_size, shape.max_scale
        self.sides = 2 if shape.signed else 1
        self.extremes = shape.extremes
        self.cells = 1
        if self.kind == HISTOGRAM:
            self.bounds_size = len(shape.bounds)
            self.buckets = self.bounds_size + 1
            self.cells = self.buckets
            self.bounds = <double *>malloc(self.buckets * sizeof(double))
            if self.bounds is NULL:
                raise MemoryError
            for i, bound in enumerate(shape.bounds):
                self.bounds[<size_t>i] = bound
        elif self.kind == EXPONENTIAL:
            self.buckets = self.max_size * self.sides
            self.cells = min(self.max_size, measured.EXEMPLARS_KEPT)
        self.make_reservoir = shape.reservoir
        if type(shape.exemplars) is int:
            self.asks = shape.exemplars
        else:
            self.asks, self.filter = ASK, shape.exemplars
        self.values.record = sizeof(noops_value) + self.buckets * sizeof(uint64_t)
        self.scratch = <noops_value *>malloc(self.values.record)
        self.table = <Series **>calloc(16, sizeof(Series *))
        self.mask = 15
        if self.scratch is NULL or self.table is NULL:
            raise MemoryError
        self.mark = noops_process_mark()
        self.since_ns = noops_realtime_ns()

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.size):
            forget(self.order[i])
        free(self.order)
        free(self.table)
        free(self.bounds)
        free(self.scratch)
        noops_values_free(&self.values)

    # -- finding a series

    cdef int digest(self, object attributes, object keys, bint tidied, uint64_t *digest, Py_ssize_t *size) except -1:
        """Hash attributes, in whatever order they are: 1; 0 where they need `tidy` first."""
        cdef Py_ssize_t at = 0, n = 0
        cdef PyObject *key
        cdef PyObject *value
        cdef uint64_t h = 0
        if attributes is not None:
            if not PyDict_CheckExact(attributes):
                return 0
            while PyDict_Next(attributes, &at, &key, &value):
                if not PyUnicode_CheckExact(key) or not PyUnicode_GET_LENGTH(key):
                    return 0
                if not is_plain(value) and not (tidied and PyTuple_CheckExact(value)):
                    return 0
                if keys is not None and not PySet_Contains(keys, key):
                    continue
                h += mixed(key, value)
                n += 1
        digest[0] = h
        size[0] = n
        return 1

    cdef bint matches(self, Series *series, object attributes, Py_ssize_t n) except -1:
        cdef object kept = <object>series.key
        cdef Py_ssize_t at = 0, beside = 0
        cdef PyObject *key
        cdef PyObject *value
        cdef PyObject *other
        cdef PyObject *found
        if PyDict_Size(kept) != n:
            return False
        if not n:
            return True
        while PyDict_Next(kept, &at, &key, &value):
            # Attributes are mostly given in the order in which they were given first.
            if not PyDict_Next(attributes, &beside, &other, &found) or other is not key:
                found = PyDict_GetItem(attributes, <object>key)
            if found is NULL or not same(value, found):
                return False
        return True

    cdef Series *look(self, object attributes, uint64_t digest, Py_ssize_t n) except? NULL:
        cdef size_t slot = digest & self.mask
        cdef Series *series = self.table[slot]
        while series is not NULL:
            if series.hash == <Py_hash_t>digest and self.matches(series, attributes, n):
                return series
            slot = (slot + 1) & self.mask
            series = self.table[slot]
        return NULL

    cdef Series *find(self, object attributes) except NULL:
        """The series of attributes; made where there is none yet."""
        cdef uint64_t digest = 0
        cdef Py_ssize_t n = 0
        cdef Series *series
        if self.digest(attributes, self.keys, False, &digest, &n):
            series = self.look(attributes, digest, n)
            if series is not NULL:
                return series
            if self.keys is None:
                key = {} if attributes is None else PyDict_Copy(attributes)
            else:
                key = {name: attributes[name] for name in attributes or () if name in self.keys}
            return self.enter(key, key, digest, n)
        key, shown = tidy(attributes)
        if self.keys is not None:
            key = {name: key[name] for name in key if name in self.keys}
            shown = {name: shown[name] for name in key}
        self.digest(key, None, True, &digest, &n)
        series = self.look(key, digest, n)
        return series if series is not NULL else self.enter(key, shown, digest, n)

    cdef Series *enter(self, dict key, dict shown, uint64_t digest, Py_ssize_t n) except NULL:
        """Add a series, unless the limit is reached."""
        cdef Series *series
        cdef bint beyond = self.size - (self.overflow is not NULL) >= self.limit
        if beyond:
            self.overflowed += 1
            if self.overflow is not NULL:
                return self.overflow
            key = shown = OVERFLOW
            self.digest(key, None, False, &digest, &n)
        made = self.make_reservoir() if self.make_reservoir is not None else None
        # What ran until here may have measured as well: look again. From here on there is no Python.
        series = self.look(key, digest, n)
        if series is NULL:
            series = self.insert(key, shown, made, digest)
        if beyond:
            self.overflow = series
        return series

    cdef Series *insert(self, dict key, dict shown, object reservoir, uint64_t digest) except NULL:
        cdef Series **order
        cdef Series *series
        if self.size == self.room:
            order = <Series **>realloc(self.order, max(2 * self.room, 16) * sizeof(Series *))
            if order is NULL:
                raise MemoryError
            self.order, self.room = order, max(2 * self.room, 16)
        if 3 * <size_t>self.size >= 2 * self.mask:
            self.resize(4 * (self.mask + 1))
        series = <Series *>calloc(1, sizeof(Series))
        if series is NULL:
            raise MemoryError
        if self.asks != OFF and reservoir is None:
            series.seen = <uint32_t *>calloc(self.cells, sizeof(uint32_t))
        series.value = noops_value_take(&self.values)
        if series.value is NULL or (self.asks != OFF and reservoir is None and series.seen is NULL):
            forget(series)
            raise MemoryError
        noops_clear(series.value, 0, self.max_scale, noops_realtime_ns())
        series.hash = <Py_hash_t>digest
        series.key, series.shown = <PyObject *>key, <PyObject *>shown
        Py_INCREF(series.key)
        Py_INCREF(series.shown)
        if reservoir is not None:
            series.reservoir = <PyObject *>reservoir
            Py_INCREF(series.reservoir)
        self.order[self.size] = series
        self.size += 1
        self.place(series)
        return series

    cdef inline void place(self, Series *series) noexcept:
        cdef size_t slot = <uint64_t>series.hash & self.mask
        while self.table[slot] is not NULL:
            slot = (slot + 1) & self.mask
        self.table[slot] = series

    cdef int resize(self, size_t slots) except -1:
        cdef Series **table = <Series **>calloc(slots, sizeof(Series *))
        cdef Py_ssize_t i
        if table is NULL:
            raise MemoryError
        free(self.table)
        self.table, self.mask = table, slots - 1
        for i in range(self.size):
            self.place(self.order[i])
        return 0

    cdef int sweep(self, bint everything) except -1:
        """Forget the series that nothing was measured in, and nobody is bound to; or all that nobody is bound to."""
        cdef Py_ssize_t i, kept = 0, gone = 0
        cdef Series **swept
        cdef Series *series
        if not self.size:
            return 0
        swept = <Series **>malloc(self.size * sizeof(Series *))
        if swept is NULL:
            raise MemoryError
        for i in range(self.size):
            series = self.order[i]
            if not series.pins and (everything or (series.idle and not series.value.count)):
                swept[gone] = series
                gone += 1
                noops_value_give(&self.values, series.value)
                if series is self.overflow:
                    self.overflow = NULL
            else:
                self.order[kept] = series
                kept += 1
        if gone:
            self.size = kept
            memset(self.table, 0, (self.mask + 1) * sizeof(Series *))
            for i in range(kept):
                self.place(self.order[i])
        # Letting go of what they hold may run Python code: the table is whole by now.
        for i in range(gone):
            forget(swept[i])
        free(swept)
        return 0

    cdef int enter_process(self) except -1:
        """A forked child counts from zero: what its parent has measured is the parent's to report."""
        cdef Py_ssize_t i
        self.mark = noops_process_mark()
        self.since_ns = noops_realtime_ns()
        self.overflowed = 0
        for i in range(self.size):
            memset(self.order[i].value, 0, self.values.record)
            noops_clear(self.order[i].value, 0, self.max_scale, self.since_ns)
            if self.order[i].seen is not NULL:
                memset(self.order[i].seen, 0, self.cells * sizeof(uint32_t))
            Py_XDECREF(self.order[i].exemplars)
            self.order[i].exemplars = NULL
        return self.sweep(True)

    # -- measuring

    cdef int measure(self, Series *series, const noops_number *n, object amount, object attributes,
                     object context) except -1:
        cdef noops_value *value = series.value
        cdef size_t cell = 0
        value.count += 1
        if self.kind == LAST:
            noops_set(value, n)
        else:
            noops_add(value, n)
            if self.kind == HISTOGRAM:
                if self.extremes:
                    noops_extremes(value, n.number)
                cell = noops_bucket(self.bounds, self.bounds_size, n.number)
                noops_buckets(value)[cell] += 1
            elif self.kind == EXPONENTIAL:
                if self.extremes:
                    noops_extremes(value, n.number)
                if n.number == 0:
                    value.zeros += 1
                else:
                    noops_count_exponential(value, self.max_size, self.sides, n.number)
        if self.asks != OFF:
            return self.offer(series, cell, n, amount, attributes, context)
        return 0

    cdef int offer(self, Series *series, size_t cell, const noops_number *n, object amount, object attributes,
                   object context) except -1:
        """Sample uniformly: a cell's n-th measurement takes its place with probability 1 / n.

        Only a measurement that would take a place has its span looked at, so one outside of a sampled trace counts
        towards n once the cell is full.
        """
        cdef uint32_t *seen
        cdef uint32_t places = 1
        if series.seen is not NULL:
            if self.kind == EXPONENTIAL:
                seen, places = series.seen, self.cells
                cell = seen[0]
            else:
                seen = &series.seen[cell]
            if seen[0] >= places:
                seen[0] += seen[0] != 0xFFFFFFFF
                if places > 1:
                    cell = noops_random() % seen[0]
                    if cell >= places:
                        return 0
                elif noops_random() % seen[0]:
                    return 0
        # From here on code of others may run: the series must stay.
        series.pins += 1
        try:
            self.take(series, cell, places, n, amount, attributes, context)
        finally:
            series.pins -= 1
        return 0

    cdef int take(self, Series *series, size_t cell, uint32_t places, const noops_number *n, object amount,
                  object attributes, object context) except -1:
        """Keep a measurement as exemplar where the filter lets it."""
        global unsampled
        cdef uint32_t *seen
        cdef uint64_t time_ns
        span = current_span(context)
        if self.asks == TRACED:
            if span is None or span is unsampled:
                return 0
            found = span.get_span_context()
            if not found.trace_flags & 1:
                unsampled = span
                return 0
        else:
            found = None if span is None else span.get_span_context()
        time_ns = noops_realtime_ns()
        if self.asks == ASK or series.reservoir is not NULL:
            given = context_api.get_current() if context is None else context
            if self.asks == ASK and not self.filter.should_sample(amount, time_ns, attributes, given):
                return 0
            if series.reservoir is not NULL:
                (<object>series.reservoir).offer(amount, time_ns, attributes, given)
                return 0
        number = n.number if n.real else <object>n.whole
        if found is None or not found.is_valid:
            self.keep(series, cell, (self.left(series, attributes), number, time_ns, None, None))
        else:
            self.keep(series, cell, (self.left(series, attributes), number, time_ns, found.span_id, found.trace_id))
        seen = series.seen if places > 1 else &series.seen[cell]
        if seen[0] < places:
            seen[0] += 1
        return 0

    cdef object left(self, Series *series, object attributes):
        """Those attributes of a measurement that its series does not show."""
        if not attributes:
            return None
        if self.keys is None and series is not self.overflow:
            return {}
        shown = <dict>series.shown
        return {name: value for name, value in tidy(attributes)[1].items() if name not in shown}

    cdef int keep(self, Series *series, size_t cell, tuple exemplar) except -1:
        if series.exemplars is NULL:
            cells = [None] * self.cells
            if series.exemplars is NULL:
                series.exemplars = <PyObject *>cells
                Py_INCREF(series.exemplars)
        (<list>series.exemplars)[<Py_ssize_t>cell] = exemplar
        return 0

    cdef int record(self, const noops_number *n, object amount, object attributes, object context) except -1:
        if self.mark != noops_process_mark():
            self.enter_process()
        return self.measure(self.find(attributes), n, amount, attributes, context)

    def observe(self, amount, attributes=None, context=None):
        """Measure; False where *amount* is no finite number."""
        cdef noops_number n
        if not read_number(amount, &n):
            return False
        self.record(&n, amount, attributes, context)
        return True

    # -- collecting

    cdef bint snap(self, Series *series, uint64_t now_ns) noexcept:
        """Copy what a series has to report into the scratch record, and begin its next interval."""
        cdef noops_value *value = series.value
        series.idle = not value.count
        if series.idle:
            if self.delta:
                value.start_ns = now_ns
            return False
        memcpy(self.scratch, value, self.values.record)
        if self.observed:
            if self.delta and self.kind == SUM:
                noops_difference(value, self.scratch)
            noops_clear(value, self.buckets, self.max_scale, now_ns if self.delta else value.start_ns)
        elif self.delta:
            noops_clear(value, self.buckets, self.max_scale, now_ns)
        return True

    cdef int settle(self) except -1:
        """Forget what was idle since the last collection: a series without state at once, another when it must."""
        if (self.delta and not self.observed) or (self.observed and self.size >= self.limit):
            return self.sweep(False)
        return 0

    cdef list exemplars_of(self, Series *series):
        if series.reservoir is not NULL:
            return [(kept.filtered_attributes, kept.value, kept.time_unix_nano, kept.span_id, kept.trace_id)
                    for kept in (<object>series.reservoir).collect(<object>series.shown)]
        if series.exemplars is NULL:
            return []
        cells = <list>series.exemplars
        Py_DECREF(series.exemplars)
        series.exemplars = NULL
        memset(series.seen, 0, self.cells * sizeof(uint32_t))
        return [kept for kept in cells if kept is not None]

    cdef Py_ssize_t begin(self) except -1:
        if self.mark != noops_process_mark():
            self.enter_process()
        return self.size

    def collect(self, uint64_t now_ns):
        """Give the points since the last collection; one caller at a time.

        Each is (attributes, start in nanoseconds, value, exemplars); of a histogram's value (count, sum, least,
        greatest, counts); with exponential buckets (count, sum, least, greatest, scale, zeros, (offset, counts) of
        the positive, the same of the negative).
        """
        cdef Py_ssize_t i, n = self.begin()
        cdef Series *series
        points = []
        for i in range(n):
            series = self.order[i]
            if self.snap(series, now_ns):
                start_ns = self.scratch.start_ns
                value = self.value_of(self.scratch)
                points.append((<object>series.shown, start_ns, value, self.exemplars_of(series)))
        self.settle()
        return points

    cdef object value_of(self, noops_value *value):
        cdef noops_value *v = value
        cdef uint64_t *buckets = noops_buckets(v)
        cdef uint64_t *first
        cdef Py_ssize_t i, n
        cdef int side
        cdef object total = v.number
        if not v.real:
            total = v.whole
        if self.kind <= LAST:
            return total
        if self.kind == HISTOGRAM:
            counts = tuple([buckets[i] for i in range(<Py_ssize_t>self.buckets)])
            return v.count, total, v.least, v.greatest, counts
        sides = []
        for side in range(2):
            n = v.size[side] if side < self.sides else 0
            first = buckets + side * self.max_size
            sides.append((v.low[side] if n else 0, [first[i] for i in range(n)]))
        scale = 0 if v.count == v.zeros else v.scale
        return v.count, total, v.least, v.greatest, scale, v.zeros, sides[0], sides[1]

    # -- encoding

    def encode(self, bytes head, uint64_t now_ns):
        """Give the points since the last collection as field 2 of ScopeMetrics; None where there are none.

        Args:
            head: The encoded name, description and unit: fields 1 to 3 of Metric.

        Source:
            opentelemetry-proto 1.11, metrics/v1/metrics.proto.
        """
        cdef Py_ssize_t i, n = self.begin()
        cdef Series *series
        cdef bint some = False
        cdef size_t outer, data
        cdef noops_buffer *b = noops_buffer_take()
        if b is NULL:
            raise MemoryError
        try:
            outer = noops_message_open(b, 0x12)
            noops_raw(b, PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
            data = noops_message_open(b, DATA[self.kind])
            for i in range(n):
                series = self.order[i]
                if series.encoded is NULL:
                    self.describe(series)
                if self.snap(series, now_ns):
                    some = True
                    self.put_point(b, series, now_ns)
            if self.kind != LAST:
                noops_field_varint(b, 0x10, 1 if self.delta else 2)
            if self.kind == SUM and self.shape.monotonic:
                noops_field_varint(b, 0x18, 1)
            noops_message_close(b, data)
            noops_message_close(b, outer)
            if b.failed:
                raise MemoryError
            payload = PyBytes_FromStringAndSize(<char *>b.data, b.length) if some else None
        finally:
            noops_buffer_give(b)
        self.settle()
        return payload

    cdef int describe(self, Series *series) except -1:
        encoded = encode_attributes(POINT_ATTRIBUTES[self.kind], <object>series.shown)
        if series.encoded is NULL:
            series.encoded = <PyObject *>encoded
            Py_INCREF(series.encoded)
        return 0

    cdef int put_point(self, noops_buffer *b, Series *series, uint64_t now_ns) except -1:
        cdef noops_value *v = self.scratch
        cdef size_t start = noops_message_open(b, 0x0A)
        cdef bytes encoded = <bytes>series.encoded
        noops_raw(b, PyBytes_AS_STRING(encoded), PyBytes_GET_SIZE(encoded))
        if self.kind != LAST:
            noops_field_fixed64(b, 0x11, v.start_ns)
        noops_field_fixed64(b, 0x19, now_ns)
        if self.kind <= LAST:
            if v.real:
                put_double(b, 0x21, v.number)
            else:
                noops_field_fixed64(b, 0x31, <uint64_t>v.whole)
        else:
            noops_field_fixed64(b, 0x21, v.count)
            put_double(b, 0x29, v.number if v.real else <double>v.whole)
            if self.kind == HISTOGRAM:
                put_words(b, 0x32, noops_buckets(v), self.buckets)
                put_words(b, 0x3A, self.bounds, self.bounds_size)
            else:
                self.put_exponential(b, v)
            if self.extremes:
                put_double(b, EXTREMES[self.kind], v.least)
                put_double(b, EXTREMES[self.kind] + 8, v.greatest)
        if series.exemplars is not NULL or series.reservoir is not NULL:
            for exemplar in self.exemplars_of(series):
                put_exemplar(b, EXEMPLARS[self.kind], exemplar)
        noops_message_close(b, start)
        return 0

    cdef void put_exponential(self, noops_buffer *b, noops_value *v) noexcept:
        cdef int side
        cdef int32_t i
        cdef size_t start, packed
        cdef uint64_t *counts
        noops_field_varint(b, 0x30, zigzag(0 if v.count == v.zeros else v.scale))
        noops_field_fixed64(b, 0x39, v.zeros)
        for side in range(self.sides):
            if v.size[side]:
                start = noops_message_open(b, 0x42 + 8 * side)
                noops_field_varint(b, 0x08, zigzag(v.low[side]))
                packed = noops_message_open(b, 0x12)
                counts = noops_buckets(v) + side * self.max_size
                for i in range(v.size[side]):
                    noops_varint(b, counts[i])
                noops_message_close(b, packed)
                noops_message_close(b, start)

    @property
    def series(self):
        """How many series there are, that of the overflow among them."""
        return self.size

    def attributes(self):
        """The attributes of all series."""
        cdef Py_ssize_t i
        return [<object>self.order[i].shown for i in range(self.size)]


# ---- instruments -----------------------------------------------------------------------------------------


cdef class Measuring:
    """What all synchronous instruments share. Never raises: what can't be measured is counted."""

    cdef public tuple streams
    """Where measurements go, one for each reader and view; replaced, never changed."""
    cdef public bint enabled
    cdef public bint signed
    """Whether negative measurements are taken."""
    cdef public uint64_t negative, unreadable

    def __cinit__(self, *args, **kwargs):
        self.streams = ()
        self.enabled = self.signed = True

    cdef int measure(self, object amount, object attributes, object context) except -1:
        cdef noops_number n
        cdef tuple streams = self.streams
        if not self.enabled:
            return 0
        try:
            if self.accepts(amount, &n):
                for stream in streams:
                    (<Stream?>stream).record(&n, amount, attributes, context)
        except Exception:
            self.unreadable += 1
        return 0

    cdef int accepts(self, object amount, noops_number *n) except -1:
        if not read_number(amount, n):
            self.unreadable += 1
            return 0
        if n.number < 0 and not self.signed:
            self.negative += 1
            return 0
        return 1

    def bind(self, attributes=None):
        """Give the series of *attributes*, to measure in without looking them up."""
        return Bound(self, attributes)


cdef class Adding(Measuring):
    """A counter, or an up-down counter."""

    def add(self, amount, attributes=None, context=None):
        """Add to the series of *attributes*; *context* is that of the exemplar, None: the current one."""
        self.measure(amount, attributes, context)


cdef class Recording(Measuring):
    """A histogram."""

    def record(self, amount, attributes=None, context=None):
        """Count *amount* in the series of *attributes*; *context* is that of the exemplar, None: the current one."""
        self.measure(amount, attributes, context)


cdef class Setting(Measuring):
    """A gauge."""

    def set(self, amount, attributes=None, context=None):
        """Replace the value of the series of *attributes*; *context* is that of the exemplar, None: the current one."""
        self.measure(amount, attributes, context)


@cython.final
cdef class Bound:
    """An instrument bound to attributes: its series themselves, one for each stream."""

    cdef Measuring instrument
    cdef object attributes
    cdef tuple streams
    cdef Series **series

    def __cinit__(self, Measuring instrument, attributes=None):
        self.instrument = instrument
        self.attributes = tidy(attributes)[1] if attributes else None
        self.streams = ()

    def __dealloc__(self):
        self.release()

    cdef void release(self) noexcept:
        cdef Py_ssize_t i
        if self.series is not NULL:
            for i in range(len(self.streams)):
                self.series[i].pins -= 1
            free(self.series)
            self.series = NULL

    cdef int rebind(self) except -1:
        cdef tuple streams = self.instrument.streams
        cdef Series **series = <Series **>calloc(max(len(streams), 1), sizeof(Series *))
        cdef Py_ssize_t i, found = 0
        if series is NULL:
            raise MemoryError
        try:
            for i in range(len(streams)):
                (<Stream?>streams[i]).begin()
                series[i] = (<Stream>streams[i]).find(self.attributes)
                series[i].pins += 1
                found += 1
        except BaseException:
            for i in range(found):
                series[i].pins -= 1
            free(series)
            raise
        self.release()
        self.streams, self.series = streams, series
        return 0

    cdef int measure(self, object amount, object context) except -1:
        cdef noops_number n
        cdef Py_ssize_t i
        cdef Stream stream
        cdef tuple streams
        if not self.instrument.enabled:
            return 0
        try:
            if not self.instrument.accepts(amount, &n):
                return 0
            if self.streams is not self.instrument.streams:
                self.rebind()
            streams = self.streams
            for i in range(len(streams)):
                stream = <Stream>streams[i]
                if stream.mark != noops_process_mark():
                    stream.enter_process()
                stream.measure(self.series[i], &n, amount, self.attributes, context)
        except Exception:
            self.instrument.unreadable += 1
        return 0

    def add(self, amount, context=None):
        """As the instrument's own."""
        self.measure(amount, context)

    def record(self, amount, context=None):
        """As the instrument's own."""
        self.measure(amount, context)

    def set(self, amount, context=None):
        """As the instrument's own."""
        self.measure(amount, context)
