#define _GNU_SOURCE
#include "segment.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* ---- little-endian stores ------------------------------------------------------------------------ */

static void store(uint8_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t load32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static size_t aligned(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

/* ---- segments ------------------------------------------------------------------------------------ */

static int map_file(noops_segment *segment, const char *path, size_t capacity)
{
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0)
        return errno;
    /* Blocks are taken now: writing to a mapped hole on a full disk would be a SIGBUS in the host. */
    int error = posix_fallocate(file, 0, (off_t)capacity);
    if (!error) {
        void *base = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (base == MAP_FAILED)
            error = errno;
        else
            segment->base = base;
    }
    close(file);
    if (error)
        unlink(path);
    return error;
}

int noops_segment_create(noops_segment *segment, const char *path, size_t capacity, uint64_t pid,
                         uint64_t created_ns, const uint8_t destination[16])
{
    segment->base = NULL;
    if (path) {
        int error = map_file(segment, path, capacity);
        if (error)
            return error;
    } else {
        void *base = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED)
            return errno;
        segment->base = base;
    }
    segment->capacity = capacity;
    segment->used = NOOPS_HEADER;
    uint8_t *h = segment->base;
    store(h + 8, 1, 2);
    store(h + 10, 0, 2);
    store(h + 12, NOOPS_HEADER, 4);
    store(h + 16, capacity, 8);
    store(h + 24, pid, 8);
    store(h + 32, created_ns, 8);
    store(h + NOOPS_SHIPPED, NOOPS_HEADER, 8);
    memcpy(h + 48, destination, 16);
    /* The magic comes last: a file without it is one whose maker died in between. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    memcpy(h, "NOOPSEG1", 8);
    return 0;
}

void noops_segment_unmap(noops_segment *segment)
{
    if (segment->base)
        munmap(segment->base, segment->capacity);
    segment->base = NULL;
}

int noops_segment_put(noops_segment *segment, uint8_t signal, uint16_t scope, const void *payload, size_t n)
{
    size_t at = segment->used;
    if (n > UINT32_MAX || at + NOOPS_RECORD + n > segment->capacity)
        return 0;
    uint8_t *record = segment->base + at;
    record[5] = signal;
    store(record + 6, scope, 2);
    store(record, n, 4);
    memcpy(record + NOOPS_RECORD, payload, n);
    size_t end = at + aligned(NOOPS_RECORD + n);
    segment->used = end < segment->capacity ? end : segment->capacity;
    /* One store makes the record valid; a process that dies before it leaves a torn record. */
    __atomic_store_n(record + 4, (uint8_t)NOOPS_READY, __ATOMIC_RELEASE);
    return 1;
}

/* ---- joining ------------------------------------------------------------------------------------- */

/* One scope record that was seen, and the list of what is to be sent under it. */
typedef struct {
    const uint8_t *resource, *scope;
    size_t resource_size, scope_size;
    size_t payload_size;
    uint32_t first, last; /* records, as indices into the list of taken ones */
    int resource_group;
} scope_entry;

typedef struct {
    size_t offset, size;
    uint32_t next;
} taken;

#define NONE UINT32_MAX

typedef struct {
    scope_entry *scopes;
    size_t scope_count, scope_room;
    uint32_t *current; /* scope index -> its newest entry */
    taken *records;
    size_t count, room;
} joining;

static int add_scope(joining *j, const uint8_t *payload, size_t n, uint16_t index)
{
    if (n < 4 || 4 + (size_t)load32(payload) > n)
        return 0;
    size_t resource_size = load32(payload);
    scope_entry found = {payload + 4, payload + 4 + resource_size, resource_size, n - 4 - resource_size,
                         0,           NONE,                        NONE,          0};
    for (size_t i = 0; i < j->scope_count; i++) {
        scope_entry *s = &j->scopes[i];
        if (s->resource_size == found.resource_size && s->scope_size == found.scope_size &&
            !memcmp(s->resource, found.resource, n - 4)) {
            j->current[index] = (uint32_t)i;
            return 0;
        }
    }
    if (j->scope_count == j->scope_room) {
        size_t room = j->scope_room ? j->scope_room * 2 : 16;
        scope_entry *grown = realloc(j->scopes, room * sizeof *grown);
        if (!grown)
            return ENOMEM;
        j->scopes = grown;
        j->scope_room = room;
    }
    j->scopes[j->scope_count] = found;
    j->current[index] = (uint32_t)j->scope_count++;
    return 0;
}

