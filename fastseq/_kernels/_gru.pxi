# GRU through time; see _cells.pxi. Numbers in brackets are those of oracle/cells.py.

cdef inline void gru_point(real *a, const real *product, const real *bias,
                           const real *old, real *hn, real *new, Py_ssize_t H,
                           Py_ssize_t columns) noexcept nogil:
    """The first columns of a row whose gates lie H apart."""
    cdef Py_ssize_t j
    cdef real r, z, n
    for j in range(columns):
        hn[j] = product[2 * H + j]
    if bias != NULL:
        for j in range(columns):
            hn[j] += bias[j]  # (4)
    for j in range(columns):
        r = sigmoid(a[j] + product[j])  # (2)
        z = sigmoid(a[H + j] + product[H + j])  # (3)
        n = tanh_(fma(r, hn[j], a[2 * H + j]))  # (5)
        a[j], a[H + j], a[2 * H + j] = r, z, n
        new[j] = fma(z, old[j] - n, n)  # (6)


cdef void gru_columns(const Sequence *q, Part part, real *gates, const real *w,
                      real *packed, const real *bias, real *h, real *hn,
                      real *product, real *scratch) noexcept nogil:
    """All rows, some columns. packed: room for the whole weight."""
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t s, t, b, g, H = q.H, B = q.B, left = part.left, N = part.right - part.left
    cdef Py_ssize_t panels = packed_size(H, N)
    cdef const real *old
    cdef real *new
    packed += 3 * left * H
    product += left
    for g in range(3):
        pack(H, N, w + (g * H + left) * H, 1, H, packed + g * panels)
    for s in range(q.T):
        t = step(q, s)
        old, new = h + before(q, t) * B * H, h + after(q, t) * B * H + left
        for g in range(3):
            times_packed(B, N, H, old, H, packed + g * panels, product + g * H, 3 * H, False,
                         scratch)  # (1)
        for b in range(B):
            gru_point(gates + (t * B + b) * 3 * H + left, product + b * 3 * H,
                      NULL if bias == NULL else bias + left, old + b * H + left,
                      hn + (t * B + b) * H + left, new + b * H, H, N)
        barrier()
    restore_subnormals(state)


cdef void gru_share(const Sequence *q, Part part, real *gates, const real *packed,
                    const real *bias, real *h, real *hn, real *product,
                    real *scratch) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t s, t, b, H = q.H, first = part.first, rows = part.last - part.first, at
    cdef const real *old
    cdef real *new
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
                          new + b * H, H, H)
            else:
                memset(gates + 3 * at, 0, 3 * H * sizeof(real))
                memset(hn + at, 0, H * sizeof(real))
                memcpy(new + b * H, old + b * H, H * sizeof(real))
    restore_subnormals(state)


cdef int check_gru(const Sequence *q, Py_ssize_t width, const real[:, ::1] w_hh,
                   const int64_t[::1] lengths, const Py_ssize_t *h,
                   real[:, :, ::1] hn) except -1:
    check_cell(q, 3, width, w_hh.shape[1], lengths)
    expect(w_hh.shape[0], 3 * q.H, "w_hh: rows")
    check_states(q, h, q.H, "h")
    expect(hn.shape[0], q.T, "hn: steps")
    expect(hn.shape[1], q.B, "hn: rows")
    expect(hn.shape[2], q.H, "hn: columns")
    return 0


def gru_forward(real[:, :, ::1] gates, const real[:, ::1] w_hh,
                const real[::1] b_hn, real[:, :, ::1] h, real[:, :, ::1] hn,
                const int64_t[::1] lengths, bint reverse):
    cdef Sequence q
    cdef real *packed
    cdef real *product
    cdef const real *bias = NULL
    cdef Py_ssize_t size, H
    cdef int threads
    cdef bint columns
    q.T, q.B, q.H, q.P = gates.shape[0], gates.shape[1], h.shape[2], h.shape[2]
    q.lengths, q.reverse = NULL if lengths is None else &lengths[0], reverse
    H = q.H
    check_gru(&q, gates.shape[2], w_hh, lengths, h.shape, hn)
    if b_hn is not None:
        expect(b_hn.shape[0], H, "b_hn: length")
        bias = &b_hn[0]
    if q.T == 0 or q.B == 0:
        return
    threads = column_team(&q, 3, sizeof(real))
    columns = threads > 1
    if not columns:
        threads = row_team(&q, 3)
    packed = workspace(H + q.B, 3 * H, q.B, threads, &size)
    with nogil:
        if not columns:
            pack(H, 3 * H, &w_hh[0, 0], 1, H, packed)
        product = packed + packed_size(H, 3 * H)
        with parallel(num_threads=threads):
            if columns:
                gru_columns(&q, own_part(&q, True), &gates[0, 0, 0], &w_hh[0, 0], packed, bias,
                            &h[0, 0, 0], &hn[0, 0, 0], product,
                            packed + size * (team_member() + 1))
            else:
                gru_share(&q, own_part(&q, False), &gates[0, 0, 0], packed, bias, &h[0, 0, 0],
                          &hn[0, 0, 0], product, packed + size * (team_member() + 1))
        free(packed)


