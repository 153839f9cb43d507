# LSTM through time; see _cells.pxi. Numbers in brackets are those of oracle/cells.py.

cdef inline void lstm_point(real *a, const real *c_old, real *c, real *out,
                            Py_ssize_t H, Py_ssize_t columns) noexcept nogil:
    """The first columns of a row whose gates lie H apart."""
    cdef Py_ssize_t j
    cdef real i, f, g, o
    for j in range(columns):
        i = sigmoid(a[j])  # (2)
        f = sigmoid(a[H + j])  # (3)
        g = tanh_(a[2 * H + j])  # (4)
        o = sigmoid(a[3 * H + j])  # (5)
        a[j], a[H + j], a[2 * H + j], a[3 * H + j] = i, f, g, o
        c[j] = fma(f, c_old[j], i * g)  # (6)
        out[j] = o * tanh_(c[j])  # (7)


cdef void lstm_columns(const Sequence *q, Part part, real *gates, const real *w,
                       real *packed, real *h, real *c,
                       real *scratch) noexcept nogil:
    """All rows, some columns, no projection. packed: room for the whole weight."""
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t s, t, b, g, H = q.H, B = q.B, left = part.left, N = part.right - part.left
    cdef Py_ssize_t panels = packed_size(H, N)
    cdef real *a
    cdef const real *c_old
    packed += 4 * left * H
    for g in range(4):
        pack(H, N, w + (g * H + left) * H, 1, H, packed + g * panels)
    for s in range(q.T):
        t = step(q, s)
        a, c_old = gates + t * B * 4 * H + left, c + before(q, t) * B * H + left
        for g in range(4):
            times_packed(B, N, H, h + before(q, t) * B * H, H, packed + g * panels, a + g * H,
                         4 * H, True, scratch)  # (1)
        for b in range(B):
            lstm_point(a + b * 4 * H, c_old + b * H, c + (after(q, t) * B + b) * H + left,
                       h + (after(q, t) * B + b) * H + left, H, N)
        barrier()
    restore_subnormals(state)


cdef void lstm_share(const Sequence *q, Part part, real *gates, const real *packed,
                     const real *project, real *h, real *c, real *m,
                     real *scratch) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t s, t, b, H = q.H, P = q.P, size = sizeof(real)
    cdef Py_ssize_t first = part.first, rows = part.last - part.first
    cdef const real *old
    cdef const real *c_old
    cdef real *new
    cdef real *c_new
    cdef real *a
    cdef real *out
    for s in range(q.T):
        t = step(q, s)
        a = gates + (t * q.B + first) * 4 * H
        old, new = h + (before(q, t) * q.B + first) * P, h + (after(q, t) * q.B + first) * P
        c_old = c + (before(q, t) * q.B + first) * H
        c_new = c + (after(q, t) * q.B + first) * H
        out = new if project == NULL else m + (t * q.B + first) * H
        times_packed(rows, 4 * H, P, old, P, packed, a, 4 * H, True, scratch)  # (1)
        for b in range(rows):
            if active(q, t, first + b):
                lstm_point(a + b * 4 * H, c_old + b * H, c_new + b * H, out + b * H, H, H)
            else:
                memset(a + b * 4 * H, 0, 4 * H * size)
                memset(out + b * H, 0, H * size)
                memcpy(c_new + b * H, c_old + b * H, H * size)
        if project != NULL:
            times_packed(rows, P, H, out, H, project, new, P, False, scratch)  # (8)
        if q.lengths != NULL:
            for b in range(rows):
                if not active(q, t, first + b):
                    memcpy(new + b * P, old + b * P, P * size)
    restore_subnormals(state)


