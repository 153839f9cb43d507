# Softmax cross-entropy of given logits. The specification is oracle/dense.py.

cdef inline real row_max(const real *z, Py_ssize_t N) noexcept nogil:
    """max z in 16 lanes; NaN is not looked for (the sum of exponentials finds it)."""
    cdef real lanes[16]
    cdef Py_ssize_t n, k, whole = N // 16 * 16
    for k in range(16):
        lanes[k] = z[0]
    for n in range(0, whole, 16):
        for k in range(16):
            lanes[k] = z[n + k] if z[n + k] > lanes[k] else lanes[k]
    for n in range(whole, N):
        lanes[0] = z[n] if z[n] > lanes[0] else lanes[0]
    for k in range(1, 16):
        lanes[0] = lanes[k] if lanes[k] > lanes[0] else lanes[0]
    return lanes[0]


cdef inline real row_sum(const real *x, Py_ssize_t N) noexcept nogil:
    """Sum of N numbers, always added up in the same 16 lanes."""
    cdef real lanes[16]
    cdef Py_ssize_t n, k, whole = N // 16 * 16
    for k in range(16):
        lanes[k] = 0
    for n in range(0, whole, 16):
        for k in range(16):
            lanes[k] += x[n + k]
    for n in range(whole, N):
        lanes[n - whole] += x[n]
    for k in range(1, 16):
        lanes[0] += lanes[k]
    return lanes[0]


cdef inline real row_exp(const real *z, real *e, Py_ssize_t N,
                             real shift) noexcept nogil:
    """e = exp(z - shift); return its sum."""
    cdef Py_ssize_t n
    for n in range(N):
        e[n] = exp_(z[n] - shift)
    return row_sum(e, N)


cdef inline real row_loss(const real *z, int64_t target, real scale, real *dz,
                              Py_ssize_t N) noexcept nogil:
    """Loss of one row; dz, which may be z, becomes scale * (softmax(z) - onehot(target))."""
    cdef real peak, total, loss, factor
    cdef Py_ssize_t n
    if target < 0:
        memset(dz, 0, N * sizeof(real))
        return 0
    peak = row_max(z, N)
    loss = peak - z[target]
    total = row_exp(z, dz, N, peak)
    factor = scale / total
    for n in range(N):
        dz[n] *= factor
    dz[target] -= scale
    return <real> log(<double> total) + loss


cdef void rows_loss(const real *z, const int64_t *targets, real scale, real *losses,
                    real *dz, Py_ssize_t M, Py_ssize_t N) noexcept nogil:
    """row_loss for M rows, cut among the threads; an exponential costs about 20 multiply-adds."""
    cdef int threads = thread_count(20.0 * M * N, M), s
    cdef Py_ssize_t m
    cdef unsigned state
    if threads == 1:
        state = flush_subnormals()
        for m in range(M):
            losses[m] = row_loss(z + m * N, targets[m], scale, dz + m * N, N)
        restore_subnormals(state)
        return
    for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        rows_loss_share(z, targets, scale, losses, dz, M * s // threads, M * (s + 1) // threads, N)


cdef void rows_loss_share(const real *z, const int64_t *targets, real scale,
                          real *losses, real *dz, Py_ssize_t first, Py_ssize_t last,
                          Py_ssize_t N) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t m
    for m in range(first, last):
        losses[m] = row_loss(z + m * N, targets[m], scale, dz + m * N, N)
    restore_subnormals(state)


def softmax_cross_entropy(const real[:, ::1] logits, const int64_t[::1] targets,
                          real scale, real[::1] losses, real[:, ::1] dlogits):
    cdef Py_ssize_t M = logits.shape[0], N = logits.shape[1], m
    cdef real *spare = NULL
    expect(targets.shape[0], M, "targets: length")
    expect(losses.shape[0], M, "losses: length")
    if dlogits is not None:
        expect(dlogits.shape[0], M, "dlogits: rows")
        expect(dlogits.shape[1], N, "dlogits: columns")
    check_ids(targets, -(1 << 62), N, "targets")
    if M == 0 or N == 0:
        return
    if dlogits is not None:
        with nogil:
            rows_loss(&logits[0, 0], &targets[0], scale, &losses[0], &dlogits[0, 0], M, N)
        return
    spare = <real *> allocate(N, sizeof(real))
    if spare == NULL:
        raise MemoryError("softmax_cross_entropy: no memory for a row")
    with nogil:
        for m in range(M):
            rows_loss(&logits[m, 0], &targets[m], scale, &losses[m], spare, 1, N)
        free(spare)
