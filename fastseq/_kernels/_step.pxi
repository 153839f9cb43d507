# A network, forward only, on weights that stay packed: one time step after the other, or one token
# after the other. The specification is oracle/step.py.

cdef struct StackLayer:
    Packed w_ih, w_hh, w_hr  # w_hr without data: no projection
    real *bias  # (G·H,): b_ih + b_hh, of inner gates only b_ih
    real *inner_bias  # or NULL


# Buffers of one step.
cdef struct StepWorkspace:
    Matrix gates, product  # (B, G·H)
    Matrix h_prev, c_prev, inner, unprojected
    Matrix logits  # (B, V)
    real *scratch


cdef class PackedStack:
    cdef const Cell *cell
    cdef Py_ssize_t L, inputs, H, P, V
    cdef StackLayer *layers
    cdef Packed head  # without data: none
    cdef Matrix head_bias, table
    cdef real *memory
    cdef object arrays  # whose memory is used

    def __init__(self, int cell, layers, table=None, head=(None, None)):
        cdef Py_ssize_t k, count
        cdef real *end = NULL
        if not layers:
            raise ValueError("layers: expected at least one, got 0")
        self.cell, self.L, self.arrays = cell_of(cell), len(layers), (table, head)
        self.layers = <StackLayer *> allocate(self.L, sizeof(StackLayer))
        if self.layers == NULL:
            raise MemoryError("PackedStack: no memory for its layers")
        memset(self.layers, 0, self.L * sizeof(StackLayer))
        self.P = len(layers[0].w_hh[0])
        self.H = len(layers[0].w_hh) // self.cell.gates
        if head[0] is not None:
            require(table, "table")
        self.table = as_matrix(table, "table", -1, self.cell.gates * self.H)
        self.V = self.table.rows
        self.head_bias = as_matrix(head[1], "head bias", 1, self.V)
        for k in range(self.L):
            self.place(k, layers[k], &end)
        if head[0] is not None:
            take_aligned(&end, packed_size(self.P, self.V))
        count = end - <real *> NULL
        self.memory = end = <real *> allocate(count, sizeof(real))
        if self.memory == NULL:
            raise MemoryError("PackedStack: no memory for packed weights")
        for k in range(self.L):
            self.place(k, layers[k], &end)
        if head[0] is not None:
            self.head = pack_weight(as_matrix(head[0], "head", self.V, self.P), &end)

    def __dealloc__(self):
        release(self.layers)
        release(self.memory)

    def __reduce__(self):
        # Each build packs in its own way, and another machine may run another one.
        raise TypeError("packed weights cannot be copied or pickled")

    cdef int place(self, Py_ssize_t k, object weights, real **end) except -1:
        """Pack one layer; while `memory` is NULL, only measure it."""
        cdef StackLayer *layer = &self.layers[k]
        cdef Recurrence q  # of which only the weights are used
        cdef Py_ssize_t GH = self.cell.gates * self.H
        q.cell, q.P = self.cell, self.P
        require(weights.w_hh, "w_hh")
        expect(len(weights.w_hh), GH, "w_hh: rows")
        open_weights(&q, weights, k > 0)
        if k == 0:
            self.inputs = q.w_ih.columns
        else:
            expect(q.w_ih.columns, self.P, "w_ih: columns")
        layer.bias = take_aligned(end, GH)
        layer.inner_bias = NULL if q.inner_bias == NULL else take_aligned(end, GH)
        if self.memory == NULL:
            take_aligned(end, packed_size(q.w_ih.columns, GH))
            take_aligned(end, packed_size(self.P, GH))
            take_aligned(end, packed_size(self.H, self.P))
            return 0
        memset(layer.bias, 0, GH * sizeof(real))
        if q.b_ih.data != NULL:
            add_biases(self.cell, q.b_ih, q.b_hh, layer.bias)
        if q.inner_bias != NULL:
            memcpy(layer.inner_bias, q.inner_bias, self.cell.inner_gates * self.H * sizeof(real))
        layer.w_ih, layer.w_hh = pack_weight(q.w_ih, end), pack_weight(q.w_hh, end)
        layer.w_hr = pack_weight(q.w_hr, end)
        return 0

    def step(self, x, h, c):
        cdef Matrix x_ = as_matrix(x, "x", -1, self.inputs)
        cdef Py_ssize_t B = x_.rows
        cdef Matrix h_ = as_matrix(h, "h", self.L * B, self.P, True)
        cdef Matrix c_ = as_matrix(c, "c", self.L * B, self.H, True)
        cdef StepWorkspace w
        cdef real *memory
        cdef unsigned mode
        cdef Py_ssize_t b
        if self.cell.has_c and c is None:
            raise ValueError("c: expected an array, got None")
        if B == 0:
            return
        memory = self.workspace(&w, B)
        with nogil:
            mode = flush_subnormals()
            for b in range(B):
                memcpy(row_of(&w.gates, b), self.layers[0].bias, w.gates.columns * sizeof(real))
            multiply(x_, &self.layers[0].w_ih, w.gates, True, w.scratch)
            self.advance(&w, h_, c_)
            restore_subnormals(mode)
            release(memory)

    cdef real *workspace(self, StepWorkspace *w, Py_ssize_t B) except NULL:
        """Buffers of a step; the caller releases the result."""
        cdef real *memory = <real *> allocate(self.lay_out(w, B, NULL), sizeof(real))
        if memory == NULL:
            raise MemoryError("PackedStack: no memory for its buffers")
        self.lay_out(w, B, memory)
        return memory

    cdef Py_ssize_t lay_out(self, StepWorkspace *w, Py_ssize_t B, real *memory) noexcept nogil:
        cdef real *end = memory
        cdef Py_ssize_t GH = self.cell.gates * self.H, inner = self.cell.inner_gates * self.H
        w.gates = take_matrix(&end, B, GH)
        w.product = take_matrix(&end, B, GH)
        w.h_prev = take_matrix(&end, B, self.P)
        w.c_prev = take_matrix(&end, B, self.H)
        w.inner = take_matrix(&end, B, inner)
        w.unprojected = take_matrix(&end, B, self.H)
        w.logits = take_matrix(&end, B, self.V)
        w.scratch = take_aligned(&end, scratch_size(B))
        return end - memory

    cdef void advance(self, StepWorkspace *w, Matrix h, Matrix c) noexcept nogil:
        """One time step through all layers; w.gates holds the first layer's input projection."""
        cdef Py_ssize_t k, b, B = w.gates.rows, GH = w.gates.columns
        cdef const StackLayer *layer
        for k in range(self.L):
            layer = &self.layers[k]
            if k:
                for b in range(B):
                    memcpy(row_of(&w.gates, b), layer.bias, GH * sizeof(real))
                multiply(block(h, (k - 1) * B, 0, B, self.P), &layer.w_ih, w.gates, True,
                         w.scratch)
            self.advance_layer(layer, w, block(h, k * B, 0, B, self.P),
                               part_of(&c, k * B, 0, B, self.H))

    cdef void advance_layer(self, const StackLayer *layer, StepWorkspace *w, Matrix h,
                            Matrix c) noexcept nogil:
        cdef Pointwise p
        copy_rows(h, w.h_prev)
        p.rows, p.columns, p.H = h.rows, self.H, self.H
        p.gates, p.product = rows_from(&w.gates, 0, 0), rows_from(&w.product, 0, 0)
        p.inner, p.inner_bias = rows_from(&w.inner, 0, 0), layer.inner_bias
        p.h_prev, p.c_prev = rows_from(&w.h_prev, 0, 0), rows_from(&w.c_prev, 0, 0)
        p.c = rows_from(&c, 0, 0)
        p.h = rows_from(&h if layer.w_hr.data == NULL else &w.unprojected, 0, 0)
        if self.cell.has_c:
            copy_rows(c, w.c_prev)
        if self.cell.inner_gates:
            multiply(w.h_prev, &layer.w_hh, w.product, False, w.scratch)
        else:
            multiply(w.h_prev, &layer.w_hh, w.gates, True, w.scratch)
        self.cell.forward(&p)
        if layer.w_hr.data != NULL:
            multiply(w.unprojected, &layer.w_hr, h, False, w.scratch)

    def decode(self, h, c, int64_t[:, ::1] tokens, double[:, ::1] log_probs,
               const double[:, ::1] uniforms, draw_options, uint8_t[:, ::1] seen):
        cdef Py_ssize_t S = uniforms.shape[0], B = uniforms.shape[1], s, b, k
        cdef Matrix h_ = as_matrix(h, "h", self.L * B, self.P, True)
        cdef Matrix c_ = as_matrix(c, "c", self.L * B, self.H, True)
        cdef DrawOptions o
        cdef DrawScratch scratch
        cdef StepWorkspace w
        cdef const uint8_t[::1] allowed = draw_options.allowed
        cdef real *memory
        cdef unsigned mode
        o.V = self.V
        o.temperature, o.top_k, o.top_p, o.min_p, o.penalty = draw_options[:5]
        self.check_decode(c, tokens, log_probs, uniforms, allowed, seen)
        if S == 0 or B == 0 or self.V == 0:
            return
        o.allowed = NULL if allowed is None else &allowed[0]
        scratch.z = <double *> allocate(3 * self.V, sizeof(double))
        if scratch.z == NULL:
            raise MemoryError("decode: no memory for probabilities")
        scratch.weights = scratch.z + self.V
        scratch.heap = <Py_ssize_t *> (scratch.z + 2 * self.V)
        memory = self.workspace(&w, B)
        with nogil:
            mode = flush_subnormals()
            for s in range(S):
                for b in range(B):
                    memcpy(row_of(&w.gates, b), row_of(&self.table, tokens[s, b]),
                           w.gates.columns * sizeof(real))
                self.advance(&w, h_, c_)
                self.head_logits(&w, block(h_, (self.L - 1) * B, 0, B, self.P))
                for b in range(B):
                    k = draw(&o, row_of(&w.logits, b), NULL if seen is None else &seen[b, 0],
                             uniforms[s, b], &scratch, &log_probs[s, b])
                    tokens[s + 1, b] = k
                    if seen is not None:
                        seen[b, k] = 1
            restore_subnormals(mode)
            release(memory)
            release(scratch.z)

    cdef void head_logits(self, StepWorkspace *w, Matrix top) noexcept nogil:
        cdef Py_ssize_t b
        for b in range(top.rows):
            if self.head_bias.data == NULL:
                memset(row_of(&w.logits, b), 0, self.V * sizeof(real))
            else:
                memcpy(row_of(&w.logits, b), self.head_bias.data, self.V * sizeof(real))
        multiply(top, &self.head, w.logits, True, w.scratch)

    cdef int check_decode(self, object c, int64_t[:, ::1] tokens, double[:, ::1] log_probs,
                          const double[:, ::1] uniforms, const uint8_t[::1] allowed,
                          uint8_t[:, ::1] seen) except -1:
        cdef Py_ssize_t S = uniforms.shape[0], B = uniforms.shape[1]
        if self.arrays[0] is None or self.arrays[1][0] is None:
            raise ValueError("table, head: expected arrays, got None")
        if self.cell.has_c and c is None:
            raise ValueError("c: expected an array, got None")
        expect(tokens.shape[0], S + 1, "tokens: steps")
        expect(tokens.shape[1], B, "tokens: rows")
        expect(log_probs.shape[0], S, "log_probs: steps")
        expect(log_probs.shape[1], B, "log_probs: rows")
        if allowed is not None:
            expect(allowed.shape[0], self.V, "allowed: length")
        if seen is not None:
            expect(seen.shape[0], B, "seen: rows")
            expect(seen.shape[1], self.V, "seen: columns")
        return check_ids(tokens[0], 0, self.V, "tokens")


cdef Packed pack_weight(Matrix w, real **end) noexcept nogil:
    """Pack w (N, K), if there is one, as the right side of x @ wᵀ."""
    cdef Matrix right = transposed(w)
    cdef Packed packed = Packed(REAL, right.rows, right.columns, NULL)
    if w.data == NULL:
        return packed
    packed.data = take_aligned(end, packed_size(packed.K, packed.N))
    fs_pack(&right, packed.data)
    return packed
