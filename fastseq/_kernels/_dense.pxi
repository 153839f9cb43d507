# Matrix products, rows of tables, softmax cross-entropy. The specification of every `def` is the
# function of the same name in oracle/dense.py.
#
# a. A `def` checks shapes, since a wrong one would write outside an array; everything else was
#    checked where the caller's arrays came in.
# b. All work runs without the GIL, between fs_flush_subnormals and fs_restore_subnormals, on
#    each thread that takes part.
# c. Work is cut into shares of the output, never along a sum: any number of threads gives the
#    same bits.

cimport cython
from cython.parallel cimport prange
from libc.math cimport log, sqrt
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

import os

ctypedef fused floating:
    float
    double

cdef extern from "_vmath.h" nogil:
    unsigned fs_flush_subnormals()
    void fs_restore_subnormals(unsigned)
    float fs_fma_f(float, float, float)
    double fs_fma_d(double, double, double)
    float fs_exp_f(float)
    double fs_exp_d(double)
    float fs_sigmoid_f(float)
    double fs_sigmoid_d(double)
    float fs_tanh_f(float)
    double fs_tanh_d(double)
    float fs_log_f(float)
    double fs_log_d(double)

cdef extern from "<math.h>" nogil:
    float sqrtf(float)

cdef extern from "_gemm.h" nogil:
    void *fs_allocate(Py_ssize_t count, size_t size)
    Py_ssize_t fs_packed_size_f(Py_ssize_t K, Py_ssize_t N)
    Py_ssize_t fs_packed_size_d(Py_ssize_t K, Py_ssize_t N)
    Py_ssize_t fs_scratch_size_f(Py_ssize_t M)
    Py_ssize_t fs_scratch_size_d(Py_ssize_t M)
    void fs_pack_f(Py_ssize_t K, Py_ssize_t N, const float *b, Py_ssize_t rs, Py_ssize_t cs,
                   float *packed)
    void fs_pack_d(Py_ssize_t K, Py_ssize_t N, const double *b, Py_ssize_t rs, Py_ssize_t cs,
                   double *packed)
    void fs_times_packed_f(Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const float *a,
                           Py_ssize_t rs, const float *packed, float *c, Py_ssize_t ldc,
                           int start, float *scratch)
    void fs_times_packed_d(Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const double *a,
                           Py_ssize_t rs, const double *packed, double *c, Py_ssize_t ldc,
                           int start, double *scratch)
    int fs_gemm_f(Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const float *a, Py_ssize_t rs_a,
                  Py_ssize_t cs_a, const float *b, Py_ssize_t rs_b, Py_ssize_t cs_b, float *c,
                  Py_ssize_t ldc, int accumulate, const float *bias)
    int fs_gemm_d(Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const double *a, Py_ssize_t rs_a,
                  Py_ssize_t cs_a, const double *b, Py_ssize_t rs_b, Py_ssize_t cs_b, double *c,
                  Py_ssize_t ldc, int accumulate, const double *bias)


# ---- one name for both precisions ---------------------------------------------------------------

cdef inline floating fma(floating a, floating b, floating c) noexcept nogil:
    if floating is float:
        return fs_fma_f(a, b, c)
    else:
        return fs_fma_d(a, b, c)


cdef inline floating exp_(floating x) noexcept nogil:
    if floating is float:
        return fs_exp_f(x)
    else:
        return fs_exp_d(x)


cdef inline floating log_(floating x) noexcept nogil:
    if floating is float:
        return fs_log_f(x)
    else:
        return fs_log_d(x)


cdef inline floating sigmoid(floating x) noexcept nogil:
    if floating is float:
        return fs_sigmoid_f(x)
    else:
        return fs_sigmoid_d(x)


cdef inline floating tanh_(floating x) noexcept nogil:
    if floating is float:
        return fs_tanh_f(x)
    else:
        return fs_tanh_d(x)


