/* The value of one series, and how a measurement enters it. Header only, no interpreter.
 *
 * A series' value is one record of fixed size: `noops_value`, then its buckets. It holds no pointer, so records may
 * as well live in memory that is mapped from a file.
 */
#ifndef NOOPS_AGGREGATE_H
#define NOOPS_AGGREGATE_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NOOPS_POSITIVE = 0, NOOPS_NEGATIVE = 1, NOOPS_MIN_SCALE = -10, NOOPS_VALUES = 64 };

typedef struct {
    uint64_t start_ns; /* since when it counts */
    uint64_t count;    /* measurements in it; 0: there is nothing to report */
    int64_t whole;     /* the sum, or the last value, exact while `real` is 0 */
    double number;     /* the same once `real` is 1 */
    int64_t before_whole;
    double before_number; /* what an observed sum was when it was last reported as a difference */
    double least, greatest;
    uint64_t zeros; /* exponential buckets: values that are 0 */
    int32_t scale;
    int32_t low[2], size[2]; /* exponential buckets, positive and negative: index of the first, how many */
    uint8_t real, before_real;
} noops_value;

typedef struct {
    int64_t whole;
    double number; /* of a whole number, too */
    int real;
} noops_number;

static inline uint64_t *noops_buckets(noops_value *value)
{
    return (uint64_t *)(value + 1);
}

/* Whole numbers are added exactly; a sum beyond 64 bits, and one that takes a fraction in, goes on as a double. */
static inline void noops_add(noops_value *value, const noops_number *n)
{
    if (!value->real && !n->real && !__builtin_add_overflow(value->whole, n->whole, &value->whole))
        return;
    if (!value->real) {
        /* What overflowed has wrapped round: take the addition back before the sum is read. */
        int64_t sum = n->real ? value->whole : (int64_t)((uint64_t)value->whole - (uint64_t)n->whole);
        value->number = (double)sum;
        value->real = 1;
    }
    value->number += n->number;
}

static inline void noops_set(noops_value *value, const noops_number *n)
{
    value->whole = n->whole;
    value->number = n->number;
    value->real = (uint8_t)n->real;
}

/* Turn an observed sum into its difference to the one reported before: *report* is what goes out, *value* remembers. */
static inline void noops_difference(noops_value *value, noops_value *report)
{
    int64_t whole;
    if (!report->real && !value->before_real && !__builtin_sub_overflow(report->whole, value->before_whole, &whole)) {
        report->whole = whole;
    } else {
        double now = report->real ? report->number : (double)report->whole;
        report->number = now - (value->before_real ? value->before_number : (double)value->before_whole);
        report->real = 1;
    }
    value->before_whole = value->whole;
    value->before_number = value->number;
    value->before_real = value->real;
}

/* Empty a value; what it remembers of reports before stays. */
static inline void noops_clear(noops_value *value, size_t buckets, int max_scale, uint64_t start_ns)
{
    value->start_ns = start_ns;
    value->count = value->zeros = 0;
    value->whole = 0;
    value->number = 0;
    value->real = 0;
    value->least = INFINITY;
    value->greatest = -INFINITY;
    value->scale = max_scale;
    memset(value->low, 0, sizeof value->low);
    memset(value->size, 0, sizeof value->size);
    if (buckets)
        memset(noops_buckets(value), 0, buckets * sizeof(uint64_t));
}

static inline void noops_extremes(noops_value *value, double number)
{
    if (number < value->least)
        value->least = number;
    if (number > value->greatest)
        value->greatest = number;
}

/* Index of the bucket (bounds[i - 1], bounds[i]] that a number belongs to. */
static inline size_t noops_bucket(const double *bounds, size_t n, double number)
{
    size_t low = 0;
    while (n) {
        size_t half = n / 2;
        if (bounds[low + half] < number) {
            low += half + 1;
            n -= half + 1;
        } else {
            n = half;
        }
    }
    return low;
}

/* Index of the exponential bucket (base^i, base^(i + 1)] of a positive number, base = 2^(2^-scale).
 * Numbers below the normal range share the bucket that ends at its lower end.
 * Source: OpenTelemetry specification, metrics/data-model.md, "Producer Expectations". */
