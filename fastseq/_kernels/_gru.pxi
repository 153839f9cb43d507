# GRU, the variant that resets after the product; see _cells.pxi and oracle/gru.py.

cdef void gru_forward(const Pointwise *s) noexcept nogil:
    cdef Py_ssize_t b, j, H = s.H, columns = s.columns
    cdef real r, z, n
    cdef real *a
    cdef real *n_hidden
    cdef real *h
    cdef const real *product
    cdef const real *h_prev
    cdef const real *bias = s.inner_bias
    for b in range(s.rows):
        a, product, n_hidden = row(&s.gates, b), row(&s.product, b), row(&s.inner, b)
        h_prev, h = row(&s.h_prev, b), row(&s.h, b)
        for j in range(columns):
            n_hidden[j] = product[2 * H + j]
        if bias != NULL:
            for j in range(columns):
                n_hidden[j] += bias[j]  # (4)
        for j in range(columns):
            r = sigmoid(a[j] + product[j])  # (2)
            z = sigmoid(a[H + j] + product[H + j])  # (3)
            n = tanh_(fma(r, n_hidden[j], a[2 * H + j]))  # (5)
            a[j], a[H + j], a[2 * H + j] = r, z, n
            h[j] = fma(z, h_prev[j] - n, n)  # (6)


cdef void gru_backward(const Pointwise *s) noexcept nogil:
    cdef Py_ssize_t b, j, H = s.H, columns = s.columns
    cdef real r, z, n, d, dn, one = 1
    cdef real *a
    cdef real *dproduct
    cdef real *n_hidden
    cdef real *dh
    cdef const real *h_prev
    for b in range(s.rows):
        a, dproduct, n_hidden = row(&s.gates, b), row(&s.product, b), row(&s.inner, b)
        h_prev, dh = row(&s.h_prev, b), row(&s.dh, b)
        for j in range(columns):
            r, z, n, d = a[j], a[H + j], a[2 * H + j], dh[j]
            dh[j] = d * z  # inverts (6)
            dn = d * (one - z) * fma(-n, n, one)  # inverts (6), (5)
            a[2 * H + j] = dn
            a[j] = dn * n_hidden[j] * (r * (one - r))  # inverts (5), (2)
            a[H + j] = d * (h_prev[j] - n) * (z * (one - z))  # inverts (6), (3)
            n_hidden[j] = dn * r  # inverts (5)
            dproduct[j], dproduct[H + j], dproduct[2 * H + j] = a[j], a[H + j], n_hidden[j]


register("gru", gru_forward, gru_backward)
