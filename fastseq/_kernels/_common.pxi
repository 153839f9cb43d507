# Everything that all kernels share: the number type, threads, matrices, checks.
#
# a. A module computes in one number type, `real`, which _real.h defines as float or double.
# b. A `def` checks shapes, since a wrong one would write outside an array; everything else was
#    checked where the caller's arrays came in.
# c. All work runs without the GIL and with subnormal numbers flushed, in tasks that `run` gives
#    to the threads.
# d. Work is cut into parts of the output, never along a sum: any number of threads gives the same
#    bits.

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from libc.math cimport sqrt
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memset

from fastseq._kernels._team cimport Task, run_parts, team_barrier, thread_limit

cdef extern from "_real.h" nogil:
    ctypedef double real
    const real LOWEST "FS_LOWEST"  # the lowest finite number
    const char REAL_FORMAT "FS_FORMAT"  # code of `real` in the format of a buffer

cdef extern from "_vmath.h" nogil:
    unsigned flush_subnormals "fs_flush_subnormals"()
    void restore_subnormals "fs_restore_subnormals"(unsigned)
    double fma_d "fs_fma_d"(double, double, double)
    double exp_d "fs_exp_d"(double)
    double log_d "fs_log_d"(double)
    real fma "FS(fs_fma)"(real, real, real)
    real exp_ "FS(fs_exp)"(real)
    real log_ "FS(fs_log)"(real)
    real sigmoid "FS(fs_sigmoid)"(real)
    real tanh_ "FS(fs_tanh)"(real)
    real sqrt_ "FS(fs_sqrt)"(real)

cdef extern from "_rows.h" nogil:
    real row_max "FS(fs_row_max)"(const real *z, Py_ssize_t N)
    real row_sum "FS(fs_row_sum)"(const real *x, Py_ssize_t N)
    real row_exp "FS(fs_row_exp)"(const real *z, real *e, Py_ssize_t N, real shift)
    double row_max_d "fs_row_max_d"(const double *z, Py_ssize_t N)
    double row_sum_d "fs_row_sum_d"(const double *x, Py_ssize_t N)
    double row_exp_d "fs_row_exp_d"(const double *z, double *e, Py_ssize_t N, double shift)

cdef extern from "_memory.h" nogil:
    void *allocate "fs_allocate"(Py_ssize_t count, size_t size)  # NULL: no memory left
    void release "fs_release"(void *block)

cdef extern from "_gemm.h" nogil:
    const int L2_WEIGHT_BYTES "FS_L2_BYTES"
    const Py_ssize_t PANEL "NR"  # columns of a packed panel
    const int THIN "FS_THIN"  # rows for which a weight is read in place
    const int SMALL_M "FS_SMALL_M"  # rows for which it is, where it is small and lies along them

    # data[m * row_stride + n * column_stride]
    ctypedef struct Matrix "fs_matrix":
        real *data
        Py_ssize_t rows, columns, row_stride, column_stride

    ctypedef struct Product "fs_product":
        Py_ssize_t M, N, K
        const real *a
        Py_ssize_t a_row, a_step
        const real *b
        Py_ssize_t b_panel, b_row
        real *c
        Py_ssize_t c_row
        bint accumulate
        const real *bias

    Py_ssize_t packed_size "fs_packed_size"(Py_ssize_t K, Py_ssize_t N)
    Py_ssize_t scratch_size "fs_scratch_size"(Py_ssize_t M)
    void fs_pack(const Matrix *b, real *packed)
    void fs_multiply(const Product *p, real *scratch)
    bint fs_gemm(const Matrix *a, const Matrix *b, const Matrix *c, bint accumulate,
                 const real *bias)


# ---- threads ------------------------------------------------------------------------------------

cdef extern from *:
    """
    enum { FS_UNIT = 32 };
    _Static_assert(FS_UNIT * sizeof(float) % 64 == 0, "a unit is made of whole cache lines");
    """
    enum:
        UNIT "FS_UNIT"  # numbers: a part of an array begins at a multiple

# Multiply-adds that make a second thread worth while, about 100 microseconds. Waking a thread
# costs microseconds on an idle machine and milliseconds on a busy one, where it may not get its
# core at once.
cdef double MIN_WORK = 8e6
# Multiply-adds that moving one number counts as, where memory and not arithmetic sets the pace.
cdef double MEMORY_WORK = 8


cdef inline int thread_count(double work, Py_ssize_t parts) noexcept nogil:
    """Number of threads for so many multiply-adds that can be cut into so many parts."""
    cdef double most = min(<double> thread_limit(), min(work / MIN_WORK, <double> parts))
    return 1 if most < 2 else <int> most


