# RNN, LSTM and GRU through time. The specification, with every formula, is oracle/cells.py; a
# comment here names the formula of the oracle that a line computes.
#
# a. The batch is cut into shares of rows; a thread takes its share through the whole sequence
#    and never waits for another. The recurrent weight is packed once and shared.
# b. One step is a product of all rows of the share, then the pointwise part of each row, while
#    both are still in cache.
# c. The pointwise loops have no branches and call only functions of _vmath.h: the compiler
#    turns each into vector code.
# d. Rows past their length take part in the product (a tile is not cheaper with a row less)
#    but leave no trace: their state is carried on, their gates are zero.

# What a share needs to know about the sequence.
cdef struct Sequence:
    Py_ssize_t T, B, H, P
    const int64_t *lengths
    bint reverse


cdef inline bint active(const Sequence *q, Py_ssize_t t, Py_ssize_t b) noexcept nogil:
    return q.lengths == NULL or t < q.lengths[b]


cdef inline Py_ssize_t step(const Sequence *q, Py_ssize_t s) noexcept nogil:
    """The time of step s of the forward pass."""
    return q.T - 1 - s if q.reverse else s


cdef inline Py_ssize_t before(const Sequence *q, Py_ssize_t t) noexcept nogil:
    """The slot of the state before step t; the state after it is in the other neighbour."""
    return t + 1 if q.reverse else t


cdef inline Py_ssize_t after(const Sequence *q, Py_ssize_t t) noexcept nogil:
    return t if q.reverse else t + 1


