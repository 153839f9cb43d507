# Matrix products, sums over rows, rows of tables. The specification of every `def` is the function
# of the same name in oracle/dense.py.

def matmul(const floating[:, :] a, const floating[:, :] b, floating[:, :] out,
           const floating[::1] bias, bint accumulate):
    cdef Py_ssize_t M = a.shape[0], K = a.shape[1], N = b.shape[1], size = sizeof(floating)
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


cdef void add_rows(const floating *a, Py_ssize_t M, Py_ssize_t N, Py_ssize_t ld,
                   floating *out) noexcept nogil:
    """out[n] += a[0, n] + a[1, n] + ... in this order."""
    cdef Py_ssize_t m, n
    for m in range(M):
        for n in range(N):
            out[n] += a[m * ld + n]


def sum_rows(const floating[:, :] a, floating[::1] out):
    cdef Py_ssize_t size = sizeof(floating), n
    cdef unsigned state
    expect(out.shape[0], a.shape[1], "out: length")
    if a.shape[0] == 0 or a.shape[1] == 0:
        return
    if a.shape[1] > 1 and a.strides[1] != size:
        raise ValueError("a: expected contiguous columns")
    with nogil:
        state = fs_flush_subnormals()
        # A stretch of columns whose sums stay in the first-level cache.
        for n in range(0, a.shape[1], 1024):
            add_rows(&a[0, n], a.shape[0], min(1024, a.shape[1] - n), a.strides[0] // size,
                     &out[n])
        fs_restore_subnormals(state)


# ---- rows of tables -----------------------------------------------------------------------------

def gather_rows(const floating[:, ::1] table, const int64_t[::1] ids, const floating[::1] bias,
                floating[:, ::1] out):
    cdef Py_ssize_t N = table.shape[1], n, j
    cdef const floating *row
    cdef floating *to
    expect(out.shape[0], ids.shape[0], "out: rows")
    expect(out.shape[1], N, "out: columns")
    if bias is not None:
        expect(bias.shape[0], N, "bias: length")
    check_ids(ids, 0, table.shape[0], "ids")
    if N == 0:
        return
    with nogil:
        for n in range(ids.shape[0]):
            row, to = &table[ids[n], 0], &out[n, 0]
            if bias is None:
                memcpy(to, row, N * sizeof(floating))
            else:
                for j in range(N):
                    to[j] = row[j] + bias[j]


def scatter_add_rows(const floating[:, ::1] rows, const int64_t[::1] ids, floating[:, ::1] table):
    cdef Py_ssize_t N = table.shape[1], n
    cdef unsigned state
    expect(rows.shape[0], ids.shape[0], "rows: rows")
    expect(rows.shape[1], N, "rows: columns")
    check_ids(ids, 0, table.shape[0], "ids")
    if N == 0:
        return
    with nogil:
        state = fs_flush_subnormals()
        for n in range(ids.shape[0]):
            add_rows(&rows[n, 0], 1, N, N, &table[ids[n], 0])
        fs_restore_subnormals(state)