cdef bint run(Task task, void *job, int parts, int threads) noexcept nogil:
    """task(job, part, parts) for every part; whether all succeeded.

    parts 0 cuts the job into as many parts as there are threads, each of which runs one: such a
    task may use `barrier`.
    """
    cdef unsigned mode = flush_subnormals()
    cdef bint done = run_parts(task, job, parts, threads)
    restore_subnormals(mode)
    return done


cdef inline void barrier(int parts) noexcept nogil:
    """Wait for all of a job's parts."""
    if parts > 1:
        team_barrier()


cdef inline Py_ssize_t units(Py_ssize_t length, Py_ssize_t unit=UNIT) noexcept nogil:
    """Number of units, the last one perhaps incomplete."""
    return (length + unit - 1) // unit


cdef inline Py_ssize_t part_start(Py_ssize_t length, int part, int parts,
                                  Py_ssize_t unit=UNIT) noexcept nogil:
    """Start of a part, a multiple of `unit`: by default no two threads write one cache line."""
    return min(length, units(length, unit) * part // parts * unit)


# ---- matrices -----------------------------------------------------------------------------------

cdef inline Matrix matrix(const real *data, Py_ssize_t rows, Py_ssize_t columns,
                          Py_ssize_t row_stride=-1) noexcept nogil:
    """Rows of contiguous columns, by default without a gap between them."""
    return Matrix(<real *> data, rows, columns, columns if row_stride < 0 else row_stride, 1)


cdef inline real *row_of(const Matrix *a, Py_ssize_t m) noexcept nogil:
    return a.data + m * a.row_stride


cdef inline Matrix transposed(Matrix a) noexcept nogil:
    return Matrix(a.data, a.columns, a.rows, a.column_stride, a.row_stride)


cdef inline Matrix block(Matrix a, Py_ssize_t row, Py_ssize_t column, Py_ssize_t rows,
                         Py_ssize_t columns) noexcept nogil:
    """The part of a matrix that begins at an element."""
    return Matrix(a.data + row * a.row_stride + column * a.column_stride, rows, columns,
                  a.row_stride, a.column_stride)


cdef bint is_real(const char *format) noexcept nogil:
    """Whether the format of a buffer says `real`; NumPy marks what is not aligned."""
    return format[1 if format[0] in b"@=^" else 0] == REAL_FORMAT


cdef Matrix as_matrix(object array, str name, Py_ssize_t rows, Py_ssize_t columns,
                      bint writable=False) except *:
    """The matrix in an array of numbers whose last axis is contiguous, or, for None, no data.

    All axes but the last make up the rows, which must lie at one distance. A size below 0 may be
    anything. The caller holds the array for as long as the matrix is used.
    """
    cdef Py_buffer view
    cdef Matrix result = Matrix(NULL, max(rows, 0), max(columns, 0), max(columns, 0), 1)
    cdef Py_ssize_t found = 1
    cdef int axis
    if array is None:
        return result
    PyObject_GetBuffer(array, &view,
                       PyBUF_STRIDES | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0))
    try:
        if view.ndim == 0 or view.itemsize != sizeof(real) or not is_real(view.format):
            raise TypeError(f"{name}: expected numbers of {sizeof(real)} bytes")
        result.columns = view.shape[view.ndim - 1]
        for axis in range(view.ndim - 1):
            found *= view.shape[axis]
        result.rows = found
        if columns >= 0 and result.columns != columns:
            raise ValueError(f"{name}: columns: expected {columns}, got {result.columns}")
        if rows >= 0 and found != rows:
            raise ValueError(f"{name}: rows: expected {rows}, got {found}")
        result.row_stride = result.columns
        if found * result.columns == 0:
            return result
        if result.columns > 1 and view.strides[view.ndim - 1] != view.itemsize:
            raise ValueError(f"{name}: expected contiguous columns")
        for axis in range(view.ndim - 2, -1, -1):  # the innermost axis longer than 1 decides
            if view.shape[axis] > 1:
                result.row_stride = item_stride(view.strides[axis], name)
                break
        check_row_strides(&view, result.row_stride * view.itemsize, name)
        result.data = <real *> view.buf
    finally:
        PyBuffer_Release(&view)
    return result


cdef Py_ssize_t item_stride(Py_ssize_t stride, str name) except? -1:
    """A distance in bytes as a number of items."""
    if stride % <Py_ssize_t> sizeof(real):
        raise ValueError(f"{name}: expected strides that are multiples of the item size")
    return stride // <Py_ssize_t> sizeof(real)


cdef int check_row_strides(const Py_buffer *view, Py_ssize_t stride, str name) except -1:
    """All axes but the last follow each other at one distance."""
    cdef int axis
    cdef Py_ssize_t count = 1
    for axis in range(view.ndim - 2, -1, -1):
        if view.shape[axis] > 1 and view.strides[axis] != stride * count:
            raise ValueError(f"{name}: expected rows at one distance")
        count *= view.shape[axis]
    return 0