cdef inline int row_team(const Sequence *q, Py_ssize_t gates) noexcept nogil:
    """Threads for a recurrence: at least four rows each."""
    return team(<double> q.T * q.B * q.P * q.H * gates, q.B // 4)


cdef int check_cell(const Sequence *q, Py_ssize_t gates, Py_ssize_t width, Py_ssize_t columns,
                    const int64_t[::1] lengths) except -1:
    expect(width, gates * q.H, "gates: columns")
    expect(columns, q.P, "w_hh: columns")
    if lengths is not None:
        expect(lengths.shape[0], q.B, "lengths: length")
    return 0


# ---- RNN ----------------------------------------------------------------------------------------

cdef inline void rnn_point(const floating *a, floating *h, Py_ssize_t H, bint relu) noexcept nogil:
    cdef Py_ssize_t j
    if relu:
        for j in range(H):
            h[j] = a[j] if a[j] > 0 or a[j] != a[j] else <floating> 0  # (2)
    else:
        for j in range(H):
            h[j] = tanh_(a[j])  # (2)


cdef void rnn_share(const Sequence *q, const floating *gates, const floating *packed, floating *h,
                    bint relu, Py_ssize_t first, Py_ssize_t last,
                    floating *scratch) noexcept nogil:
    cdef unsigned state = fs_flush_subnormals()
    cdef Py_ssize_t s, t, b, H = q.H, rows = last - first
    cdef const floating *old
    cdef floating *new
    for s in range(q.T):
        t = step(q, s)
        old = h + (before(q, t) * q.B + first) * H
        new = h + (after(q, t) * q.B + first) * H
        memcpy(new, gates + (t * q.B + first) * H, rows * H * sizeof(floating))
        times_packed(rows, H, H, old, packed, new, H, True, scratch)  # (1)
        for b in range(rows):
            if active(q, t, first + b):
                rnn_point(new + b * H, new + b * H, H, relu)
            else:
                memcpy(new + b * H, old + b * H, H * sizeof(floating))
    fs_restore_subnormals(state)


def rnn_forward(const floating[:, :, ::1] gates, const floating[:, ::1] w_hh,
                floating[:, :, ::1] h, const int64_t[::1] lengths, bint reverse, bint relu):
    cdef Sequence q
    cdef floating *packed
    cdef Py_ssize_t size
    cdef int threads, n
    q.T, q.B, q.H, q.P = gates.shape[0], gates.shape[1], h.shape[2], h.shape[2]
    q.lengths, q.reverse = NULL if lengths is None else &lengths[0], reverse
    check_cell(&q, 1, gates.shape[2], w_hh.shape[1], lengths)
    expect(w_hh.shape[0], q.H, "w_hh: rows")
    check_states(&q, h.shape, q.H, "h")
    if q.T == 0 or q.B == 0:
        return
    threads = row_team(&q, 1)
    packed = workspace(q.H, q.H, q.B, threads, &size, <floating *> NULL)
    with nogil:
        pack(q.H, q.H, &w_hh[0, 0], 1, q.H, packed)
        for n in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            rnn_share(&q, &gates[0, 0, 0], packed, &h[0, 0, 0], relu, q.B * n // threads,
                      q.B * (n + 1) // threads, packed + size * (n + 1))
        free(packed)


cdef int check_states(const Sequence *q, const Py_ssize_t *shape, Py_ssize_t width,
                      str name) except -1:
    expect(shape[0], q.T + 1, name + ": slots")
    expect(shape[1], q.B, name + ": rows")
    expect(shape[2], width, name + ": columns")
    return 0


cdef floating *workspace(Py_ssize_t K, Py_ssize_t N, Py_ssize_t B, int threads, Py_ssize_t *size,
                         floating *_) except NULL:
    """Packed K x N panels, then one scratch for each thread, all `size` numbers apart."""
    cdef Py_ssize_t scratch
    cdef floating *memory
    if floating is float:
        scratch = fs_scratch_size_f(B)
    else:
        scratch = fs_scratch_size_d(B)
    size[0] = (max(packed_size(K, N, <floating *> NULL), scratch) + 63) // 64 * 64
    memory = <floating *> fs_allocate(size[0] * (threads + 1), sizeof(floating))
    if memory == NULL:
        raise MemoryError("recurrent kernel: no memory for packed weights")
    return memory


cdef inline void rnn_point_back(const floating *y, const floating *dy, floating *dh, floating *da,
                                Py_ssize_t H, bint relu) noexcept nogil:
    cdef Py_ssize_t j
    cdef floating d
    for j in range(H):
        d = dy[j] + dh[j]
        if relu:
            da[j] = d if y[j] > 0 else <floating> 0
        else:
            da[j] = d * fma(-y[j], y[j], <floating> 1)  # inverts (2)
        dh[j] = 0


cdef void rnn_back_share(const Sequence *q, floating *gates, const floating *packed,
                         const floating *h, const floating *dy, floating *dh, bint relu,
                         Py_ssize_t first, Py_ssize_t last, floating *scratch) noexcept nogil:
    cdef unsigned state = fs_flush_subnormals()
    cdef Py_ssize_t s, t, b, H = q.H, at
    for s in range(q.T - 1, -1, -1):
        t = step(q, s)
        for b in range(first, last):
            at = (t * q.B + b) * H
            if active(q, t, b):
                rnn_point_back(h + (after(q, t) * q.B + b) * H, dy + at, dh + b * H, gates + at,
                               H, relu)
            else:
                memset(gates + at, 0, H * sizeof(floating))
        times_packed(last - first, H, H, gates + (t * q.B + first) * H, packed, dh + first * H,
                     H, True, scratch)  # inverts (1)
    fs_restore_subnormals(state)


def rnn_backward(floating[:, :, ::1] gates, const floating[:, ::1] w_hh,
                 const floating[:, :, ::1] h, const floating[:, :, ::1] dy,
                 floating[:, ::1] dh, const int64_t[::1] lengths, bint reverse, bint relu):
    cdef Sequence q
    cdef floating *packed
    cdef Py_ssize_t size
    cdef int threads, n
    q.T, q.B, q.H, q.P = gates.shape[0], gates.shape[1], h.shape[2], h.shape[2]
    q.lengths, q.reverse = NULL if lengths is None else &lengths[0], reverse
    check_cell(&q, 1, gates.shape[2], w_hh.shape[1], lengths)
    expect(w_hh.shape[0], q.H, "w_hh: rows")
    check_states(&q, h.shape, q.H, "h")
    check_gradients(&q, dy, dh)
    if q.T == 0 or q.B == 0:
        return
    threads = row_team(&q, 1)
    packed = workspace(q.H, q.H, q.B, threads, &size, <floating *> NULL)
    with nogil:
        pack(q.H, q.H, &w_hh[0, 0], q.H, 1, packed)
        for n in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            rnn_back_share(&q, &gates[0, 0, 0], packed, &h[0, 0, 0], &dy[0, 0, 0], &dh[0, 0],
                           relu, q.B * n // threads, q.B * (n + 1) // threads,
                           packed + size * (n + 1))
        free(packed)


cdef int check_gradients(const Sequence *q, const floating[:, :, ::1] dy,
                         floating[:, ::1] dh) except -1:
    expect(dy.shape[0], q.T, "dy: steps")
    expect(dy.shape[1], q.B, "dy: rows")
    expect(dy.shape[2], q.P, "dy: columns")
    expect(dh.shape[0], q.B, "dh: rows")
    expect(dh.shape[1], q.P, "dh: columns")
    return 0


# ---- LSTM ---------------------------------------------------------------------------------------

cdef inline void lstm_point(floating *a, const floating *c_old, floating *c, floating *out,
                            Py_ssize_t H) noexcept nogil:
    cdef Py_ssize_t j
    cdef floating i, f, g, o
    for j in range(H):
        i = sigmoid(a[j])  # (2)
        f = sigmoid(a[H + j])  # (3)
        g = tanh_(a[2 * H + j])  # (4)
        o = sigmoid(a[3 * H + j])  # (5)
        a[j], a[H + j], a[2 * H + j], a[3 * H + j] = i, f, g, o
        c[j] = fma(f, c_old[j], i * g)  # (6)
        out[j] = o * tanh_(c[j])  # (7)


cdef void lstm_share(const Sequence *q, floating *gates, const floating *packed,
                     const floating *project, floating *h, floating *c, floating *m,
                     Py_ssize_t first, Py_ssize_t last, floating *scratch) noexcept nogil:
    cdef unsigned state = fs_flush_subnormals()
    cdef Py_ssize_t s, t, b, H = q.H, P = q.P, rows = last - first, size = sizeof(floating)
    cdef const floating *old
    cdef const floating *c_old
    cdef floating *new
    cdef floating *c_new
    cdef floating *a
    cdef floating *out
    for s in range(q.T):
        t = step(q, s)
        a = gates + (t * q.B + first) * 4 * H
        old, new = h + (before(q, t) * q.B + first) * P, h + (after(q, t) * q.B + first) * P
        c_old = c + (before(q, t) * q.B + first) * H
        c_new = c + (after(q, t) * q.B + first) * H
        out = new if project == NULL else m + (t * q.B + first) * H
        times_packed(rows, 4 * H, P, old, packed, a, 4 * H, True, scratch)  # (1)
        for b in range(rows):
            if active(q, t, first + b):
                lstm_point(a + b * 4 * H, c_old + b * H, c_new + b * H, out + b * H, H)
            else:
                memset(a + b * 4 * H, 0, 4 * H * size)
                memset(out + b * H, 0, H * size)
                memcpy(c_new + b * H, c_old + b * H, H * size)
        if project != NULL:
            times_packed(rows, P, H, out, project, new, P, False, scratch)  # (8)
        if q.lengths != NULL:
            for b in range(rows):
                if not active(q, t, first + b):
                    memcpy(new + b * P, old + b * P, P * size)
    fs_restore_subnormals(state)


def lstm_forward(floating[:, :, ::1] gates, const floating[:, ::1] w_hh,
                 const floating[:, ::1] w_hr, floating[:, :, ::1] h, floating[:, :, ::1] c,
                 floating[:, :, ::1] m, const int64_t[::1] lengths, bint reverse):
    cdef Sequence q
    cdef floating *packed
    cdef floating *project = NULL
    cdef floating *out = NULL
    cdef Py_ssize_t size, H, P, extra
    cdef int threads, n
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
    threads = row_team(&q, 4)
    extra = 0 if w_hr is None else packed_size(H, P, <floating *> NULL) // (4 * H) + 1
    packed = workspace(P + extra, 4 * H, q.B, threads, &size, <floating *> NULL)
    with nogil:
        pack(P, 4 * H, &w_hh[0, 0], 1, P, packed)
        if w_hr is not None:
            project = packed + packed_size(P, 4 * H, <floating *> NULL)
            pack(H, P, &w_hr[0, 0], 1, H, project)
            out = &m[0, 0, 0]
        for n in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            lstm_share(&q, &gates[0, 0, 0], packed, project, &h[0, 0, 0], &c[0, 0, 0], out,
                       q.B * n // threads, q.B * (n + 1) // threads,
                       packed + size * (n + 1))
        free(packed)


cdef int check_lstm(const Sequence *q, Py_ssize_t width, const floating[:, ::1] w_hh,
                    const floating[:, ::1] w_hr, const int64_t[::1] lengths,
                    const Py_ssize_t *c) except -1:
    check_cell(q, 4, width, w_hh.shape[1], lengths)
    expect(w_hh.shape[0], 4 * q.H, "w_hh: rows")
    check_states(q, c, q.H, "c")
    if w_hr is None:
        expect(q.P, q.H, "h: columns")
    else:
        expect(w_hr.shape[0], q.P, "w_hr: rows")
        expect(w_hr.shape[1], q.H, "w_hr: columns")
    return 0


cdef inline void lstm_point_back(floating *a, const floating *c_old, const floating *c,
                                 const floating *dm, floating *dc, Py_ssize_t H) noexcept nogil:
    cdef Py_ssize_t j
    cdef floating i, f, g, o, tanh_c, d, one = 1
    for j in range(H):
        i, f, g, o = a[j], a[H + j], a[2 * H + j], a[3 * H + j]
        tanh_c = tanh_(c[j])
        d = fma(dm[j] * o, fma(-tanh_c, tanh_c, one), dc[j])  # inverts (7)
        dc[j] = d * f  # inverts (6)
        a[j] = d * g * (i * (one - i))  # inverts (6), (2)
        a[H + j] = d * c_old[j] * (f * (one - f))  # inverts (6), (3)
        a[2 * H + j] = d * i * fma(-g, g, one)  # inverts (6), (4)
        a[3 * H + j] = dm[j] * tanh_c * (o * (one - o))  # inverts (7), (5)


cdef void lstm_back_share(const Sequence *q, floating *gates, const floating *packed,
                          const floating *project, const floating *c, floating *dy, floating *dh,
                          floating *dc, floating *total, Py_ssize_t first, Py_ssize_t last,
                          floating *scratch) noexcept nogil:
    cdef unsigned state = fs_flush_subnormals()
    cdef Py_ssize_t s, t, b, j, H = q.H, P = q.P, rows = last - first
    cdef floating *a
    cdef floating *d
    cdef floating *into
    cdef const floating *c_old
    cdef const floating *c_new
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
                memset(into, 0, P * sizeof(floating))
        if project != NULL:
            times_packed(rows, H, P, d, project, total + first * H, H, False,
                         scratch)  # inverts (8)
        for b in range(rows):
            if active(q, t, first + b):
                lstm_point_back(a + b * 4 * H, c_old + b * H, c_new + b * H,
                                total + (first + b) * H, dc + (first + b) * H, H)
            else:
                memset(a + b * 4 * H, 0, 4 * H * sizeof(floating))
        times_packed(rows, P, 4 * H, a, packed, dh + first * P, P, True, scratch)  # inverts (1)
    fs_restore_subnormals(state)


def lstm_backward(floating[:, :, ::1] gates, const floating[:, ::1] w_hh,
                  const floating[:, ::1] w_hr, const floating[:, :, ::1] c,
                  floating[:, :, ::1] dy,
                  floating[:, ::1] dh, floating[:, ::1] dc, const int64_t[::1] lengths,
                  bint reverse):
    cdef Sequence q
    cdef floating *packed
    cdef floating *project = NULL
    cdef floating *total
    cdef Py_ssize_t size, H, P, extra
    cdef int threads, n
    q.T, q.B, q.H, q.P = gates.shape[0], gates.shape[1], c.shape[2], dy.shape[2]
    q.lengths, q.reverse = NULL if lengths is None else &lengths[0], reverse
    H, P = q.H, q.P
    check_lstm(&q, gates.shape[2], w_hh, w_hr, lengths, c.shape)
    check_gradients(&q, dy, dh)
    expect(dc.shape[0], q.B, "dc: rows")
    expect(dc.shape[1], H, "dc: columns")
    if q.T == 0 or q.B == 0:
        return
    threads = row_team(&q, 4)
    # Behind the packed weights: the packed projection and the gradient of o * tanh(c).
    extra = 0 if w_hr is None else packed_size(P, H, <floating *> NULL)
    extra = (extra + q.B * H) // P + 1
    packed = workspace(4 * H + extra, P, q.B, threads, &size, <floating *> NULL)
    with nogil:
        pack(4 * H, P, &w_hh[0, 0], P, 1, packed)
        total = packed + packed_size(4 * H, P, <floating *> NULL)
        if w_hr is not None:
            project = total
            total = project + packed_size(P, H, <floating *> NULL)
            pack(P, H, &w_hr[0, 0], H, 1, project)
        for n in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            lstm_back_share(&q, &gates[0, 0, 0], packed, project, &c[0, 0, 0], &dy[0, 0, 0],
                            &dh[0, 0], &dc[0, 0], total, q.B * n // threads,
                            q.B * (n + 1) // threads, packed + size * (n + 1))
        free(packed)


# ---- GRU ----------------------------------------------------------------------------------------

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
        times_packed(rows, 3 * H, H, old, packed, product, 3 * H, False, scratch)  # (1)
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
        times_packed(last - first, H, 3 * H, da + first * 3 * H, packed, dh + first * H, H, True,
                     scratch)  # inverts (1), (4)
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
