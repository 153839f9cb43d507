# Generation: embedding row, cells, head and draw for token after token in one call. The
# specification is oracle/decode.py. All weights are packed once at the start of the call.
# Probabilities are computed in double precision, as the oracle does.

from libc.math cimport INFINITY

# Sizes and filters of one call.
cdef struct Draw:
    Py_ssize_t V, top_k
    double temperature, top_p, min_p, penalty


cdef inline bint heavier(const double *weights, Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """Whether index a comes before b: larger weight first, smaller index among equals."""
    return weights[a] > weights[b] or (weights[a] == weights[b] and a < b)


cdef void sift_down(const double *weights, Py_ssize_t *heap, Py_ssize_t size,
                    Py_ssize_t at) noexcept nogil:
    cdef Py_ssize_t child, moved = heap[at]
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and heavier(weights, heap[child + 1], heap[child]):
            child += 1
        if not heavier(weights, heap[child], moved):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = moved


cdef Py_ssize_t pop_heaviest(const double *weights, Py_ssize_t *heap,
                             Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t top = heap[0]
    heap[0] = heap[size - 1]
    sift_down(weights, heap, size - 1, 0)
    return top


cdef void filter_weights(const Draw *o, double *weights, Py_ssize_t *heap) noexcept nogil:
    """Zero all weights but those that top_k, top_p and min_p let through."""
    cdef Py_ssize_t v, n = 0, limit = min(o.top_k, o.V) if o.top_k > 0 else o.V
    cdef bint stops_early = limit == o.V
    cdef double mass = 0, goal = 0, least
    for v in range(o.V):
        heap[v] = v
        goal += o.top_p * weights[v]
    for v in range(o.V // 2 - 1, -1, -1):
        sift_down(weights, heap, o.V, v)
    least = o.min_p * weights[heap[0]]
    # What leaves the heap goes to the place it gives up: heap[V - 1 - n] is the nth heaviest.
    while n < limit:
        if n and stops_early and (
            weights[heap[0]] < least or (o.top_p < 1 and mass >= goal)
        ):
            break
        mass += weights[heap[0]]
        heap[o.V - 1 - n] = pop_heaviest(weights, heap, o.V - n)
        n += 1
    if not stops_early and o.top_p < 1:
        n = nucleus(o, weights, heap, n)
    while n > 1 and weights[heap[o.V - n]] < least:
        n -= 1
    for v in range(o.V - n):
        weights[heap[v]] = 0


cdef Py_ssize_t nucleus(const Draw *o, const double *weights, const Py_ssize_t *heap,
                        Py_ssize_t limit) noexcept nogil:
    """How many of the heaviest `limit` make up the share top_p of their mass."""
    cdef double mass = 0, goal = 0
    cdef Py_ssize_t n
    for n in range(limit):
        goal += weights[heap[o.V - 1 - n]]
    for n in range(limit):
        mass += weights[heap[o.V - 1 - n]]
        if mass >= o.top_p * goal:
            return n + 1
    return limit


cdef Py_ssize_t draw_one(const Draw *o, const double *weights, double uniform) noexcept nogil:
    """The first index whose cumulative weight exceeds uniform * total."""
    cdef double goal = uniform * row_sum(weights, o.V), mass = 0
    cdef Py_ssize_t v, last = 0
    for v in range(o.V):
        if weights[v] > 0:
            mass += weights[v]
            last = v
            if mass > goal:
                break
    return last


cdef Py_ssize_t draw(const Draw *o, const real *logits, const uint8_t *allowed,
                     const uint8_t *seen, double uniform, double *z, double *weights,
                     Py_ssize_t *heap, double *log_prob) noexcept nogil:
    """One token from one row of logits; z, weights and heap are scratch of V entries."""
    # Copies, so that the compiler knows that no store changes them.
    cdef Py_ssize_t v, token = 0, V = o.V
    cdef double peak, first_peak, total, temperature = o.temperature, penalty = o.penalty
    for v in range(V):
        z[v] = logits[v]
    peak = first_peak = row_max(z, V)
    total = log(row_exp(z, weights, V, peak)) + peak
    if seen != NULL:
        for v in range(V):
            if seen[v]:
                z[v] = z[v] / penalty if z[v] > 0 else z[v] * penalty
    if allowed != NULL:
        for v in range(V):
            z[v] = z[v] if allowed[v] else -INFINITY
            weights[v] = weights[v] if allowed[v] else 0
    if seen != NULL or allowed != NULL:
        peak = row_max(z, V)
    if temperature == 0:
        while token < V - 1 and z[token] != peak:
            token += 1
    else:
        # At a temperature of 1 the weights of the softmax above are those that draw.
        if temperature != 1 or seen != NULL or peak != first_peak:
            for v in range(V):
                weights[v] = exp_d((z[v] - peak) / temperature)
        if o.top_k > 0 or o.top_p < 1 or o.min_p > 0:
            filter_weights(o, weights, heap)
        token = draw_one(o, weights, uniform)
    log_prob[0] = <double> logits[token] - total
    return token


cdef int check_decode(Py_ssize_t GH, Py_ssize_t V, Py_ssize_t L, Py_ssize_t B, Py_ssize_t H,
                      Py_ssize_t G, Py_ssize_t S, const real[:, :, ::1] w_ih,
                      const real[:, ::1] bias, const real[:, :, ::1] w_hh,
                      const real[:, ::1] b_hn, real[:, :, ::1] c,
                      const real[:, ::1] head_w, const real[::1] head_b,
                      const uint8_t[::1] allowed, const uint8_t[:, ::1] seen) except -1:
    if L == 0:
        raise ValueError("h: expected at least one layer, got 0")
    expect(GH, G * H, "table: columns")
    expect(w_hh.shape[1], GH, "w_hh: rows")
    expect(w_hh.shape[2], H, "w_hh: columns")
    expect(w_hh.shape[0], L, "w_hh: layers")
    if L > 1:
        expect(w_ih.shape[0], L - 1, "w_ih: layers")
        expect(w_ih.shape[1], GH, "w_ih: rows")
        expect(w_ih.shape[2], H, "w_ih: columns")
        expect(bias.shape[0], L - 1, "bias: layers")
        expect(bias.shape[1], GH, "bias: columns")
    if b_hn is not None:
        expect(b_hn.shape[0], L, "b_hn: layers")
        expect(b_hn.shape[1], H, "b_hn: columns")
    if G == 4:
        expect(c.shape[0], L, "c: layers")
        expect(c.shape[1], B, "c: rows")
        expect(c.shape[2], H, "c: columns")
    expect(head_w.shape[0], V, "head_w: rows")
    expect(head_w.shape[1], H, "head_w: columns")
    if head_b is not None:
        expect(head_b.shape[0], V, "head_b: length")
    if allowed is not None:
        expect(allowed.shape[0], V, "allowed: length")
    if seen is not None:
        expect(seen.shape[0], B, "seen: rows")
        expect(seen.shape[1], V, "seen: columns")
    return 0


def decode(int cell, const real[:, ::1] table, const real[:, :, ::1] w_ih,
           const real[:, ::1] bias, const real[:, :, ::1] w_hh,
           const real[:, ::1] b_hn, real[:, :, ::1] h, real[:, :, ::1] c,
           const real[:, ::1] head_w, const real[::1] head_b,
           const uint8_t[::1] allowed, uint8_t[:, ::1] seen, const double[:, ::1] uniforms,
           double temperature, Py_ssize_t top_k, double top_p, double min_p, double penalty,
           int64_t[:, ::1] tokens, double[:, ::1] log_probs):
    cdef Stack q
    cdef Draw o = Draw(table.shape[0], top_k, temperature, top_p, min_p, penalty)
    cdef Py_ssize_t S = uniforms.shape[0], V = o.V, H = h.shape[2], GH = table.shape[1], s, b, k
    cdef Py_ssize_t packed_head = packed_size(H, V), n
    cdef real *memory
    cdef real *head
    cdef real *logits
    cdef real *gates
    cdef double *z
    cdef unsigned state
    q.cell, q.L, q.B, q.H = cell, h.shape[0], h.shape[1], H
    q.G = 4 if cell == LSTM else 3 if cell == GRU else 1
    check_decode(GH, V, q.L, q.B, H, q.G, S, w_ih, bias, w_hh, b_hn, c, head_w, head_b, allowed,
                 seen)
    expect(uniforms.shape[1], q.B, "uniforms: columns")
    expect(tokens.shape[0], S + 1, "tokens: steps")
    expect(tokens.shape[1], q.B, "tokens: rows")
    expect(log_probs.shape[0], S, "log_probs: steps")
    expect(log_probs.shape[1], q.B, "log_probs: rows")
    check_ids(tokens[0], 0, V, "tokens")
    if S == 0 or q.B == 0 or V == 0 or H == 0:
        return
    q.P, q.packed_in, q.w_hr = H, packed_size(H, GH), NULL
    q.packed_hh = q.packed_in
    # Packed weights of every layer, packed head, then gates, product, logits, scratch.
    n = (2 * q.L - 1) * q.packed_hh + packed_head
    memory = <real *> allocate(
        n + q.B * (2 * GH + V) + 16 + scratch_size(q.B), sizeof(real))
    z = <double *> allocate(3 * V, sizeof(double))
    if memory == NULL or z == NULL:
        free(memory)
        free(z)
        raise MemoryError("decode: no memory for packed weights")
    q.w_hh, q.w_ih = memory, memory + q.L * q.packed_hh
    head = memory + (2 * q.L - 1) * q.packed_hh
    gates = head + packed_head
    logits = gates + q.B * 2 * GH
    q.gates, q.product, q.scratch = gates, gates + q.B * GH, logits + q.B * V + 16
    q.bias = NULL if q.L < 2 else &bias[0, 0]
    q.b_hn = NULL if b_hn is None else &b_hn[0, 0]
    with nogil:
        state = flush_subnormals()
        for k in range(q.L):
            pack(H, GH, &w_hh[k, 0, 0], 1, H, memory + k * q.packed_hh)
        for k in range(q.L - 1):
            pack(H, GH, &w_ih[k, 0, 0], 1, H, memory + (q.L + k) * q.packed_in)
        pack(H, V, &head_w[0, 0], 1, H, head)
        for s in range(S):
            for b in range(q.B):
                memcpy(gates + b * GH, &table[tokens[s, b], 0], GH * sizeof(real))
                if head_b is None:
                    memset(logits + b * V, 0, V * sizeof(real))
                else:
                    memcpy(logits + b * V, &head_b[0], V * sizeof(real))
            advance(&q, &h[0, 0, 0], NULL if cell != LSTM else &c[0, 0, 0])
            times_packed(q.B, V, H, &h[q.L - 1, 0, 0], H, head, logits, V, True,
                         <real *> q.scratch)
            for b in range(q.B):
                k = draw(&o, logits + b * V, NULL if allowed is None else &allowed[0],
                         NULL if seen is None else &seen[b, 0], uniforms[s, b], z, z + V,
                         <Py_ssize_t *> (z + 2 * V), &log_probs[s, b])
                tokens[s + 1, b] = k
                if seen is not None:
                    seen[b, k] = 1
        restore_subnormals(state)
        free(memory)
        free(z)