cdef inline floating sqrt_(floating x) noexcept nogil:
    if floating is float:
        return sqrtf(x)
    else:
        return sqrt(x)


cdef inline Py_ssize_t packed_size(Py_ssize_t K, Py_ssize_t N, floating *_) noexcept nogil:
    if floating is float:
        return fs_packed_size_f(K, N)
    else:
        return fs_packed_size_d(K, N)


cdef inline void pack(Py_ssize_t K, Py_ssize_t N, const floating *b, Py_ssize_t rs,
                      Py_ssize_t cs, floating *packed) noexcept nogil:
    """b[k * rs + n * cs] into panels, once for many products."""
    if floating is float:
        fs_pack_f(K, N, b, rs, cs, packed)
    else:
        fs_pack_d(K, N, b, rs, cs, packed)


cdef inline void times_packed(Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const floating *a,
                              const floating *packed, floating *c, Py_ssize_t ldc, bint add,
                              floating *scratch) noexcept nogil:
    """c (+)= a (M, K, contiguous) @ packed (K, N)."""
    if floating is float:
        fs_times_packed_f(M, N, K, a, K, packed, c, ldc, add, scratch)
    else:
        fs_times_packed_d(M, N, K, a, K, packed, c, ldc, add, scratch)


cdef inline bint gemm_one(Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const floating *a,
                          Py_ssize_t rs_a, Py_ssize_t cs_a, const floating *b, Py_ssize_t rs_b,
                          Py_ssize_t cs_b, floating *c, Py_ssize_t ldc, bint accumulate,
                          const floating *bias) noexcept nogil:
    cdef unsigned state = fs_flush_subnormals()
    cdef bint done
    if floating is float:
        done = fs_gemm_f(M, N, K, a, rs_a, cs_a, b, rs_b, cs_b, c, ldc, accumulate, bias)
    else:
        done = fs_gemm_d(M, N, K, a, rs_a, cs_a, b, rs_b, cs_b, c, ldc, accumulate, bias)
    fs_restore_subnormals(state)
    return done


# ---- threads ------------------------------------------------------------------------------------

# Starting a team costs microseconds: a share has to be worth about 30 of them.
cdef double SHARE = 2e6
cdef int _threads = 1
cdef bint _forked = False


def set_num_threads(int count):
    global _threads
    _threads = max(count, 1)


def get_num_threads():
    return 1 if _forked else _threads


def _after_fork():
    # GNU OpenMP waits for ever in a child whose parent had started its threads.
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


cdef inline int team(double work, Py_ssize_t parts) noexcept nogil:
    """How many threads for that many multiply-adds, cut into at most that many parts."""
    cdef double most = min(<double>_threads, min(work / SHARE, <double>parts))
    return 1 if _forked or most < 2 else <int>most