cdef inline void gru_point_back(real *a, const real *old, real *hn,
                                const real *dy, real *dh, real *da, Py_ssize_t H,
                                Py_ssize_t columns) noexcept nogil:
    """a becomes the gradient of the pre-activations, da that of the product h @ w_hhT."""
    cdef Py_ssize_t j
    cdef real r, z, n, d, dn, one = 1
    for j in range(columns):
        r, z, n = a[j], a[H + j], a[2 * H + j]
        d = dy[j] + dh[j]
        dh[j] = d * z  # inverts (6)
        dn = d * (one - z) * fma(-n, n, one)  # inverts (6), (5)
        a[2 * H + j] = dn
        a[j] = dn * hn[j] * (r * (one - r))  # inverts (5), (2)
        a[H + j] = d * (old[j] - n) * (z * (one - z))  # inverts (6), (3)
        hn[j] = dn * r  # inverts (5)
        da[j], da[H + j], da[2 * H + j] = a[j], a[H + j], hn[j]


cdef void gru_back_columns(const Sequence *q, Part part, real *gates, const real *w,
                           real *packed, const real *h, real *hn, const real *dy,
                           real *dh, real *da, real *scratch) noexcept nogil:
    """All rows, some columns. packed: room for the whole weight."""
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t s, t, b, at, H = q.H, B = q.B, left = part.left, N = part.right - part.left
    cdef real *now
    packed += 3 * left * H
    pack(3 * H, N, w + left, H, 1, packed)
    for s in range(q.T - 1, -1, -1):
        t = step(q, s)
        now = da + s % 2 * B * 3 * H  # another thread may still read the one of the step before
        for b in range(B):
            at = (t * B + b) * H + left
            gru_point_back(gates + (t * B + b) * 3 * H + left,
                           h + (before(q, t) * B + b) * H + left, hn + at, dy + at,
                           dh + b * H + left, now + b * 3 * H + left, H, N)
        barrier()
        times_packed(B, N, 3 * H, now, 3 * H, packed, dh + left, H, True,
                     scratch)  # inverts (1), (4)
    restore_subnormals(state)


cdef void gru_back_share(const Sequence *q, Part part, real *gates, const real *packed,
                         const real *h, real *hn, const real *dy, real *dh,
                         real *da, real *scratch) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t s, t, b, H = q.H, at, first = part.first, rows = part.last - part.first
    for s in range(q.T - 1, -1, -1):
        t = step(q, s)
        for b in range(first, part.last):
            at = (t * q.B + b) * H
            if active(q, t, b):
                gru_point_back(gates + 3 * at, h + (before(q, t) * q.B + b) * H, hn + at,
                               dy + at, dh + b * H, da + b * 3 * H, H, H)
            else:
                memset(gates + 3 * at, 0, 3 * H * sizeof(real))
                memset(hn + at, 0, H * sizeof(real))
                memset(da + b * 3 * H, 0, 3 * H * sizeof(real))
        times_packed(rows, H, 3 * H, da + first * 3 * H, 3 * H, packed, dh + first * H, H, True,
                     scratch)  # inverts (1), (4)
    restore_subnormals(state)


def gru_backward(real[:, :, ::1] gates, const real[:, ::1] w_hh,
                 const real[:, :, ::1] h, real[:, :, ::1] hn,
                 const real[:, :, ::1] dy,
                 real[:, ::1] dh, const int64_t[::1] lengths, bint reverse):
    cdef Sequence q
    cdef real *packed
    cdef real *da
    cdef Py_ssize_t size, H
    cdef int threads
    cdef bint columns
    q.T, q.B, q.H, q.P = gates.shape[0], gates.shape[1], h.shape[2], h.shape[2]
    q.lengths, q.reverse = NULL if lengths is None else &lengths[0], reverse
    H = q.H
    check_gru(&q, gates.shape[2], w_hh, lengths, h.shape, hn)
    check_gradients(&q, dy, dh)
    if q.T == 0 or q.B == 0:
        return
    threads = column_team(&q, 3, sizeof(real))
    columns = threads > 1
    if not columns:
        threads = row_team(&q, 3)
    packed = workspace(3 * H + 6 * q.B, H, q.B, threads, &size)
    with nogil:
        if not columns:
            pack(3 * H, H, &w_hh[0, 0], H, 1, packed)
        da = packed + packed_size(3 * H, H)
        with parallel(num_threads=threads):
            if columns:
                gru_back_columns(&q, own_part(&q, True), &gates[0, 0, 0], &w_hh[0, 0], packed,
                                 &h[0, 0, 0], &hn[0, 0, 0], &dy[0, 0, 0], &dh[0, 0], da,
                                 packed + size * (team_member() + 1))
            else:
                gru_back_share(&q, own_part(&q, False), &gates[0, 0, 0], packed, &h[0, 0, 0],
                               &hn[0, 0, 0], &dy[0, 0, 0], &dh[0, 0], da,
                               packed + size * (team_member() + 1))
        free(packed)
