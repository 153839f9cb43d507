/* Matrix products on packed panels.
 *
 * c (M x N) = a (M x K) @ b (K x N). b is packed into panels of NR columns, each K x NR and
 * contiguous, the last one padded with zeros. The micro-kernel keeps a tile of up to MR x NR
 * sums in registers and walks down K.
 *
 * a. Every sum runs over k = 0, 1, 2, ... in this order, with one fused multiply-add a step,
 *    whatever the tile, the block or the thread: results do not depend on any of them.
 * b. A tile is wide rather than high: each element of a is used for a whole panel, so that few
 *    loads come with the multiplications. Rows are shared out evenly (32 = 6 + 6 +
 *    5 + 5 + 5 + 5), since a thin tile cannot hide the latency of its additions. One or two rows
 *    take two panels at once instead.
 * c. a is read in place when its rows are contiguous; a block of a transposed one is copied. Whole
 *    panels of b are read in place when few rows would use them. A b that lies along K, as a
 *    weight does, is transposed in registers on its way to a few rows (_gemm_along_k.h).
 * d. A tile's rows of a, KC deep, stay in the first-level cache, the packed NC columns of b and
 *    MC x KC of a in the second.
 */
#ifndef FASTSEQ_GEMM_H
#define FASTSEQ_GEMM_H

#include "_memory.h"
#include "_real.h"
#include "_simd.h"

#define FS_KC 256     /* depth of a block */
#define FS_MC 288     /* rows of a block of a */
#define FS_NC 768     /* columns of b that are packed at a time */
#define FS_THIN 2     /* rows: see b. */
#define FS_SMALL_M 56 /* rows for which b is not packed, if it is small */
#define FS_L2_BYTES (FS_L2_KB << 10)
#define FS_LINE 64 /* bytes of a cache line; where lines are longer, some are fetched twice */

_Static_assert(FS_MC % FS_MR == 0, "a block of a holds whole tiles");
_Static_assert(FS_NC % (FS_NV * FS_BYTES / 4) == 0, "a block of b holds whole panels");

#define VEC FS(fs_vec)
#define MEM FS(fs_mem)
#define VL ((ptrdiff_t)(FS_BYTES / sizeof(real))) /* numbers of a vector */
#define NR (FS_NV * VL)
#define SQUARE (16 / (int)sizeof(real)) /* rows and columns that are transposed together */

/* A matrix anywhere in memory: data[m * row_stride + n * column_stride]. */
typedef struct {
    real *data;
    ptrdiff_t rows, columns, row_stride, column_stride;
} fs_matrix;

/* One product, or a part of one: M rows, N columns, a sum of K terms.
 * a[m * a_row + k * a_step]; panels of b lie b_panel apart, the rows of one b_row apart; rows of c
 * lie c_row apart. accumulate: the sums begin at c (else at zero). bias (or NULL) is added to
 * their beginning. */
typedef struct {
    ptrdiff_t M, N, K;
    const real *a;
    ptrdiff_t a_row, a_step;
    const real *b;
    ptrdiff_t b_panel, b_row;
    real *c;
    ptrdiff_t c_row;
    int accumulate;
    const real *bias;
} fs_product;

/* ---- tiles -------------------------------------------------------------------------------- */

/* One tile of M rows and V vectors. The caller passes constants, so that its sums live in
 * registers. */
FS_INLINE void fs_tile(const int M, const int V, const ptrdiff_t a_step, const fs_product *p) {
    const real *a = p->a, *b = p->b;
    const ptrdiff_t K = p->K, a_row = p->a_row, b_panel = p->b_panel, b_row = p->b_row;
    VEC sum[FS_MR][2 * FS_NV];
    FS_UNROLL
    for (int v = 0; v < V; v++) {
        VEC base = {0};
        if (p->bias) base = *(const MEM *)(p->bias + v * VL);
        FS_UNROLL
        for (int m = 0; m < M; m++) {
            sum[m][v] = base;
            if (p->accumulate) sum[m][v] += *(const MEM *)(p->c + m * p->c_row + v * VL);
        }
    }
    FS_UNROLL_TWICE /* half as many instructions for the loop itself */
    for (ptrdiff_t k = 0; k < K; k++) {
        VEC right[2 * FS_NV];
        FS_UNROLL
        for (int v = 0; v < V; v++)
            right[v] = *(const MEM *)(b + (v / FS_NV) * b_panel + k * b_row + (v % FS_NV) * VL);
        FS_UNROLL
        for (int m = 0; m < M; m++) {
            VEC left = a[m * a_row + k * a_step] - (VEC){0};
            FS_UNROLL
            for (int v = 0; v < V; v++) sum[m][v] = FS(fs_vfma)(left, right[v], sum[m][v]);
        }
    }
    FS_UNROLL
    for (int v = 0; v < V; v++)
        FS_UNROLL
        for (int m = 0; m < M; m++) *(MEM *)(p->c + m * p->c_row + v * VL) = sum[m][v];
}