static int add_record(joining *j, size_t offset, size_t n, uint32_t scope)
{
    if (j->count == j->room) {
        size_t room = j->room ? j->room * 2 : 512;
        taken *grown = realloc(j->records, room * sizeof *grown);
        if (!grown)
            return ENOMEM;
        j->records = grown;
        j->room = room;
    }
    j->records[j->count] = (taken){offset, n, NONE};
    scope_entry *s = &j->scopes[scope];
    if (s->first == NONE)
        s->first = (uint32_t)j->count;
    else
        j->records[s->last].next = (uint32_t)j->count;
    s->last = (uint32_t)j->count++;
    s->payload_size += n;
    return 0;
}

static size_t field_size(size_t n)
{
    return 1 + noops_varint_size(n) + n;
}

static size_t scoped_size(const scope_entry *s)
{
    return s->scope_size + s->payload_size;
}

static int same_resource(const scope_entry *a, const scope_entry *b)
{
    return a->resource_size == b->resource_size && !memcmp(a->resource, b->resource, a->resource_size);
}

/* Size of the ResourceSpans that begins with scope i: its own and all later scopes of the same resource. */
static size_t resource_group_size(const joining *j, size_t i)
{
    size_t size = j->scopes[i].resource_size;
    for (size_t k = i; k < j->scope_count; k++)
        if (j->scopes[k].first != NONE && same_resource(&j->scopes[i], &j->scopes[k]))
            size += field_size(scoped_size(&j->scopes[k]));
    return size;
}

static int opens_group(const joining *j, size_t i)
{
    if (j->scopes[i].first == NONE)
        return 0;
    for (size_t k = 0; k < i; k++)
        if (j->scopes[k].first != NONE && same_resource(&j->scopes[i], &j->scopes[k]))
            return 0;
    return 1;
}

static uint8_t *write_scope(const joining *j, const scope_entry *s, const uint8_t *base, uint8_t *p)
{
    *p++ = 0x12;
    p = noops_store_varint(p, scoped_size(s));
    memcpy(p, s->scope, s->scope_size);
    p += s->scope_size;
    for (uint32_t r = s->first; r != NONE; r = j->records[r].next) {
        memcpy(p, base + j->records[r].offset, j->records[r].size);
        p += j->records[r].size;
    }
    return p;
}

static int write_request(const joining *j, const uint8_t *base, uint8_t **body, size_t *body_size)
{
    size_t total = 0;
    for (size_t i = 0; i < j->scope_count; i++)
        if (opens_group(j, i))
            total += field_size(resource_group_size(j, i));
    uint8_t *p = *body = malloc(total ? total : 1);
    if (!p)
        return ENOMEM;
    for (size_t i = 0; i < j->scope_count; i++) {
        if (!opens_group(j, i))
            continue;
        *p++ = 0x0a;
        p = noops_store_varint(p, resource_group_size(j, i));
        memcpy(p, j->scopes[i].resource, j->scopes[i].resource_size);
        p += j->scopes[i].resource_size;
        for (size_t k = i; k < j->scope_count; k++)
            if (j->scopes[k].first != NONE && same_resource(&j->scopes[i], &j->scopes[k]))
                p = write_scope(j, &j->scopes[k], base, p);
    }
    *body_size = total;
    return 0;
}

int noops_collect(const uint8_t *base, size_t start, size_t end, uint8_t signal, size_t max_bytes,
                  size_t max_records, uint8_t **body, size_t *body_size, size_t *next, size_t *records)
{
    joining j = {0};
    int error = 0;
    size_t size = 0;
    *body = NULL;
    *next = start;
    j.current = malloc(65536 * sizeof *j.current);
    if (!j.current)
        return ENOMEM;
    memset(j.current, 0xff, 65536 * sizeof *j.current);
    for (size_t at = NOOPS_HEADER; at + NOOPS_RECORD <= end && !error;) {
        size_t n = load32(base + at);
        if (n == 0 || at + NOOPS_RECORD + n > end)
            break;
        int ready = __atomic_load_n(base + at + 4, __ATOMIC_ACQUIRE) == NOOPS_READY;
        uint8_t kind = base[at + 5] & (uint8_t)~NOOPS_ERROR;
        uint16_t scope = (uint16_t)(base[at + 6] | base[at + 7] << 8);
        const uint8_t *payload = base + at + NOOPS_RECORD;
        if (kind == NOOPS_SCOPE && ready) {
            error = add_scope(&j, payload, n, scope);
        } else if (at >= start && ready && kind == signal && j.current[scope] != NONE) {
            if (j.count && (j.count >= max_records || size + n > max_bytes))
                break;
            error = add_record(&j, at + NOOPS_RECORD, n, j.current[scope]);
            size += n;
        }
        at += aligned(NOOPS_RECORD + n);
        if (at > *next)
            *next = at;
    }
    *records = j.count;
    if (!error)
        error = write_request(&j, base, body, body_size);
    free(j.current);
    free(j.scopes);
    free(j.records);
    return error;
}

