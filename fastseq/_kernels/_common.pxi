# What all kernels share: one name for both precisions, threads, checks.
#
# a. A `def` checks shapes, since a wrong one would write outside an array; everything else was
#    checked where the caller's arrays came in.
# b. All work runs without the GIL, between fs_flush_subnormals and fs_restore_subnormals, on
#    each thread that takes part.
# c. Work is cut into shares of the output, never along a sum: any number of threads gives the
#    same bits.

cimport cython
from cython.parallel cimport parallel, prange
from libc.float cimport DBL_MAX, FLT_MAX
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

cdef extern from "_team.h" nogil:
    int fs_team_size()
    int fs_team_member()
    void fs_team_wait()

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


cdef inline Py_ssize_t scratch_size(Py_ssize_t M, floating *_) noexcept nogil:
    """Numbers of scratch for `times_packed` with M rows."""
    if floating is float:
        return fs_scratch_size_f(M)
    else:
        return fs_scratch_size_d(M)


cdef inline floating lowest(floating *_) noexcept nogil:
    """The lowest finite number."""
    if floating is float:
        return -FLT_MAX
    else:
        return -DBL_MAX


cdef inline void pack(Py_ssize_t K, Py_ssize_t N, const floating *b, Py_ssize_t rs,
                      Py_ssize_t cs, floating *packed) noexcept nogil:
    """b[k * rs + n * cs] into panels, once for many products."""
    if floating is float:
        fs_pack_f(K, N, b, rs, cs, packed)
    else:
        fs_pack_d(K, N, b, rs, cs, packed)


cdef inline void times_packed(Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const floating *a,
                              Py_ssize_t lda, const floating *packed, floating *c,
                              Py_ssize_t ldc, bint add, floating *scratch) noexcept nogil:
    """c (+)= a (M, K, rows lda apart) @ packed (K, N)."""
    if floating is float:
        fs_times_packed_f(M, N, K, a, lda, packed, c, ldc, add, scratch)
    else:
        fs_times_packed_d(M, N, K, a, lda, packed, c, ldc, add, scratch)


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

# Starting a team costs microseconds on an idle machine and milliseconds on a busy one, where a
# thread may not get its core at once: a share has to be worth about 100 microseconds.
cdef double SHARE = 8e6
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


cdef inline Py_ssize_t share_start(Py_ssize_t length, int threads, int s,
                                   Py_ssize_t unit=32) noexcept nogil:
    """Where share s begins: a multiple of 32 numbers, so that no two threads share a cache line."""
    cdef Py_ssize_t units = (length + unit - 1) // unit
    return min(length, units * s // threads * unit)


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
