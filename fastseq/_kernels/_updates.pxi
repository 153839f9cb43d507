# Optimizer updates: one pass over parameters, gradients and state. The specification is
# oracle/updates.py. A dense update is cut among the threads into stretches of the flat array;
# an update of some rows only is small and runs on one.

# What every update does to a gradient first.
cdef struct Clip:
    double scale, limit, decay


cdef inline real clipped(real g, real scale, real limit) noexcept nogil:
    g *= scale
    g = limit if g > limit else g
    return -limit if g < -limit else g


cdef int check_update(Py_ssize_t R, Py_ssize_t C, real[:, ::1] x, str name) except -1:
    if x is not None:
        expect(x.shape[0], R, name + ": rows")
        expect(x.shape[1], C, name + ": columns")
    return 0


cdef inline real *data(real[:, ::1] x) noexcept nogil:
    return NULL if x is None else &x[0, 0]


# ---- norm ---------------------------------------------------------------------------------------

cdef double span_squares(const real *g, Py_ssize_t n) noexcept nogil:
    """The sum of squares in 8 double lanes."""
    cdef double lanes[8]
    cdef Py_ssize_t i, k, whole = n // 8 * 8
    cdef double v
    for k in range(8):
        lanes[k] = 0
    for i in range(0, whole, 8):
        for k in range(8):
            v = g[i + k]
            lanes[k] = fma_d(v, v, lanes[k])
    for i in range(whole, n):
        v = g[i]
        lanes[i - whole] = fma_d(v, v, lanes[i - whole])
    for k in range(1, 8):
        lanes[0] += lanes[k]
    return lanes[0]


# Stretches of fixed length, added in order: a sum that grows no error and whose bits do not
# depend on the threads.
cdef Py_ssize_t STRETCH = 4096


def sum_squares(const real[:, ::1] g, const int64_t[::1] rows):
    cdef Py_ssize_t size = g.shape[0] * g.shape[1], count = (size + STRETCH - 1) // STRETCH, n
    cdef double total = 0
    cdef double *parts
    cdef int threads
    if size == 0:
        return 0.0
    if rows is not None:
        check_ids(rows, 0, g.shape[0], "rows")
        for n in range(rows.shape[0]):
            total += span_squares(&g[rows[n], 0], g.shape[1])
        return total
    parts = <double *> allocate(count, sizeof(double))
    if parts == NULL:
        raise MemoryError("sum_squares: no memory for partial sums")
    with nogil:
        threads = thread_count(MOVED * size, count)
        for n in prange(count, num_threads=threads, schedule="static"):
            parts[n] = span_squares(&g[0, 0] + n * STRETCH, min(STRETCH, size - n * STRETCH))
        for n in range(count):
            total += parts[n]
        free(parts)
    return total


# ---- SGD ----------------------------------------------------------------------------------------

cdef struct Sgd:
    double lr, momentum, dampening
    bint nesterov, first


cdef void sgd_span(Py_ssize_t n, real *p, const real *g, real *velocity, Clip clip,
                   Sgd o) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef real scale = clip.scale, limit = clip.limit, decay = clip.decay, lr = o.lr, d, v
    cdef real momentum = o.momentum, fresh = 1 - o.dampening
    cdef Py_ssize_t i
    if velocity == NULL:
        for i in range(n):
            p[i] = fma(-lr, fma(decay, p[i], clipped(g[i], scale, limit)), p[i])
    else:
        if o.first:
            momentum, fresh = 0, 1
            memset(velocity, 0, n * sizeof(real))
        for i in range(n):
            d = fma(decay, p[i], clipped(g[i], scale, limit))
            v = fma(momentum, velocity[i], fresh * d)
            velocity[i] = v
            p[i] = fma(-lr, fma(<real> o.momentum, v, d) if o.nesterov else v, p[i])
    restore_subnormals(state)