cdef Matrix any_matrix(const real[:, :] a, str name) except *:
    """The matrix in an array with any strides."""
    cdef Matrix result = Matrix(NULL, a.shape[0], a.shape[1], a.shape[1], 1)
    if a.shape[0] == 0 or a.shape[1] == 0:
        return result
    result.data = <real *> &a[0, 0]
    if a.shape[0] > 1:
        result.row_stride = item_stride(a.strides[0], name)
    if a.shape[1] > 1:
        result.column_stride = item_stride(a.strides[1], name)
    return result


cdef real *vector(const real[::1] x, Py_ssize_t length, str name) except? NULL:
    """The numbers of an array of one axis; NULL for None or no numbers."""
    if x is None:
        return NULL
    expect(x.shape[0], length, name + ": length")
    return <real *> &x[0] if length else NULL


cdef inline real *take(real **memory, Py_ssize_t count) noexcept nogil:
    """The next `count` numbers of a workspace; of memory NULL, only measures it."""
    cdef real *taken = memory[0]
    memory[0] += count
    return taken


cdef inline real *take_aligned(real **memory, Py_ssize_t count) noexcept nogil:
    """`take` of whole cache lines."""
    return take(memory, units(count, 64) * 64)


cdef inline Matrix take_matrix(real **memory, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """A matrix in the next part of a workspace."""
    return matrix(take_aligned(memory, rows * columns), rows, columns)


# ---- products -----------------------------------------------------------------------------------

cdef struct Gemm:
    Matrix a, b, c
    bint accumulate
    const real *bias


cdef bint gemm_part(void *job, int part, int parts) noexcept nogil:
    """Some rows of c, or some columns where those are more."""
    cdef Gemm *g = <Gemm *> job
    cdef bint by_rows = g.c.rows >= g.c.columns
    cdef Py_ssize_t length = g.c.rows if by_rows else g.c.columns
    cdef Py_ssize_t first = part_start(length, part, parts)
    cdef Py_ssize_t count = part_start(length, part + 1, parts) - first
    cdef Matrix a = g.a, b = g.b, c = g.c
    cdef const real *bias = g.bias
    if by_rows:
        a = block(a, first, 0, count, a.columns)
        c = block(c, first, 0, count, c.columns)
    else:
        b = block(b, 0, first, b.rows, count)
        c = block(c, 0, first, c.rows, count)
        bias = NULL if bias == NULL else bias + first
    return fs_gemm(&a, &b, &c, g.accumulate, bias)


cdef bint gemm(Matrix a, Matrix b, Matrix c, bint accumulate, const real *bias) noexcept nogil:
    """c (+)= a @ b + bias, cut among the threads; false where memory is missing."""
    cdef Gemm g = Gemm(a, b, c, accumulate, bias)
    cdef Py_ssize_t length = max(c.rows, c.columns)
    cdef int threads = thread_count(<double> c.rows * c.columns * a.columns, units(length))
    return run(gemm_part, &g, threads, threads)


cdef enum Format:
    REAL  # packed as the numbers are


# A matrix (K, N) in the order in which products read it as their right side.
cdef struct Packed:
    Format format
    Py_ssize_t K, N
    real *data


cdef inline void multiply(Matrix a, const Packed *b, Matrix c, bint accumulate,
                          real *scratch) noexcept nogil:
    """c (+)= a @ b. scratch: `scratch_size(a.rows)` numbers."""
    cdef Product p
    # Field by field: a copy of the whole would wait for these writes.
    p.M, p.N, p.K = a.rows, b.N, b.K
    p.a, p.a_row, p.a_step = a.data, a.row_stride, a.column_stride
    p.b, p.b_panel, p.b_row = b.data, b.K * PANEL, PANEL
    p.c, p.c_row = c.data, c.row_stride
    p.accumulate, p.bias = accumulate, NULL
    fs_multiply(&p, scratch)


# ---- checks -------------------------------------------------------------------------------------

cdef int expect(Py_ssize_t got, Py_ssize_t wanted, str what) except -1:
    if got != wanted:
        raise ValueError(f"{what}: expected {wanted}, got {got}")
    return 0


cdef int check_ids(const int64_t[::1] ids, Py_ssize_t low, Py_ssize_t size, str name) except -1:
    cdef Py_ssize_t n
    cdef bint right = True
    for n in range(ids.shape[0]):
        right &= low <= ids[n] < size
    if right:
        return 0
    for n in range(ids.shape[0]):
        if not low <= ids[n] < size:
            expected = f"0 <= id < {size}" if low == 0 else f"id < {size}"
            raise IndexError(f"{name}: expected {expected}, got {ids[n]} at position {n}")
    return 0
