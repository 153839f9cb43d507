/* The threads of the process: a pool that all kernels share, and barriers.
 *
 * a. A job is cut into parts, which the calling thread and the workers claim one by one. A worker
 *    that does not get a processor in time claims nothing, so that on a busy machine the caller
 *    computes what nobody else does and waits for no one who has not begun.
 * b. A part that waits for others at a barrier needs a team that is complete: the caller gives
 *    the workers a moment to join, then makes as many parts as there are members.
 * c. Whoever waits looks at a word for some microseconds and then sleeps on a lock of its own.
 * d. The pool serves one job at a time. Another thread that brings a job meanwhile computes it
 *    alone.
 * e. Where the program says so, jobs run on the threads of an OpenMP runtime (_openmp.h).
 * f. Threads and locks are those of Python's C interface, the same on every platform. Workers
 *    never touch Python objects.
 */
#ifndef FASTSEQ_TEAM_H
#define FASTSEQ_TEAM_H

#include <Python.h>

#include <stdint.h>
#include <string.h>
#include <time.h>

#include "_simd.h"

typedef int (*fs_task)(void *job, int part, int parts);

enum {
    FS_MAX_THREADS = 4096,
    /* Fields of `door`; the bits above grow with every job. */
    FS_JOINED = 2 * FS_MAX_THREADS - 1, /* workers that have joined the job */
    FS_OPEN = 2 * FS_MAX_THREADS,       /* more may join */
    /* Microseconds: */
    FS_JOB_SPIN = 100, /* a worker waits awake for a job, */
    FS_TEAM_SPIN = 50, /* a member of a team for the others, */
    FS_JOIN_TIME = 100 /* the caller for workers to join a team */
};

#define FS_NO_THREAD ((unsigned long)-1) /* PYTHREAD_INVALID_THREAD_ID, outside the stable ABI */

enum { FS_AWAKE, FS_AWAITS_JOB, FS_AWAITS_TEAM };

static struct {
    /* Of one job. */
    fs_task task;
    void *job;
    int parts;
    int seats; /* workers that may join */
    int failed;
    __attribute__((aligned(64))) uint32_t door;
    __attribute__((aligned(64))) uint32_t next; /* the next part to claim */
    __attribute__((aligned(64))) uint32_t left; /* workers that have done their parts */
    __attribute__((aligned(64))) uint32_t size; /* of a complete team, else 0 */
    __attribute__((aligned(64))) uint32_t arrived; /* at the barrier */
    __attribute__((aligned(64))) uint32_t phase; /* grows when all have arrived */
    /* Of the pool. Slot 0 is the caller's. */
    __attribute__((aligned(64))) uint32_t busy;
    int slots; /* in use, 0 before the first job */
    uint8_t asleep[FS_MAX_THREADS];
    PyThread_type_lock locks[FS_MAX_THREADS]; /* held, except to wake the slot's thread */
} fs_pool;

static _Thread_local int fs_slot; /* of this thread; callers have 0 */

#define FS_LOAD(x) __atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define FS_STORE(x, value) __atomic_store_n(&(x), value, __ATOMIC_SEQ_CST)
#define FS_TAKE(x, value) __atomic_exchange_n(&(x), value, __ATOMIC_SEQ_CST)
#define FS_ADD(x, value) __atomic_fetch_add(&(x), value, __ATOMIC_SEQ_CST)

/* ---- waiting ---------------------------------------------------------------------------- */

