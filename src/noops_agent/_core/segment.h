/* Segments: fixed-size mapped files of finished records. The format is described in docs/design.md.
 *
 * Nothing here needs the interpreter. noops_collect may run beside a writer: it reads only records below
 * the offset that the caller saw as written.
 */
#ifndef NOOPS_SEGMENT_H
#define NOOPS_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

enum { NOOPS_HEADER = 128, NOOPS_RECORD = 8, NOOPS_SHIPPED = 40 };
enum { NOOPS_TORN = 0, NOOPS_READY = 1 };
enum { NOOPS_SCOPE = 0, NOOPS_SPAN = 1, NOOPS_ERROR = 0x80 };

typedef struct {
    uint8_t *base;
    size_t capacity;
    size_t used;
} noops_segment;

/* Create and map a segment; path NULL: anonymous memory. Returns 0, or an errno. */
int noops_segment_create(noops_segment *segment, const char *path, size_t capacity, uint64_t pid,
                         uint64_t created_ns, const uint8_t destination[16]);
void noops_segment_unmap(noops_segment *segment);

/* Write one record. Returns 0 where it does not fit. */
int noops_segment_put(noops_segment *segment, uint8_t signal, uint16_t scope, const void *payload, size_t n);

/* Join the ready records of one signal between two offsets into an OTLP request, in memory of malloc.
 * Returns 0, or an errno; *next is the offset to go on from. */
int noops_collect(const uint8_t *base, size_t start, size_t end, uint8_t signal, size_t max_bytes,
                  size_t max_records, uint8_t **body, size_t *body_size, size_t *next, size_t *records);

/* Fork: a number that differs in a child, however it was forked. */
int noops_fork_watch(void);
uint64_t noops_process_mark(void);

/* Put a handler before the one that is installed for a signal: it passes the first one on, and ends the process by
 * the signal when a second one comes, or when *budget_ms* have passed. Returns 0, or an errno. */
int noops_guard_signal(int number, int budget_ms);

uint64_t noops_realtime_ns(void);
uint64_t noops_monotonic_ns(void);

/* 64 random bits that are not zero, from a generator seeded by the kernel once a process. */
uint64_t noops_random(void);

#endif
