/* Reductions of one row, in a fixed number of lanes: the same bits for every build and any number
 * of threads. For both number types: generation reduces in double precision, whatever `real` is.
 * The file includes itself to define the functions of each type. */
#ifndef FASTSEQ_ROWS_H
#define FASTSEQ_ROWS_H

#include "_vmath.h"

enum { FS_SUM_LANES = 16 }; /* interleaved sums of a row: their number fixes the bits */

#define number float
#define ROW(name) name##_f
#include "_rows.h"
#undef number
#undef ROW

#define number double
#define ROW(name) name##_d
#include "_rows.h"
#undef number
#undef ROW

#elif defined(ROW)

/* max z. NaN is not looked for: the sum of exponentials finds it. */
static inline number ROW(fs_row_max)(const number *z, ptrdiff_t N) {
    number lanes[FS_SUM_LANES];
    ptrdiff_t n = 0;
    for (int k = 0; k < FS_SUM_LANES; k++) lanes[k] = z[0];
    for (; n + FS_SUM_LANES <= N; n += FS_SUM_LANES)
        for (int k = 0; k < FS_SUM_LANES; k++)
            lanes[k] = z[n + k] > lanes[k] ? z[n + k] : lanes[k];
    for (; n < N; n++) lanes[0] = z[n] > lanes[0] ? z[n] : lanes[0];
    for (int k = 1; k < FS_SUM_LANES; k++) lanes[0] = lanes[k] > lanes[0] ? lanes[k] : lanes[0];
    return lanes[0];
}

/* Sum of N numbers, always added up in the same lanes. */
static inline number ROW(fs_row_sum)(const number *x, ptrdiff_t N) {
    number lanes[FS_SUM_LANES];
    ptrdiff_t n = 0;
    for (int k = 0; k < FS_SUM_LANES; k++) lanes[k] = 0;
    for (; n + FS_SUM_LANES <= N; n += FS_SUM_LANES)
        for (int k = 0; k < FS_SUM_LANES; k++) lanes[k] += x[n + k];
    for (int k = 0; k < N - n; k++) lanes[k] += x[n + k];
    for (int k = 1; k < FS_SUM_LANES; k++) lanes[0] += lanes[k];
    return lanes[0];
}

/* e = exp(z - shift); return its sum. */
static inline number ROW(fs_row_exp)(const number *z, number *e, ptrdiff_t N, number shift) {
    for (ptrdiff_t n = 0; n < N; n++) e[n] = ROW(fs_exp)(z[n] - shift);
    return ROW(fs_row_sum)(e, N);
}

#endif