#define FS_TILE_CASE(m, v) case m: fs_tile(m, v, a_step, p); break

FS_INLINE void fs_tile_rows(const int V, const ptrdiff_t a_step, const fs_product *p) {
    switch (p->M) {
        FS_TILE_CASE(1, V); FS_TILE_CASE(2, V); FS_TILE_CASE(3, V); FS_TILE_CASE(4, V);
#if FS_MR > 4
        FS_TILE_CASE(5, V); FS_TILE_CASE(6, V);
#endif
    }
}

FS_INLINE void fs_tile_vectors(ptrdiff_t V, const ptrdiff_t a_step, const fs_product *tile) {
    fs_product local = *tile, *p = &local;
    p->b_panel = 0;
    p->b_row = NR; /* a constant shortens the loop */
    switch (V) {
    case 1: fs_tile_rows(1, a_step, p); break;
    case 2: fs_tile_rows(2, a_step, p); break;
#if FS_NV > 2
    case 3: fs_tile_rows(3, a_step, p); break;
    case 4: fs_tile_rows(4, a_step, p); break;
#endif
    }
}

/* A tile on a packed panel, V vectors of it. a_step is 1, or FS_MS where fs_pack_columns has
 * copied a. */
static __attribute__((noinline)) void fs_tile_packed(ptrdiff_t V, const fs_product *p) {
    if (p->a_step == 1) fs_tile_vectors(V, 1, p);
    else fs_tile_vectors(V, FS_MS, p);
}

/* The same on a whole panel of b where it stands. */
static __attribute__((noinline)) void fs_tile_in_place(const fs_product *p) {
    const ptrdiff_t a_step = p->a_step == 1 ? 1 : FS_MS;
    fs_tile_rows(FS_NV, a_step, p);
}

/* A tile whose last vector has fewer columns: computed aside, then copied. */
static void fs_tile_edge(const fs_product *p) {
    real tile[FS_MR * NR], bias[NR];
    size_t bytes = (size_t)p->N * sizeof(real);
    fs_product aside = *p;
    memset(tile, 0, sizeof tile);
    memset(bias, 0, sizeof bias);
    if (p->bias) memcpy(bias, p->bias, bytes);
    for (int m = 0; m < p->M && p->accumulate; m++)
        memcpy(tile + m * NR, p->c + m * p->c_row, bytes);
    aside.c = tile;
    aside.c_row = NR;
    aside.bias = p->bias ? bias : NULL;
    fs_tile_packed(p->N / VL + 1, &aside);
    for (int m = 0; m < p->M; m++) memcpy(p->c + m * p->c_row, tile + m * NR, bytes);
}

/* The tile function that fits. */
FS_INLINE void fs_tile_any(const fs_product *p) {
    if (p->b_row != NR) fs_tile_in_place(p);
    else if (p->N % VL == 0) fs_tile_packed(p->N / VL, p);
    else fs_tile_edge(p);
}

/* One or two rows, two panels from column n on (see b. above). */
static __attribute__((noinline)) void fs_tile_thin(const fs_product *whole, ptrdiff_t n) {
    const ptrdiff_t a_step = 1;
    fs_product local = *whole, *p = &local; /* stays in registers */
    p->b += n / NR * p->b_panel;
    p->c += n;
    p->bias = p->bias ? p->bias + n : NULL;
    switch (p->M) { FS_TILE_CASE(1, 2 * FS_NV); FS_TILE_CASE(2, 2 * FS_NV); }
}
#undef FS_TILE_CASE