/* ---- processes ----------------------------------------------------------------------------------- */

/* A word in a page that the kernel wipes in a forked child, whoever forked and however; and a fork handler for
 * kernels that can't. Both leave 0, which the next look replaces by a new mark. */
static uint64_t *mark = NULL;
static uint64_t fallback_mark = 0;

static void forget_mark(void)
{
    if (mark)
        *mark = 0;
}

int noops_fork_watch(void)
{
    if (mark)
        return 0;
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        mark = &fallback_mark;
    } else {
#ifdef MADV_WIPEONFORK
        madvise(page, 4096, MADV_WIPEONFORK);
#endif
        mark = page;
    }
    return pthread_atfork(NULL, NULL, forget_mark);
}

static uint64_t state[4]; /* xoshiro256++, D. Blackman and S. Vigna */

static uint64_t rotated(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static void seed(void)
{
    if (getrandom(state, sizeof state, GRND_NONBLOCK) != (ssize_t)sizeof state) {
        int file = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
        if (file < 0 || read(file, state, sizeof state) != (ssize_t)sizeof state)
            state[0] ^= noops_realtime_ns() ^ (uint64_t)getpid() << 32;
        if (file >= 0)
            close(file);
    }
    state[0] |= 1; /* the generator must not start at all zeros */
}

uint64_t noops_process_mark(void)
{
    if (__builtin_expect(*mark == 0, 0)) {
        seed();
        *mark = noops_monotonic_ns() | 1;
    }
    return *mark;
}

uint64_t noops_random(void)
{
    noops_process_mark();
    for (;;) {
        uint64_t result = rotated(state[0] + state[3], 23) + state[0];
        uint64_t t = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= t;
        state[3] = rotated(state[3], 45);
        if (result)
            return result;
    }
}

/* ---- signals ------------------------------------------------------------------------------------- */

/* The interpreter runs a handler of Python only between two steps of its own. A program that is in a long call of C
 * would ignore the signal that tells it to end; with nobody handling it, it would have ended at once. */

typedef struct {
    struct sigaction next;
    struct timespec budget;
    volatile sig_atomic_t seen;
} guard;

static guard guards[NSIG];

static void end_by(int number)
{
    signal(number, SIG_DFL);
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, number);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    raise(number);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    int error = errno;
    guard *g = &guards[number];
    if (g->seen) {
        end_by(number);
        return;
    }
    g->seen = 1;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = number};
    struct itimerspec once = {.it_value = g->budget};
    timer_t timer;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
        timer_settime(timer, 0, &once, NULL);
    if (g->next.sa_flags & SA_SIGINFO)
        g->next.sa_sigaction(number, info, context);
    else if (g->next.sa_handler != SIG_DFL && g->next.sa_handler != SIG_IGN)
        g->next.sa_handler(number);
    errno = error;
}

int noops_guard_signal(int number, int budget_ms)
{
    if (number <= 0 || number >= NSIG)
        return EINVAL;
    guard *g = &guards[number];
    struct sigaction before;
    if (sigaction(number, NULL, &before))
        return errno;
    if ((before.sa_flags & SA_SIGINFO) && before.sa_sigaction == on_signal)
        return 0;
    g->next = before;
    g->seen = 0;
    g->budget = (struct timespec){budget_ms / 1000, budget_ms % 1000 * 1000000L};
    struct sigaction ours = before;
    ours.sa_sigaction = on_signal;
    ours.sa_flags |= SA_SIGINFO | SA_ONSTACK;
    return sigaction(number, &ours, NULL) ? errno : 0;
}

/* ---- clocks -------------------------------------------------------------------------------------- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t noops_realtime_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

uint64_t noops_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}