static inline int32_t noops_index(double number, int scale)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    uint64_t mantissa = bits & ((1ull << 52) - 1);
    int32_t exponent = (int32_t)(bits >> 52 & 0x7FF) - 1023;
    if (scale <= 0) {
        if (number < DBL_MIN)
            return (-1022 >> -scale) - (-scale < 2);
        return (exponent - (mantissa == 0)) >> -scale;
    }
    int32_t per_octave = 1 << scale;
    if (number <= DBL_MIN)
        return -1022 * per_octave - 1;
    if (mantissa == 0)
        return exponent * per_octave - 1;
    double index = floor(log(number) * ldexp(1 / log(2.0), scale));
    double most = 1024.0 * per_octave - 1;
    return (int32_t)(index < most ? index : most);
}

static inline void noops_coarsen(noops_value *value, int side, uint64_t *buckets, int change)
{
    int32_t size = value->size[side], low = value->low[side];
    if (!size)
        return;
    int32_t first = low >> change, last = (low + size - 1) >> change;
    for (int32_t i = 0; i < size; i++) {
        uint64_t count = buckets[i];
        buckets[i] = 0;
        buckets[((low + i) >> change) - first] += count;
    }
    value->low[side] = first;
    value->size[side] = last - first + 1;
}

/* Count a number other than 0 in its exponential bucket, at a lower scale where the range would not fit. */
static inline void noops_count_exponential(noops_value *value, int max_size, int sides, double number)
{
    int side = number < 0 && sides > 1;
    uint64_t *buckets = noops_buckets(value) + (size_t)side * (size_t)max_size;
    for (;;) {
        int32_t index = noops_index(fabs(number), value->scale);
        int64_t low = index, high = index;
        if (value->size[side]) {
            low = value->low[side] < index ? value->low[side] : index;
            int32_t last = value->low[side] + value->size[side] - 1;
            high = last > index ? last : index;
        }
        int change = 0;
        for (int64_t l = low, h = high; h - l >= max_size && value->scale - change > NOOPS_MIN_SCALE; change++) {
            l >>= 1;
            h >>= 1;
        }
        if (change) {
            for (int s = 0; s < sides; s++)
                noops_coarsen(value, s, noops_buckets(value) + (size_t)s * (size_t)max_size, change);
            value->scale -= change;
            continue;
        }
        if (value->size[side] && low < value->low[side]) {
            size_t shift = (size_t)(value->low[side] - low);
            memmove(buckets + shift, buckets, (size_t)value->size[side] * sizeof *buckets);
            memset(buckets, 0, shift * sizeof *buckets);
        }
        value->low[side] = (int32_t)low;
        value->size[side] = (int32_t)(high - low + 1);
        buckets[index - low]++;
        return;
    }
}

/* ---- records ----------------------------------------------------------------------------------------- */

/* Records of one size, taken NOOPS_VALUES at a time: they never move. */
typedef struct noops_values {
    size_t record;
    void *free;
    void **blocks;
    size_t used;
} noops_values;

static inline noops_value *noops_value_take(noops_values *values)
{
    if (!values->free) {
        void **blocks = (void **)realloc(values->blocks, (values->used + 1) * sizeof *blocks);
        if (!blocks)
            return NULL;
        values->blocks = blocks;
        uint8_t *block = (uint8_t *)malloc(values->record * NOOPS_VALUES);
        if (!block)
            return NULL;
        blocks[values->used++] = block;
        for (int i = NOOPS_VALUES - 1; i >= 0; i--) {
            void *record = block + (size_t)i * values->record;
            *(void **)record = values->free;
            values->free = record;
        }
    }
    void *record = values->free;
    values->free = *(void **)record;
    memset(record, 0, values->record);
    return (noops_value *)record;
}

static inline void noops_value_give(noops_values *values, noops_value *value)
{
    *(void **)value = values->free;
    values->free = value;
}

static inline void noops_values_free(noops_values *values)
{
    for (size_t i = 0; i < values->used; i++)
        free(values->blocks[i]);
    free(values->blocks);
    values->blocks = NULL;
    values->free = NULL;
    values->used = 0;
}

#endif
