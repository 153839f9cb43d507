/* Memory for the time of a kernel. Some blocks are kept for the next kernel: fresh memory costs a
 * page fault for each 4 kB, and giving it back interrupts the other threads. */
#ifndef FASTSEQ_MEMORY_H
#define FASTSEQ_MEMORY_H

#include <stddef.h>
#include <stdlib.h>
#if defined(_WIN32)
#include <malloc.h>
#elif defined(__linux__)
#include <sys/mman.h>
#endif

#define FS_HEAD 64                     /* bytes before a block, which hold its size */
#define FS_SLOTS 8                     /* blocks that are kept */
#define FS_MIN_KEPT ((size_t)32 << 10) /* smaller ones are left to malloc */
#define FS_MAX_KEPT ((size_t)16 << 20) /* at most 128 MB in a module */

static void *fs_kept[FS_SLOTS];
static size_t fs_kept_bytes[FS_SLOTS]; /* may be out of date: a block knows its own size */

static inline size_t *fs_bytes_of(void *block) {
    return (size_t *)((char *)block - FS_HEAD);
}

/* Memory from the system at a multiple of `alignment`, or NULL; to be given to fs_system_free. */
static void *fs_system_allocate(size_t bytes, size_t alignment) {
#if defined(_WIN32)
    return _aligned_malloc(bytes, alignment);
#else
    void *memory;
    return posix_memalign(&memory, alignment, bytes) ? NULL : memory;
#endif
}

static void fs_system_free(void *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
}

/* Give a block of fs_allocate back. */
static void fs_release(void *block) {
    if (!block) return;
    size_t bytes = *fs_bytes_of(block);
    for (int i = 0; i < FS_SLOTS && bytes >= FS_MIN_KEPT && bytes <= FS_MAX_KEPT; i++) {
        void *empty = NULL;
        if (__atomic_compare_exchange_n(&fs_kept[i], &empty, block, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED)) {
            __atomic_store_n(&fs_kept_bytes[i], bytes, __ATOMIC_RELAXED);
            return;
        }
    }
    fs_system_free((char *)block - FS_HEAD);
}

/* A kept block of at least so many bytes and no more than four times as many, or NULL. */
static void *fs_reuse(size_t bytes) {
    for (int i = 0; i < FS_SLOTS; i++) {
        size_t kept = __atomic_load_n(&fs_kept_bytes[i], __ATOMIC_RELAXED);
        if (kept < bytes || kept > 4 * bytes) continue;
        void *block = __atomic_exchange_n(&fs_kept[i], NULL, __ATOMIC_ACQ_REL);
        if (block && *fs_bytes_of(block) >= bytes) return block;
        fs_release(block);
    }
    return NULL;
}

/* Whole cache lines, large pages where they pay, to be given to fs_release. NULL: none left. */
static void *fs_allocate(ptrdiff_t count, size_t size) {
    size_t bytes = (size_t)(count > 0 ? count : 1) * size, page = 2 << 20;
    void *memory = bytes >= FS_MIN_KEPT ? fs_reuse(bytes) : NULL;
    if (memory) return memory;
    memory = fs_system_allocate(bytes + FS_HEAD, bytes < 2 * page ? FS_HEAD : page);
    if (!memory) return NULL;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (bytes >= 2 * page) madvise(memory, bytes / page * page, MADV_HUGEPAGE);
#endif
    *(size_t *)memory = bytes;
    return (char *)memory + FS_HEAD;
}

#endif
