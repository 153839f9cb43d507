/* Included by _gemm.h once for each REAL. */

#define VEC FS(fs_vec)
#define MEM FS(fs_mem)
#define VL FS_LANES(REAL)
#define NR (FS_NV * VL)

/* One tile: M rows, V vectors (FS_NV: a panel); a[m * rows + k * step]. Panels of b begin `panel`
 * apart, the rows of one lie `deep` apart.
 * start: the sums begin at c (else at zero). bias (or NULL) is added to their beginning. */
FS_INLINE void FS(fs_tile)(const int M, const int V, const ptrdiff_t step, ptrdiff_t K,
                           const REAL *a, ptrdiff_t rows, const REAL *b, ptrdiff_t panel,
                           ptrdiff_t deep, REAL *c, ptrdiff_t ldc, int start, const REAL *bias) {
    VEC sum[FS_MR][2 * FS_NV];
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) {
        VEC base = {0};
        if (bias) base = *(const MEM *)(bias + v * VL);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            sum[m][v] = base;
            if (start) sum[m][v] += *(const MEM *)(c + m * ldc + v * VL);
        }
    }
#pragma GCC unroll 2 /* half as many instructions for the loop itself */
    for (ptrdiff_t k = 0; k < K; k++) {
        VEC right[2 * FS_NV];
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            right[v] = *(const MEM *)(b + (v / FS_NV) * panel + k * deep + (v % FS_NV) * VL);
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) {
            VEC left = a[m * rows + k * step] - (VEC){0};
#pragma GCC unroll 8
            for (int v = 0; v < V; v++) sum[m][v] = FS(fs_vfma)(left, right[v], sum[m][v]);
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < V; v++)
#pragma GCC unroll 8
        for (int m = 0; m < M; m++) *(MEM *)(c + m * ldc + v * VL) = sum[m][v];
}

/* Rows and vectors have to be constants for the tile's sums to live in registers. */
#define FS_TILE_CASE(m, v) \
    case m: FS(fs_tile)(m, v, step, K, a, rows, b, panel, deep, c, ldc, start, bias); break

FS_INLINE void FS(fs_tile_rows)(int M, const int V, const ptrdiff_t step, ptrdiff_t K,
                                const REAL *a, ptrdiff_t rows, const REAL *b, ptrdiff_t deep,
                                REAL *c, ptrdiff_t ldc, int start, const REAL *bias) {
    const ptrdiff_t panel = 0;
    switch (M) {
        FS_TILE_CASE(1, V); FS_TILE_CASE(2, V); FS_TILE_CASE(3, V); FS_TILE_CASE(4, V);
#if FS_MR > 4
        FS_TILE_CASE(5, V); FS_TILE_CASE(6, V);
#endif
    }
}

FS_INLINE void FS(fs_tile_vectors)(int M, int V, const ptrdiff_t step, ptrdiff_t K, const REAL *a,
                                   ptrdiff_t rows, const REAL *b, REAL *c, ptrdiff_t ldc,
                                   int start, const REAL *bias) {
    switch (V) {
    case 1: FS(fs_tile_rows)(M, 1, step, K, a, rows, b, NR, c, ldc, start, bias); break;
    case 2: FS(fs_tile_rows)(M, 2, step, K, a, rows, b, NR, c, ldc, start, bias); break;
#if FS_NV > 2
    case 3: FS(fs_tile_rows)(M, 3, step, K, a, rows, b, NR, c, ldc, start, bias); break;
    case 4: FS(fs_tile_rows)(M, 4, step, K, a, rows, b, NR, c, ldc, start, bias); break;
#endif
    }
}

/* packed: a holds columns a[k * FS_MS + m], as fs_pack_columns leaves them; else rows. */
static __attribute__((noinline)) void FS(fs_tile_any)(
    int M, int V, int packed, ptrdiff_t K, const REAL *a, ptrdiff_t rows, const REAL *b, REAL *c,
    ptrdiff_t ldc, int start, const REAL *bias) {
    if (packed) FS(fs_tile_vectors)(M, V, FS_MS, K, a, 1, b, c, ldc, start, bias);
    else FS(fs_tile_vectors)(M, V, 1, K, a, rows, b, c, ldc, start, bias);
}

/* The same for a whole panel of b where it stands: its rows lie `deep` apart. */
static __attribute__((noinline)) void FS(fs_tile_in_place)(
    int M, int packed, ptrdiff_t K, const REAL *a, ptrdiff_t rows, const REAL *b, ptrdiff_t deep,
    REAL *c, ptrdiff_t ldc, int start, const REAL *bias) {
    const ptrdiff_t step = packed ? FS_MS : 1;
    FS(fs_tile_rows)(M, FS_NV, step, K, a, packed ? 1 : rows, b, deep, c, ldc, start, bias);
}

