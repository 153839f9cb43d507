# One layer in one direction through time, over any cell. The specification is
# oracle/recurrence.py; records.py explains the packed order of rows.
#
# a. A team cuts the batch into rows: each thread takes its rows through the whole sequence and
#    never waits for another. Where the recurrent weight is too large for a core's second-level
#    cache, the team cuts the columns of the state instead [1]: each thread packs and keeps its
#    part of the weight, and all wait for each other at every step.
# b. One step is a product of the rows that are active, then the pointwise part of each, while both
#    are still in cache. Sequences are ordered by decreasing length: active rows are the first.
# c. The state before a step comes from the neighbouring step, or, for a sequence that begins
#    there, from the initial state: a step has up to two pieces of rows.
# d. Weights are packed once a call. For one or two rows in all, and for one step of few rows, a
#    product reads them in place where that costs less, or packs what it needs.
# e. A step at which states are reset reads copies of the states before it, in which those are
#    zero. Other steps cost a look at their marks, and a call without resets costs nothing.
#
# [1] M. Zhang et al., "DeepCPU: Serving RNN-based deep learning models 10x faster", USENIX ATC
#     2018.

# Bytes of a recurrent weight that a second-level cache holds beside everything else.
cdef Py_ssize_t WEIGHT_BYTES = 1 << 20
cdef Py_ssize_t MIN_ROWS = 4  # of a thread's slice

cdef struct Recurrence:
    const Cell *cell
    Py_ssize_t T, B, N, H, P
    bint reverse, saves, by_columns
    bint in_place  # weights are read where they are, not packed beforehand
    int threads
    Py_ssize_t *start  # (T+1,): step t has rows start[t] to start[t+1] of the packed matrices
    # Of those that may be absent, the data is NULL.
    Matrix x, w_ih, w_hh, b_ih, b_hh, w_hr
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
    const uint8_t *resets  # (N,): rows before whose step the state is set to zero; or NULL
    Matrix h_copy, c_copy  # slots of B rows for a step at which states are reset
    real *packed_hh
    real *packed_hr
    real *scratch
    Py_ssize_t scratch_size  # of one thread


# The share of one thread: all columns of some rows, or some columns of all rows.
cdef struct ThreadSlice:
    int parts  # of the job
    Py_ssize_t first, last  # rows of the batch
    Py_ssize_t left, right  # columns of the state, of H
    Py_ssize_t out_left, out_right  # columns of the output, of P
    Py_ssize_t copies  # first row of its slot of h_copy and c_copy
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
        pieces[0].first, pieces[0].count = first, middle - first
        pieces[0].h_prev = part_of(&q.y, q.start[prev] + first, 0, middle - first, q.P)
        pieces[0].c_prev = part_of(&q.c, state_row(q, prev) + first, 0, middle - first, q.H)
        count = 1
    if last > middle:
        pieces[count].first, pieces[count].count = middle, last - middle
        pieces[count].h_prev = part_of(&q.h0, middle, 0, last - middle, q.P)
        pieces[count].c_prev = part_of(&q.c0, middle, 0, last - middle, q.H)
        count += 1
    if q.resets != NULL and any_marked(q.resets + q.start[t] + first, last - first):
        count = reset_pieces(q, slice, t, pieces, count)
    return count


# ---- resets -------------------------------------------------------------------------------------

