# Generation: one token drawn from one row of logits. The specification is oracle/decode.py.
# Probabilities are computed in double precision, as the oracle does.

from libc.math cimport INFINITY

# How to draw one of V tokens; see `Draw` in records.py.
cdef struct DrawOptions:
    Py_ssize_t V, top_k
    double temperature, top_p, min_p, penalty
    const uint8_t *allowed  # or NULL


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


cdef void filter_weights(const DrawOptions *o, double *weights, Py_ssize_t *heap) noexcept nogil:
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


cdef Py_ssize_t nucleus(const DrawOptions *o, const double *weights, const Py_ssize_t *heap,
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


cdef Py_ssize_t draw_one(const DrawOptions *o, const double *weights,
                         double uniform) noexcept nogil:
    """The first index whose cumulative weight exceeds uniform * total."""
    cdef double goal = uniform * row_sum_d(weights, o.V), mass = 0
    cdef Py_ssize_t v, last = 0
    for v in range(o.V):
        if weights[v] > 0:
            mass += weights[v]
            last = v
            if mass > goal:
                break
    return last


# Scratch of one draw: V entries each.
cdef struct DrawScratch:
    double *z
    double *weights
    Py_ssize_t *heap


cdef Py_ssize_t draw(const DrawOptions *o, const real *logits, const uint8_t *seen,
                     double uniform, const DrawScratch *scratch,
                     double *log_prob) noexcept nogil:
    """One token from one row of logits."""
    # Copies, so that the compiler knows that no store changes them.
    cdef Py_ssize_t v, token = 0, V = o.V
    cdef double *z = scratch.z
    cdef double *weights = scratch.weights
    cdef const uint8_t *allowed = o.allowed
    cdef double peak, first_peak, total, temperature = o.temperature, penalty = o.penalty
    for v in range(V):
        z[v] = logits[v]
    peak = first_peak = row_max_d(z, V)
    total = log_d(row_exp_d(z, weights, V, peak)) + peak
    if seen != NULL:
        for v in range(V):
            if seen[v]:
                z[v] = z[v] / penalty if z[v] > 0 else z[v] * penalty
    if allowed != NULL:
        for v in range(V):
            z[v] = z[v] if allowed[v] else -INFINITY
            weights[v] = weights[v] if allowed[v] else 0
    if seen != NULL or allowed != NULL:
        peak = row_max_d(z, V)
    if temperature == 0:
        while token < V - 1 and z[token] != peak:
            token += 1
    else:
        # At a temperature of 1 the weights of the softmax above are those that draw.
        if temperature != 1 or seen != NULL or peak != first_peak:
            for v in range(V):
                weights[v] = exp_d((z[v] - peak) / temperature)
        if o.top_k > 0 or o.top_p < 1 or o.min_p > 0:
            filter_weights(o, weights, scratch.heap)
        token = draw_one(o, weights, uniform)
    log_prob[0] = <double> logits[token] - total
    return token