/* A tile whose last vector has fewer columns: computed aside, then copied. */
static void FS(fs_tile_edge)(int M, ptrdiff_t columns, int packed, ptrdiff_t K, const REAL *a,
                             ptrdiff_t rows, const REAL *b, REAL *c, ptrdiff_t ldc, int start,
                             const REAL *bias) {
    REAL tile[FS_MR * NR] = {0}, shift[NR] = {0};
    size_t bytes = (size_t)columns * sizeof(REAL);
    if (bias) memcpy(shift, bias, bytes);
    for (int m = 0; m < M && start; m++) memcpy(tile + m * NR, c + m * ldc, bytes);
    FS(fs_tile_any)(M, (int)(columns / VL + 1), packed, K, a, rows, b, tile, NR, start,
                    bias ? shift : NULL);
    for (int m = 0; m < M; m++) memcpy(c + m * ldc, tile + m * NR, bytes);
}

/* Whichever of these fits. */
FS_INLINE void FS(fs_tile_of)(int M, ptrdiff_t columns, int packed, ptrdiff_t K, const REAL *a,
                              ptrdiff_t rows, const REAL *b, ptrdiff_t deep, REAL *c,
                              ptrdiff_t ldc, int start, const REAL *bias) {
    int V = (int)(columns / VL);
    if (deep != NR)
        FS(fs_tile_in_place)(M, packed, K, a, rows, b, deep, c, ldc, start, bias);
    else if (columns % VL == 0)
        FS(fs_tile_any)(M, V, packed, K, a, rows, b, c, ldc, start, bias);
    else
        FS(fs_tile_edge)(M, columns, packed, K, a, rows, b, c, ldc, start, bias);
}

/* One or two rows, two panels (see b. in _gemm.h). */
static __attribute__((noinline)) void FS(fs_tile_thin)(
    int M, ptrdiff_t K, const REAL *a, ptrdiff_t rows, const REAL *b, ptrdiff_t panel,
    ptrdiff_t deep, REAL *c, ptrdiff_t ldc, int start, const REAL *bias) {
    const ptrdiff_t step = 1;
    switch (M) { FS_TILE_CASE(1, 2 * FS_NV); FS_TILE_CASE(2, 2 * FS_NV); }
}
#undef FS_TILE_CASE

/* Numbers that the packed form of a K x N matrix takes. */
FS_INLINE ptrdiff_t FS(fs_packed_size)(ptrdiff_t K, ptrdiff_t N) {
    return (N + NR - 1) / NR * NR * K;
}