/* ---- packing ------------------------------------------------------------------------------ */

/* Numbers that the packed form of a K x N matrix takes. */
FS_INLINE ptrdiff_t fs_packed_size(ptrdiff_t K, ptrdiff_t N) {
    return (N + NR - 1) / NR * NR * K;
}

/* v[k][n] = x[n * ld + k] for k < SQUARE and n < VL. A vector is put together from pieces of its
 * rows, in which squares of numbers are then transposed. */
FS_INLINE void fs_load_transposed(const real *x, ptrdiff_t ld, VEC *v) {
    const ptrdiff_t distance = SQUARE * ld * (ptrdiff_t)sizeof(real);
    VEC w[SQUARE];
    FS_UNROLL
    for (int i = 0; i < SQUARE; i++) v[i] = (VEC)fs_load_pieces((const char *)(x + i * ld), distance);
    FS_UNROLL
    for (int stage = 1; stage < SQUARE; stage *= 2) {
        FS_UNROLL
        for (int i = 0; i < SQUARE / 2; i++) {
            w[2 * i] = FS(FS_LOW)(v[i], v[i + SQUARE / 2]);
            w[2 * i + 1] = FS(FS_HIGH)(v[i], v[i + SQUARE / 2]);
        }
        FS_UNROLL
        for (int i = 0; i < SQUARE; i++) v[i] = w[i];
    }
}

/* The same into rows NR apart. */
FS_INLINE void fs_copy_transposed(const real *x, ptrdiff_t ld, real *out) {
    VEC v[SQUARE];
    fs_load_transposed(x, ld, v);
    FS_UNROLL
    for (int i = 0; i < SQUARE; i++) *(MEM *)(out + i * NR) = v[i];
}

/* Load n <= VL numbers; the other lanes are zero. */
FS_INLINE VEC fs_load(const real *x, ptrdiff_t n) {
    VEC v = {0};
    if (n >= VL) return *(const MEM *)x;
    if (n > 0) memcpy(&v, x, (size_t)n * sizeof(real));
    return v;
}

/* One vector of a panel (VL columns), of which `columns` exist in b. */
static void fs_pack_strip(const fs_matrix *b, ptrdiff_t first, real *out) {
    const ptrdiff_t K = b->rows, rs = b->row_stride, cs = b->column_stride;
    const ptrdiff_t columns = b->columns - first;
    const real *from = b->data + first * cs;
    ptrdiff_t k = 0;
    if (cs == 1)
        for (; k < K; k++) *(MEM *)(out + k * NR) = fs_load(from + k * rs, columns);
    else if (rs == 1 && columns >= VL)
        for (; k + SQUARE <= K; k += SQUARE) fs_copy_transposed(from + k, cs, out + k * NR);
    for (; k < K; k++)
        for (ptrdiff_t n = 0; n < VL; n++)
            out[k * NR + n] = n < columns ? from[k * rs + n * cs] : 0;
}

/* Pack b (K x N) into panels. */
static void fs_pack(const fs_matrix *b, real *packed) {
    for (ptrdiff_t n = 0; n < b->columns; n += NR)
        for (ptrdiff_t v = 0; v < NR; v += VL)
            fs_pack_strip(b, n + v, packed + n * b->rows + v);
}

/* Rows of the next tile, an even share of those that are left. */
FS_INLINE ptrdiff_t fs_tile_height(ptrdiff_t rows) {
    ptrdiff_t tiles = (rows + FS_MR - 1) / FS_MR;
    return (rows + tiles - 1) / tiles;
}

/* Copy a block of a that is transposed (row stride 1 when it matters) into tiles
 * [tile][k][FS_MS], eight k at a time, so that a is read along its memory. FS_MS rows are
 * copied wherever that many exist, even if the tile has fewer. */
