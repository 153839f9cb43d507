# One layer in one direction through time, over any cell. The specification is
# oracle/recurrence.py; cells.py explains the packed order of rows.
#
# a. A team cuts the batch into rows: each thread takes its rows through the whole sequence and
#    never waits for another. Where the recurrent weight is too large for a core's second-level
#    cache, the team cuts the columns of the state instead [1]: each thread packs and keeps its
#    part of the weight, and all wait for each other at every step.
# b. One step is a product of the rows that are active, then the pointwise part of each, while both
#    are still in cache. Sequences are ordered by falling length, so that active rows are the first.
# c. The state before a step comes from the neighbouring step, or, for a sequence that begins
#    there, from the initial state: a step has up to two pieces of rows.
# d. Weights are packed once for all steps; where they are used once or twice, read in place.
#
# [1] M. Zhang et al., "DeepCPU: Serving RNN-based deep learning models 10x faster", USENIX ATC
#     2018.

cdef enum:
    MAX_GATES = 8

# Bytes of a recurrent weight that a second-level cache holds beside everything else.
cdef Py_ssize_t WEIGHT_BYTES = 1 << 20
cdef Py_ssize_t MIN_ROWS = 4  # of a thread's slice

cdef struct Recurrence:
    const Cell *cell
    Py_ssize_t T, B, N, H, P
    bint reverse, saves, by_columns
    bint in_place  # weights are read where they are, not packed
    int threads
    Py_ssize_t *start  # (T+1,): step t has rows start[t] to start[t+1] of the packed matrices
    Matrix w_hh, w_hr  # w_hr without data: no projection
    Matrix h0, c0, y, h_n, c_n
    Matrix gates  # (N, G·H)
    # (N, ·) where the call saves them, else a slot or two of B rows that steps share.
    Matrix c, inner, unprojected
    Matrix product  # (B, G·H), two slots of it in a backward pass
    const real *inner_bias
    real *bias  # (G·H,): forward the sum of both biases, backward the gradient of one
    Matrix dy, dh, dc
    Matrix dh_total  # (N, P): with a projection, the whole gradient of each h
    Matrix d_unprojected  # (B, H)
    Matrix h_prev  # (N, P): the state before each row's step; none where it can be read from y
    real *packed_hh
    real *packed_hr
    real *scratch
    Py_ssize_t scratch_size  # of one thread


# The share of one thread: all columns of some rows, or some columns of all rows.
cdef struct ThreadSlice:
    Py_ssize_t first, last  # rows of the batch
    Py_ssize_t left, right  # columns of the state, of H
    Py_ssize_t out_left, out_right  # columns of the output, of P
    int products  # forward: one for all gates, or one for the columns of each
    Packed w_hh[MAX_GATES]
    Packed w_hr
    real *scratch


# ---- shapes -------------------------------------------------------------------------------------

cdef inline Matrix part_of(const Matrix *a, Py_ssize_t row, Py_ssize_t column, Py_ssize_t rows,
                           Py_ssize_t columns) noexcept nogil:
    """`block` of a matrix that may be absent."""
    if a.data == NULL:
        return Matrix(NULL, rows, columns, 0, 1)
    return block(a[0], row, column, rows, columns)


cdef inline Py_ssize_t batch_size(const Recurrence *q, Py_ssize_t t) noexcept nogil:
    return q.start[t + 1] - q.start[t]


cdef inline Py_ssize_t time_of(const Recurrence *q, Py_ssize_t s) noexcept nogil:
    """The time of step s of the forward pass."""
    return q.T - 1 - s if q.reverse else s


cdef inline Py_ssize_t state_row(const Recurrence *q, Py_ssize_t t) noexcept nogil:
    """First row of c after step t; without saving, steps use two slots in turn."""
    return q.start[t] if q.saves else t % 2 * q.B


cdef inline Py_ssize_t saved_row(const Recurrence *q, Py_ssize_t t) noexcept nogil:
    """First row of inner and unprojected at step t; without saving, steps share one slot."""
    return q.start[t] if q.saves else 0


# Rows of one step whose previous state lies in one place.
cdef struct Piece:
    Py_ssize_t first, count
    Matrix h_prev, c_prev


