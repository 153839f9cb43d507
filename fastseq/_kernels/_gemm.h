/* Matrix products on packed panels, for float (suffix _f) and double (_d).
 *
 * c (M x N) = a (M x K) @ b (K x N). b is packed into panels of NR columns, each K x NR and
 * contiguous, the last one padded with zeros. The micro-kernel keeps a tile of up to MR x NR
 * sums in registers and walks down K.
 *
 * a. Every sum runs over k = 0, 1, 2, ... in this order, with one fused multiply-add a step,
 *    whatever the tile, the block or the thread: results don't depend on any of them.
 * b. A tile is wide rather than high: of its few rows each number of a serves a whole panel, so
 *    that few instructions come with the multiplications. Rows are shared out evenly (32 = 6 + 6 +
 *    5 + 5 + 5 + 5), since a thin tile cannot hide the latency of its additions. One or two rows
 *    take two panels at once instead.
 * c. a is read in place when its rows are contiguous; a block of a transposed one is copied. Of b,
 *    whole panels are read in place when few rows would use them.
 * d. A tile's rows of a, KC deep, stay in the first-level cache, the packed NC columns of b and
 *    MC x KC of a in the second.
 */
#ifndef FASTSEQ_GEMM_H
#define FASTSEQ_GEMM_H

#include <stdlib.h>
#include <sys/mman.h>

#include "_simd.h"

#define FS_KC 256  /* depth of a block */
#define FS_MC 288  /* rows of a block of a; a multiple of FS_MR */
#define FS_NC 768  /* columns of b that are packed at a time */
#define FS_THIN 2  /* rows: see b. */
#define FS_FEW 56  /* rows for which b is not packed, if it is small */
#define FS_STAYS (FS_BYTES * 12 << 10) /* bytes of b that stay in the second-level cache */
#define FS_LANES(real) ((ptrdiff_t)(FS_BYTES / sizeof(real)))

/* Memory for the time of a kernel: whole cache lines, large pages where they pay, to be given to
 * free(). NULL: none left. */
static void *fs_allocate(ptrdiff_t count, size_t size) {
    void *memory = NULL;
    size_t bytes = (size_t)(count > 0 ? count : 1) * size, page = 2 << 20;
    if (posix_memalign(&memory, bytes < 2 * page ? 64 : page, bytes)) return NULL;
#ifdef MADV_HUGEPAGE
    if (bytes >= 2 * page) madvise(memory, bytes / page * page, MADV_HUGEPAGE);
#endif
    return memory;
}

#define REAL float
#define FS(name) name##_f
#include "_gemm_template.h"
#undef REAL
#undef FS

#define REAL double
#define FS(name) name##_d
#include "_gemm_template.h"
#undef REAL
#undef FS

#endif
