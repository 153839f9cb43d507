# Optimizer updates: one pass over parameters, gradients and state. The specification is
# oracle/updates.py. A dense update is cut among the threads into parts of the flat array. An
# update of some rows only is small and runs on one thread.

cdef extern from *:
    """
    enum { FS_STRETCH = 4096, FS_SQUARE_LANES = 8 };
    _Static_assert(FS_STRETCH % FS_UNIT == 0, "stretches are whole cache lines");
    _Static_assert(FS_STRETCH % FS_SQUARE_LANES == 0, "a stretch has no remainder");
    """
    enum:
        STRETCH "FS_STRETCH"  # numbers: the least part of an array, and the unit of its sums
        SQUARE_LANES "FS_SQUARE_LANES"  # interleaved sums of squares: their number fixes the bits


# ---- norm ---------------------------------------------------------------------------------------

cdef double span_squares(const real *g, Py_ssize_t n) noexcept nogil:
    """The sum of squares in double precision."""
    cdef double lanes[SQUARE_LANES]
    cdef Py_ssize_t i = 0, k
    cdef double v
    for k in range(SQUARE_LANES):
        lanes[k] = 0
    while i + SQUARE_LANES <= n:
        for k in range(SQUARE_LANES):
            v = g[i + k]
            lanes[k] = fma_d(v, v, lanes[k])
        i += SQUARE_LANES
    for k in range(n - i):
        v = g[i + k]
        lanes[k] = fma_d(v, v, lanes[k])
    for k in range(1, SQUARE_LANES):
        lanes[0] += lanes[k]
    return lanes[0]


cdef struct Squares:
    const real *g
    Py_ssize_t size
    double *sums


cdef bint squares_part(void *job, int part, int parts) noexcept nogil:
    """Sums of some stretches."""
    cdef Squares *s = <Squares *> job
    cdef Py_ssize_t count = units(s.size, STRETCH), n
    for n in range(part_start(count, part, parts, 1), part_start(count, part + 1, parts, 1)):
        s.sums[n] = span_squares(s.g + n * STRETCH,
                                 min(<Py_ssize_t> STRETCH, s.size - n * STRETCH))
    return True


cdef double dense_squares(const real *g, Py_ssize_t size, double *sums) noexcept nogil:
    """Stretches of fixed length, added in order.

    Errors of such a sum do not grow, and its bits do not depend on the threads.
    """
    cdef Squares job = Squares(g, size, sums)
    cdef Py_ssize_t count = units(size, STRETCH), n
    cdef int threads = thread_count(MEMORY_WORK * size, count)
    cdef double total = 0
    run(squares_part, &job, threads, threads)
    for n in range(count):
        total += sums[n]
    return total


def sum_squares(const real[:, ::1] g not None, const int64_t[::1] rows):
    cdef Py_ssize_t size = g.shape[0] * g.shape[1], n
    cdef double total = 0
    cdef double *sums
    if size == 0:
        return total
    if rows is not None:
        check_ids(rows, 0, g.shape[0], "rows")
        for n in range(rows.shape[0]):
            total += span_squares(&g[rows[n], 0], g.shape[1])
        return total
    sums = <double *> allocate(units(size, STRETCH), sizeof(double))
    if sums == NULL:
        raise MemoryError("sum_squares: no memory for partial sums")
    with nogil:
        total = dense_squares(&g[0, 0], size, sums)
        release(sums)
    return total


# ---- how every update runs ----------------------------------------------------------------------

# Preprocessing of a gradient: clip(scale * g, +-limit) + weight_decay * p.
cdef struct Clip:
    double scale, limit, weight_decay

cdef struct Update

# Updates `count` numbers from the one at `first` on.
ctypedef void (*Span)(const Update *u, Py_ssize_t first, Py_ssize_t count) noexcept nogil

cdef struct Update:
    Span span
    real *p
    const real *g
    real *state[3]  # arrays like p; NULL: none
    Py_ssize_t size, columns  # of p
    Clip clip
    const void *options


cdef inline real clipped(real g, real scale, real limit) noexcept nogil:
    g *= scale
    g = limit if g > limit else g
    return -limit if g < -limit else g


cdef Update as_update(Span span, real[:, ::1] p, const real[:, ::1] g, clip) except *:
    cdef Update u
    expect(g.shape[0], p.shape[0], "g: rows")
    expect(g.shape[1], p.shape[1], "g: columns")
    u.span, u.columns, u.size = span, p.shape[1], p.shape[0] * p.shape[1]
    u.p, u.g = NULL, NULL
    if u.size:
        u.p, u.g = &p[0, 0], &g[0, 0]
    u.clip.scale, u.clip.limit, u.clip.weight_decay = clip
    return u


