# Softmax cross-entropy of given logits. The specification is oracle/loss.py.

cdef double EXP_WORK = 20  # multiply-adds that an exponential counts as


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
    return <real> log_d(<double> total) + loss


cdef struct CrossEntropy:
    Matrix logits, dlogits
    const int64_t *targets
    real *losses
    real scale


cdef bint cross_entropy_part(void *job, int part, int parts) noexcept nogil:
    """row_loss for some rows. Where no gradient is wanted, each overwrites the one before."""
    cdef CrossEntropy *x = <CrossEntropy *> job
    cdef Matrix z = x.logits, dz = x.dlogits
    cdef Py_ssize_t m
    cdef real *spare = NULL
    if dz.data == NULL:
        spare = <real *> allocate(z.columns, sizeof(real))
        dz = matrix(spare, z.rows, z.columns, 0)
        if spare == NULL:
            return False
    for m in range(part_start(z.rows, part, parts, 1), part_start(z.rows, part + 1, parts, 1)):
        x.losses[m] = row_loss(z.data + m * z.row_stride, x.targets[m], x.scale,
                               dz.data + m * dz.row_stride, z.columns)
    release(spare)
    return True


def softmax_cross_entropy(logits not None, const int64_t[::1] targets not None, real scale,
                          real[::1] losses not None, dlogits):
    cdef Py_ssize_t M = targets.shape[0], N
    cdef CrossEntropy x
    cdef int threads
    cdef bint done
    x.logits = as_matrix(logits, "logits", M, -1)
    N = x.logits.columns
    x.dlogits = as_matrix(dlogits, "dlogits", M, N, True)
    expect(losses.shape[0], M, "losses: length")
    check_ids(targets, -(1 << 62), N, "targets")
    if x.logits.data == NULL:
        return
    x.targets, x.losses, x.scale = &targets[0], &losses[0], scale
    with nogil:
        threads = thread_count(EXP_WORK * M * N, M)
        done = run(cross_entropy_part, &x, threads, threads)
    if not done:
        raise MemoryError("softmax_cross_entropy: no memory for a row")
