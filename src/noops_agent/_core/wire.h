/* Protobuf wire format into a growing buffer. Header only, no interpreter.
 *
 * A message is written forwards: message_open leaves one byte for its length, message_close puts the length
 * there and moves the message by the few bytes that a length of 128 or more needs. Most messages of a span are
 * attributes below 128 bytes, which never move.
 */
#ifndef NOOPS_WIRE_H
#define NOOPS_WIRE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct noops_buffer {
    uint8_t *data;
    size_t length;
    size_t capacity;
    int failed; /* out of memory: what was written is worthless */
    struct noops_buffer *next;
} noops_buffer;

static inline int noops_room(noops_buffer *b, size_t more)
{
    if (b->length + more <= b->capacity)
        return 1;
    size_t capacity = b->capacity ? b->capacity * 2 : 1024;
    while (capacity < b->length + more)
        capacity *= 2;
    uint8_t *data = (uint8_t *)realloc(b->data, capacity);
    if (!data) {
        b->failed = 1;
        return 0;
    }
    b->data = data;
    b->capacity = capacity;
    return 1;
}

static inline size_t noops_varint_size(uint64_t value)
{
    size_t n = 1;
    while (value >= 0x80) {
        value >>= 7;
        n++;
    }
    return n;
}

static inline uint8_t *noops_store_varint(uint8_t *p, uint64_t value)
{
    while (value >= 0x80) {
        *p++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *p++ = (uint8_t)value;
    return p;
}

static inline void noops_raw(noops_buffer *b, const void *data, size_t n)
{
    if (!noops_room(b, n))
        return;
    memcpy(b->data + b->length, data, n);
    b->length += n;
}

static inline void noops_varint(noops_buffer *b, uint64_t value)
{
    if (!noops_room(b, 10))
        return;
    b->length = (size_t)(noops_store_varint(b->data + b->length, value) - b->data);
}

/* A field's tag is field number << 3 | wire type; fields 16 and above take two bytes. */
static inline void noops_field_varint(noops_buffer *b, uint32_t tag, uint64_t value)
{
    noops_varint(b, tag);
    noops_varint(b, value);
}

static inline void noops_field_fixed64(noops_buffer *b, uint8_t tag, uint64_t value)
{
    if (!noops_room(b, 9))
        return;
    b->data[b->length++] = tag;
    for (int i = 0; i < 8; i++)
        b->data[b->length++] = (uint8_t)(value >> (8 * i));
}

static inline void noops_field_fixed32(noops_buffer *b, uint32_t tag, uint32_t value)
{
    noops_varint(b, tag);
    if (!noops_room(b, 4))
        return;
    for (int i = 0; i < 4; i++)
        b->data[b->length++] = (uint8_t)(value >> (8 * i));
}

static inline void noops_field_bytes(noops_buffer *b, uint8_t tag, const void *data, size_t n)
{
    if (!noops_room(b, n + 11))
        return;
    uint8_t *p = b->data + b->length;
    *p++ = tag;
    p = noops_store_varint(p, n);
    memcpy(p, data, n);
    b->length = (size_t)(p - b->data) + n;
}

/* Identifiers go on the wire with the most significant byte first. */
static inline void noops_field_id(noops_buffer *b, uint8_t tag, const uint64_t *words, int n)
{
    if (!noops_room(b, 2 + 8 * (size_t)n))
        return;
    b->data[b->length++] = tag;
    b->data[b->length++] = (uint8_t)(8 * n);
    for (int w = 0; w < n; w++)
        for (int i = 56; i >= 0; i -= 8)
            b->data[b->length++] = (uint8_t)(words[w] >> i);
}

static inline size_t noops_message_open(noops_buffer *b, uint8_t tag)
{
    if (noops_room(b, 2)) {
        b->data[b->length++] = tag;
        b->data[b->length++] = 0;
    }
    return b->length;
}

static inline void noops_message_close(noops_buffer *b, size_t start)
{
    if (b->failed)
        return;
    size_t n = b->length - start;
    if (n >= 0x80) {
        size_t extra = noops_varint_size(n) - 1;
        if (!noops_room(b, extra))
            return;
        memmove(b->data + start + extra, b->data + start, n);
        b->length += extra;
    }
    noops_store_varint(b->data + start - 1, n);
}

/* Buffers in use are off this list, so code of the application that runs while a span is being encoded (a
 * __repr__, say) and ends a span of its own gets another one. Touched with the interpreter's lock held. */
static noops_buffer *noops_free_buffers = NULL;

static inline noops_buffer *noops_buffer_take(void)
{
    noops_buffer *b = noops_free_buffers;
    if (b)
        noops_free_buffers = b->next;
    else
        b = (noops_buffer *)calloc(1, sizeof *b);
    if (b) {
        b->length = 0;
        b->failed = 0;
    }
    return b;
}

static inline void noops_buffer_give(noops_buffer *b)
{
    if (b->capacity > 1 << 20) { /* one huge span should not hold its memory for ever */
        free(b->data);
        b->data = NULL;
        b->capacity = 0;
    }
    b->next = noops_free_buffers;
    noops_free_buffers = b;
}

#endif