cdef real *state_like(real[:, ::1] p, real[:, ::1] state, str name) except? NULL:
    """The numbers of an array of state; NULL for None or no numbers."""
    if state is None:
        return NULL
    expect(state.shape[0], p.shape[0], name + ": rows")
    expect(state.shape[1], p.shape[1], name + ": columns")
    return &state[0, 0] if p.shape[0] * p.shape[1] else NULL


cdef bint update_part(void *job, int part, int parts) noexcept nogil:
    cdef Update *u = <Update *> job
    cdef Py_ssize_t first = part_start(u.size, part, parts)
    u.span(u, first, part_start(u.size, part + 1, parts) - first)
    return True


cdef int update(Update *u, double work, const int64_t[::1] rows) except -1:
    """Update all numbers, each of which takes so much work, or those of some rows."""
    cdef unsigned mode
    cdef Py_ssize_t n
    cdef int threads
    if u.size == 0:
        return 0
    if rows is None:
        with nogil:
            threads = thread_count(work * u.size, u.size // STRETCH)
            run(update_part, u, threads, threads)
        return 0
    check_ids(rows, 0, u.size // u.columns, "rows")
    mode = flush_subnormals()
    for n in range(rows.shape[0]):
        u.span(u, rows[n] * u.columns, u.columns)
    restore_subnormals(mode)
    return 0


# ---- SGD ----------------------------------------------------------------------------------------

cdef struct Sgd:
    double lr, momentum, dampening
    bint nesterov, first


cdef void sgd_span(const Update *u, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    cdef real *p = u.p + first
    cdef const real *g = u.g + first
    cdef Sgd o = (<const Sgd *> u.options)[0]
    cdef real scale = u.clip.scale, limit = u.clip.limit, decay = u.clip.weight_decay, lr = o.lr
    cdef Py_ssize_t i
    if u.state[0] != NULL:
        momentum_span(u, first, count)
        return
    for i in range(count):
        p[i] = fma(-lr, fma(decay, p[i], clipped(g[i], scale, limit)), p[i])


cdef void momentum_span(const Update *u, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    cdef real *p = u.p + first
    cdef real *buffer = u.state[0] + first
    cdef const real *g = u.g + first
    cdef Sgd o = (<const Sgd *> u.options)[0]
    cdef real scale = u.clip.scale, limit = u.clip.limit, decay = u.clip.weight_decay, lr = o.lr
    cdef real momentum = o.momentum, fresh = 1 - o.dampening, d, v
    cdef Py_ssize_t i
    if o.first:
        momentum, fresh = 0, 1
        memset(buffer, 0, count * sizeof(real))
    for i in range(count):
        d = fma(decay, p[i], clipped(g[i], scale, limit))
        v = fma(momentum, buffer[i], fresh * d)
        buffer[i] = v
        p[i] = fma(-lr, fma(<real> o.momentum, v, d) if o.nesterov else v, p[i])


def sgd(real[:, ::1] p not None, const real[:, ::1] g not None, real[:, ::1] momentum_buffer,
        const int64_t[::1] rows, clip, options):
    cdef Sgd o
    cdef Update u = as_update(sgd_span, p, g, clip)
    o.lr, o.momentum, o.dampening, o.nesterov, o.first = options
    u.state[0] = state_like(p, momentum_buffer, "momentum_buffer")
    u.options = &o
    update(&u, MEMORY_WORK, rows)


# ---- Adagrad ------------------------------------------------------------------------------------

cdef struct Adagrad:
    double lr, eps
    bint eps_inside


cdef void adagrad_span(const Update *u, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    cdef real *p = u.p + first
    cdef real *sum_of_squares = u.state[0] + first
    cdef const real *g = u.g + first
    cdef Adagrad o = (<const Adagrad *> u.options)[0]
    cdef real scale = u.clip.scale, limit = u.clip.limit, decay = u.clip.weight_decay, lr = o.lr
    cdef real within = o.eps if o.eps_inside else 0, beside = 0 if o.eps_inside else o.eps, d, s
    cdef Py_ssize_t i
    for i in range(count):
        d = fma(decay, p[i], clipped(g[i], scale, limit))
        s = fma(d, d, sum_of_squares[i])
        sum_of_squares[i] = s
        p[i] -= lr * d / (sqrt_(s + within) + beside)


def adagrad(real[:, ::1] p not None, const real[:, ::1] g not None,
            real[:, ::1] sum_of_squares not None, const int64_t[::1] rows, clip, options):
    cdef Adagrad o
    cdef Update u = as_update(adagrad_span, p, g, clip)
    o.lr, o.eps, o.eps_inside = options
    u.state[0] = state_like(p, sum_of_squares, "sum_of_squares")
    u.options = &o
    update(&u, 2 * MEMORY_WORK, rows)


# ---- RMSprop ------------------------------------------------------------------------------------

cdef struct Rmsprop:
    double lr, alpha, eps, momentum


cdef void rmsprop_span(const Update *u, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    cdef real *p = u.p + first
    cdef real *square_avg = u.state[0] + first
    cdef real *grad_avg = NULL if u.state[1] == NULL else u.state[1] + first
    cdef const real *g = u.g + first
    cdef Rmsprop o = (<const Rmsprop *> u.options)[0]
    cdef real *buffer = NULL if u.state[2] == NULL else u.state[2] + first
    cdef real scale = u.clip.scale, limit = u.clip.limit, decay = u.clip.weight_decay, lr = o.lr
    cdef real alpha = o.alpha, rest = 1 - o.alpha, eps = o.eps, momentum = o.momentum, d, s
    cdef Py_ssize_t i
    for i in range(count):
        d = fma(decay, p[i], clipped(g[i], scale, limit))
        s = fma(rest * d, d, alpha * square_avg[i])
        square_avg[i] = s
        if grad_avg != NULL:
            grad_avg[i] = fma(alpha, grad_avg[i], rest * d)
            s = fma(-grad_avg[i], grad_avg[i], s)
        d = d / (sqrt_(s) + eps)
        if buffer != NULL:
            d = fma(momentum, buffer[i], d)
            buffer[i] = d
        p[i] = fma(-lr, d, p[i])


def rmsprop(real[:, ::1] p not None, const real[:, ::1] g not None,
            real[:, ::1] square_avg not None, real[:, ::1] grad_avg,
            real[:, ::1] momentum_buffer, clip, options):
    cdef Rmsprop o
    cdef Update u = as_update(rmsprop_span, p, g, clip)
    o.lr, o.alpha, o.eps, o.momentum = options
    u.state[0] = state_like(p, square_avg, "square_avg")
    u.state[1] = state_like(p, grad_avg, "grad_avg")
    u.state[2] = state_like(p, momentum_buffer, "momentum_buffer")
    u.options = &o
    update(&u, 2 * MEMORY_WORK, None)


# ---- Adam and AdamW -----------------------------------------------------------------------------

cdef struct Adam:
    double beta1, beta2, eps
    double step_size, root  # lr and sqrt(second moment), both with their bias corrected
    double shrink  # of the parameter itself


cdef void adam_span(const Update *u, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
    cdef real *p = u.p + first
    cdef real *exp_avg = u.state[0] + first
    cdef real *exp_avg_sq = u.state[1] + first
    cdef const real *g = u.g + first
    cdef Adam o = (<const Adam *> u.options)[0]
    cdef real scale = u.clip.scale, limit = u.clip.limit, decay = u.clip.weight_decay, eps = o.eps
    cdef real fresh1 = 1 - o.beta1, beta2 = o.beta2, fresh2 = 1 - o.beta2, d, m, v
    cdef real step_size = o.step_size, unbias = 1 / o.root, shrink = o.shrink
    cdef Py_ssize_t i
    for i in range(count):
        d = fma(decay, p[i], clipped(g[i], scale, limit))
        m = fma(fresh1, d - exp_avg[i], exp_avg[i])
        v = fma(fresh2 * d, d, beta2 * exp_avg_sq[i])
        exp_avg[i], exp_avg_sq[i] = m, v
        p[i] = fma(shrink, p[i], -step_size * m / fma(sqrt_(v), unbias, eps))


cdef Adam as_adam(Clip *clip, options) except *:
    """Options of a step; decoupled weight decay leaves the gradient alone."""
    cdef Adam o
    cdef double lr
    cdef bint decoupled
    lr, beta1, beta2, o.eps, step, decoupled = options
    o.beta1, o.beta2 = beta1, beta2
    o.step_size = lr / (1 - <double> (beta1**step))
    o.root = sqrt(1 - <double> (beta2**step))
    o.shrink = 1 - lr * clip.weight_decay if decoupled else 1
    if decoupled:
        clip.weight_decay = 0
    return o


def adam(real[:, ::1] p not None, const real[:, ::1] g not None,
         real[:, ::1] exp_avg not None, real[:, ::1] exp_avg_sq not None, clip, options):
    cdef Update u = as_update(adam_span, p, g, clip)
    cdef Adam o = as_adam(&u.clip, options)
    u.state[0] = state_like(p, exp_avg, "exp_avg")
    u.state[1] = state_like(p, exp_avg_sq, "exp_avg_sq")
    u.options = &o
    update(&u, 2 * MEMORY_WORK, None)