cdef inline bint any_marked(const uint8_t *marks, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t n
    for n in range(count):
        if marks[n]:
            return True
    return False


cdef void clear_marked(const uint8_t *marks, Matrix a) noexcept nogil:
    """Set the marked rows to zero."""
    cdef Py_ssize_t m
    for m in range(a.rows):
        if marks[m]:
            memset(row_of(&a, m), 0, a.columns * sizeof(real))


cdef int reset_pieces(const Recurrence *q, const ThreadSlice *slice, Py_ssize_t t, Piece *pieces,
                      int count) noexcept nogil:
    """Make one piece of a step's pieces, from copies that are zero in the rows of a reset."""
    cdef Py_ssize_t first = pieces[0].first, n = 0, at
    cdef const uint8_t *marks = q.resets + q.start[t] + first
    cdef int i
    for i in range(count):
        at = slice.copies + pieces[i].first
        copy_rows(pieces[i].h_prev, block(q.h_copy, at, 0, pieces[i].count, q.P))
        if q.cell.has_c:
            copy_rows(pieces[i].c_prev, block(q.c_copy, at, 0, pieces[i].count, q.H))
        n += pieces[i].count
    pieces[0].count = n
    pieces[0].h_prev = block(q.h_copy, slice.copies + first, 0, n, q.P)
    pieces[0].c_prev = part_of(&q.c_copy, slice.copies + first, 0, n, q.H)
    clear_marked(marks, pieces[0].h_prev)
    if q.cell.has_c:
        clear_marked(marks, pieces[0].c_prev)
    return 1


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
    slice.parts = parts
    slice.first, slice.last = 0, q.B
    slice.left = slice.out_left = 0
    slice.right, slice.out_right = q.H, q.P
    slice.products = 1
    # Threads that cut the columns all read the states of all rows.
    slice.copies = part * q.B if q.by_columns else 0
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
    if q.w_hr.data != NULL and not q.in_place:
        slice.w_hr = pack_for_team(q, transposed(q.w_hr), q.packed_hr, part, parts)


cdef void pack_backward(const Recurrence *q, ThreadSlice *slice, int part,
                        int parts) noexcept nogil:
    if not q.in_place:
        slice.w_hh[0] = pack_for_team(q, q.w_hh, q.packed_hh, part, parts)
    if q.w_hr.data != NULL and not q.in_place:
        slice.w_hr = pack_for_team(q, q.w_hr, q.packed_hr, part, parts)


cdef inline bint multiply_by(const Recurrence *q, Matrix a, Matrix w, const Packed *packed,
                             Matrix out, bint accumulate, real *scratch) noexcept nogil:
    """out (+)= a @ w, where w may be packed, its own columns; false where memory is missing."""
    if q.in_place:
        return gemm(a, w, out, accumulate, NULL)
    multiply(a, packed, out, accumulate, scratch)
    return True


# ---- forward ------------------------------------------------------------------------------------

cdef inline bint recurrent_product(const Recurrence *q, const ThreadSlice *slice,
                                   const Matrix *h_prev, const Matrix *out,
                                   bint accumulate) noexcept nogil:
    """out (+)= h_prev @ w_hhᵀ; false where memory is missing."""
    cdef int g
    if q.in_place:
        return gemm(h_prev[0], transposed(q.w_hh), out[0], accumulate, NULL)
    for g in range(slice.products):
        multiply(h_prev[0], &slice.w_hh[g],
                 block(out[0], 0, g * q.H + slice.left, out.rows, slice.w_hh[g].N), accumulate,
                 slice.scratch)
    return True


cdef bint forward_piece(const Recurrence *q, const ThreadSlice *slice, Py_ssize_t t,
                        const Piece *piece) noexcept nogil:
    cdef Py_ssize_t first = piece.first, n = piece.count, left = slice.left, G = q.cell.gates
    cdef Py_ssize_t columns = slice.right - left, at = q.start[t] + first
    cdef Py_ssize_t kept = saved_row(q, t) + first
    cdef bint projects = q.w_hr.data != NULL
    cdef Pointwise p
    cdef Matrix out
    cdef bint done
    if q.cell.inner_gates:
        out = block(q.product, first, 0, n, G * q.H)
    else:
        out = block(q.gates, at, 0, n, G * q.H)
    done = recurrent_product(q, slice, &piece.h_prev, &out, q.cell.inner_gates == 0)
    p.rows, p.columns, p.H = n, columns, q.H
    p.gates = rows_from(&q.gates, at, left)
    p.product = rows_from(&q.product, first, left)
    p.inner = rows_from(&q.inner, kept, left)
    p.inner_bias = NULL if q.inner_bias == NULL else q.inner_bias + left
    p.h_prev = rows_from(&piece.h_prev, 0, left)
    p.c_prev = rows_from(&piece.c_prev, 0, left)
    p.c = rows_from(&q.c, state_row(q, t) + first, left)
    p.h = rows_from(&q.unprojected, kept, left) if projects else rows_from(&q.y, at, left)
    q.cell.forward(&p)
    if projects:
        if q.by_columns:
            barrier(slice.parts)
        out = block(q.y, at, slice.out_left, n, slice.out_right - slice.out_left)
        done &= multiply_by(q, block(q.unprojected, kept, 0, n, q.H), transposed(q.w_hr),
                            &slice.w_hr, out, False, slice.scratch)
    return done


cdef bint forward_part(void *job, int part, int parts) noexcept nogil:
    cdef const Recurrence *q = <const Recurrence *> job
    cdef ThreadSlice slice = own_slice(q, part, parts)
    cdef Piece pieces[2]
    cdef Py_ssize_t s, t
    cdef int i
    cdef bint done = True
    pack_forward(q, &slice, part, parts)
    barrier(parts)
    for s in range(q.T):
        t = time_of(q, s)
        for i in range(find_pieces(q, &slice, t, pieces)):
            done &= forward_piece(q, &slice, t, &pieces[i])
        if q.by_columns:
            barrier(slice.parts)
    return done


cdef void copy_rows(Matrix a, Matrix b) noexcept nogil:
    """b = a."""
    cdef Py_ssize_t m
    for m in range(a.rows):
        memcpy(row_of(&b, m), row_of(&a, m), a.columns * sizeof(real))


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

cdef bint gradient_of_output(const Recurrence *q, const ThreadSlice *slice, Py_ssize_t t,
                             Py_ssize_t first, Py_ssize_t n, Matrix *result) noexcept nogil:
    """The gradient of what the cell's pointwise part has put out at step t, own columns.

    Returns false where memory is missing.
    """
    cdef Py_ssize_t left = slice.out_left, columns = slice.out_right - left
    cdef Py_ssize_t at = q.start[t] + first
    cdef Matrix dh = block(q.dh, first, left, n, columns)
    if q.dy.data != NULL:
        add_matrix(block(q.dy, at, left, n, columns), dh)
    result[0] = dh
    if q.w_hr.data == NULL:
        return True
    copy_rows(dh, block(q.dh_total, at, left, n, columns))
    if q.by_columns:
        barrier(slice.parts)
    result[0] = block(q.d_unprojected, first, slice.left, n, slice.right - slice.left)
    return multiply_by(q, block(q.dh_total, at, 0, n, q.P), q.w_hr, &slice.w_hr, result[0], False,
                       slice.scratch)  # inverts the projection


cdef void backward_piece(const Recurrence *q, const ThreadSlice *slice, Py_ssize_t t,
                         const Piece *piece, const Matrix *product,
                         const Matrix *dh) noexcept nogil:
    """The pointwise part of some rows, own columns; dh begins at the slice's first row."""
    cdef Py_ssize_t first = piece.first, n = piece.count, left = slice.left
    cdef Py_ssize_t at = q.start[t] + first
    cdef Pointwise p
    p.rows, p.columns, p.H = n, slice.right - left, q.H
    p.gates = rows_from(&q.gates, at, left)
    p.product = rows_from(product, first, left)
    p.inner = rows_from(&q.inner, at, left)
    p.h_prev = rows_from(&piece.h_prev, 0, left)
    p.h = rows_from(&q.y, at, left)
    p.c_prev = rows_from(&piece.c_prev, 0, left)
    p.c = rows_from(&q.c, at, left)
    p.dh = rows_from(dh, first - slice.first, 0)
    p.dc = rows_from(&q.dc, first, left)
    q.cell.backward(&p)


cdef bint backward_step(const Recurrence *q, const ThreadSlice *slice, Py_ssize_t s,
                        Py_ssize_t t) noexcept nogil:
    cdef Py_ssize_t n = batch_size(q, t), first = min(slice.first, n), GH = q.gates.columns
    cdef Py_ssize_t rows = min(slice.last, n) - first
    # Another thread may still read the product of the step before.
    cdef Matrix product = part_of(&q.product, s % 2 * q.B, 0, q.B, GH)
    cdef Matrix dgates, dh
    cdef Piece pieces[2]
    cdef int i
    cdef bint done = gradient_of_output(q, slice, t, first, rows, &dh)
    for i in range(find_pieces(q, slice, t, pieces)):
        backward_piece(q, slice, t, &pieces[i], &product, &dh)
    if q.by_columns:
        barrier(slice.parts)
    dgates = block(q.gates, q.start[t] + first, 0, rows, GH)
    if q.cell.inner_gates:
        dgates = block(product, first, 0, rows, GH)
    dh = block(q.dh, first, slice.out_left, rows, slice.out_right - slice.out_left)
    done &= multiply_by(q, dgates, q.w_hh, &slice.w_hh[0], dh, q.w_hr.data == NULL,
                        slice.scratch)  # inverts the recurrent product
    if q.resets != NULL:  # no gradient passes a reset
        clear_marked(q.resets + q.start[t] + first, dh)
        if q.cell.has_c:
            clear_marked(q.resets + q.start[t] + first,
                         block(q.dc, first, slice.left, rows, slice.right - slice.left))
    return done


cdef bint backward_part(void *job, int part, int parts) noexcept nogil:
    cdef const Recurrence *q = <const Recurrence *> job
    cdef ThreadSlice slice = own_slice(q, part, parts)
    cdef Py_ssize_t s, t
    cdef bint done = True
    pack_backward(q, &slice, part, parts)
    barrier(parts)
    for s in range(q.T - 1, -1, -1):
        t = time_of(q, s)
        if slice.first < batch_size(q, t):
            done &= backward_step(q, &slice, s, t)
    return done
