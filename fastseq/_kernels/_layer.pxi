# One call of one layer in one direction: input projection, recurrence, gradients of the
# parameters. The specification is oracle/recurrence.py; records.py describes a call.

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


cdef int open_call(Recurrence *q, object call, bint writes) except -1:
    """Describe a call's arrays and check their shapes; steps and workspace come next.

    writes: whether its outputs are written.
    """
    (id, x, weights, h0, c0, batch_sizes, q.reverse, y, h_n, c_n, saved, resets) = call
    require(y, "y")
    require(h_n, "h_n")
    q.cell = cell_of(id)
    q.y = as_matrix(y, "y", -1, -1, writes)
    q.N, q.P, q.B = q.y.rows, q.y.columns, len(h_n)
    if batch_sizes is None:
        q.T = q.N // q.B if q.B else 0
        expect(q.N, q.T * q.B, "y: rows")
    else:
        q.T = len(batch_sizes)
    open_weights(q, weights, x is not None)
    q.x = as_matrix(x, "x", q.N, -1 if x is None else q.w_ih.columns)
    if q.cell.has_c:
        require(c_n, "c_n")
    q.h_n = as_matrix(h_n, "h_n", q.B, q.P, writes)
    q.c_n = as_matrix(c_n, "c_n", q.B, q.H, writes)
    q.h0, q.c0 = as_matrix(h0, "h0", q.B, q.P), as_matrix(c0, "c0", q.B, q.H)
    q.saves = saved is not None
    if q.saves:
        open_saved(q, saved)
    return open_resets(q, resets)


cdef int open_weights(Recurrence *q, object weights, bint reads_x) except -1:
    """Describe a layer's parameters, whose output size is known."""
    cdef Py_ssize_t GH
    (w_ih, w_hh, b_ih, b_hh, w_hr) = weights
    require(w_hh, "w_hh")
    q.w_hh = as_matrix(w_hh, "w_hh", -1, q.P)
    GH = q.w_hh.rows
    q.H = GH // q.cell.gates
    expect(GH, q.cell.gates * q.H, "w_hh: rows")
    if q.H == 0 or q.P == 0:
        raise ValueError(f"h: expected at least one column, got {q.P} of {q.H}")
    if w_hr is None:
        expect(q.P, q.H, "y: columns")
    if (b_ih is None) != (b_hh is None):
        raise ValueError("b_ih, b_hh: expected two arrays or None twice")
    if reads_x:
        require(w_ih, "w_ih")
    q.w_hr, q.w_ih = as_matrix(w_hr, "w_hr", q.P, q.H), as_matrix(w_ih, "w_ih", GH, -1)
    if reads_x and q.w_ih.columns == 0:
        raise ValueError("x: expected at least one column, got 0")
    q.b_ih, q.b_hh = as_matrix(b_ih, "b_ih", 1, GH), as_matrix(b_hh, "b_hh", 1, GH)
    q.inner_bias = NULL
    if q.cell.inner_gates and b_hh is not None:
        q.inner_bias = q.b_hh.data + GH - q.cell.inner_gates * q.H
    return 0


cdef int open_saved(Recurrence *q, object saved) except -1:
    (gates, c, inner, unprojected) = saved
    require(gates, "gates")
    if q.N and (q.cell.has_c and c is None or q.cell.inner_gates and inner is None
                or q.w_hr.data != NULL and unprojected is None):
        raise ValueError("saved: expected arrays for all that this cell saves, got None")
    q.gates = as_matrix(gates, "gates", q.N, q.w_hh.rows, True)
    q.c = as_matrix(c, "c", q.N, q.H, True)
    q.inner = as_matrix(inner, "inner", q.N, q.cell.inner_gates * q.H, True)
    q.unprojected = as_matrix(unprojected, "unprojected", q.N, q.H, True)
    return 0


cdef int open_resets(Recurrence *q, const uint8_t[::1] resets) except -1:
    """Describe the rows of resets; none are as good as no array."""
    q.resets = NULL
    if resets is None:
        return 0
    expect(resets.shape[0], q.N, "resets: length")
    if q.N and any_marked(&resets[0], q.N):
        q.resets = &resets[0]
    return 0


