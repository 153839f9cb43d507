# Elman's network with tanh or relu; see _cells.pxi and oracle/rnn.py.

cdef void rnn_tanh_forward(const Pointwise *s) noexcept nogil:
    cdef Py_ssize_t b, j, columns = s.columns
    cdef const real *a
    cdef real *h
    for b in range(s.rows):
        a, h = row(&s.gates, b), row(&s.h, b)
        for j in range(columns):
            h[j] = tanh_(a[j])  # (2)


cdef void rnn_tanh_backward(const Pointwise *s) noexcept nogil:
    cdef Py_ssize_t b, j, columns = s.columns
    cdef const real *h
    cdef real *da
    cdef real *dh
    for b in range(s.rows):
        h, da, dh = row(&s.h, b), row(&s.gates, b), row(&s.dh, b)
        for j in range(columns):
            da[j] = dh[j] * fma(-h[j], h[j], <real> 1)  # inverts (2)
            dh[j] = 0


cdef void rnn_relu_forward(const Pointwise *s) noexcept nogil:
    cdef Py_ssize_t b, j, columns = s.columns
    cdef const real *a
    cdef real *h
    for b in range(s.rows):
        a, h = row(&s.gates, b), row(&s.h, b)
        for j in range(columns):
            h[j] = a[j] if a[j] > 0 or a[j] != a[j] else <real> 0  # (2); NaN goes through


cdef void rnn_relu_backward(const Pointwise *s) noexcept nogil:
    cdef Py_ssize_t b, j, columns = s.columns
    cdef const real *h
    cdef real *da
    cdef real *dh
    for b in range(s.rows):
        h, da, dh = row(&s.h, b), row(&s.gates, b), row(&s.dh, b)
        for j in range(columns):
            da[j] = dh[j] if h[j] > 0 else <real> 0  # inverts (2)
            dh[j] = 0


register("rnn_tanh", rnn_tanh_forward, rnn_tanh_backward)
register("rnn_relu", rnn_relu_forward, rnn_relu_backward)