cdef int find_pieces(const Recurrence *q, const ThreadSlice *slice, Py_ssize_t t,
                     Piece *pieces) noexcept nogil:
    """A slice's pieces of step t, of which those without rows are left out."""
    cdef Py_ssize_t n = batch_size(q, t), first = min(slice.first, n), last = min(slice.last, n)
    cdef Py_ssize_t prev = t + 1 if q.reverse else t - 1, middle = first
    cdef int count = 0
    if 0 <= prev < q.T:
        middle = max(first, min(last, batch_size(q, prev)))
    if middle > first:
        pieces[0] = Piece(
            first, middle - first,
            part_of(&q.y, q.start[prev] + first, 0, middle - first, q.P),
            part_of(&q.c, state_row(q, prev) + first, 0, middle - first, q.H))
        count = 1
    if last > middle:
        pieces[count] = Piece(middle, last - middle,
                              part_of(&q.h0, middle, 0, last - middle, q.P),
                              part_of(&q.c0, middle, 0, last - middle, q.H))
        count += 1
    return count


# ---- slices -------------------------------------------------------------------------------------

cdef Py_ssize_t balanced_row(const Recurrence *q, int part, int parts) noexcept nogil:
    """First row of a part, so that all parts have about as many steps of their rows to do."""
    cdef Py_ssize_t row = 0, t = q.T, done = 0
    if q.N == q.T * q.B:
        return q.B * part // parts
    while row < q.B and done * parts < q.N * part:
        while t > 0 and batch_size(q, t - 1) <= row:
            t -= 1
        done += t  # the length of this row
        row += 1
    return row if part < parts else q.B


cdef ThreadSlice own_slice(const Recurrence *q, int part, int parts) noexcept nogil:
    cdef ThreadSlice slice
    slice.first, slice.last = 0, q.B
    slice.left = slice.out_left = 0
    slice.right, slice.out_right = q.H, q.P
    slice.products = 1
    slice.scratch = q.scratch + part * q.scratch_size
    if q.by_columns:
        slice.left = part_start(q.H, part, parts, PANEL)
        slice.right = part_start(q.H, part + 1, parts, PANEL)
        slice.out_left = part_start(q.P, part, parts, PANEL)
        slice.out_right = part_start(q.P, part + 1, parts, PANEL)
    else:
        slice.first, slice.last = balanced_row(q, part, parts), balanced_row(q, part + 1, parts)
    return slice


cdef Packed pack_columns(Matrix b, Py_ssize_t left, Py_ssize_t right, real *packed) noexcept nogil:
    """Pack some columns of b, from a whole panel on, to their place among all."""
    cdef Matrix part = block(b, 0, left, b.rows, right - left)
    packed += packed_size(b.rows, left)
    fs_pack(&part, packed)
    return Packed(REAL, b.rows, right - left, packed)


cdef Packed pack_for_team(const Recurrence *q, Matrix b, real *packed, int part,
                          int parts) noexcept nogil:
    """Pack this thread's panels of b; return its columns, or all where the team cuts rows."""
    cdef Packed own = pack_columns(b, part_start(b.columns, part, parts, PANEL),
                                   part_start(b.columns, part + 1, parts, PANEL), packed)
    return own if q.by_columns else Packed(REAL, b.rows, b.columns, packed)


cdef void pack_forward(const Recurrence *q, ThreadSlice *slice, int part,
                       int parts) noexcept nogil:
    cdef Matrix w = transposed(q.w_hh)
    cdef int g
    if q.by_columns:
        slice.products = q.cell.gates
        for g in range(slice.products):
            slice.w_hh[g] = pack_columns(block(w, 0, g * q.H, q.P, q.H), slice.left, slice.right,
                                         q.packed_hh + g * packed_size(q.P, q.H))
    elif not q.in_place:
        slice.w_hh[0] = pack_for_team(q, w, q.packed_hh, part, parts)
    if q.w_hr.data != NULL:
        slice.w_hr = pack_for_team(q, transposed(q.w_hr), q.packed_hr, part, parts)


cdef void pack_backward(const Recurrence *q, ThreadSlice *slice, int part,
                        int parts) noexcept nogil:
    if not q.in_place:
        slice.w_hh[0] = pack_for_team(q, q.w_hh, q.packed_hh, part, parts)
    if q.w_hr.data != NULL:
        slice.w_hr = pack_for_team(q, q.w_hr, q.packed_hr, part, parts)