cdef void choose_team(Recurrence *q) noexcept nogil:
    """Rows or columns, and how many threads."""
    cdef double work = <double> q.N * q.P * q.w_hh.rows
    cdef Py_ssize_t weight_bytes = q.w_hh.rows * q.P * <Py_ssize_t> sizeof(real)
    cdef Py_ssize_t panels = units(min(q.H, q.P), PANEL)
    q.in_place = q.T * q.B <= THIN or q.T == 1 and q.B <= SMALL_M
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
    cdef Py_ssize_t size
    cdef real *zeros = take_aligned(&end, widest)
    if memory != NULL:
        memset(zeros, 0, widest * sizeof(real))
        if q.h0.data == NULL:
            q.h0 = Matrix(zeros, q.B, q.P, 0, 1)
        if q.c0.data == NULL and q.cell.has_c:
            q.c0 = Matrix(zeros, q.B, q.H, 0, 1)
    q.bias = take_aligned(&end, GH)
    if not q.in_place:
        size = packed_size(GH, q.P) if backward else q.cell.gates * packed_size(q.P, q.H)
        q.packed_hh = take_aligned(&end, size)
    if q.w_hr.data != NULL:
        if not q.in_place:
            q.packed_hr = take_aligned(&end, max(packed_size(q.H, q.P), packed_size(q.P, q.H)))
        if backward:
            q.dh_total = take_matrix(&end, q.N, q.P)
            q.d_unprojected = take_matrix(&end, q.B, q.H)
        elif not q.saves:
            q.unprojected = take_matrix(&end, q.B, q.H)
    q.product = Matrix(NULL, 0, 0, 0, 1)
    if inner:
        q.product = take_matrix(&end, 2 * q.B, GH)
    if not q.saves:
        q.gates = take_matrix(&end, q.N, GH)
        q.c = q.inner = Matrix(NULL, 0, 0, 0, 1)
        if q.cell.has_c:
            q.c = take_matrix(&end, 2 * q.B, q.H)
        if inner:
            q.inner = take_matrix(&end, q.B, inner)
    q.h_prev = Matrix(NULL, 0, 0, 0, 1)
    if gathers:
        q.h_prev = take_matrix(&end, q.N, q.P)
    q.h_copy = q.c_copy = Matrix(NULL, 0, 0, 0, 1)
    if q.resets != NULL:
        q.h_copy = take_matrix(&end, (q.threads if q.by_columns else 1) * q.B, q.P)
        if q.cell.has_c:
            q.c_copy = take_matrix(&end, q.h_copy.rows, q.H)
    q.scratch_size = units(scratch_size(q.B), 64) * 64
    q.scratch = take_aligned(&end, q.threads * q.scratch_size)
    return end - memory


