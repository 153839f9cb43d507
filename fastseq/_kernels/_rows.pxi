# Reductions of one row, in a fixed number of lanes: the same bits for every build and any number
# of threads. Generation reduces in double precision, whatever `real` is.

cdef extern from *:
    """
    enum { FS_SUM_LANES = 16 };
    """
    enum:
        SUM_LANES "FS_SUM_LANES"  # interleaved sums of a row: their number fixes the bits

ctypedef fused number:
    float
    double


cdef inline number row_max(const number *z, Py_ssize_t N) noexcept nogil:
    """max z. NaN is not looked for: the sum of exponentials finds it."""
    cdef number lanes[SUM_LANES]
    cdef Py_ssize_t n = 0, k
    for k in range(SUM_LANES):
        lanes[k] = z[0]
    while n + SUM_LANES <= N:
        for k in range(SUM_LANES):
            lanes[k] = z[n + k] if z[n + k] > lanes[k] else lanes[k]
        n += SUM_LANES
    for n in range(n, N):
        lanes[0] = z[n] if z[n] > lanes[0] else lanes[0]
    for k in range(1, SUM_LANES):
        lanes[0] = lanes[k] if lanes[k] > lanes[0] else lanes[0]
    return lanes[0]


cdef inline number row_sum(const number *x, Py_ssize_t N) noexcept nogil:
    """Sum of N numbers, always added up in the same lanes."""
    cdef number lanes[SUM_LANES]
    cdef Py_ssize_t n = 0, k
    for k in range(SUM_LANES):
        lanes[k] = 0
    while n + SUM_LANES <= N:
        for k in range(SUM_LANES):
            lanes[k] += x[n + k]
        n += SUM_LANES
    for k in range(N - n):
        lanes[k] += x[n + k]
    for k in range(1, SUM_LANES):
        lanes[0] += lanes[k]
    return lanes[0]


cdef inline number row_exp(const number *z, number *e, Py_ssize_t N, number shift) noexcept nogil:
    """e = exp(z - shift); return its sum."""
    cdef Py_ssize_t n
    for n in range(N):
        if number is float:
            e[n] = exp_f(z[n] - shift)
        else:
            e[n] = exp_d(z[n] - shift)
    return row_sum(e, N)