def lstm_forward(real[:, :, ::1] gates, const real[:, ::1] w_hh,
                 const real[:, ::1] w_hr, real[:, :, ::1] h, real[:, :, ::1] c,
                 real[:, :, ::1] m, const int64_t[::1] lengths, bint reverse):
    cdef Sequence q
    cdef real *packed
    cdef real *project = NULL
    cdef real *out = NULL
    cdef Py_ssize_t size, H, P, extra
    cdef int threads
    cdef bint columns
    q.T, q.B, q.H, q.P = gates.shape[0], gates.shape[1], c.shape[2], h.shape[2]
    q.lengths, q.reverse = NULL if lengths is None else &lengths[0], reverse
    H, P = q.H, q.P
    check_lstm(&q, gates.shape[2], w_hh, w_hr, lengths, c.shape)
    check_states(&q, h.shape, P, "h")
    if w_hr is not None:
        if m is None:
            raise ValueError("m: expected an array, since there is a projection")
        expect(m.shape[0], q.T, "m: steps")
        expect(m.shape[1], q.B, "m: rows")
        expect(m.shape[2], H, "m: columns")
    if q.T == 0 or q.B == 0:
        return
    threads = 1 if w_hr is not None else column_team(&q, 4, sizeof(real))
    columns = threads > 1
    if not columns:
        threads = row_team(&q, 4)
    extra = 0 if w_hr is None else packed_size(H, P) // (4 * H) + 1
    packed = workspace(P + extra, 4 * H, q.B, threads, &size)
    with nogil:
        if not columns:
            pack(P, 4 * H, &w_hh[0, 0], 1, P, packed)
        if w_hr is not None:
            project = packed + packed_size(P, 4 * H)
            pack(H, P, &w_hr[0, 0], 1, H, project)
            out = &m[0, 0, 0]
        with parallel(num_threads=threads):
            if columns:
                lstm_columns(&q, own_part(&q, True), &gates[0, 0, 0], &w_hh[0, 0], packed,
                             &h[0, 0, 0], &c[0, 0, 0], packed + size * (team_member() + 1))
            else:
                lstm_share(&q, own_part(&q, False), &gates[0, 0, 0], packed, project, &h[0, 0, 0],
                           &c[0, 0, 0], out, packed + size * (team_member() + 1))
        free(packed)


cdef int check_lstm(const Sequence *q, Py_ssize_t width, const real[:, ::1] w_hh,
                    const real[:, ::1] w_hr, const int64_t[::1] lengths,
                    const Py_ssize_t *c) except -1:
    if q.H == 0 or q.P == 0:
        raise ValueError(f"h, c: expected at least one column, got {q.P}, {q.H}")
    check_cell(q, 4, width, w_hh.shape[1], lengths)
    expect(w_hh.shape[0], 4 * q.H, "w_hh: rows")
    check_states(q, c, q.H, "c")
    if w_hr is None:
        expect(q.P, q.H, "h: columns")
    else:
        expect(w_hr.shape[0], q.P, "w_hr: rows")
        expect(w_hr.shape[1], q.H, "w_hr: columns")
    return 0


cdef inline void lstm_point_back(real *a, const real *c_old, const real *c,
                                 const real *dm, real *dc, Py_ssize_t H,
                                 Py_ssize_t columns) noexcept nogil:
    """The first columns of a row whose gates lie H apart."""
    cdef Py_ssize_t j
    cdef real i, f, g, o, tanh_c, d, one = 1
    for j in range(columns):
        i, f, g, o = a[j], a[H + j], a[2 * H + j], a[3 * H + j]
        tanh_c = tanh_(c[j])
        d = fma(dm[j] * o, fma(-tanh_c, tanh_c, one), dc[j])  # inverts (7)
        dc[j] = d * f  # inverts (6)
        a[j] = d * g * (i * (one - i))  # inverts (6), (2)
        a[H + j] = d * c_old[j] * (f * (one - f))  # inverts (6), (3)
        a[2 * H + j] = d * i * fma(-g, g, one)  # inverts (6), (4)
        a[3 * H + j] = dm[j] * tanh_c * (o * (one - o))  # inverts (7), (5)


cdef void lstm_back_columns(const Sequence *q, Part part, real *gates, const real *w,
                            real *packed, const real *c, const real *dy, real *dh,
                            real *dc, real *total, real *scratch) noexcept nogil:
    """All rows, some columns, no projection. packed: room for the whole weight."""
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t s, t, b, j, at, H = q.H, B = q.B, left = part.left, N = part.right - part.left
    packed += 4 * left * H
    pack(4 * H, N, w + left, H, 1, packed)
    for s in range(q.T - 1, -1, -1):
        t = step(q, s)
        for b in range(B):
            at = b * H + left
            for j in range(N):
                total[at + j] = dy[t * B * H + at + j] + dh[at + j]
                dh[at + j] = 0
            lstm_point_back(gates + (t * B + b) * 4 * H + left, c + before(q, t) * B * H + at,
                            c + after(q, t) * B * H + at, total + at, dc + at, H, N)
        barrier()
        times_packed(B, N, 4 * H, gates + t * B * 4 * H, 4 * H, packed, dh + left, H, True,
                     scratch)  # inverts (1)
    restore_subnormals(state)