static inline void fs_relax(void) {
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

static int64_t fs_microseconds(void) {
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

typedef struct {
    unsigned rounds;
    int64_t start;
} fs_timer;

/* Wait a moment; false when all moments together, from the first call on, exceed a time. */
static int fs_in_time(fs_timer *timer, int microseconds) {
    fs_relax();
    if (timer->rounds++ % 32) return 1; /* the clock costs as much as a moment */
    int64_t now = fs_microseconds();
    if (timer->rounds == 1) timer->start = now;
    return now >= timer->start && now <= timer->start + microseconds; /* it may be set back */
}

/* Look at a word while it holds a value; false if it does for too long. */
static int fs_spin(const uint32_t *word, uint32_t value, int microseconds) {
    fs_timer timer = {0, 0};
    while (FS_LOAD(*word) == value)
        if (!fs_in_time(&timer, microseconds)) return 0;
    return 1;
}

/* Return when a word no longer holds a value. */
static void fs_wait(const uint32_t *word, uint32_t value, int reason) {
    int spin = reason == FS_AWAITS_JOB ? FS_JOB_SPIN : FS_TEAM_SPIN;
    while (!fs_spin(word, value, spin)) {
        FS_STORE(fs_pool.asleep[fs_slot], (uint8_t)reason);
        /* Who changes the word looks at `asleep` afterwards: one of the two sees the other. */
        if (FS_LOAD(*word) != value && FS_TAKE(fs_pool.asleep[fs_slot], FS_AWAKE)) return;
        PyThread_acquire_lock(fs_pool.locks[fs_slot], WAIT_LOCK);
    }
}

/* Wake the threads of the first slots that sleep for a reason. */
static void fs_wake(int slots, int reason) {
    for (int slot = 0; slot < slots; slot++)
        if (FS_LOAD(fs_pool.asleep[slot]) == reason &&
            FS_TAKE(fs_pool.asleep[slot], FS_AWAKE))
            PyThread_release_lock(fs_pool.locks[slot]);
}

#include "_openmp.h"

/* Wait for all members of the team. */
static void fs_barrier(void) {
    if (fs_own_region) {
        fs_openmp_barrier(fs_own_region);
        return;
    }
    uint32_t phase = FS_LOAD(fs_pool.phase);
    if (FS_ADD(fs_pool.arrived, 1) + 1 < fs_pool.size) {
        fs_wait(&fs_pool.phase, phase, FS_AWAITS_TEAM);
        return;
    }
    FS_STORE(fs_pool.arrived, 0);
    FS_STORE(fs_pool.phase, phase + 1);
    fs_wake(fs_pool.slots, FS_AWAITS_TEAM);
}

/* ---- a job ------------------------------------------------------------------------------ */

/* Compute parts until none is left. A member of a team has just one. */
static void fs_compute(int parts, int in_team) {
    int part;
    while ((part = (int)FS_ADD(fs_pool.next, 1)) < parts) {
        if (!fs_pool.task(fs_pool.job, part, parts)) FS_STORE(fs_pool.failed, 1);
        if (in_team) return;
    }
}

/* Let nobody else join; return the number of workers that have. */
static int fs_close(void) {
    return (int)(__atomic_fetch_and(&fs_pool.door, ~(uint32_t)FS_OPEN, __ATOMIC_SEQ_CST) &
                 FS_JOINED);
}

/* What a worker does in a job that it has joined. */
static void fs_take_part(void) {
    if (fs_pool.parts) {
        fs_compute(fs_pool.parts, 0);
        fs_close();
    } else {
        fs_wait(&fs_pool.size, 0, FS_AWAITS_TEAM);
        fs_compute((int)fs_pool.size, 1);
    }
    FS_ADD(fs_pool.left, 1);
    fs_wake(1, FS_AWAITS_TEAM);
}

static void fs_work(void *slot) {
    fs_slot = (int)(intptr_t)slot;
    fs_flush_subnormals();
    for (;;) {
        uint32_t door = FS_LOAD(fs_pool.door);
        if (!(door & FS_OPEN) || (int)(door & FS_JOINED) >= FS_LOAD(fs_pool.seats))
            fs_wait(&fs_pool.door, door, FS_AWAITS_JOB);
        else if (__atomic_compare_exchange_n(&fs_pool.door, &door, door + 1, 0,
                                             __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            fs_take_part();
    }
}

/* ---- the caller ------------------------------------------------------------------------- */

static int fs_add_slot(void) {
    PyThread_type_lock lock = PyThread_allocate_lock();
    if (!lock) return 0;
    PyThread_acquire_lock(lock, WAIT_LOCK);
    fs_pool.locks[fs_pool.slots++] = lock;
    return 1;
}

/* Number of threads, at most `threads`, among them the caller and workers, started if missing. */
static int fs_start_workers(int threads) {
    if (threads > FS_MAX_THREADS) threads = FS_MAX_THREADS;
    while (fs_pool.slots < threads) {
        intptr_t slot = fs_pool.slots;
        if (!fs_add_slot()) break;
        if (slot && PyThread_start_new_thread(fs_work, (void *)slot) == FS_NO_THREAD) {
            PyThread_free_lock(fs_pool.locks[--fs_pool.slots]);
            break;
        }
    }
    return fs_pool.slots < threads ? fs_pool.slots : threads;
}

static int fs_compute_alone(fs_task task, void *job, int parts) {
    int done = 1;
    if (!parts) parts = 1;
    for (int part = 0; part < parts; part++) done &= task(job, part, parts);
    return done;
}

static void fs_open(fs_task task, void *job, int parts, int seats) {
    uint32_t jobs = FS_LOAD(fs_pool.door) | FS_OPEN | FS_JOINED;
    fs_pool.task = task, fs_pool.job = job, fs_pool.parts = parts;
    fs_pool.failed = 0;
    FS_STORE(fs_pool.next, 0);
    FS_STORE(fs_pool.left, 0);
    FS_STORE(fs_pool.size, 0);
    FS_STORE(fs_pool.seats, seats);
    FS_STORE(fs_pool.door, (jobs + 1) | FS_OPEN);
    fs_wake(seats + 1, FS_AWAITS_JOB);
}

/* Make a team of the workers that join in time; return their number. */
static int fs_gather_team(void) {
    fs_timer timer = {0, 0};
    while ((int)(FS_LOAD(fs_pool.door) & FS_JOINED) < fs_pool.seats)
        if (!fs_in_time(&timer, FS_JOIN_TIME)) break;
    /* One worker too many can join if it slept, just before, through exactly as many jobs as
     * `door` can count. Then somebody finds no part and leaves. */
    int joined = fs_close(), seats = fs_pool.seats;
    FS_STORE(fs_pool.size, (uint32_t)(joined < seats ? joined : seats) + 1);
    fs_wake(fs_pool.slots, FS_AWAITS_TEAM);
    return joined;
}

/* Open a job, do one's share of it, wait for those who have joined. */
static int fs_lead(fs_task task, void *job, int parts, int seats) {
    int joined;
    uint32_t left;
    fs_open(task, job, parts, seats);
    if (parts) {
        fs_compute(parts, 0);
        joined = fs_close();
    } else {
        joined = fs_gather_team();
        fs_compute((int)fs_pool.size, 1);
    }
    while ((left = FS_LOAD(fs_pool.left)) < (uint32_t)joined)
        fs_wait(&fs_pool.left, left, FS_AWAITS_TEAM);
    return !FS_LOAD(fs_pool.failed);
}

/* task(job, part, parts) for every part, on at most so many threads; whether all succeeded.
 * parts 0: as many as there are threads, one each, so that they may wait at the barrier. */
static int fs_run(fs_task task, void *job, int parts, int threads) {
    int done, seats;
    if (threads > 1 && fs_openmp.parallel) return fs_run_on_openmp(task, job, parts, threads);
    if (threads < 2 || FS_TAKE(fs_pool.busy, 1)) return fs_compute_alone(task, job, parts);
    seats = fs_start_workers(threads) - 1;
    done = seats > 0 ? fs_lead(task, job, parts, seats) : fs_compute_alone(task, job, parts);
    FS_STORE(fs_pool.busy, 0);
    return done;
}

/* A forked child has none of its parent's threads. */
static void fs_forget_workers(void) {
    memset(&fs_pool, 0, sizeof fs_pool);
    fs_use_openmp(0, 0); /* its threads are gone, too */
}

#endif
