# Reductions of one row, in a fixed number of lanes: the same bits for every build and any number of
# threads. Generation reduces in double precision, whatever `real` is.

ctypedef fused number:
    float
    double


cdef inline number row_max(const number *z, Py_ssize_t N) noexcept nogil:
    """max z in 16 lanes; NaN is not looked for (the sum of exponentials finds it)."""
    cdef number lanes[16]
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


cdef inline number row_sum(const number *x, Py_ssize_t N) noexcept nogil:
    """Sum of N numbers, always added up in the same 16 lanes."""
    cdef number lanes[16]
    cdef Py_ssize_t n, k, whole = N // 16 * 16
    for k in range(16):
        lanes[k] = 0
    for n in range(0, whole, 16):
        for k in range(16):
            lanes[k] += x[n + k]
    for n in range(whole, N):
        lanes[n - whole] += x[n]
    for k in range(1, 16):
        lanes[0] += lanes[k]
    return lanes[0]


cdef inline number row_exp(const number *z, number *e, Py_ssize_t N,
                           number shift) noexcept nogil:
    """e = exp(z - shift); return its sum."""
    cdef Py_ssize_t n
    for n in range(N):
        if number is float:
            e[n] = exp_f(z[n] - shift)
        else:
            e[n] = exp_d(z[n] - shift)
    return row_sum(e, N)
