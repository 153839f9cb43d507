# GRU through time; see _cells.pxi. Numbers in brackets are those of oracle/cells.py.

cdef inline void gru_point(floating *a, const floating *product, const floating *bias,
                           const floating *old, floating *hn, floating *new,
                           Py_ssize_t H) noexcept nogil:
    cdef Py_ssize_t j
    cdef floating r, z, n
    for j in range(H):
        hn[j] = product[2 * H + j]
    if bias != NULL:
        for j in range(H):
            hn[j] += bias[j]  # (4)
    for j in range(H):
        r = sigmoid(a[j] + product[j])  # (2)
        z = sigmoid(a[H + j] + product[H + j])  # (3)
        n = tanh_(fma(r, hn[j], a[2 * H + j]))  # (5)
        a[j], a[H + j], a[2 * H + j] = r, z, n
        new[j] = fma(z, old[j] - n, n)  # (6)


cdef void gru_share(const Sequence *q, floating *gates, const floating *packed,
                    const floating *bias, floating *h, floating *hn, floating *product,
                    Py_ssize_t first, Py_ssize_t last, floating *scratch) noexcept nogil:
    cdef unsigned state = fs_flush_subnormals()
    cdef Py_ssize_t s, t, b, H = q.H, rows = last - first, at
    cdef const floating *old
    cdef floating *new
    product += first * 3 * H
    for s in range(q.T):
        t = step(q, s)
        old = h + (before(q, t) * q.B + first) * H
        new = h + (after(q, t) * q.B + first) * H
        times_packed(rows, 3 * H, H, old, H, packed, product, 3 * H, False, scratch)  # (1)
        for b in range(rows):
            at = (t * q.B + first + b) * H
            if active(q, t, first + b):
                gru_point(gates + 3 * at, product + b * 3 * H, bias, old + b * H, hn + at,
                          new + b * H, H)
            else:
                memset(gates + 3 * at, 0, 3 * H * sizeof(floating))
                memset(hn + at, 0, H * sizeof(floating))
                memcpy(new + b * H, old + b * H, H * sizeof(floating))
    fs_restore_subnormals(state)


cdef int check_gru(const Sequence *q, Py_ssize_t width, const floating[:, ::1] w_hh,
                   const int64_t[::1] lengths, const Py_ssize_t *h,
                   floating[:, :, ::1] hn) except -1:
    check_cell(q, 3, width, w_hh.shape[1], lengths)
    expect(w_hh.shape[0], 3 * q.H, "w_hh: rows")
    check_states(q, h, q.H, "h")
    expect(hn.shape[0], q.T, "hn: steps")
    expect(hn.shape[1], q.B, "hn: rows")
    expect(hn.shape[2], q.H, "hn: columns")
    return 0