static void fs_pack_columns(const fs_matrix *a, real *out) {
    const ptrdiff_t M = a->rows, K = a->columns, rs = a->row_stride, cs = a->column_stride;
    for (ptrdiff_t first = 0; first < K; first += 8) {
        ptrdiff_t last = first + 8 < K ? first + 8 : K;
        real *tile = out;
        for (ptrdiff_t m = 0; m < M; tile += K * FS_MS) {
            ptrdiff_t height = fs_tile_height(M - m);
            const real *from = a->data + m * rs;
            if (rs == 1 && m + FS_MS <= M)
                for (ptrdiff_t k = first; k < last; k++) {
                    __builtin_prefetch(from + (k + 8) * cs);
                    memcpy(tile + k * FS_MS, from + k * cs, FS_MS * sizeof(real));
                }
            else
                for (ptrdiff_t k = first; k < last; k++)
                    for (ptrdiff_t i = 0; i < height; i++)
                        tile[k * FS_MS + i] = from[i * rs + k * cs];
            m += height;
        }
    }
}

/* ---- blocks ------------------------------------------------------------------------------- */

/* The part of a product that begins at column n and has no more than `columns`. */
FS_INLINE fs_product fs_columns(const fs_product *p, ptrdiff_t n, ptrdiff_t columns) {
    fs_product part = *p;
    part.N = p->N - n < columns ? p->N - n : columns;
    part.b = p->b + n / NR * p->b_panel;
    part.c = p->c + n;
    part.bias = p->bias ? p->bias + n : NULL;
    return part;
}

/* One or two rows: see b. above. Returns the columns done, whole pairs of panels. */
static ptrdiff_t fs_block_thin(const fs_product *p) {
    ptrdiff_t n = 0;
    for (; n + 2 * NR <= p->N; n += 2 * NR) fs_tile_thin(p, n);
    return n;
}

/* Fetch a tile of c while the one before it is computed: it may lie far away. */
FS_INLINE void fs_prefetch(ptrdiff_t M, const real *c, ptrdiff_t c_row) {
    for (ptrdiff_t m = 0; m < M; m++) {
        FS_UNROLL
        for (int n = 0; n < NR; n += FS_LINE / (int)sizeof(real))
            __builtin_prefetch(c + m * c_row + n, 1);
        __builtin_prefetch(c + m * c_row + NR - 1, 1);
    }
}

/* a @ b for a block of rows and a stretch of k; a_step is 1, or a is packed.
 * Each panel meets all rows; but where there are many, and b stays in the second-level cache, each
 * tile of rows meets all panels, so that c is written along its rows. */
static void fs_block(const fs_product *p) {
    const ptrdiff_t M = p->M, N = p->N, K = p->K, c_row = p->c_row;
    const int packed = p->a_step != 1;
    ptrdiff_t begin = M <= FS_THIN && !packed ? fs_block_thin(p) : 0, width = NR, offset = 0;
    if (M > 64 && K * N * (ptrdiff_t)sizeof(real) <= FS_L2_BYTES) width = N;
    for (ptrdiff_t stretch = begin; stretch < N; stretch += width, offset = 0)
        for (ptrdiff_t m = 0; m < M;) {
            ptrdiff_t height = fs_tile_height(M - m);
            for (ptrdiff_t n = stretch; n < stretch + width && n < N; n += NR) {
                fs_product tile = fs_columns(p, n, NR);
                tile.M = height;
                tile.a = p->a + offset;
                tile.c += m * c_row;
                if (width == N) fs_prefetch(height, tile.c + NR, c_row);
                else if (m + height < M) fs_prefetch(height, tile.c + height * c_row, c_row);
                else fs_prefetch(height, p->c + n + NR, c_row);
                fs_tile_any(&tile);
            }
            offset += packed ? K * FS_MS : height * p->a_row;
            m += height;
        }
}

/* Numbers of scratch that fs_multiply needs for M rows. */
FS_INLINE ptrdiff_t fs_scratch_size(ptrdiff_t M) {
    ptrdiff_t rows = M < FS_MC ? M : FS_MC;
    return (rows / FS_MR + 1) * FS_MS * FS_KC;
}