cdef real *prepare(Recurrence *q, object batch_sizes, bint backward, bint gathers) except NULL:
    """Steps, team and workspace of an opened call; the caller releases the result."""
    cdef Py_ssize_t steps = (q.T + 1) * <Py_ssize_t> sizeof(Py_ssize_t)
    cdef real *memory
    choose_team(q)
    steps = units(steps // <Py_ssize_t> sizeof(real), 64) * 64
    memory = <real *> allocate(steps + lay_out(q, NULL, backward, gathers), sizeof(real))
    if memory == NULL:
        raise MemoryError("recurrent layer: no memory for packed weights")
    try:
        set_steps(q, batch_sizes, <Py_ssize_t *> memory)
    except BaseException:
        release(memory)
        raise
    lay_out(q, memory + steps, backward, gathers)
    return memory


cdef void add_biases(const Cell *cell, Matrix b_ih, Matrix b_hh, real *out) noexcept nogil:
    """out = b_ih + b_hh, of inner gates only b_ih."""
    cdef Py_ssize_t n, outer = b_ih.columns // cell.gates * (cell.gates - cell.inner_gates)
    for n in range(b_ih.columns):
        out[n] = b_ih.data[n] + b_hh.data[n] if n < outer else b_ih.data[n]


cdef bint project_input(const Recurrence *q) noexcept nogil:
    """gates = x @ w_ihᵀ + bias, unless the caller has filled them."""
    if q.x.data == NULL:
        return True
    if q.b_ih.data == NULL:
        return gemm(q.x, transposed(q.w_ih), q.gates, False, NULL)
    add_biases(q.cell, q.b_ih, q.b_hh, q.bias)
    return gemm(q.x, transposed(q.w_ih), q.gates, False, q.bias)


def layer_forward(call):
    cdef Recurrence q
    cdef real *memory
    cdef bint done
    open_call(&q, call, True)
    if not q.saves and call.x is None:
        raise ValueError("x: expected an array, since nothing is saved")
    memory = prepare(&q, call.batch_sizes, False, False)
    with nogil:
        done = project_input(&q) and run(forward_part, &q, 0, q.threads)
        copy_final(&q, &q.y, &q.h0, False, q.h_n)
        if q.cell.has_c:
            copy_final(&q, &q.c, &q.c0, not q.saves, q.c_n)
        release(memory)
    if not done:
        raise MemoryError("layer_forward: no memory for packed panels")


# Gradients of one call's parameters; a matrix without data is not wanted.
cdef struct ParameterGradients:
    Matrix w_ih, w_hh, b_ih, b_hh, w_hr, x
    bint add_to_x, accumulate


cdef bint parameter_gradients(Recurrence *q, const ParameterGradients *d) noexcept nogil:
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
        done &= gemm(transposed(dgates), q.x, d.w_ih, d.accumulate, NULL)
    if d.x.data != NULL:
        done &= gemm(dgates, q.w_ih, d.x, d.add_to_x, NULL)
    return done


cdef bint gathers_previous(const Recurrence *q, object call):
    """Whether dW_hh needs the states before all steps in one matrix.

    It does where the batch size falls or states are reset. Otherwise the steps' states are those
    of y, beside h0: one more pass over dW_hh, which is cheaper only where dW_hh is the smaller
    one.
    """
    if call.batch_sizes is not None or q.resets != NULL:
        return True
    return call.h0 is not None and q.N < q.w_hh.rows


cdef int open_gradients(Recurrence *q, ParameterGradients *d, object call,
                        object gradients) except -1:
    cdef Py_ssize_t GH = q.w_hh.rows
    memset(d, 0, sizeof(d[0]))
    (dy, dh, dc, dx, d.add_to_x, weights, d.accumulate) = gradients
    (dw_ih, dw_hh, db_ih, db_hh, dw_hr) = weights
    require(dh, "dh")
    if q.cell.has_c:
        require(dc, "dc")
    if dx is not None or dw_ih is not None:
        require(call.x, "x")
    if dw_hr is not None:
        require(call.weights.w_hr, "w_hr")
    q.dy, q.dh = as_matrix(dy, "dy", q.N, q.P), as_matrix(dh, "dh", q.B, q.P, True)
    q.dc = as_matrix(dc, "dc", q.B, q.H, True)
    d.x = as_matrix(dx, "dx", q.N, q.w_ih.columns, True)
    d.w_ih = as_matrix(dw_ih, "dw_ih", GH, q.w_ih.columns, True)
    d.w_hh = as_matrix(dw_hh, "dw_hh", GH, q.P, True)
    d.b_ih = as_matrix(db_ih, "db_ih", 1, GH, True)
    d.b_hh = as_matrix(db_hh, "db_hh", 1, GH, True)
    d.w_hr = as_matrix(dw_hr, "dw_hr", q.P, q.H, True)
    return 0


def layer_backward(call, gradients):
    cdef Recurrence q
    cdef ParameterGradients d
    cdef real *memory
    cdef bint done
    open_call(&q, call, False)
    if not q.saves:
        raise ValueError("saved: expected arrays, got None")
    open_gradients(&q, &d, call, gradients)
    memory = prepare(&q, call.batch_sizes, True,
                     d.w_hh.data != NULL and gathers_previous(&q, call))
    with nogil:
        done = run(backward_part, &q, 0, q.threads) and parameter_gradients(&q, &d)
        release(memory)
    if not done:
        raise MemoryError("layer_backward: no memory for packed panels")