def gru_forward(floating[:, :, ::1] gates, const floating[:, ::1] w_hh,
                const floating[::1] b_hn, floating[:, :, ::1] h, floating[:, :, ::1] hn,
                const int64_t[::1] lengths, bint reverse):
    cdef Sequence q
    cdef floating *packed
    cdef floating *product
    cdef const floating *bias = NULL
    cdef Py_ssize_t size, H
    cdef int threads, n
    q.T, q.B, q.H, q.P = gates.shape[0], gates.shape[1], h.shape[2], h.shape[2]
    q.lengths, q.reverse = NULL if lengths is None else &lengths[0], reverse
    H = q.H
    check_gru(&q, gates.shape[2], w_hh, lengths, h.shape, hn)
    if b_hn is not None:
        expect(b_hn.shape[0], H, "b_hn: length")
        bias = &b_hn[0]
    if q.T == 0 or q.B == 0:
        return
    threads = row_team(&q, 3)
    packed = workspace(H + q.B, 3 * H, q.B, threads, &size, <floating *> NULL)
    with nogil:
        pack(H, 3 * H, &w_hh[0, 0], 1, H, packed)
        product = packed + packed_size(H, 3 * H, <floating *> NULL)
        for n in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            gru_share(&q, &gates[0, 0, 0], packed, bias, &h[0, 0, 0], &hn[0, 0, 0], product,
                      q.B * n // threads, q.B * (n + 1) // threads, packed + size * (n + 1))
        free(packed)


cdef inline void gru_point_back(floating *a, const floating *old, floating *hn,
                                const floating *dy, floating *dh, floating *da,
                                Py_ssize_t H) noexcept nogil:
    """a becomes the gradient of the pre-activations, da that of the product h @ w_hhT."""
    cdef Py_ssize_t j
    cdef floating r, z, n, d, dn, one = 1
    for j in range(H):
        r, z, n = a[j], a[H + j], a[2 * H + j]
        d = dy[j] + dh[j]
        dh[j] = d * z  # inverts (6)
        dn = d * (one - z) * fma(-n, n, one)  # inverts (6), (5)
        a[2 * H + j] = dn
        a[j] = dn * hn[j] * (r * (one - r))  # inverts (5), (2)
        a[H + j] = d * (old[j] - n) * (z * (one - z))  # inverts (6), (3)
        hn[j] = dn * r  # inverts (5)
        da[j], da[H + j], da[2 * H + j] = a[j], a[H + j], hn[j]


cdef void gru_back_share(const Sequence *q, floating *gates, const floating *packed,
                         const floating *h, floating *hn, const floating *dy, floating *dh,
                         floating *da, Py_ssize_t first, Py_ssize_t last,
                         floating *scratch) noexcept nogil:
    cdef unsigned state = fs_flush_subnormals()
    cdef Py_ssize_t s, t, b, H = q.H, at
    for s in range(q.T - 1, -1, -1):
        t = step(q, s)
        for b in range(first, last):
            at = (t * q.B + b) * H
            if active(q, t, b):
                gru_point_back(gates + 3 * at, h + (before(q, t) * q.B + b) * H, hn + at,
                               dy + at, dh + b * H, da + b * 3 * H, H)
            else:
                memset(gates + 3 * at, 0, 3 * H * sizeof(floating))
                memset(hn + at, 0, H * sizeof(floating))
                memset(da + b * 3 * H, 0, 3 * H * sizeof(floating))
        times_packed(last - first, H, 3 * H, da + first * 3 * H, 3 * H, packed, dh + first * H, H,
                     True, scratch)  # inverts (1), (4)
    fs_restore_subnormals(state)


def gru_backward(floating[:, :, ::1] gates, const floating[:, ::1] w_hh,
                 const floating[:, :, ::1] h, floating[:, :, ::1] hn,
                 const floating[:, :, ::1] dy,
                 floating[:, ::1] dh, const int64_t[::1] lengths, bint reverse):
    cdef Sequence q
    cdef floating *packed
    cdef floating *da
    cdef Py_ssize_t size, H
    cdef int threads, n
    q.T, q.B, q.H, q.P = gates.shape[0], gates.shape[1], h.shape[2], h.shape[2]
    q.lengths, q.reverse = NULL if lengths is None else &lengths[0], reverse
    H = q.H
    check_gru(&q, gates.shape[2], w_hh, lengths, h.shape, hn)
    check_gradients(&q, dy, dh)
    if q.T == 0 or q.B == 0:
        return
    threads = row_team(&q, 3)
    packed = workspace(3 * H + 3 * q.B, H, q.B, threads, &size, <floating *> NULL)
    with nogil:
        pack(3 * H, H, &w_hh[0, 0], H, 1, packed)
        da = packed + packed_size(3 * H, H, <floating *> NULL)
        for n in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            gru_back_share(&q, &gates[0, 0, 0], packed, &h[0, 0, 0], &hn[0, 0, 0],
                           &dy[0, 0, 0], &dh[0, 0], da, q.B * n // threads,
                           q.B * (n + 1) // threads, packed + size * (n + 1))
        free(packed)