# ---- forward ------------------------------------------------------------------------------------

cdef void recurrent_product(const Recurrence *q, const ThreadSlice *slice, Matrix h_prev,
                            Matrix out, bint accumulate) noexcept nogil:
    """out (+)= h_prev @ w_hhᵀ."""
    cdef Matrix w = transposed(q.w_hh)
    cdef int g
    if q.in_place:
        gemm(h_prev, w, out, accumulate, NULL)
        return
    for g in range(slice.products):
        multiply(h_prev, &slice.w_hh[g],
                 block(out, 0, g * q.H + slice.left, out.rows, slice.w_hh[g].N), accumulate,
                 slice.scratch)


cdef void forward_piece(const Recurrence *q, const ThreadSlice *slice, Py_ssize_t t,
                        const Piece *piece) noexcept nogil:
    cdef Py_ssize_t first = piece.first, n = piece.count, left = slice.left, G = q.cell.gates
    cdef Py_ssize_t columns = slice.right - left, at = q.start[t] + first
    cdef Py_ssize_t kept = saved_row(q, t) + first
    cdef bint projects = q.w_hr.data != NULL
    cdef Pointwise p
    cdef Matrix out
    if q.cell.inner_gates:
        recurrent_product(q, slice, piece.h_prev, block(q.product, first, 0, n, G * q.H), False)
    else:
        recurrent_product(q, slice, piece.h_prev, block(q.gates, at, 0, n, G * q.H), True)
    p.rows, p.columns, p.H = n, columns, q.H
    p.gates = block(q.gates, at, left, n, columns)
    p.product = part_of(&q.product, first, left, n, columns)
    p.inner = part_of(&q.inner, kept, left, n, columns)
    p.inner_bias = NULL if q.inner_bias == NULL else q.inner_bias + left
    p.h_prev = block(piece.h_prev, 0, left if not projects else 0, n, columns)
    p.c_prev = part_of(&piece.c_prev, 0, left, n, columns)
    p.c = part_of(&q.c, state_row(q, t) + first, left, n, columns)
    p.h = block(q.unprojected, kept, left, n, columns) if projects else \
        block(q.y, at, left, n, columns)
    q.cell.forward(&p)
    if projects:
        if q.by_columns:
            barrier()
        out = block(q.y, at, slice.out_left, n, slice.w_hr.N)
        multiply(block(q.unprojected, kept, 0, n, q.H), &slice.w_hr, out, False, slice.scratch)


cdef bint forward_part(void *job, int part, int parts) noexcept nogil:
    cdef const Recurrence *q = <const Recurrence *> job
    cdef ThreadSlice slice = own_slice(q, part, parts)
    cdef Piece pieces[2]
    cdef Py_ssize_t s, t
    cdef int i
    pack_forward(q, &slice, part, parts)
    barrier()
    for s in range(q.T):
        t = time_of(q, s)
        for i in range(find_pieces(q, &slice, t, pieces)):
            forward_piece(q, &slice, t, &pieces[i])
        if q.by_columns:
            barrier()
    return True


cdef void copy_rows(Matrix a, Matrix b) noexcept nogil:
    """b = a."""
    cdef Py_ssize_t m
    for m in range(a.rows):
        memcpy(row(&b, m), row(&a, m), a.columns * sizeof(real))


cdef void copy_final(const Recurrence *q, const Matrix *states, const Matrix *initial, bint shared,
                     Matrix out) noexcept nogil:
    """Each sequence's state after its last step, from the states of all steps.

    shared: these are the two slots of `state_row`.
    """
    cdef Py_ssize_t t, s, first, n, width = out.columns, ended = q.B
    for s in range(q.T):
        t = 0 if q.reverse else s
        n = batch_size(q, t)
        # A sequence that is not active any more has ended with the step before.
        first = 0 if q.reverse or t == q.T - 1 else batch_size(q, t + 1)
        copy_rows(part_of(states, (t % 2 * q.B if shared else q.start[t]) + first, 0, n - first,
                          width), block(out, first, 0, n - first, width))
        if s == 0:
            ended = n
        if q.reverse:
            break
    if q.T == 0:
        ended = 0
    copy_rows(part_of(initial, ended, 0, q.B - ended, width),
              block(out, ended, 0, q.B - ended, width))


