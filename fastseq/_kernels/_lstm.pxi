# LSTM; see _cells.pxi and oracle/lstm.py.

cdef void lstm_forward(const Pointwise *s) noexcept nogil:
    cdef Py_ssize_t b, j, H = s.H, columns = s.columns
    cdef real i, f, g, o
    cdef real *a
    cdef real *c
    cdef real *h
    cdef const real *c_prev
    for b in range(s.rows):
        a, c_prev, c, h = row(&s.gates, b), row(&s.c_prev, b), row(&s.c, b), row(&s.h, b)
        for j in range(columns):
            i = sigmoid(a[j])  # (2)
            f = sigmoid(a[H + j])  # (3)
            g = tanh_(a[2 * H + j])  # (4)
            o = sigmoid(a[3 * H + j])  # (5)
            a[j], a[H + j], a[2 * H + j], a[3 * H + j] = i, f, g, o
            c[j] = fma(f, c_prev[j], i * g)  # (6)
            h[j] = o * tanh_(c[j])  # (7)


cdef void lstm_backward(const Pointwise *s) noexcept nogil:
    cdef Py_ssize_t b, j, H = s.H, columns = s.columns
    cdef real i, f, g, o, d, tanh_c, dc_total, one = 1
    cdef real *a
    cdef real *dh
    cdef real *dc
    cdef const real *c_prev
    cdef const real *c
    for b in range(s.rows):
        a, c_prev, c = row(&s.gates, b), row(&s.c_prev, b), row(&s.c, b)
        dh, dc = row(&s.dh, b), row(&s.dc, b)
        for j in range(columns):
            i, f, g, o, d = a[j], a[H + j], a[2 * H + j], a[3 * H + j], dh[j]
            tanh_c = tanh_(c[j])
            dc_total = fma(d * o, fma(-tanh_c, tanh_c, one), dc[j])  # inverts (7)
            dc[j] = dc_total * f  # inverts (6)
            a[j] = dc_total * g * (i * (one - i))  # inverts (6), (2)
            a[H + j] = dc_total * c_prev[j] * (f * (one - f))  # inverts (6), (3)
            a[2 * H + j] = dc_total * i * fma(-g, g, one)  # inverts (6), (4)
            a[3 * H + j] = d * tanh_c * (o * (one - o))  # inverts (7), (5)
            dh[j] = 0


register("lstm", lstm_forward, lstm_backward)
