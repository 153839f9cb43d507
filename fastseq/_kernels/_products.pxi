# Matrix products, sums over rows, rows of tables. The specification of every `def` is the function
# of the same name in oracle/products.py.

cdef extern from *:
    """
    enum { FS_SUM_COLUMNS = 1024 };
    _Static_assert(FS_SUM_COLUMNS % FS_UNIT == 0, "stretches of columns are whole cache lines");
    """
    enum:
        SUM_COLUMNS "FS_SUM_COLUMNS"  # columns that are summed at a time, in the first-level cache


# ---- products -----------------------------------------------------------------------------------

def matmul(const real[:, :] a not None, const real[:, :] b not None, out, const real[::1] bias,
           bint accumulate):
    cdef Matrix left = any_matrix(a, "a"), right = any_matrix(b, "b")
    cdef Matrix c = as_matrix(out, "out", left.rows, right.columns, True)
    cdef const real *shift = vector(bias, right.columns, "bias")
    cdef bint done
    expect(right.rows, left.columns, "b: rows")
    if c.data == NULL:
        return
    with nogil:
        done = gemm(left, right, c, accumulate, shift)
    if not done:
        raise MemoryError("matmul: no memory for packed panels")


# ---- sums over rows -----------------------------------------------------------------------------

cdef inline void add_row(const real *row, Py_ssize_t count, real *out) noexcept nogil:
    cdef Py_ssize_t n
    for n in range(count):
        out[n] += row[n]


cdef inline void add_matrix(Matrix a, Matrix out) noexcept nogil:
    """out += a."""
    cdef Py_ssize_t m
    for m in range(a.rows):
        add_row(a.data + m * a.row_stride, a.columns, out.data + m * out.row_stride)


cdef void add_all_rows(Matrix a, real *out) noexcept nogil:
    """out += a[0], then a[1], and so on: four rows at a time, so that out is seldom read."""
    cdef const real *r = a.data
    cdef Py_ssize_t m, n, N = a.columns, ld = a.row_stride
    for m in range(a.rows // 4):
        for n in range(N):
            out[n] = out[n] + r[n] + r[ld + n] + r[2 * ld + n] + r[3 * ld + n]
        r += 4 * ld
    for m in range(a.rows % 4):
        add_row(r + m * ld, N, out)


cdef struct RowSum:
    Matrix a
    real *out


cdef bint sum_rows_part(void *job, int part, int parts) noexcept nogil:
    """Some columns, of which a stretch after the other passes down all rows."""
    cdef RowSum *s = <RowSum *> job
    cdef Py_ssize_t first = part_start(s.a.columns, part, parts), count
    cdef Py_ssize_t last = part_start(s.a.columns, part + 1, parts)
    while first < last:
        count = min(<Py_ssize_t> SUM_COLUMNS, last - first)
        add_all_rows(block(s.a, 0, first, s.a.rows, count), s.out + first)
        first += count
    return True


cdef void add_rows(Matrix a, real *out) noexcept nogil:
    """out[n] += a[0, n] + a[1, n] + ... in this order, cut among the threads."""
    cdef RowSum s = RowSum(a, out)
    cdef int threads = thread_count(MEMORY_WORK * a.rows * a.columns, units(a.columns))
    run(sum_rows_part, &s, threads, threads)


def sum_rows(a not None, real[::1] out not None):
    cdef Matrix a_ = as_matrix(a, "a", -1, out.shape[0])
    if a_.data != NULL:
        with nogil:
            add_rows(a_, &out[0])


# ---- rows of tables -----------------------------------------------------------------------------

# Row n belongs to row ids[n] of the table.
cdef struct Rows:
    Matrix table
    const int64_t *ids
    Matrix rows
    const real *bias


cdef void copy_row(const real *row, const real *bias, Py_ssize_t count, real *out) noexcept nogil:
    """out = row (+ bias)."""
    cdef Py_ssize_t n
    if bias == NULL:
        memcpy(out, row, count * sizeof(real))
        return
    for n in range(count):
        out[n] = row[n] + bias[n]


cdef bint gather_part(void *job, int part, int parts) noexcept nogil:
    cdef Rows *r = <Rows *> job
    cdef Py_ssize_t first = part_start(r.rows.rows, part, parts, 1), n
    for n in range(first, part_start(r.rows.rows, part + 1, parts, 1)):
        copy_row(r.table.data + r.ids[n] * r.table.row_stride, r.bias, r.rows.columns,
                 r.rows.data + n * r.rows.row_stride)
    return True


cdef void gather(Matrix table, const int64_t *ids, const real *bias, Matrix out) noexcept nogil:
    """out[n] = table[ids[n]] (+ bias), cut among the threads."""
    cdef Rows r = Rows(table, ids, out, bias)
    # Each number is read and written.
    cdef int threads = thread_count(2 * MEMORY_WORK * out.rows * out.columns, out.rows)
    run(gather_part, &r, threads, threads)


def gather_rows(table not None, const int64_t[::1] ids not None, const real[::1] bias,
                out not None):
    cdef Matrix rows = as_matrix(out, "out", ids.shape[0], -1, True)
    cdef Matrix table_ = as_matrix(table, "table", -1, rows.columns)
    cdef const real *bias_ = vector(bias, rows.columns, "bias")
    check_ids(ids, 0, table_.rows, "ids")
    if rows.data != NULL:
        with nogil:
            gather(table_, &ids[0], bias_, rows)


cdef bint scatter_add_part(void *job, int part, int parts) noexcept nogil:
    """Some columns of all rows: two rows may belong to one row of the table."""
    cdef Rows *r = <Rows *> job
    cdef Py_ssize_t first = part_start(r.rows.columns, part, parts), n
    cdef Py_ssize_t count = part_start(r.rows.columns, part + 1, parts) - first
    for n in range(r.rows.rows):
        add_row(r.rows.data + n * r.rows.row_stride + first, count,
                r.table.data + r.ids[n] * r.table.row_stride + first)
    return True


cdef void scatter_add(Matrix rows, const int64_t *ids, Matrix table) noexcept nogil:
    """table[ids[n]] += rows[n] in the order of n, cut among the threads."""
    cdef Rows r = Rows(table, ids, rows, NULL)
    cdef int threads = thread_count(MEMORY_WORK * rows.rows * rows.columns, units(rows.columns))
    run(scatter_add_part, &r, threads, threads)


def scatter_add_rows(rows not None, const int64_t[::1] ids not None, table not None):
    cdef Matrix rows_ = as_matrix(rows, "rows", ids.shape[0], -1)
    cdef Matrix table_ = as_matrix(table, "table", -1, rows_.columns, True)
    check_ids(ids, 0, table_.rows, "ids")
    if rows_.data != NULL:
        with nogil:
            scatter_add(rows_, &ids[0], table_)


cdef void clear_matrix(Matrix a) noexcept nogil:
    """a = 0."""
    cdef Py_ssize_t m
    for m in range(a.rows):
        memset(a.data + m * a.row_stride, 0, a.columns * sizeof(real))


def clear_rows(table not None, const int64_t[::1] ids not None):
    cdef Matrix a = as_matrix(table, "table", -1, -1, True)
    cdef Py_ssize_t n
    check_ids(ids, 0, a.rows, "ids")
    for n in range(ids.shape[0] if a.data != NULL else 0):
        clear_matrix(block(a, ids[n], 0, 1, a.columns))


def unique_ids(const int64_t[::1] ids not None, uint8_t[::1] marks not None,
               int64_t[::1] out not None):
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