# ---- backward -----------------------------------------------------------------------------------

cdef Matrix gradient_of_output(const Recurrence *q, const ThreadSlice *slice, Py_ssize_t t,
                               Py_ssize_t first, Py_ssize_t n) noexcept nogil:
    """The gradient of what the cell's pointwise part has put out at step t, own columns."""
    cdef Py_ssize_t left = slice.out_left, columns = slice.out_right - left
    cdef Py_ssize_t at = q.start[t] + first
    cdef Matrix dh = block(q.dh, first, left, n, columns), out
    if q.dy.data != NULL:
        add_matrix(block(q.dy, at, left, n, columns), dh)
    if q.w_hr.data == NULL:
        return dh
    copy_rows(dh, block(q.dh_total, at, left, n, columns))
    if q.by_columns:
        barrier()
    out = block(q.d_unprojected, first, slice.left, n, slice.right - slice.left)
    multiply(block(q.dh_total, at, 0, n, q.P), &slice.w_hr, out, False,
             slice.scratch)  # inverts the projection
    return out


cdef void backward_piece(const Recurrence *q, const ThreadSlice *slice, Py_ssize_t t,
                         const Piece *piece, Matrix product, Matrix dh) noexcept nogil:
    """The pointwise part of some rows, own columns."""
    cdef Py_ssize_t first = piece.first, n = piece.count, left = slice.left
    cdef Py_ssize_t columns = slice.right - left, at = q.start[t] + first
    cdef bint projects = q.w_hr.data != NULL
    cdef Pointwise p
    p.rows, p.columns, p.H = n, columns, q.H
    p.gates = block(q.gates, at, left, n, columns)
    p.product = part_of(&product, first, left, n, columns)
    p.inner = part_of(&q.inner, at, left, n, columns)
    p.h_prev = block(piece.h_prev, 0, left if not projects else 0, n, columns)
    p.h = block(q.y, at, left if not projects else 0, n, columns)
    p.c_prev = part_of(&piece.c_prev, 0, left, n, columns)
    p.c = part_of(&q.c, at, left, n, columns)
    p.dh = dh
    p.dc = part_of(&q.dc, first, left, n, columns)
    q.cell.backward(&p)


cdef void backward_step(const Recurrence *q, const ThreadSlice *slice, Py_ssize_t s,
                        Py_ssize_t t) noexcept nogil:
    cdef Py_ssize_t n = batch_size(q, t), first = min(slice.first, n), GH = q.gates.columns
    cdef Py_ssize_t rows = min(slice.last, n) - first, done = 0
    # Another thread may still read the product of the step before.
    cdef Matrix product = part_of(&q.product, s % 2 * q.B, 0, q.B, GH)
    cdef Matrix dgates, dh = gradient_of_output(q, slice, t, first, rows)
    cdef Piece pieces[2]
    cdef int i
    for i in range(find_pieces(q, slice, t, pieces)):
        backward_piece(q, slice, t, &pieces[i], product,
                       block(dh, done, 0, pieces[i].count, dh.columns))
        done += pieces[i].count
    if q.by_columns:
        barrier()
    dgates = block(q.gates, q.start[t] + first, 0, rows, GH)
    if q.cell.inner_gates:
        dgates = block(product, first, 0, rows, GH)
    dh = block(q.dh, first, slice.out_left, rows, slice.out_right - slice.out_left)
    if q.in_place:
        gemm(dgates, q.w_hh, dh, q.w_hr.data == NULL, NULL)
    else:  # inverts the recurrent product
        multiply(dgates, &slice.w_hh[0], dh, q.w_hr.data == NULL, slice.scratch)


cdef bint backward_part(void *job, int part, int parts) noexcept nogil:
    cdef const Recurrence *q = <const Recurrence *> job
    cdef ThreadSlice slice = own_slice(q, part, parts)
    cdef Py_ssize_t s, t
    pack_backward(q, &slice, part, parts)
    barrier()
    for s in range(q.T - 1, -1, -1):
        t = time_of(q, s)
        if slice.first < batch_size(q, t):
            backward_step(q, &slice, s, t)
    return True


