# One time step of a whole network whose weights stay packed from call to call. The specification
# is oracle/step.py.

cdef enum:
    RNN_TANH = 0
    RNN_RELU = 1
    LSTM = 2
    GRU = 3

# The weights of all layers, packed, and the buffers of one step.
cdef struct Stack:
    int cell
    Py_ssize_t L, B, H, P, G, packed_in, packed_hh, packed_hr
    const void *w_ih  # of the layers above the first
    const void *w_hh
    const void *w_hr  # or NULL
    const void *bias  # of the layers above the first
    const void *b_hn
    void *gates
    void *product
    void *scratch


cdef void advance(const Stack *q, real *h, real *c) noexcept nogil:
    """One time step through all layers; gates hold what the input sends to the first."""
    cdef Py_ssize_t layer, b, GH = q.G * q.H
    cdef real *gates = <real *> q.gates
    cdef real *product = <real *> q.product
    cdef real *scratch = <real *> q.scratch
    cdef real *state
    cdef real *cells
    cdef const real *inner
    cdef const real *shift
    cdef const real *packed
    for layer in range(q.L):
        state = h + layer * q.B * q.P
        cells = NULL if c == NULL else c + layer * q.B * q.H
        packed = <const real *> q.w_hh + layer * q.packed_hh
        if layer:
            shift = <const real *> q.bias + (layer - 1) * GH
            for b in range(q.B):
                memcpy(gates + b * GH, shift, GH * sizeof(real))
            times_packed(q.B, GH, q.P, state - q.B * q.P, q.P,
                         <const real *> q.w_ih + (layer - 1) * q.packed_in, gates, GH, True,
                         scratch)
        if q.cell == GRU:
            times_packed(q.B, GH, q.H, state, q.H, packed, product, GH, False, scratch)
            inner = NULL if q.b_hn == NULL else <const real *> q.b_hn + layer * q.H
            for b in range(q.B):
                # hn is not kept: its place is the last third of a row that is used up.
                gru_point(gates + b * GH, product + b * GH, inner, state + b * q.H,
                          product + b * GH + 2 * q.H, state + b * q.H, q.H, q.H)
            continue
        times_packed(q.B, GH, q.P, state, q.P, packed, gates, GH, True, scratch)
        if q.cell != LSTM:
            for b in range(q.B):
                rnn_point(gates + b * GH, state + b * q.H, q.H, q.cell == RNN_RELU)
            continue
        for b in range(q.B):
            lstm_point(gates + b * GH, cells + b * q.H, cells + b * q.H,
                       (state if q.w_hr == NULL else product) + b * q.H, q.H, q.H)
        if q.w_hr != NULL:
            times_packed(q.B, q.P, q.H, product, q.H,
                         <const real *> q.w_hr + layer * q.packed_hr, state, q.P, False,
                         scratch)


def packed_length(const real[:, ::1] w):
    return packed_size(w.shape[1], w.shape[0])


def pack_weight(const real[:, ::1] w, real[::1] packed):
    cdef Py_ssize_t N = w.shape[0], K = w.shape[1]
    expect(packed.shape[0], packed_size(K, N), "packed: length")
    if N and K:
        pack(K, N, &w[0, 0], 1, K, &packed[0])


cdef int check_step(const Stack *q, Py_ssize_t numbers, const Py_ssize_t *packed, bint lstm,
                    const Py_ssize_t *c, bint inner, const Py_ssize_t *b_hn) except -1:
    expect(packed[0], numbers, "packed: length")
    if lstm:
        expect(c[0], q.L, "c: layers")
        expect(c[1], q.B, "c: rows")
        expect(c[2], q.H, "c: columns")
    else:
        expect(q.P, q.H, "h: columns")
    if inner:
        expect(b_hn[0], q.L, "b_hn: layers")
        expect(b_hn[1], q.H, "b_hn: columns")
    return 0


def stack_step(int cell, const real[:, ::1] x, const real[::1] packed,
               const real[:, ::1] bias, const real[:, ::1] b_hn, real[:, :, ::1] h,
               real[:, :, ::1] c):
    cdef Stack q
    cdef Py_ssize_t size = x.shape[1], GH = bias.shape[1], first, numbers, b
    cdef real *memory
    cdef real *gates
    cdef const real *weights
    cdef unsigned state
    q.cell, q.L, q.B, q.P = cell, h.shape[0], h.shape[1], h.shape[2]
    q.G = 4 if cell == LSTM else 3 if cell == GRU else 1
    q.H = GH // q.G
    expect(GH, q.G * q.H, "bias: columns")
    expect(bias.shape[0], q.L, "bias: layers")
    expect(x.shape[0], q.B, "x: rows")
    first = packed_size(size, GH)
    q.packed_in = q.packed_hh = packed_size(q.P, GH)
    q.packed_hr = 0 if q.P == q.H else packed_size(q.H, q.P)
    numbers = first + (2 * q.L - 1) * q.packed_hh + q.L * q.packed_hr
    check_step(&q, numbers, packed.shape, cell == LSTM, c.shape, b_hn is not None, b_hn.shape)
    if q.L == 0 or q.B == 0 or q.P == 0 or q.H == 0 or size == 0:
        return
    memory = <real *> allocate(2 * q.B * GH + scratch_size(q.B),
                                      sizeof(real))
    if memory == NULL:
        raise MemoryError("stack_step: no memory for its buffers")
    weights = &packed[0]
    q.w_ih = weights + first
    q.w_hh = weights + first + (q.L - 1) * q.packed_in
    q.w_hr = NULL if q.packed_hr == 0 else weights + numbers - q.L * q.packed_hr
    q.bias = NULL if q.L < 2 else &bias[1, 0]
    q.b_hn = NULL if b_hn is None else &b_hn[0, 0]
    gates = memory
    q.gates, q.product, q.scratch = gates, gates + q.B * GH, gates + 2 * q.B * GH
    with nogil:
        state = flush_subnormals()
        for b in range(q.B):
            memcpy(gates + b * GH, &bias[0, 0], GH * sizeof(real))
        times_packed(q.B, GH, size, &x[0, 0], size, weights, gates, GH, True,
                     <real *> q.scratch)
        advance(&q, &h[0, 0, 0], NULL if cell != LSTM else &c[0, 0, 0])
        restore_subnormals(state)
        free(memory)