/* A product on panels, block by block. scratch: see fs_scratch_size. */
static void fs_multiply(const fs_product *p, real *scratch) {
    const int packs = p->a_step != 1;
    if (!packs && p->M <= FS_MC && p->K <= FS_KC) {
        fs_block(p);
        return;
    }
    for (ptrdiff_t m = 0; m < p->M; m += FS_MC)
        for (ptrdiff_t k = 0; k < p->K || k == 0; k += FS_KC) {
            fs_product block = *p;
            block.M = p->M - m < FS_MC ? p->M - m : FS_MC;
            block.K = p->K - k < FS_KC ? p->K - k : FS_KC;
            block.a = p->a + m * p->a_row + k * p->a_step;
            if (packs) {
                fs_matrix a = {(real *)block.a, block.M, block.K, p->a_row, p->a_step};
                fs_pack_columns(&a, scratch);
                block.a = scratch;
                block.a_row = 1;
                block.a_step = FS_MS;
            }
            block.b = p->b + k * p->b_row;
            block.c = p->c + m * p->c_row;
            block.accumulate = p->accumulate || k > 0;
            block.bias = k > 0 ? NULL : p->bias;
            fs_block(&block);
        }
}

#include "_gemm_along_k.h"

/* ---- any matrices ------------------------------------------------------------------------- */

/* Whether packing b costs more than it saves: few rows use it, from the second-level cache. */
FS_INLINE int fs_is_read_in_place(ptrdiff_t M, const fs_matrix *b) {
    int stays = b->rows * b->columns * (ptrdiff_t)sizeof(real) <= FS_L2_BYTES;
    return b->column_stride == 1 && (M <= FS_THIN || (M <= FS_SMALL_M && stays));
}

/* Whether b lies along k and too few rows use it to pay for packing. */
FS_INLINE int fs_is_read_along_k(ptrdiff_t M, const fs_matrix *b) {
    return M <= FS_ALONG_K && b->row_stride == 1 && (b->columns == 1 || b->column_stride != 1);
}

/* c (+)= a @ b + bias for columns n and after, of which blocks of b are packed. */
static void fs_multiply_packing(const fs_product *p, const fs_matrix *b, ptrdiff_t n,
                                real *packed, real *scratch) {
    for (; n < p->N; n += FS_NC)
        for (ptrdiff_t k = 0; k < p->K || k == 0; k += FS_KC) {
            fs_product block = *p;
            block.N = p->N - n < FS_NC ? p->N - n : FS_NC;
            block.K = p->K - k < FS_KC ? p->K - k : FS_KC;
            const real *corner = b->data + k * b->row_stride + n * b->column_stride;
            fs_matrix part = {(real *)corner, block.K, block.N, b->row_stride, b->column_stride};
            fs_pack(&part, packed);
            block.a = p->a + k * p->a_step;
            block.b = packed;
            block.b_panel = block.K * NR;
            block.b_row = NR;
            block.c = p->c + n;
            block.accumulate = p->accumulate || k > 0;
            block.bias = p->bias && k == 0 ? p->bias + n : NULL;
            fs_multiply(&block, scratch);
        }
}

/* c (+)= a @ b + bias for any strides of a and b; columns of c are contiguous. Returns 0 where
 * there is no memory. */
static int fs_gemm(const fs_matrix *a, const fs_matrix *b, const fs_matrix *c, int accumulate,
                   const real *bias) {
    const ptrdiff_t M = c->rows, N = c->columns, K = a->columns;
    const ptrdiff_t in_place = fs_is_read_in_place(M, b) ? N / NR * NR : 0, rest = N - in_place;
    fs_product p = {M, N, K, a->data, a->row_stride, a->column_stride, b->data, NR, b->row_stride,
                    c->data, c->row_stride, accumulate, bias};
    if (fs_is_read_along_k(M, b)) {
        p.b_panel = b->column_stride;
        fs_multiply_along_k(&p);
        return 1;
    }
    ptrdiff_t size = fs_packed_size(K < FS_KC ? K : FS_KC, rest < FS_NC ? rest : FS_NC);
    real *packed = fs_allocate(size + fs_scratch_size(M), sizeof(real));
    if (!packed) return 0;
    if (in_place) {
        fs_product columns = fs_columns(&p, 0, in_place);
        fs_multiply(&columns, packed + size);
    }
    fs_multiply_packing(&p, b, in_place, packed, packed + size);
    fs_release(packed);
    return 1;
}

#endif