def sgd(real[:, ::1] p, const real[:, ::1] g, real[:, ::1] velocity,
        const int64_t[::1] rows, double scale, double limit, double lr, double weight_decay,
        double momentum, double dampening, bint nesterov, bint first):
    cdef Py_ssize_t R = p.shape[0], C = p.shape[1], a, z
    cdef Clip clip = Clip(scale, limit, weight_decay)
    cdef Sgd o = Sgd(lr, momentum, dampening, nesterov, first)
    cdef int threads, s
    cdef real *v
    expect(g.shape[0], R, "g: rows")
    expect(g.shape[1], C, "g: columns")
    check_update(R, C, velocity, "velocity")
    if R * C == 0:
        return
    v = data(velocity)
    if rows is not None:
        check_ids(rows, 0, R, "rows")
        for a in range(rows.shape[0]):
            z = rows[a] * C
            sgd_span(C, &p[0, 0] + z, &g[0, 0] + z, NULL if v == NULL else v + z, clip, o)
        return
    with nogil:
        threads = thread_count(8.0 * R * C, R * C // 4096)
        for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            a, z = part_start(R * C, threads, s), part_start(R * C, threads, s + 1)
            sgd_span(z - a, &p[0, 0] + a, &g[0, 0] + a, NULL if v == NULL else v + a, clip, o)


# ---- Adagrad ------------------------------------------------------------------------------------

cdef void adagrad_span(Py_ssize_t n, real *p, const real *g, real *memory, Clip clip,
                       double lr_, double eps_, bint inside) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef real scale = clip.scale, limit = clip.limit, decay = clip.decay
    cdef real lr = lr_, within = eps_ if inside else 0, beside = 0 if inside else eps_, d, m
    cdef Py_ssize_t i
    for i in range(n):
        d = fma(decay, p[i], clipped(g[i], scale, limit))
        m = fma(d, d, memory[i])
        memory[i] = m
        p[i] -= lr * d / (sqrt_(m + within) + beside)
    restore_subnormals(state)


def adagrad(real[:, ::1] p, const real[:, ::1] g, real[:, ::1] memory,
            const int64_t[::1] rows, double scale, double limit, double lr, double weight_decay,
            double eps, bint eps_inside):
    cdef Py_ssize_t R = p.shape[0], C = p.shape[1], a, z
    cdef Clip clip = Clip(scale, limit, weight_decay)
    cdef int threads, s
    expect(g.shape[0], R, "g: rows")
    expect(g.shape[1], C, "g: columns")
    check_update(R, C, memory, "memory")
    if R * C == 0:
        return
    if rows is not None:
        check_ids(rows, 0, R, "rows")
        for a in range(rows.shape[0]):
            z = rows[a] * C
            adagrad_span(C, &p[0, 0] + z, &g[0, 0] + z, &memory[0, 0] + z, clip, lr, eps,
                         eps_inside)
        return
    with nogil:
        threads = thread_count(16.0 * R * C, R * C // 4096)
        for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            a, z = part_start(R * C, threads, s), part_start(R * C, threads, s + 1)
            adagrad_span(z - a, &p[0, 0] + a, &g[0, 0] + a, &memory[0, 0] + a, clip, lr, eps,
                         eps_inside)


# ---- RMSprop ------------------------------------------------------------------------------------

cdef struct Rmsprop:
    double lr, alpha, eps, momentum


cdef void rmsprop_span(Py_ssize_t n, real *p, const real *g, real *square,
                       real *mean, real *velocity, Clip clip, Rmsprop o) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef real scale = clip.scale, limit = clip.limit, decay = clip.decay, lr = o.lr
    cdef real alpha = o.alpha, rest = 1 - o.alpha, eps = o.eps, momentum = o.momentum, d, q
    cdef Py_ssize_t i
    for i in range(n):
        d = fma(decay, p[i], clipped(g[i], scale, limit))
        q = fma(rest * d, d, alpha * square[i])
        square[i] = q
        if mean != NULL:
            mean[i] = fma(alpha, mean[i], rest * d)
            q = fma(-mean[i], mean[i], q)
        d = d / (sqrt_(q) + eps)
        if velocity != NULL:
            d = fma(momentum, velocity[i], d)
            velocity[i] = d
        p[i] = fma(-lr, d, p[i])
    restore_subnormals(state)


def rmsprop(real[:, ::1] p, const real[:, ::1] g, real[:, ::1] square,
            real[:, ::1] mean, real[:, ::1] velocity, double scale, double limit,
            double lr, double weight_decay, double alpha, double eps, double momentum):
    cdef Py_ssize_t R = p.shape[0], C = p.shape[1], a, z
    cdef Clip clip = Clip(scale, limit, weight_decay)
    cdef Rmsprop o = Rmsprop(lr, alpha, eps, momentum)
    cdef int threads, s
    cdef real *m
    cdef real *v
    expect(g.shape[0], R, "g: rows")
    expect(g.shape[1], C, "g: columns")
    check_update(R, C, square, "square")
    check_update(R, C, mean, "mean")
    check_update(R, C, velocity, "velocity")
    if R * C == 0:
        return
    m, v = data(mean), data(velocity)
    with nogil:
        threads = thread_count(16.0 * R * C, R * C // 4096)
        for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            a, z = part_start(R * C, threads, s), part_start(R * C, threads, s + 1)
            rmsprop_span(z - a, &p[0, 0] + a, &g[0, 0] + a, &square[0, 0] + a,
                         NULL if m == NULL else m + a, NULL if v == NULL else v + a, clip, o)


# ---- Adam and AdamW -----------------------------------------------------------------------------

cdef struct Adam:
    double beta1, beta2, eps, size, root, shrink


cdef void adam_span(Py_ssize_t n, real *p, const real *g, real *mean,
                    real *square, Clip clip, Adam o) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef real scale = clip.scale, limit = clip.limit, decay = clip.decay, eps = o.eps, d, m, v
    cdef real fresh1 = 1 - o.beta1, beta2 = o.beta2, fresh2 = 1 - o.beta2
    cdef real size = o.size, unbias = 1 / o.root, shrink = o.shrink
    cdef Py_ssize_t i
    for i in range(n):
        d = fma(decay, p[i], clipped(g[i], scale, limit))
        m = fma(fresh1, d - mean[i], mean[i])
        v = fma(fresh2 * d, d, beta2 * square[i])
        mean[i], square[i] = m, v
        p[i] = fma(shrink, p[i], -size * m / fma(sqrt_(v), unbias, eps))
    restore_subnormals(state)


def adam(real[:, ::1] p, const real[:, ::1] g, real[:, ::1] mean,
         real[:, ::1] square, double scale, double limit, double lr, double weight_decay,
         double beta1, double beta2, double eps, Py_ssize_t step, bint decoupled):
    cdef Py_ssize_t R = p.shape[0], C = p.shape[1], a, z
    cdef Clip clip = Clip(scale, limit, 0 if decoupled else weight_decay)
    cdef Adam o = Adam(beta1, beta2, eps, lr / (1 - beta1**<double> step),
                       sqrt(1 - beta2**<double> step),
                       1 - lr * weight_decay if decoupled else 1)
    cdef int threads, s
    expect(g.shape[0], R, "g: rows")
    expect(g.shape[1], C, "g: columns")
    check_update(R, C, mean, "mean")
    check_update(R, C, square, "square")
    if R * C == 0:
        return
    with nogil:
        threads = thread_count(16.0 * R * C, R * C // 4096)
        for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            a, z = part_start(R * C, threads, s), part_start(R * C, threads, s + 1)
            adam_span(z - a, &p[0, 0] + a, &g[0, 0] + a, &mean[0, 0] + a, &square[0, 0] + a,
                      clip, o)