cdef bint gemm(Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const floating *a, Py_ssize_t rs_a,
               Py_ssize_t cs_a, const floating *b, Py_ssize_t rs_b, Py_ssize_t cs_b, floating *c,
               Py_ssize_t ldc, bint accumulate, const floating *bias) noexcept nogil:
    """c (M, N) (+)= a @ b + bias, the longer side of c cut among the threads."""
    cdef bint by_rows = M >= N
    cdef Py_ssize_t length = M if by_rows else N, first, last
    cdef int threads = team(<double>M * N * K, (length + 31) // 32), s, done = 1
    if threads == 1:
        return gemm_one(M, N, K, a, rs_a, cs_a, b, rs_b, cs_b, c, ldc, accumulate, bias)
    for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        first = share_start(length, threads, s)
        last = share_start(length, threads, s + 1)
        if by_rows:
            done &= gemm_one(last - first, N, K, a + first * rs_a, rs_a, cs_a, b, rs_b, cs_b,
                             c + first * ldc, ldc, accumulate, bias)
        else:
            done &= gemm_one(M, last - first, K, a, rs_a, cs_a, b + first * cs_b, rs_b, cs_b,
                             c + first, ldc, accumulate, NULL if bias == NULL else bias + first)
    return done


cdef inline Py_ssize_t share_start(Py_ssize_t length, int threads, int s) noexcept nogil:
    """Where share s begins: whole cache lines of 32 numbers, so that no two threads share one."""
    cdef Py_ssize_t lines = (length + 31) // 32
    return min(length, lines * s // threads * 32)


# ---- checks -------------------------------------------------------------------------------------

cdef int expect(Py_ssize_t got, Py_ssize_t wanted, str what) except -1:
    if got != wanted:
        raise ValueError(f"{what}: expected {wanted}, got {got}")
    return 0


cdef int check_ids(const int64_t[::1] ids, Py_ssize_t low, Py_ssize_t size, str name) except -1:
    cdef Py_ssize_t n
    cdef bint right = True
    for n in range(ids.shape[0]):
        right &= low <= ids[n] < size
    if right:
        return 0
    for n in range(ids.shape[0]):
        if not low <= ids[n] < size:
            expected = f"0 <= id < {size}" if low == 0 else f"id < {size}"
            raise IndexError(f"{name}: expected {expected}, got {ids[n]} at position {n}")
    return 0


# ---- products -----------------------------------------------------------------------------------

def matmul(const floating[:, :] a, const floating[:, :] b, floating[:, :] out,
           const floating[::1] bias, bint accumulate):
    cdef Py_ssize_t M = a.shape[0], K = a.shape[1], N = b.shape[1], size = sizeof(floating)
    cdef bint done
    expect(b.shape[0], K, "b: rows")
    expect(out.shape[0], M, "out: rows")
    expect(out.shape[1], N, "out: columns")
    if bias is not None:
        expect(bias.shape[0], N, "bias: length")
    if M == 0 or N == 0:
        return
    if N > 1 and out.strides[1] != size:
        raise ValueError("out: expected contiguous columns")
    with nogil:
        done = gemm(
            M, N, K, &a[0, 0] if K else NULL, a.strides[0] // size, a.strides[1] // size,
            &b[0, 0] if K else NULL, b.strides[0] // size, b.strides[1] // size,
            &out[0, 0], out.strides[0] // size, accumulate, NULL if bias is None else &bias[0],
        )
    if not done:
        raise MemoryError("matmul: no memory for packed panels")


cdef void add_rows(const floating *a, Py_ssize_t M, Py_ssize_t N, Py_ssize_t ld,
                   floating *out) noexcept nogil:
    """out[n] += a[0, n] + a[1, n] + ... in this order."""
    cdef Py_ssize_t m, n
    for m in range(M):
        for n in range(N):
            out[n] += a[m * ld + n]


def sum_rows(const floating[:, :] a, floating[::1] out):
    cdef Py_ssize_t size = sizeof(floating), n
    cdef unsigned state
    expect(out.shape[0], a.shape[1], "out: length")
    if a.shape[0] == 0 or a.shape[1] == 0:
        return
    if a.shape[1] > 1 and a.strides[1] != size:
        raise ValueError("a: expected contiguous columns")
    with nogil:
        state = fs_flush_subnormals()
        # A stretch of columns whose sums stay in the first-level cache.
        for n in range(0, a.shape[1], 1024):
            add_rows(&a[0, n], a.shape[0], min(1024, a.shape[1] - n), a.strides[0] // size,
                     &out[n])
        fs_restore_subnormals(state)


# ---- rows of tables -----------------------------------------------------------------------------

def gather_rows(const floating[:, ::1] table, const int64_t[::1] ids, const floating[::1] bias,
                floating[:, ::1] out):
    cdef Py_ssize_t N = table.shape[1], n, j
    cdef const floating *row
    cdef floating *to
    expect(out.shape[0], ids.shape[0], "out: rows")
    expect(out.shape[1], N, "out: columns")
    if bias is not None:
        expect(bias.shape[0], N, "bias: length")
    check_ids(ids, 0, table.shape[0], "ids")
    if N == 0:
        return
    with nogil:
        for n in range(ids.shape[0]):
            row, to = &table[ids[n], 0], &out[n, 0]
            if bias is None:
                memcpy(to, row, N * sizeof(floating))
            else:
                for j in range(N):
                    to[j] = row[j] + bias[j]


def scatter_add_rows(const floating[:, ::1] rows, const int64_t[::1] ids, floating[:, ::1] table):
    cdef Py_ssize_t N = table.shape[1], n
    cdef unsigned state
    expect(rows.shape[0], ids.shape[0], "rows: rows")
    expect(rows.shape[1], N, "rows: columns")
    check_ids(ids, 0, table.shape[0], "ids")
    if N == 0:
        return
    with nogil:
        state = fs_flush_subnormals()
        for n in range(ids.shape[0]):
            add_rows(&rows[n, 0], 1, N, N, &table[ids[n], 0])
        fs_restore_subnormals(state)


# ---- softmax cross-entropy ----------------------------------------------------------------------

cdef inline floating row_max(const floating *z, Py_ssize_t N) noexcept nogil:
    """max z in 16 lanes; NaN is not looked for (the sum of exponentials finds it)."""
    cdef floating lanes[16]
    cdef Py_ssize_t n, k, whole = N // 16 * 16
    for k in range(16):
        lanes[k] = z[0]
    for n in range(0, whole, 16):
        for k in range(16):
            lanes[k] = z[n + k] if z[n + k] > lanes[k] else lanes[k]
    for n in range(whole, N):
        lanes[0] = z[n] if z[n] > lanes[0] else lanes[0]
    for k in range(1, 16):
        lanes[0] = lanes[k] if lanes[k] > lanes[0] else lanes[0]
    return lanes[0]


cdef inline floating row_exp(const floating *z, floating *e, Py_ssize_t N,
                             floating shift) noexcept nogil:
    """e = exp(z - shift); return its sum, always added up in the same 16 lanes."""
    cdef floating lanes[16]
    cdef Py_ssize_t n, k, whole = N // 16 * 16
    for n in range(N):
        e[n] = exp_(z[n] - shift)
    for k in range(16):
        lanes[k] = 0
    for n in range(0, whole, 16):
        for k in range(16):
            lanes[k] += e[n + k]
    for n in range(whole, N):
        lanes[n - whole] += e[n]
    for k in range(1, 16):
        lanes[0] += lanes[k]
    return lanes[0]


cdef inline floating row_loss(const floating *z, int64_t target, floating scale, floating *dz,
                              Py_ssize_t N) noexcept nogil:
    """Loss of one row; dz, which may be z, becomes scale * (softmax(z) - onehot(target))."""
    cdef floating peak, total, loss, factor
    cdef Py_ssize_t n
    if target < 0:
        memset(dz, 0, N * sizeof(floating))
        return 0
    peak = row_max(z, N)
    loss = peak - z[target]
    total = row_exp(z, dz, N, peak)
    factor = scale / total
    for n in range(N):
        dz[n] *= factor
    dz[target] -= scale
    return <floating> log(<double> total) + loss


cdef void rows_loss(const floating *z, const int64_t *targets, floating scale, floating *losses,
                    floating *dz, Py_ssize_t M, Py_ssize_t N) noexcept nogil:
    """row_loss for M rows, cut among the threads; an exponential costs about 20 multiply-adds."""
    cdef int threads = team(20.0 * M * N, M), s
    cdef Py_ssize_t m
    cdef unsigned state
    if threads == 1:
        state = fs_flush_subnormals()
        for m in range(M):
            losses[m] = row_loss(z + m * N, targets[m], scale, dz + m * N, N)
        fs_restore_subnormals(state)
        return
    for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        rows_loss_share(z, targets, scale, losses, dz, M * s // threads, M * (s + 1) // threads, N)


cdef void rows_loss_share(const floating *z, const int64_t *targets, floating scale,
                          floating *losses, floating *dz, Py_ssize_t first, Py_ssize_t last,
                          Py_ssize_t N) noexcept nogil:
    cdef unsigned state = fs_flush_subnormals()
    cdef Py_ssize_t m
    for m in range(first, last):
        losses[m] = row_loss(z + m * N, targets[m], scale, dz + m * N, N)
    fs_restore_subnormals(state)


def softmax_cross_entropy(const floating[:, ::1] logits, const int64_t[::1] targets,
                          floating scale, floating[::1] losses, floating[:, ::1] dlogits):
    cdef Py_ssize_t M = logits.shape[0], N = logits.shape[1], m
    cdef floating *spare = NULL
    expect(targets.shape[0], M, "targets: length")
    expect(losses.shape[0], M, "losses: length")
    if dlogits is not None:
        expect(dlogits.shape[0], M, "dlogits: rows")
        expect(dlogits.shape[1], N, "dlogits: columns")
    check_ids(targets, -(1 << 62), N, "targets")
    if M == 0 or N == 0:
        return
    if dlogits is not None:
        with nogil:
            rows_loss(&logits[0, 0], &targets[0], scale, &losses[0], &dlogits[0, 0], M, N)
        return
    spare = <floating *> fs_allocate(N, sizeof(floating))
    if spare == NULL:
        raise MemoryError("softmax_cross_entropy: no memory for a row")
    with nogil:
        for m in range(M):
            rows_loss(&logits[m, 0], &targets[m], scale, &losses[m], spare, 1, N)
        free(spare)


# Logits of a block of rows fill at most this many bytes: the (T * B, V) array of a large
# vocabulary is never held whole, yet dw is swept seldom.
cdef Py_ssize_t HEAD_BYTES = 24 << 20


cdef inline Py_ssize_t head_block(Py_ssize_t M, Py_ssize_t V, Py_ssize_t size) noexcept nogil:
    """Rows of a block: even shares, each as large as HEAD_BYTES allows, but no fewer than 64."""
    cdef Py_ssize_t most = max(HEAD_BYTES // (V * size), 64), blocks = (M + most - 1) // most
    return (M + blocks - 1) // blocks


def head_losses(const floating[:, ::1] h, const floating[:, ::1] w, const floating[::1] b,
                const int64_t[::1] targets, floating[::1] losses):
    cdef Py_ssize_t M = h.shape[0], H = h.shape[1], V = w.shape[0], m = 0, rows, block
    cdef floating *z
    cdef bint done = True
    check_head(H, M, w.shape[1], V, b, targets, losses)
    if M == 0:
        return
    block = head_block(M, V, sizeof(floating))
    z = <floating *> fs_allocate(block * V, sizeof(floating))
    if z == NULL:
        raise MemoryError("head_losses: no memory for a block of logits")
    with nogil:
        while m < M:
            rows = min(block, M - m)
            done &= gemm(rows, V, H, &h[m, 0], H, 1, &w[0, 0], 1, H, z, V, False,
                         NULL if b is None else &b[0])
            rows_loss(z, &targets[m], <floating> 1, &losses[m], z, rows, V)
            m += rows
        free(z)
    if not done:
        raise MemoryError("head_losses: no memory for packed panels")


cdef int check_head(Py_ssize_t H, Py_ssize_t M, Py_ssize_t columns, Py_ssize_t V,
                    const floating[::1] b, const int64_t[::1] targets,
                    floating[::1] losses) except -1:
    expect(columns, H, "w: columns")
    expect(targets.shape[0], M, "targets: length")
    expect(losses.shape[0], M, "losses: length")
    if b is not None:
        expect(b.shape[0], V, "b: length")
    if H == 0 or V == 0:
        raise ValueError("w: expected a shape without zeros")
    return check_ids(targets, -(1 << 62), V, "targets")


def head_backward(const floating[:, ::1] h, const floating[:, ::1] w, const floating[::1] b,
                  const int64_t[::1] targets, floating scale, floating[::1] losses,
                  floating[:, ::1] dh, floating[:, ::1] dw, floating[::1] db, bint accumulate):
    cdef Py_ssize_t M = h.shape[0], H = h.shape[1], V = w.shape[0], m = 0, rows, block, v
    cdef floating *z
    cdef bint done = True, add = accumulate
    cdef unsigned state
    check_head(H, M, w.shape[1], V, b, targets, losses)
    expect(dh.shape[0], M, "dh: rows")
    expect(dh.shape[1], H, "dh: columns")
    expect(dw.shape[0], V, "dw: rows")
    expect(dw.shape[1], H, "dw: columns")
    if db is not None:
        expect(db.shape[0], V, "db: length")
    if not accumulate and db is not None:
        memset(&db[0], 0, V * sizeof(floating))
    if M == 0:
        if not accumulate:
            memset(&dw[0, 0], 0, V * H * sizeof(floating))
        return
    block = head_block(M, V, sizeof(floating))
    z = <floating *> fs_allocate(block * V, sizeof(floating))
    if z == NULL:
        raise MemoryError("head_backward: no memory for a block of logits")
    with nogil:
        while m < M:
            rows = min(block, M - m)
            # z = h wT + b; z becomes dz; dh = dz w; dw += dzT h; db += sum of dz
            done &= gemm(rows, V, H, &h[m, 0], H, 1, &w[0, 0], 1, H, z, V, False,
                         NULL if b is None else &b[0])
            rows_loss(z, &targets[m], scale, &losses[m], z, rows, V)
            done &= gemm(rows, H, V, z, V, 1, &w[0, 0], H, 1, &dh[m, 0], H, False, NULL)
            done &= gemm(V, H, rows, z, 1, V, &h[m, 0], H, 1, &dw[0, 0], H, add, NULL)
            add = True
            if db is not None:
                state = fs_flush_subnormals()
                for v in range(0, V, 1024):
                    add_rows(z + v, rows, min(1024, V - v), V, &db[v])
                fs_restore_subnormals(state)
            m += rows
        free(z)
    if not done:
        raise MemoryError("head_backward: no memory for packed panels")


# ---- elementwise functions, public for the tests ------------------------------------------------

ctypedef enum Function:
    EXP
    LOG
    SIGMOID
    TANH


cdef void apply(Function function, const floating *x, floating *out, Py_ssize_t N) noexcept nogil:
    cdef unsigned state = fs_flush_subnormals()
    cdef Py_ssize_t n
    if function == EXP:
        for n in range(N):
            out[n] = exp_(x[n])
    elif function == LOG:
        for n in range(N):
            out[n] = log_(x[n])
    elif function == SIGMOID:
        for n in range(N):
            out[n] = sigmoid(x[n])
    else:
        for n in range(N):
            out[n] = tanh_(x[n])
    fs_restore_subnormals(state)


def vexp(const floating[::1] x, floating[::1] out):
    expect(out.shape[0], x.shape[0], "out: length")
    apply(EXP, &x[0], &out[0], x.shape[0])


def vlog(const floating[::1] x, floating[::1] out):
    expect(out.shape[0], x.shape[0], "out: length")
    apply(LOG, &x[0], &out[0], x.shape[0])


def vsigmoid(const floating[::1] x, floating[::1] out):
    expect(out.shape[0], x.shape[0], "out: length")
    apply(SIGMOID, &x[0], &out[0], x.shape[0])


def vtanh(const floating[::1] x, floating[::1] out):
    expect(out.shape[0], x.shape[0], "out: length")
    apply(TANH, &x[0], &out[0], x.shape[0])