/* VL x VL numbers, rows ld apart, transposed to rows NR apart. */
FS_INLINE void FS(fs_transpose)(const REAL *x, ptrdiff_t ld, REAL *out) {
    VEC v[FS_BYTES / sizeof(REAL)], w[FS_BYTES / sizeof(REAL)];
#pragma GCC unroll 16
    for (int i = 0; i < VL; i++) v[i] = *(const MEM *)(x + i * ld);
#pragma GCC unroll 4
    for (int stage = 1; stage < VL; stage *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < VL / 2; i++) {
            w[2 * i] = FS(FS_LOW)(v[i], v[i + VL / 2]);
            w[2 * i + 1] = FS(FS_HIGH)(v[i], v[i + VL / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++) v[i] = w[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < VL; i++) *(MEM *)(out + i * NR) = v[i];
}

/* Load n <= VL numbers; the other lanes are zero. */
FS_INLINE VEC FS(fs_load)(const REAL *x, ptrdiff_t n) {
    VEC v = {0};
    if (n >= VL) return *(const MEM *)x;
    if (n > 0) memcpy(&v, x, (size_t)n * sizeof(REAL));
    return v;
}

/* One vector of a panel (VL columns): b[k * rs + n * cs], of which `columns` exist. */
static void FS(fs_pack_strip)(ptrdiff_t K, ptrdiff_t columns, const REAL *b, ptrdiff_t rs,
                             ptrdiff_t cs, REAL *out) {
    ptrdiff_t k = 0;
    if (cs == 1)
        for (; k < K; k++) *(MEM *)(out + k * NR) = FS(fs_load)(b + k * rs, columns);
    else if (rs == 1 && columns >= VL)
        for (; k + VL <= K; k += VL) FS(fs_transpose)(b + k, cs, out + k * NR);
    for (; k < K; k++)
        for (ptrdiff_t n = 0; n < VL; n++)
            out[k * NR + n] = n < columns ? b[k * rs + n * cs] : 0;
}

/* Pack b (K x N), b[k * rs + n * cs], into panels. */
static void FS(fs_pack)(ptrdiff_t K, ptrdiff_t N, const REAL *b, ptrdiff_t rs, ptrdiff_t cs,
                        REAL *packed) {
    for (ptrdiff_t n = 0; n < N; n += NR) {
        REAL *out = packed + n * K;
        for (ptrdiff_t v = 0; v < NR; v += VL)
            FS(fs_pack_strip)(K, N - n - v, b + (n + v) * cs, rs, cs, out + v);
    }
}

/* The next even share of the rows that are left. */
FS_INLINE int FS(fs_share)(ptrdiff_t rows) {
    ptrdiff_t tiles = (rows + FS_MR - 1) / FS_MR;
    return (int)((rows + tiles - 1) / tiles);
}

/* Copy a block of a that is transposed (rs == 1 when it matters) into tiles [tile][k][FS_MS],
 * eight k at a time, so that a is read along its memory. More numbers are copied than wanted
 * where there are as many. */
static void FS(fs_pack_columns)(ptrdiff_t M, ptrdiff_t K, const REAL *a, ptrdiff_t rs,
                                ptrdiff_t cs, REAL *out) {
    for (ptrdiff_t first = 0; first < K; first += 8) {
        ptrdiff_t last = first + 8 < K ? first + 8 : K;
        REAL *tile = out;
        for (ptrdiff_t m = 0; m < M; tile += K * FS_MS) {
            int share = FS(fs_share)(M - m);
            const REAL *from = a + m * rs;
            if (rs == 1 && m + FS_MS <= M)
                for (ptrdiff_t k = first; k < last; k++) {
                    __builtin_prefetch(from + (k + 8) * cs);
                    memcpy(tile + k * FS_MS, from + k * cs, FS_MS * sizeof(REAL));
                }
            else
                for (ptrdiff_t k = first; k < last; k++)
                    for (int i = 0; i < share; i++)
                        tile[k * FS_MS + i] = from[i * rs + k * cs];
            m += share;
        }
    }
}

/* One or two rows: see b. in _gemm.h. Returns the columns done, whole pairs of panels. */
static ptrdiff_t FS(fs_block_thin)(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const REAL *a,
                                   ptrdiff_t rs, const REAL *b, ptrdiff_t panel,
                                   ptrdiff_t deep, REAL *c, ptrdiff_t ldc, int start,
                                   const REAL *bias) {
    ptrdiff_t n = 0;
    for (; n + 2 * NR <= N; n += 2 * NR)
        FS(fs_tile_thin)((int)M, K, a, rs, b + n / NR * panel, panel, deep, c + n, ldc, start,
                         bias ? bias + n : NULL);
    return n;
}

/* Ask for a tile of c while the one before it is computed: it may lie far away. */
FS_INLINE void FS(fs_ask)(int M, const REAL *c, ptrdiff_t ldc) {
    for (int m = 0; m < M; m++)
#pragma GCC unroll 8
        for (int v = 0; v <= FS_NV; v++)
            __builtin_prefetch(c + m * ldc + (v < FS_NV ? v * VL : NR - 1), 1);
}

/* a @ b for a block of rows and a stretch of k.
 * Each panel meets all rows; but where there are many, and b stays in the second-level cache, each
 * tile of rows meets all panels, so that c is written along its rows. */
static void FS(fs_block)(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const REAL *a, ptrdiff_t rs,
                         int packed, const REAL *b, ptrdiff_t panel, ptrdiff_t deep, REAL *c,
                         ptrdiff_t ldc, int start, const REAL *bias) {
    ptrdiff_t begin = 0, width = NR, tile = 0;
    if (M <= FS_THIN && !packed)
        begin = FS(fs_block_thin)(M, N, K, a, rs, b, panel, deep, c, ldc, start, bias);
    if (M > 64 && K * N * (ptrdiff_t)sizeof(REAL) <= FS_STAYS) width = N;
    for (ptrdiff_t stretch = begin; stretch < N; stretch += width, tile = 0)
        for (ptrdiff_t m = 0; m < M;) {
            int share = FS(fs_share)(M - m);
            for (ptrdiff_t n = stretch; n < stretch + width && n < N; n += NR) {
                REAL *to = c + m * ldc + n;
                if (width == N) FS(fs_ask)(share, to + NR, ldc);
                else if (m + share < M) FS(fs_ask)(share, to + share * ldc, ldc);
                else FS(fs_ask)(share, c + n + NR, ldc);
                FS(fs_tile_of)(share, N - n < NR ? N - n : NR, packed, K, a + tile, rs,
                               b + n / NR * panel, deep, to, ldc, start, bias ? bias + n : NULL);
            }
            tile += packed ? K * FS_MS : share * rs;
            m += share;
        }
}

/* Numbers of scratch that fs_rows needs for M rows. */
FS_INLINE ptrdiff_t FS(fs_scratch_size)(ptrdiff_t M) {
    ptrdiff_t rows = M < FS_MC ? M : FS_MC;
    return (rows / FS_MR + 1) * FS_MS * FS_KC;
}

/* c = a @ b, whose panels lie `panel` and their rows `deep` apart; a[m * rs + k * cs]. */
static void FS(fs_rows)(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const REAL *a, ptrdiff_t rs,
                        ptrdiff_t cs, const REAL *b, ptrdiff_t panel, ptrdiff_t deep, REAL *c,
                        ptrdiff_t ldc, int start, const REAL *bias, REAL *scratch) {
    for (ptrdiff_t m = 0; m < M; m += FS_MC) {
        ptrdiff_t rows = M - m < FS_MC ? M - m : FS_MC;
        for (ptrdiff_t k = 0; k < K || k == 0; k += FS_KC) {
            ptrdiff_t depth = K - k < FS_KC ? K - k : FS_KC;
            const REAL *block = a + m * rs + k * cs;
            if (cs != 1) {
                FS(fs_pack_columns)(rows, depth, block, rs, cs, scratch);
                block = scratch;
            }
            FS(fs_block)(rows, N, depth, block, rs, cs != 1, b + k * deep, panel, deep,
                         c + m * ldc, ldc, start || k > 0, k > 0 ? NULL : bias);
        }
    }
}

/* c = a @ packed b, the whole of b packed at once. */
FS_INLINE void FS(fs_times_packed)(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const REAL *a,
                                   ptrdiff_t rs, const REAL *packed, REAL *c, ptrdiff_t ldc,
                                   int start, REAL *scratch) {
    FS(fs_rows)(M, N, K, a, rs, 1, packed, K * NR, NR, c, ldc, start, NULL, scratch);
}

/* Whether packing b costs more than it saves: few rows use it, from the second-level cache. */
FS_INLINE int FS(fs_in_place)(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, ptrdiff_t cs) {
    int stays = K * N * (ptrdiff_t)sizeof(REAL) <= FS_STAYS;
    return cs == 1 && (M <= FS_THIN || (M <= FS_FEW && stays));
}

/* c = a @ b for any strides of a and b; columns of c are contiguous. Returns 0 without memory. */
static int FS(fs_gemm)(ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, const REAL *a, ptrdiff_t rs_a,
                       ptrdiff_t cs_a, const REAL *b, ptrdiff_t rs_b, ptrdiff_t cs_b, REAL *c,
                       ptrdiff_t ldc, int accumulate, const REAL *bias) {
    ptrdiff_t in_place = FS(fs_in_place)(M, N, K, cs_b) ? N / NR * NR : 0, rest = N - in_place;
    ptrdiff_t size = FS(fs_packed_size)(K < FS_KC ? K : FS_KC, rest < FS_NC ? rest : FS_NC);
    REAL *packed = fs_allocate(size + FS(fs_scratch_size)(M), sizeof(REAL));
    if (!packed) return 0;
    REAL *scratch = packed + size;
    if (in_place)
        FS(fs_rows)(M, in_place, K, a, rs_a, cs_a, b, NR, rs_b, c, ldc, accumulate, bias, scratch);
    for (ptrdiff_t n = in_place; n < N; n += FS_NC) {
        ptrdiff_t columns = N - n < FS_NC ? N - n : FS_NC;
        for (ptrdiff_t k = 0; k < K || k == 0; k += FS_KC) {
            ptrdiff_t depth = K - k < FS_KC ? K - k : FS_KC;
            int start = accumulate || k > 0;
            const REAL *shift = bias && k == 0 ? bias + n : NULL;
            FS(fs_pack)(depth, columns, b + k * rs_b + n * cs_b, rs_b, cs_b, packed);
            FS(fs_rows)(M, columns, depth, a + k * cs_a, rs_a, cs_a, packed, depth * NR, NR,
                        c + n, ldc, start, shift, scratch);
        }
    }
    free(packed);
    return 1;
}

#undef VEC
#undef MEM
#undef VL
#undef NR
