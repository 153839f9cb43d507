/* Products of a few rows with a matrix b whose columns are contiguous along k, as those of a weight
 * (N, K) are: each vector of b is used once, so that packing it would cost more than the product.
 * A part of _gemm.h. In its fs_product, b_panel is here the distance of b's columns.
 *
 * a. A sum still takes its terms in the order of k: a vector of sums has VL columns, whose numbers
 *    are brought together by transposing squares in registers.
 * b. FS_ALONG_GROUPS vectors of columns are computed at a time to hide the latency of additions:
 *    64 bytes of columns, or half where 16 registers hold them. Not more: the rows of a square lie
 *    K numbers apart, often a power of two, and would drive each other out of the first-level
 *    cache.
 */

_Static_assert(FS_BYTES % 16 == 0 && 16 % sizeof(real) == 0, "a vector is made of squares");
_Static_assert(FS_ALONG_K == 4 || FS_ALONG_K == 6, "fs_rows_along_k has these cases");

/* The sums' first values for G vectors of columns. */
FS_INLINE void fs_begin_along_k(const int M, const int G, const fs_product *p,
                                VEC (*sum)[FS_ALONG_GROUPS]) {
    FS_UNROLL
    for (int g = 0; g < G; g++)
        FS_UNROLL
        for (int m = 0; m < M; m++) {
            sum[m][g] = (VEC){0};
            if (p->bias) sum[m][g] = *(const MEM *)(p->bias + g * VL);
            if (p->accumulate) sum[m][g] += *(const MEM *)(p->c + m * p->c_row + g * VL);
        }
}

/* Add the terms of one k: `right` has a number for each column of group g. */
FS_INLINE void fs_add_one_k(const int M, const int g, const fs_product *p, ptrdiff_t k, VEC right,
                            VEC (*sum)[FS_ALONG_GROUPS]) {
    FS_UNROLL
    for (int m = 0; m < M; m++) {
        VEC left = p->a[m * p->a_row + k * p->a_step] - (VEC){0};
        sum[m][g] = FS(fs_vfma)(left, right, sum[m][g]);
    }
}

/* The same for a whole square. */
FS_INLINE void fs_add_square(const int M, const int g, const fs_product *p, ptrdiff_t k,
                             VEC (*sum)[FS_ALONG_GROUPS]) {
    VEC right[SQUARE];
    fs_load_transposed(p->b + g * VL * p->b_panel + k, p->b_panel, right);
    FS_UNROLL
    for (int i = 0; i < SQUARE; i++) fs_add_one_k(M, g, p, k + i, right[i], sum);
}

/* G vectors of columns, of which the last N columns are stored. */
FS_INLINE void fs_tile_along_k(const int M, const int G, const fs_product *p) {
    VEC sum[FS_ALONG_K][FS_ALONG_GROUPS];
    const ptrdiff_t skipped = G * VL - p->N;
    ptrdiff_t k = 0;
    fs_begin_along_k(M, G, p, sum);
    for (; k + SQUARE <= p->K; k += SQUARE)
        FS_UNROLL
        for (int g = 0; g < G; g++) fs_add_square(M, g, p, k, sum);
    for (; k < p->K; k++)
        FS_UNROLL
        for (int g = 0; g < G; g++) {
            VEC right;
            for (int n = 0; n < VL; n++) right[n] = p->b[(g * VL + n) * p->b_panel + k];
            fs_add_one_k(M, g, p, k, right, sum);
        }
    for (int m = 0; m < M; m++)
        memcpy(p->c + m * p->c_row + skipped, (const real *)sum[m] + skipped,
               (size_t)p->N * sizeof(real));
}

#define FS_ALONG_K_CASE(m) case m: fs_tile_along_k(m, G, p); break

FS_INLINE void fs_rows_along_k(const int G, const fs_product *p) {
    switch (p->M) {
        FS_ALONG_K_CASE(1); FS_ALONG_K_CASE(2); FS_ALONG_K_CASE(3); FS_ALONG_K_CASE(4);
#if FS_ALONG_K > 4
        FS_ALONG_K_CASE(5); FS_ALONG_K_CASE(6);
#endif
    }
}
#undef FS_ALONG_K_CASE

/* Fewer columns than a vector has. */
static void fs_narrow_along_k(const fs_product *p) {
    for (ptrdiff_t m = 0; m < p->M; m++)
        for (ptrdiff_t n = 0; n < p->N; n++) {
            const real *a = p->a + m * p->a_row, *b = p->b + n * p->b_panel;
            real *c = p->c + m * p->c_row + n, sum = p->bias ? p->bias[n] : 0;
            if (p->accumulate) sum += *c;
            for (ptrdiff_t k = 0; k < p->K; k++) sum = FS(fs_fma)(a[k * p->a_step], b[k], sum);
            *c = sum;
        }
}

/* N columns from n on. Fewer than a vector are computed with some before them. */
static void fs_columns_along_k(const fs_product *p, ptrdiff_t n, ptrdiff_t N) {
    const ptrdiff_t first = N < VL ? n + N - VL : n;
    fs_product part = *p;
    part.N = N;
    part.b = p->b + first * p->b_panel;
    part.c = p->c + first;
    part.bias = p->bias ? p->bias + first : NULL;
    if (N > VL) fs_rows_along_k(FS_ALONG_GROUPS, &part);
    else fs_rows_along_k(1, &part);
}

static void fs_multiply_along_k(const fs_product *p) {
    const ptrdiff_t most = FS_ALONG_GROUPS * VL;
    if (p->N < VL) {
        fs_narrow_along_k(p);
        return;
    }
    for (ptrdiff_t n = 0, N; n < p->N; n += N) {
        ptrdiff_t left = p->N - n;
        N = left >= most ? most : left < VL ? left : VL;
        fs_columns_along_k(p, n, N);
    }
}