# ---- gradients of the parameters ----------------------------------------------------------------

cdef bint add_recurrent_gradient(const Recurrence *q, Matrix d, Matrix dw,
                                 bint accumulate) noexcept nogil:
    """dw (+)= Σ d[t]ᵀ @ h[t−1] over all steps."""
    cdef Py_ssize_t edge = min(q.B, q.N), rest = q.N - edge  # rows whose previous state is h0
    cdef Py_ssize_t at = rest if q.reverse else 0
    cdef Matrix d_edge = block(d, at, 0, edge, d.columns), h_edge = block(q.h0, 0, 0, edge, q.P)
    cdef Matrix d_rest = block(d, 0 if q.reverse else edge, 0, rest, d.columns)
    cdef Matrix h_rest = block(q.y, edge if q.reverse else 0, 0, rest, q.P)
    cdef bint from_zeros = q.h0.row_stride == 0
    if q.h_prev.data != NULL:
        return gemm(transposed(d), q.h_prev, dw, accumulate, NULL)
    if from_zeros:
        return gemm(transposed(d_rest), h_rest, dw, accumulate, NULL)
    if q.reverse:  # in the order of rows
        return (gemm(transposed(d_rest), h_rest, dw, accumulate, NULL)
                and gemm(transposed(d_edge), h_edge, dw, True, NULL))
    return (gemm(transposed(d_edge), h_edge, dw, accumulate, NULL)
            and gemm(transposed(d_rest), h_rest, dw, True, NULL))


cdef void gather_previous(const Recurrence *q) noexcept nogil:
    """Fill h_prev."""
    cdef ThreadSlice everything = own_slice(q, 0, 1)
    cdef Piece pieces[2]
    cdef Py_ssize_t t
    cdef int i
    everything.first, everything.last = 0, q.B
    for t in range(q.T):
        for i in range(find_pieces(q, &everything, t, pieces)):
            copy_rows(pieces[i].h_prev, block(q.h_prev, q.start[t] + pieces[i].first, 0,
                                              pieces[i].count, q.P))


cdef void put(const real *values, Matrix out, bint accumulate) noexcept nogil:
    """out (+)= values, for the gradient of a bias, if it is wanted."""
    cdef Py_ssize_t n
    if out.data == NULL:
        return
    for n in range(out.columns):
        out.data[n] = out.data[n] + values[n] if accumulate else values[n]


cdef void bias_gradients(const Recurrence *q, Matrix db_ih, Matrix db_hh,
                         bint accumulate) noexcept nogil:
    """db_ih = Σ dgates = db_hh, except that inner gates' share of db_hh is Σ dinner."""
    cdef Py_ssize_t GH = q.gates.columns, inner = q.cell.inner_gates * q.H
    memset(q.bias, 0, GH * sizeof(real))
    add_rows(q.gates, q.bias)
    put(q.bias, db_ih, accumulate)
    if inner:
        memset(q.bias + GH - inner, 0, inner * sizeof(real))
        add_rows(q.inner, q.bias + GH - inner)
    put(q.bias, db_hh, accumulate)


# ---- calls --------------------------------------------------------------------------------------

cdef int set_steps(Recurrence *q, object batch_sizes, Py_ssize_t *start) except -1:
    """Fill `start` and check it against the number of rows."""
    cdef Py_ssize_t t
    cdef const int64_t[::1] sizes
    q.start, start[0] = start, 0
    if batch_sizes is None:
        for t in range(q.T):
            start[t + 1] = start[t] + q.B
        return 0
    sizes = batch_sizes
    for t in range(q.T):
        if not 0 <= sizes[t] <= (q.B if t == 0 else sizes[t - 1]):
            raise ValueError(f"batch_sizes: expected falling numbers up to {q.B}, "
                             f"got {sizes[t]} at step {t}")
        start[t + 1] = start[t] + sizes[t]
    return expect(start[q.T], q.N, "batch_sizes: sum")


cdef inline int require(object array, str name) except -1:
    if array is None:
        raise ValueError(f"{name}: expected an array, got None")
    return 0


cdef inline int require_both(object b_ih, object b_hh) except -1:
    if (b_ih is None) != (b_hh is None):
        raise ValueError("b_ih, b_hh: expected two arrays or None twice")
    return 0