cdef void lstm_back_share(const Sequence *q, Part part, real *gates, const real *packed,
                          const real *project, const real *c, real *dy, real *dh,
                          real *dc, real *total, real *scratch) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t s, t, b, j, H = q.H, P = q.P, first = part.first
    cdef Py_ssize_t rows = part.last - part.first
    cdef real *a
    cdef real *d
    cdef real *into
    cdef const real *c_old
    cdef const real *c_new
    for s in range(q.T - 1, -1, -1):
        t = step(q, s)
        a, d = gates + (t * q.B + first) * 4 * H, dy + (t * q.B + first) * P
        c_old = c + (before(q, t) * q.B + first) * H
        c_new = c + (after(q, t) * q.B + first) * H
        for b in range(rows):
            # With a projection the whole gradient of h[t] stays in dy, else beside it.
            into = total + (first + b) * H if project == NULL else d + b * P
            if active(q, t, first + b):
                for j in range(P):
                    into[j] = d[b * P + j] + dh[(first + b) * P + j]
                    dh[(first + b) * P + j] = 0
            elif project != NULL:
                memset(into, 0, P * sizeof(real))
        if project != NULL:
            times_packed(rows, H, P, d, P, project, total + first * H, H, False,
                         scratch)  # inverts (8)
        for b in range(rows):
            if active(q, t, first + b):
                lstm_point_back(a + b * 4 * H, c_old + b * H, c_new + b * H,
                                total + (first + b) * H, dc + (first + b) * H, H, H)
            else:
                memset(a + b * 4 * H, 0, 4 * H * sizeof(real))
        # inverts (1)
        times_packed(rows, P, 4 * H, a, 4 * H, packed, dh + first * P, P, True, scratch)
    restore_subnormals(state)


def lstm_backward(real[:, :, ::1] gates, const real[:, ::1] w_hh,
                  const real[:, ::1] w_hr, const real[:, :, ::1] c,
                  real[:, :, ::1] dy,
                  real[:, ::1] dh, real[:, ::1] dc, const int64_t[::1] lengths,
                  bint reverse):
    cdef Sequence q
    cdef real *packed
    cdef real *project = NULL
    cdef real *total
    cdef Py_ssize_t size, H, P, extra
    cdef int threads
    cdef bint columns
    q.T, q.B, q.H, q.P = gates.shape[0], gates.shape[1], c.shape[2], dy.shape[2]
    q.lengths, q.reverse = NULL if lengths is None else &lengths[0], reverse
    H, P = q.H, q.P
    check_lstm(&q, gates.shape[2], w_hh, w_hr, lengths, c.shape)
    check_gradients(&q, dy, dh)
    expect(dc.shape[0], q.B, "dc: rows")
    expect(dc.shape[1], H, "dc: columns")
    if q.T == 0 or q.B == 0:
        return
    threads = 1 if w_hr is not None else column_team(&q, 4, sizeof(real))
    columns = threads > 1
    if not columns:
        threads = row_team(&q, 4)
    # Behind the packed weights: the packed projection and the gradient of o * tanh(c).
    extra = 0 if w_hr is None else packed_size(P, H)
    extra = (extra + q.B * H) // P + 1
    packed = workspace(4 * H + extra, P, q.B, threads, &size)
    with nogil:
        if not columns:
            pack(4 * H, P, &w_hh[0, 0], P, 1, packed)
        total = packed + packed_size(4 * H, P)
        if w_hr is not None:
            project = total
            total = project + packed_size(P, H)
            pack(P, H, &w_hr[0, 0], H, 1, project)
        with parallel(num_threads=threads):
            if columns:
                lstm_back_columns(&q, own_part(&q, True), &gates[0, 0, 0], &w_hh[0, 0], packed,
                                  &c[0, 0, 0], &dy[0, 0, 0], &dh[0, 0], &dc[0, 0], total,
                                  packed + size * (team_member() + 1))
            else:
                lstm_back_share(&q, own_part(&q, False), &gates[0, 0, 0], packed, project,
                                &c[0, 0, 0], &dy[0, 0, 0], &dh[0, 0], &dc[0, 0], total,
                                packed + size * (team_member() + 1))
        free(packed)
