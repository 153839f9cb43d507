# Matrix products, sums over rows, rows of tables. The specification of every `def` is the function
# of the same name in oracle/dense.py.

def matmul(const real[:, :] a, const real[:, :] b, real[:, :] out,
           const real[::1] bias, bint accumulate):
    cdef Py_ssize_t M = a.shape[0], K = a.shape[1], N = b.shape[1], size = sizeof(real)
    cdef bint done
    expect(b.shape[0], K, "b: rows")
    expect(out.shape[0], M, "out: rows")
    expect(out.shape[1], N, "out: columns")
    if bias is not None:
        expect(bias.shape[0], N, "bias: length")
    if M == 0 or N == 0:
        return
    if N > 1 and out.strides[1] != size:
        raise ValueError("out: expected contiguous columns")
    with nogil:
        done = gemm(
            M, N, K, &a[0, 0] if K else NULL, a.strides[0] // size, a.strides[1] // size,
            &b[0, 0] if K else NULL, b.strides[0] // size, b.strides[1] // size,
            &out[0, 0], out.strides[0] // size, accumulate, NULL if bias is None else &bias[0],
        )
    if not done:
        raise MemoryError("matmul: no memory for packed panels")


cdef void add_rows(const real *a, Py_ssize_t M, Py_ssize_t N, Py_ssize_t ld,
                   real *out) noexcept nogil:
    """out[n] += a[0, n] + a[1, n] + ... in this order."""
    cdef Py_ssize_t m, n
    for m in range(M):
        for n in range(N):
            out[n] += a[m * ld + n]


# Memory sets the pace of what follows: a number counts as so many multiply-adds.
cdef double MOVED = 8.0


cdef void sum_columns(const real *a, Py_ssize_t M, Py_ssize_t N, Py_ssize_t ld,
                      real *out) noexcept nogil:
    """add_rows for a stretch of columns after the other, whose sums stay in the first cache."""
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t n
    for n in range(0, N, 1024):
        add_rows(a + n, M, min(1024, N - n), ld, out + n)
    restore_subnormals(state)


def sum_rows(const real[:, :] a, real[::1] out):
    cdef Py_ssize_t size = sizeof(real), M = a.shape[0], N = a.shape[1], n
    cdef int threads, s
    expect(out.shape[0], N, "out: length")
    if M == 0 or N == 0:
        return
    if N > 1 and a.strides[1] != size:
        raise ValueError("a: expected contiguous columns")
    with nogil:
        threads = thread_count(MOVED * M * N, (N + 31) // 32)
        for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            n = part_start(N, threads, s)
            sum_columns(&a[0, 0] + n, M, part_start(N, threads, s + 1) - n,
                        a.strides[0] // size, &out[0] + n)


# ---- rows of tables -----------------------------------------------------------------------------

cdef void gather_share(const real *table, Py_ssize_t N, const int64_t *ids, Py_ssize_t count,
                       const real *bias, real *out) noexcept nogil:
    cdef Py_ssize_t n, j
    cdef const real *row
    for n in range(count):
        row = table + ids[n] * N
        if bias == NULL:
            memcpy(out + n * N, row, N * sizeof(real))
        else:
            for j in range(N):
                out[n * N + j] = row[j] + bias[j]


def gather_rows(const real[:, ::1] table, const int64_t[::1] ids, const real[::1] bias,
                real[:, ::1] out):
    cdef Py_ssize_t N = table.shape[1], count = ids.shape[0], n
    cdef int threads, s
    expect(out.shape[0], count, "out: rows")
    expect(out.shape[1], N, "out: columns")
    if bias is not None:
        expect(bias.shape[0], N, "bias: length")
    check_ids(ids, 0, table.shape[0], "ids")
    if N == 0 or count == 0:
        return
    with nogil:
        threads = thread_count(2 * MOVED * count * N, count)  # read and written
        for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            n = count * s // threads
            gather_share(&table[0, 0], N, &ids[0] + n, count * (s + 1) // threads - n,
                         NULL if bias is None else &bias[0], &out[0, 0] + n * N)


cdef void scatter_share(const real *rows, Py_ssize_t N, const int64_t *ids, Py_ssize_t count,
                        Py_ssize_t columns, real *table) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t n
    for n in range(count):
        add_rows(rows + n * N, 1, columns, N, table + ids[n] * N)
    restore_subnormals(state)


def scatter_add_rows(const real[:, ::1] rows, const int64_t[::1] ids, real[:, ::1] table):
    cdef Py_ssize_t N = table.shape[1], count = ids.shape[0], n
    cdef int threads, s
    expect(rows.shape[0], count, "rows: rows")
    expect(rows.shape[1], N, "rows: columns")
    check_ids(ids, 0, table.shape[0], "ids")
    if N == 0 or count == 0:
        return
    with nogil:
        # By columns: two rows may go to one place.
        threads = thread_count(MOVED * count * N, (N + 31) // 32)
        for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            n = part_start(N, threads, s)
            scatter_share(&rows[0, 0] + n, N, &ids[0], count,
                          part_start(N, threads, s + 1) - n, &table[0, 0] + n)


def clear_rows(real[:, ::1] table, const int64_t[::1] ids):
    cdef Py_ssize_t N = table.shape[1], n
    check_ids(ids, 0, table.shape[0], "ids")
    for n in range(ids.shape[0] if N else 0):
        memset(&table[ids[n], 0], 0, N * sizeof(real))


def distinct_ids(const int64_t[::1] ids, uint8_t[::1] marks, int64_t[::1] out):
    cdef Py_ssize_t count = 0, n
    expect(out.shape[0], marks.shape[0], "out: length")
    check_ids(ids, 0, marks.shape[0], "ids")
    for n in range(ids.shape[0]):
        if not marks[ids[n]]:
            marks[ids[n]] = 1
            out[count] = ids[n]
            count += 1
    for n in range(count):
        marks[out[n]] = 0
    return count