cdef int open_call(Recurrence *q, object call, Matrix *x, Matrix *w_ih, Matrix *b) except -1:
    """Check a call's arrays and describe them; b: b_ih and b_hh. Steps and workspace come next."""
    cdef Py_ssize_t G, GH
    (id, x_, weights, h0, c0, batch_sizes, q.reverse, y, h_n, c_n, saved) = call
    (w_ih_, w_hh, b_ih, b_hh, w_hr) = weights
    q.cell = cell_of(id)
    G = q.cell.gates
    require(y, "y")
    require(h_n, "h_n")
    require(w_hh, "w_hh")
    q.y = as_matrix(y, "y", -1, -1, True)
    q.N, q.P = q.y.rows, q.y.columns
    q.B = len(h_n)
    q.T = (q.N // q.B if q.B else 0) if batch_sizes is None else len(batch_sizes)
    if batch_sizes is None:
        expect(q.N, q.T * q.B, "y: rows")
    q.w_hh = as_matrix(w_hh, "w_hh", -1, q.P)
    GH = q.w_hh.rows
    q.H = GH // G
    expect(GH, G * q.H, "w_hh: rows")
    if q.H == 0 or q.P == 0:
        raise ValueError(f"h: expected at least one column, got {q.P} of {q.H}")
    if w_hr is None:
        expect(q.P, q.H, "y: columns")
    q.w_hr = as_matrix(w_hr, "w_hr", q.P, q.H)
    b[0], b[1] = as_matrix(b_ih, "b_ih", 1, GH), as_matrix(b_hh, "b_hh", 1, GH)
    q.inner_bias = NULL
    if q.cell.inner_gates and b[1].data != NULL:
        q.inner_bias = b[1].data + GH - q.cell.inner_gates * q.H
    q.h_n = as_matrix(h_n, "h_n", q.B, q.P, True)
    q.c_n = as_matrix(c_n, "c_n", q.B, q.H, True)
    q.h0, q.c0 = as_matrix(h0, "h0", q.B, q.P), as_matrix(c0, "c0", q.B, q.H)
    x[0] = as_matrix(x_, "x", q.N, -1)
    w_ih[0] = as_matrix(w_ih_, "w_ih", GH, -1 if x_ is None else x.columns)
    if x_ is not None:
        require(w_ih_, "w_ih")
        if x.columns == 0:
            raise ValueError("x: expected at least one column, got 0")
    if q.cell.has_c:
        require(c_n, "c_n")
    require_both(b_ih, b_hh)
    q.saves = saved is not None
    if q.saves:
        open_saved(q, saved)
    return 0


cdef int open_saved(Recurrence *q, object saved) except -1:
    (gates, c, inner, unprojected) = saved
    require(gates, "gates")
    q.gates = as_matrix(gates, "gates", q.N, q.w_hh.rows, True)
    q.c = as_matrix(c, "c", q.N, q.H, True)
    q.inner = as_matrix(inner, "inner", q.N, q.cell.inner_gates * q.H, True)
    q.unprojected = as_matrix(unprojected, "unprojected", q.N, q.H, True)
    if q.N and (q.cell.has_c and c is None or q.cell.inner_gates and inner is None
                or q.w_hr.data != NULL and unprojected is None):
        raise ValueError("saved: expected arrays for all that this cell saves, got None")
    return 0


cdef void choose_team(Recurrence *q) noexcept nogil:
    """Rows or columns, and how many threads."""
    cdef double work = <double> q.N * q.P * q.w_hh.rows
    cdef Py_ssize_t weight_bytes = q.w_hh.rows * q.P * <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t panels = (min(q.H, q.P) + PANEL - 1) // PANEL
    q.in_place = q.T * q.B <= THIN
    q.threads = thread_count(work, panels) if weight_bytes > WEIGHT_BYTES else 1
    q.by_columns = q.threads > 1
    if not q.by_columns:
        q.threads = thread_count(work, q.B // MIN_ROWS)
    if q.in_place:  # its products are cut, not the recurrence
        q.threads, q.by_columns = 1, False


cdef Py_ssize_t lay_out(Recurrence *q, real *memory, bint backward, bint gathers) noexcept nogil:
    """Place the parts of the workspace; return its size. memory NULL only measures it.

    gathers: the states before all steps are wanted in one matrix.
    """
    cdef real *end = memory
    cdef Py_ssize_t GH = q.w_hh.rows, inner = q.cell.inner_gates * q.H, widest = max(q.P, q.H)
    cdef real *zeros = take_aligned(&end, widest)
    if memory != NULL:
        memset(zeros, 0, widest * sizeof(real))
        if q.h0.data == NULL:
            q.h0 = Matrix(zeros, q.B, q.P, 0, 1)
        if q.c0.data == NULL and q.cell.has_c:
            q.c0 = Matrix(zeros, q.B, q.H, 0, 1)
    q.bias = take_aligned(&end, GH)
    if not q.in_place:
        q.packed_hh = take_aligned(&end, packed_size(GH, q.P) if backward
                           else q.cell.gates * packed_size(q.P, q.H))
    if q.w_hr.data != NULL:
        q.packed_hr = take_aligned(&end, max(packed_size(q.H, q.P), packed_size(q.P, q.H)))
        if backward:
            q.dh_total = matrix(take_aligned(&end, q.N * q.P), q.N, q.P)
            q.d_unprojected = matrix(take_aligned(&end, q.B * q.H), q.B, q.H)
        elif not q.saves:
            q.unprojected = matrix(take_aligned(&end, q.B * q.H), q.B, q.H)
    q.product = Matrix(NULL, 0, 0, 0, 1)
    if inner:
        q.product = matrix(take_aligned(&end, 2 * q.B * GH), 2 * q.B, GH)
    if not q.saves:
        q.gates = matrix(take_aligned(&end, q.N * GH), q.N, GH)
        q.c = q.inner = Matrix(NULL, 0, 0, 0, 1)
        if q.cell.has_c:
            q.c = matrix(take_aligned(&end, 2 * q.B * q.H), 2 * q.B, q.H)
        if inner:
            q.inner = matrix(take_aligned(&end, q.B * inner), q.B, inner)
    q.h_prev = Matrix(NULL, 0, 0, 0, 1)
    if gathers:
        q.h_prev = matrix(take_aligned(&end, q.N * q.P), q.N, q.P)
    q.scratch_size = units(scratch_size(q.B), 64) * 64
    q.scratch = take_aligned(&end, q.threads * q.scratch_size)
    return end - memory


cdef real *prepare(Recurrence *q, object batch_sizes, bint backward, bint gathers) except NULL:
    """Steps, team and workspace of an opened call; what it returns is to be freed."""
    cdef Py_ssize_t steps = (q.T + 1) * <Py_ssize_t> sizeof(Py_ssize_t)
    cdef real *memory
    choose_team(q)
    steps = (steps // <Py_ssize_t> sizeof(real) + 63) // 64 * 64
    memory = <real *> allocate(steps + lay_out(q, NULL, backward, gathers), sizeof(real))
    if memory == NULL:
        raise MemoryError("recurrent layer: no memory for packed weights")
    try:
        set_steps(q, batch_sizes, <Py_ssize_t *> memory)
    except BaseException:
        free(memory)
        raise
    lay_out(q, memory + steps, backward, gathers)
    return memory


cdef void add_biases(const Cell *cell, Py_ssize_t H, const Matrix *biases,
                     real *out) noexcept nogil:
    """out = b_ih + b_hh, of inner gates only b_ih."""
    cdef Py_ssize_t n, GH = cell.gates * H, outer = GH - cell.inner_gates * H
    for n in range(GH):
        out[n] = biases[0].data[n] + biases[1].data[n] if n < outer else biases[0].data[n]


def layer_forward(call):
    cdef Recurrence q
    cdef Matrix x, w_ih
    cdef Matrix biases[2]
    cdef real *memory
    cdef bint done = True
    open_call(&q, call, &x, &w_ih, biases)
    if not q.saves and call.x is None:
        raise ValueError("x: expected an array, since nothing is saved")
    memory = prepare(&q, call.batch_sizes, False, False)
    with nogil:
        if x.data != NULL:
            if biases[0].data != NULL:
                add_biases(q.cell, q.H, biases, q.bias)
            done = gemm(x, transposed(w_ih), q.gates, False,
                        q.bias if biases[0].data != NULL else NULL)
        done = done and run(forward_part, &q, 0, q.threads)
        copy_final(&q, &q.y, &q.h0, False, q.h_n)
        if q.cell.has_c:
            copy_final(&q, &q.c, &q.c0, not q.saves, q.c_n)
        free(memory)
    if not done:
        raise MemoryError("layer_forward: no memory for packed panels")


# Gradients of one call's parameters; a matrix without data is not wanted.
cdef struct ParameterGradients:
    Matrix w_ih, w_hh, b_ih, b_hh, w_hr, x
    bint add_to_x, accumulate


cdef bint parameter_gradients(Recurrence *q, const ParameterGradients *d, Matrix x,
                              Matrix w_ih) noexcept nogil:
    cdef Py_ssize_t GH = q.w_hh.rows, inner = q.cell.inner_gates * q.H, outer = GH - inner
    cdef Matrix dgates = q.gates
    cdef bint done = True
    if d.w_hh.data != NULL:
        if q.h_prev.data != NULL:
            gather_previous(q)
        done &= add_recurrent_gradient(q, block(dgates, 0, 0, q.N, outer),
                                       block(d.w_hh, 0, 0, outer, q.P), d.accumulate)
        if inner:
            done &= add_recurrent_gradient(q, q.inner, block(d.w_hh, outer, 0, inner, q.P),
                                           d.accumulate)
    if d.w_hr.data != NULL:
        done &= gemm(transposed(q.dh_total), q.unprojected, d.w_hr, d.accumulate, NULL)
    if d.b_ih.data != NULL or d.b_hh.data != NULL:
        bias_gradients(q, d.b_ih, d.b_hh, d.accumulate)
    if d.w_ih.data != NULL:
        done &= gemm(transposed(dgates), x, d.w_ih, d.accumulate, NULL)
    if d.x.data != NULL:
        done &= gemm(dgates, w_ih, d.x, d.add_to_x, NULL)
    return done


cdef bint gathers_previous(const Recurrence *q, object call):
    """Whether dW_hh needs the states before all steps in one matrix.

    It does where the batch size falls. Otherwise the steps' states are those of y, beside h0: one
    more pass over dW_hh, which is cheaper only where dW_hh is the smaller one.
    """
    return call.batch_sizes is not None or call.h0 is not None and q.N < q.w_hh.rows


def layer_backward(call, gradients):
    cdef Recurrence q
    cdef ParameterGradients d
    cdef Matrix x, w_ih
    cdef Matrix biases[2]
    cdef real *memory
    cdef bint done
    open_call(&q, call, &x, &w_ih, biases)
    if not q.saves:
        raise ValueError("saved: expected arrays, got None")
    (dy, dh, dc, dx, d.add_to_x, weights, d.accumulate) = gradients
    (dw_ih, dw_hh, db_ih, db_hh, dw_hr) = weights
    require(dh, "dh")
    if q.cell.has_c:
        require(dc, "dc")
    if dx is not None or dw_ih is not None:
        require(call.x, "x")
    if dw_hr is not None:
        require(call.weights.w_hr, "w_hr")
    q.dy = as_matrix(dy, "dy", q.N, q.P)
    q.dh = as_matrix(dh, "dh", q.B, q.P, True)
    q.dc = as_matrix(dc, "dc", q.B, q.H, True)
    d.x = as_matrix(dx, "dx", q.N, x.columns, True)
    d.w_ih = as_matrix(dw_ih, "dw_ih", q.w_hh.rows, x.columns, True)
    d.w_hh = as_matrix(dw_hh, "dw_hh", q.w_hh.rows, q.P, True)
    d.b_ih = as_matrix(db_ih, "db_ih", 1, q.w_hh.rows, True)
    d.b_hh = as_matrix(db_hh, "db_hh", 1, q.w_hh.rows, True)
    d.w_hr = as_matrix(dw_hr, "dw_hr", q.P, q.H, True)
    memory = prepare(&q, call.batch_sizes, True, dw_hh is not None and gathers_previous(&q, call))
    with nogil:
        done = run(backward_part, &q, 0, q.threads)
        done = done and parameter_gradients(&q, &d, x, w_ih)
        free(memory)
    if not done:
        raise MemoryError("layer_backward: no memory for packed panels")
