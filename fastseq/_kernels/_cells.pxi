# What the cells share, and the RNN through time. The specification, with every formula, is
# oracle/cells.py; a comment here names the formula of the oracle that a line computes.
#
# a. The batch is cut into shares of rows; a thread takes its share through the whole sequence
#    and never waits for another. The recurrent weight is packed once and shared. Where it is too
#    large for a core's second-level cache, the columns of the state are cut instead [1]: each
#    thread packs and keeps its part of the weight, and all wait for each other at every step.
# b. One step is a product of all rows of the share, then the pointwise part of each row, while
#    both are still in cache.
# c. The pointwise loops have no branches and call only functions of _vmath.h: the compiler
#    turns each into vector code.
# d. Rows past their length take part in the product (a tile is not cheaper with a row less)
#    but leave no trace: their state is carried on, their gates are zero.
#
# [1] M. Zhang et al., "DeepCPU: Serving RNN-based deep learning models 10x faster", USENIX ATC
#     2018.

# What a share needs to know about the sequence.
cdef struct Sequence:
    Py_ssize_t T, B, H, P
    const int64_t *lengths
    bint reverse


# What one thread computes.
cdef struct Part:
    Py_ssize_t first, last  # rows of the batch
    Py_ssize_t left, right  # columns of the state


cdef inline Part own_part(const Sequence *q, bint columns) noexcept nogil:
    cdef int count = team_size(), n = team_member()
    if columns:
        return Part(0, q.B, part_start(q.H, count, n, PANEL),
                    part_start(q.H, count, n + 1, PANEL))  # each thread packs its own panels
    return Part(q.B * n // count, q.B * (n + 1) // count, 0, q.H)


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
    return thread_count(<double> q.T * q.B * q.P * q.H * gates, q.B // 4)


# Bytes of a recurrent weight that a second-level cache holds beside all the rest.
cdef Py_ssize_t WEIGHT_BYTES = 1 << 20
cdef Py_ssize_t PANEL = 64  # columns of any build's panel, or of several


cdef inline int column_team(const Sequence *q, Py_ssize_t gates, size_t size) noexcept nogil:
    """Threads for a recurrence by columns, whole panels; 1 where rows are better."""
    cdef bint small = gates * q.H * q.P * <Py_ssize_t> size <= WEIGHT_BYTES
    if small or q.lengths != NULL or q.P != q.H or q.H % PANEL:
        return 1
    return thread_count(<double> q.T * q.B * q.P * q.H * gates, q.H // PANEL)


cdef int check_cell(const Sequence *q, Py_ssize_t gates, Py_ssize_t width, Py_ssize_t columns,
                    const int64_t[::1] lengths) except -1:
    expect(width, gates * q.H, "gates: columns")
    expect(columns, q.P, "w_hh: columns")
    if lengths is not None:
        expect(lengths.shape[0], q.B, "lengths: length")
    return 0


# ---- RNN ----------------------------------------------------------------------------------------

cdef inline void rnn_point(const real *a, real *h, Py_ssize_t H, bint relu) noexcept nogil:
    cdef Py_ssize_t j
    if relu:
        for j in range(H):
            h[j] = a[j] if a[j] > 0 or a[j] != a[j] else <real> 0  # (2)
    else:
        for j in range(H):
            h[j] = tanh_(a[j])  # (2)


cdef void rnn_share(const Sequence *q, Part part, const real *gates, const real *packed,
                    real *h, bint relu, real *scratch) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t s, t, b, H = q.H, first = part.first, rows = part.last - part.first
    cdef const real *old
    cdef real *new
    for s in range(q.T):
        t = step(q, s)
        old = h + (before(q, t) * q.B + first) * H
        new = h + (after(q, t) * q.B + first) * H
        memcpy(new, gates + (t * q.B + first) * H, rows * H * sizeof(real))
        times_packed(rows, H, H, old, H, packed, new, H, True, scratch)  # (1)
        for b in range(rows):
            if active(q, t, first + b):
                rnn_point(new + b * H, new + b * H, H, relu)
            else:
                memcpy(new + b * H, old + b * H, H * sizeof(real))
    restore_subnormals(state)


def rnn_forward(const real[:, :, ::1] gates, const real[:, ::1] w_hh,
                real[:, :, ::1] h, const int64_t[::1] lengths, bint reverse, bint relu):
    cdef Sequence q
    cdef real *packed
    cdef Py_ssize_t size
    cdef int threads
    q.T, q.B, q.H, q.P = gates.shape[0], gates.shape[1], h.shape[2], h.shape[2]
    q.lengths, q.reverse = NULL if lengths is None else &lengths[0], reverse
    check_cell(&q, 1, gates.shape[2], w_hh.shape[1], lengths)
    expect(w_hh.shape[0], q.H, "w_hh: rows")
    check_states(&q, h.shape, q.H, "h")
    if q.T == 0 or q.B == 0:
        return
    threads = row_team(&q, 1)
    packed = workspace(q.H, q.H, q.B, threads, &size)
    with nogil:
        pack(q.H, q.H, &w_hh[0, 0], 1, q.H, packed)
        with parallel(num_threads=threads):
            rnn_share(&q, own_part(&q, False), &gates[0, 0, 0], packed, &h[0, 0, 0], relu,
                      packed + size * (team_member() + 1))
        free(packed)


cdef int check_states(const Sequence *q, const Py_ssize_t *shape, Py_ssize_t width,
                      str name) except -1:
    expect(shape[0], q.T + 1, name + ": slots")
    expect(shape[1], q.B, name + ": rows")
    expect(shape[2], width, name + ": columns")
    return 0


cdef real *workspace(Py_ssize_t K, Py_ssize_t N, Py_ssize_t B, int threads, Py_ssize_t *size,
                         real *_) except NULL:
    """Packed K x N panels, then one scratch for each thread, all `size` numbers apart."""
    cdef Py_ssize_t scratch = scratch_size(B)
    cdef real *memory
    size[0] = (max(packed_size(K, N), scratch) + 63) // 64 * 64
    memory = <real *> allocate(size[0] * (threads + 1), sizeof(real))
    if memory == NULL:
        raise MemoryError("recurrent kernel: no memory for packed weights")
    return memory


cdef inline void rnn_point_back(const real *y, const real *dy, real *dh, real *da,
                                Py_ssize_t H, bint relu) noexcept nogil:
    cdef Py_ssize_t j
    cdef real d
    for j in range(H):
        d = dy[j] + dh[j]
        if relu:
            da[j] = d if y[j] > 0 else <real> 0
        else:
            da[j] = d * fma(-y[j], y[j], <real> 1)  # inverts (2)
        dh[j] = 0


cdef void rnn_back_share(const Sequence *q, Part part, real *gates, const real *packed,
                         const real *h, const real *dy, real *dh, bint relu,
                         real *scratch) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t s, t, b, H = q.H, at, first = part.first, rows = part.last - part.first
    for s in range(q.T - 1, -1, -1):
        t = step(q, s)
        for b in range(first, part.last):
            at = (t * q.B + b) * H
            if active(q, t, b):
                rnn_point_back(h + (after(q, t) * q.B + b) * H, dy + at, dh + b * H, gates + at,
                               H, relu)
            else:
                memset(gates + at, 0, H * sizeof(real))
        times_packed(rows, H, H, gates + (t * q.B + first) * H, H, packed, dh + first * H, H,
                     True, scratch)  # inverts (1)
    restore_subnormals(state)


def rnn_backward(real[:, :, ::1] gates, const real[:, ::1] w_hh,
                 const real[:, :, ::1] h, const real[:, :, ::1] dy,
                 real[:, ::1] dh, const int64_t[::1] lengths, bint reverse, bint relu):
    cdef Sequence q
    cdef real *packed
    cdef Py_ssize_t size
    cdef int threads
    q.T, q.B, q.H, q.P = gates.shape[0], gates.shape[1], h.shape[2], h.shape[2]
    q.lengths, q.reverse = NULL if lengths is None else &lengths[0], reverse
    check_cell(&q, 1, gates.shape[2], w_hh.shape[1], lengths)
    expect(w_hh.shape[0], q.H, "w_hh: rows")
    check_states(&q, h.shape, q.H, "h")
    check_gradients(&q, dy, dh)
    if q.T == 0 or q.B == 0:
        return
    threads = row_team(&q, 1)
    packed = workspace(q.H, q.H, q.B, threads, &size)
    with nogil:
        pack(q.H, q.H, &w_hh[0, 0], q.H, 1, packed)
        with parallel(num_threads=threads):
            rnn_back_share(&q, own_part(&q, False), &gates[0, 0, 0], packed, &h[0, 0, 0],
                           &dy[0, 0, 0], &dh[0, 0], relu,
                           packed + size * (team_member() + 1))
        free(packed)


cdef int check_gradients(const Sequence *q, const real[:, :, ::1] dy,
                         real[:, ::1] dh) except -1:
    expect(dy.shape[0], q.T, "dy: steps")
    expect(dy.shape[1], q.B, "dy: rows")
    expect(dy.shape[2], q.P, "dy: columns")
    expect(dh.shape[0], q.B, "dh: rows")
    expect(dh.shape[1], q.P, "dh: columns")
    return 0
