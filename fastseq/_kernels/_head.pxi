# The head, softmax(h wT + b), with its cross-entropy. The specification is oracle/loss.py.
#
# Logits are held transposed, zT[v, n] for class v and row n of h: then the products for zT and dw
# read the large matrices along their rows and pack only h, which is small.
#
#     zT = w hT + b       dzT = scale * (softmax - onehot)       dw = dzT h       dh = dzTT w
#
# a. First pass: the columns of zT are cut among the threads. Each goes through all classes, a
#    chunk at a time: while a chunk is in the second-level cache, it becomes exp(zT - peak), where
#    the peak is the largest logit so far; it is kept for each chunk.
# b. Second pass: the classes are cut into segments. Each goes through its chunks again, which come
#    from memory once for dzT, dw, db and dh. Every segment has its own sum for dh: their number
#    depends on V alone, not on the threads, and so do the bits.
# c. Rows of h are taken in blocks, so that the (T * B, V) array of a large vocabulary is never
#    held whole.
# d. Where w is small, neither pass has enough work for several threads. There the blocks are cut
#    into groups, each with a dw and db of its own; their number depends on the shape alone.

cdef extern from *:
    """
    enum {
        FS_LANES = 32,
        FS_HEAD_CHUNK = 256,
        FS_HEAD_ROWS = 512,
        FS_HEAD_SMALL_ROWS = 256,
        FS_HEAD_MIN_ROWS = 64,
        FS_HEAD_PARTS = 8,
        FS_HEAD_SEGMENT = 48,
        FS_HEAD_PAD = 16
    };
    _Static_assert(FS_LANES % FS_UNIT == 0, "columns of two threads share no cache line");
    _Static_assert(FS_LANES % FS_SUM_LANES == 0, "a row of dzT is summed without a remainder");
    _Static_assert(FS_HEAD_SMALL_ROWS <= FS_HEAD_ROWS && FS_HEAD_MIN_ROWS <= FS_HEAD_SMALL_ROWS,
                   "the least block is no larger than the others");
    """
    enum:
        LANES "FS_LANES"  # columns of zT that a pass takes at a time
        HEAD_CHUNK "FS_HEAD_CHUNK"  # classes
        HEAD_ROWS "FS_HEAD_ROWS"  # a block, unless zT would then take more than HEAD_BYTES
        HEAD_SMALL_ROWS "FS_HEAD_SMALL_ROWS"  # a block where w is small
        HEAD_MIN_ROWS "FS_HEAD_MIN_ROWS"
        HEAD_PARTS "FS_HEAD_PARTS"  # the most segments or groups, a power of 2
        HEAD_SEGMENT "FS_HEAD_SEGMENT"  # the fewest classes of a segment
        HEAD_PAD "FS_HEAD_PAD"

cdef Py_ssize_t HEAD_BYTES = 24 << 20
cdef Py_ssize_t HEAD_SMALL = 1 << 17  # numbers of w


# The arrays of a call, or of some rows of it.
cdef struct Head:
    Matrix h, w, dh, dw
    const real *b
    real *db
    const int64_t *targets
    real *losses
    real scale
    bint accumulate  # into dw and db


# Transposed logits of a block of rows, or of some columns of it.
cdef struct Logits:
    Matrix z  # (V, columns) or, where they are not kept, (HEAD_CHUNK, columns)
    bint kept
    real *peaks  # a row for each chunk that is kept: the largest logit of it and those before it
    real *total  # sums of exp(zT - last peak); in the second pass scale / sum


cdef inline Head head_rows(const Head *x, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    cdef Head part = x[0]
    part.h = block(x.h, first, 0, last - first, x.h.columns)
    if x.dh.data != NULL:
        part.dh = block(x.dh, first, 0, last - first, x.h.columns)
    part.targets += first
    part.losses += first
    return part


cdef inline Logits logits_columns(const Logits *y, Py_ssize_t first,
                                  Py_ssize_t last) noexcept nogil:
    cdef Py_ssize_t width = units(last - first, LANES) * LANES
    return Logits(block(y.z, 0, first, y.z.rows, width), y.kept, y.peaks + first, y.total + first)


cdef inline Py_ssize_t block_rows(Py_ssize_t M, Py_ssize_t classes,
                                  Py_ssize_t most) noexcept nogil:
    """Rows of a block: even shares in multiples of LANES."""
    cdef Py_ssize_t fitting = HEAD_BYTES // (classes * <Py_ssize_t> sizeof(real))
    most = min(max(fitting, <Py_ssize_t> HEAD_MIN_ROWS), most)
    return units(units(M, units(M, most)), LANES) * LANES


cdef inline Py_ssize_t padded_ld(Py_ssize_t columns) noexcept nogil:
    """Distance of zT's rows: those a multiple of 1 kB apart fight for the same cache sets."""
    return columns + HEAD_PAD if columns * sizeof(real) % 1024 == 0 else columns


cdef inline int segment_count(Py_ssize_t V) noexcept nogil:
    cdef int count = 1
    while count < HEAD_PARTS and V >= 2 * HEAD_SEGMENT * count:
        count *= 2
    return count


# ---- passes over LANES columns: what belongs to a column stays in registers ---------------------

cdef void add_bias(Matrix z, const real *b, real *peak) noexcept nogil:
    """z += b; peak = max(peak, z). NaN is not looked for: the sum of exponentials finds it."""
    cdef real lanes[LANES]
    cdef real shift, x
    cdef real *row = z.data
    cdef Py_ssize_t v, k
    memcpy(lanes, peak, LANES * sizeof(real))
    for v in range(z.rows):
        shift = 0 if b == NULL else b[v]
        for k in range(LANES):
            x = row[k] + shift
            row[k] = x
            lanes[k] = x if x > lanes[k] else lanes[k]
        row += z.row_stride
    memcpy(peak, lanes, LANES * sizeof(real))


cdef void add_exp(Matrix z, const real *peak, real *total) noexcept nogil:
    """z becomes exp(z - peak); total += z, class after class."""
    cdef real lanes[LANES]
    cdef real shift[LANES]
    cdef real *row = z.data
    cdef Py_ssize_t v, k
    memcpy(lanes, total, LANES * sizeof(real))
    memcpy(shift, peak, LANES * sizeof(real))
    for v in range(z.rows):
        for k in range(LANES):
            row[k] = exp_(row[k] - shift[k])
            lanes[k] += row[k]
        row += z.row_stride
    memcpy(total, lanes, LANES * sizeof(real))


# ---- first pass: losses -------------------------------------------------------------------------

cdef struct HeadForward:
    real *memory
    Packed h  # transposed
    real *scratch
    real *last_peak
    real *target_logit


cdef bint allocate_head_forward(const Head *x, Py_ssize_t width, HeadForward *s) noexcept nogil:
    cdef Py_ssize_t H = x.h.columns, panels = packed_size(H, width)
    cdef Py_ssize_t scratch = scratch_size(HEAD_CHUNK)
    cdef real *memory = <real *> allocate(panels + scratch + 2 * width, sizeof(real))
    s.memory = memory
    if memory == NULL:
        return False
    s.h = Packed(REAL, H, width, take(&memory, panels))
    s.scratch = take(&memory, scratch)
    s.last_peak = take(&memory, width)
    s.target_logit = memory
    return True


cdef bint head_forward(const Head *x, const Logits *y) noexcept nogil:
    """Losses of all rows. Logits that are kept become exp(zT - peak)."""
    cdef Matrix hT = transposed(x.h)
    cdef Py_ssize_t n
    cdef real peak
    cdef HeadForward s
    if not allocate_head_forward(x, y.z.columns, &s):
        return False
    # Columns that are only there to fill the last lanes have zeros.
    memset(s.h.data, 0, packed_size(s.h.K, s.h.N) * sizeof(real))
    fs_pack(&hT, s.h.data)
    for n in range(y.z.columns):
        s.last_peak[n], y.total[n] = LOWEST, 0
    for n in range(units(x.w.rows, HEAD_CHUNK)):
        head_forward_chunk(x, y, &s, n * HEAD_CHUNK)
    for n in range(x.h.rows):
        peak = s.last_peak[n] - s.target_logit[n]
        x.losses[n] = 0 if x.targets[n] < 0 else <real> log_d(<double> y.total[n]) + peak
    release(s.memory)
    return True


cdef void head_forward_chunk(const Head *x, const Logits *y, const HeadForward *s,
                             Py_ssize_t first) noexcept nogil:
    cdef Py_ssize_t classes = min(<Py_ssize_t> HEAD_CHUNK, x.w.rows - first), n
    cdef Py_ssize_t width = y.z.columns
    cdef Matrix z = block(y.z, first if y.kept else 0, 0, classes, width)
    cdef real *peak = y.peaks + (first // HEAD_CHUNK * y.z.row_stride if y.kept else 0)
    multiply(block(x.w, first, 0, classes, x.w.columns), &s.h, z, False, s.scratch)
    memcpy(peak, s.last_peak, width * sizeof(real))
    for n in range(width // LANES):
        add_bias(block(z, 0, n * LANES, classes, LANES), NULL if x.b == NULL else x.b + first,
                 peak + n * LANES)
    for n in range(width):
        y.total[n] *= exp_(s.last_peak[n] - peak[n])
    for n in range(x.h.rows):
        if first <= x.targets[n] < first + classes:
            s.target_logit[n] = z.data[(x.targets[n] - first) * z.row_stride + n]
    for n in range(width // LANES):
        add_exp(block(z, 0, n * LANES, classes, LANES), peak + n * LANES, y.total + n * LANES)
    memcpy(s.last_peak, peak, width * sizeof(real))


cdef struct HeadPass:
    const Head *x
    const Logits *y
    Packed h
    real *dh  # sums of all segments but the first


cdef bint head_forward_part(void *job, int part, int parts) noexcept nogil:
    """Some columns of kept logits."""
    cdef HeadPass *j = <HeadPass *> job
    cdef Py_ssize_t first = part_start(j.x.h.rows, part, parts, LANES)
    cdef Py_ssize_t last = part_start(j.x.h.rows, part + 1, parts, LANES)
    cdef Head x = head_rows(j.x, first, last)
    cdef Logits y = logits_columns(j.y, first, last)
    return head_forward(&x, &y)


# ---- second pass: gradients ---------------------------------------------------------------------

cdef void scale_columns(Matrix z, const real *factor, Matrix dz) noexcept nogil:
    """dz = factor * z, or zero, whatever z is, where the factor is zero.

    Row by row: z comes from memory.
    """
    cdef Py_ssize_t v, n
    cdef const real *from_
    cdef real *to
    for v in range(z.rows):
        from_, to = z.data + v * z.row_stride, dz.data + v * dz.row_stride
        for n in range(z.columns):
            to[n] = from_[n] * factor[n] if factor[n] != 0 else <real> 0


cdef struct HeadBackward:
    Matrix dz
    real *scale
    real *scratch


cdef bint allocate_head_backward(const Logits *y, HeadBackward *s) noexcept nogil:
    """s.dz.data is the whole memory."""
    cdef Py_ssize_t ld = y.z.row_stride
    cdef real *memory = <real *> allocate(
        (HEAD_CHUNK + 1) * ld + scratch_size(HEAD_CHUNK), sizeof(real))
    s.dz = matrix(memory, HEAD_CHUNK, y.z.columns, ld)
    if memory == NULL:
        return False
    take(&memory, HEAD_CHUNK * ld)
    s.scale = take(&memory, ld)
    s.scratch = memory
    return True


cdef void head_backward_logits(const Head *x, const Logits *y, Py_ssize_t first,
                               const HeadBackward *s) noexcept nogil:
    """dzT of the classes from `first` on, for which s.dz has rows."""
    cdef Py_ssize_t classes = s.dz.rows, ld = y.z.row_stride, n
    cdef const real *peak = y.peaks + first // HEAD_CHUNK * ld
    cdef const real *last_peak = y.peaks + (y.z.rows - 1) // HEAD_CHUNK * ld
    for n in range(y.z.columns):
        s.scale[n] = y.total[n] * exp_(peak[n] - last_peak[n])
    scale_columns(block(y.z, first, 0, classes, y.z.columns), s.scale, s.dz)
    for n in range(x.h.rows):
        if first <= x.targets[n] < first + classes:
            s.dz.data[(x.targets[n] - first) * ld + n] -= x.scale


cdef bint head_backward_segment(HeadPass *j, Py_ssize_t first, Py_ssize_t last,
                                Matrix dh) noexcept nogil:
    """Gradients by classes first to last; dh is overwritten."""
    cdef const Head *x = j.x
    cdef Py_ssize_t begin = first, v
    cdef bint done = True
    cdef HeadBackward s
    cdef Matrix w, dzT
    if not allocate_head_backward(j.y, &s):
        return False
    while first < last:
        # No further than a chunk of the first pass goes.
        s.dz.rows = min(HEAD_CHUNK - first % HEAD_CHUNK, last - first)
        head_backward_logits(x, j.y, first, &s)
        for v in range(s.dz.rows if x.db != NULL else 0):
            x.db[first + v] += row_sum(s.dz.data + v * s.dz.row_stride, s.dz.columns)
        dzT = block(s.dz, 0, 0, s.dz.rows, x.h.rows)
        multiply(dzT, &j.h, block(x.dw, first, 0, s.dz.rows, x.dw.columns), x.accumulate,
                 s.scratch)
        w, dzT = block(x.w, first, 0, s.dz.rows, x.w.columns), transposed(dzT)
        done &= fs_gemm(&dzT, &w, &dh, first > begin, NULL)
        first += s.dz.rows
    release(s.dz.data)
    return done


cdef bint head_backward_part(void *job, int segment, int segments) noexcept nogil:
    cdef HeadPass *j = <HeadPass *> job
    cdef Py_ssize_t V = j.x.w.rows
    cdef Matrix dh = j.x.dh
    if segment:
        dh = matrix(j.dh + (segment - 1) * dh.rows * dh.columns, dh.rows, dh.columns)
    return head_backward_segment(j, part_start(V, segment, segments, 1),
                                 part_start(V, segment + 1, segments, 1), dh)


cdef bint head_backward(const Head *x, const Logits *y, int segments, int threads) noexcept nogil:
    """Gradients of a block of rows; y.total becomes scale / total."""
    cdef Py_ssize_t N = x.h.rows, H = x.h.columns, panels = packed_size(N, H), n
    cdef real *memory = <real *> allocate(panels + (segments - 1) * N * H, sizeof(real))
    cdef HeadPass job = HeadPass(x, y, Packed(REAL, N, H, memory), memory + panels)
    cdef int s
    cdef bint done
    if memory == NULL:
        return False
    fs_pack(&x.h, job.h.data)
    for n in range(y.z.columns):
        y.total[n] = 0 if n >= N or x.targets[n] < 0 else x.scale / y.total[n]
    done = run(head_backward_part, &job, segments, threads)
    for s in range(segments - 1):
        add_matrix(matrix(job.dh + s * N * H, N, H), x.dh)
    release(memory)
    return done


# ---- blocks of rows -----------------------------------------------------------------------------

cdef bint allocate_logits(Py_ssize_t classes, Py_ssize_t rows, bint kept,
                          Logits *y) noexcept nogil:
    """y.z.data is the whole memory."""
    cdef Py_ssize_t ld = padded_ld(rows), chunks = units(classes, HEAD_CHUNK) if kept else 1
    cdef real *memory = <real *> allocate((classes + chunks + 1) * ld, sizeof(real))
    y.z = matrix(memory, classes, rows, ld)
    y.kept = kept
    if memory == NULL:
        return False
    take(&memory, classes * ld)
    y.peaks = take(&memory, chunks * ld)
    y.total = memory
    return True


cdef bint head_block(const Head *x, const Logits *y, bint alone) noexcept nogil:
    """Both passes for one block of rows, by all threads or the calling one."""
    cdef Py_ssize_t N = x.h.rows
    cdef double work = <double> N * x.w.rows * x.w.columns
    cdef int segments = 1 if alone else segment_count(x.w.rows)
    cdef int threads = 1 if alone else thread_count(work, units(N, LANES))
    cdef HeadPass job
    job.x, job.y = x, y
    if not run(head_forward_part, &job, threads, threads):
        return False
    return head_backward(x, y, segments, 1 if alone else thread_count(2 * work, segments))


cdef bint head_blocks(const Head *x, Py_ssize_t rows, bint alone) noexcept nogil:
    """Both passes for one block of rows after the other."""
    cdef Py_ssize_t M = x.h.rows, m = 0
    cdef bint done = True
    cdef Logits whole, y
    cdef Head part
    if not allocate_logits(x.w.rows, rows, True, &whole):
        return False
    if not x.accumulate and x.db != NULL:
        memset(x.db, 0, x.w.rows * sizeof(real))
    while m < M:
        part = head_rows(x, m, min(M, m + rows))
        part.accumulate = x.accumulate or m > 0
        y = logits_columns(&whole, 0, part.h.rows)
        done &= head_block(&part, &y, alone)
        m += rows
    release(whole.z.data)
    return done


cdef struct HeadGroups:
    const Head *x
    Py_ssize_t rows  # of a block
    real *grads  # dw and db of all groups but the first


cdef Head group_grads(const HeadGroups *j, int group) noexcept nogil:
    """The call with the dw and db of a group."""
    cdef Head x = j.x[0]
    cdef Py_ssize_t V = x.w.rows, H = x.w.columns
    if group:
        x.dw = matrix(j.grads + (group - 1) * V * (H + 1), V, H)
        x.db = NULL if x.db == NULL else x.dw.data + V * H
        x.accumulate = False
    return x


cdef bint group_part(void *job, int group, int groups) noexcept nogil:
    cdef HeadGroups *j = <HeadGroups *> job
    cdef Py_ssize_t M = j.x.h.rows
    cdef Head x = group_grads(j, group)
    x = head_rows(&x, part_start(M, group, groups, j.rows),
                  part_start(M, group + 1, groups, j.rows))
    return head_blocks(&x, j.rows, True)


cdef bint head_groups(const Head *x) noexcept nogil:
    """head_blocks for every group of blocks, where w is small."""
    cdef Py_ssize_t M = x.h.rows, V = x.w.rows, H = x.w.columns
    cdef Py_ssize_t rows = block_rows(M, V, HEAD_SMALL_ROWS)
    cdef int groups = <int> min(units(M, rows), <Py_ssize_t> HEAD_PARTS), g
    cdef HeadGroups job = HeadGroups(
        x, rows, <real *> allocate((groups - 1) * V * (H + 1), sizeof(real)))
    cdef bint done
    cdef Head part
    if job.grads == NULL:
        return False
    done = run(group_part, &job, groups, thread_count(3.0 * M * V * H, groups))
    for g in range(1, groups):
        part = group_grads(&job, g)
        add_matrix(part.dw, x.dw)
        if x.db != NULL:
            add_row(part.db, V, x.db)
    release(job.grads)
    return done


cdef bint head_losses_part(void *job, int part, int parts) noexcept nogil:
    """Losses of some rows, without gradients: zT is one chunk, overwritten by the next."""
    cdef Head *x = <Head *> job
    cdef Py_ssize_t classes = min(x.w.rows, <Py_ssize_t> HEAD_CHUNK)
    cdef Py_ssize_t first = part_start(x.h.rows, part, parts)
    cdef Py_ssize_t last = part_start(x.h.rows, part + 1, parts)
    cdef Py_ssize_t rows = block_rows(last - first, classes, HEAD_ROWS)
    cdef bint done = True
    cdef Logits whole, y
    cdef Head some
    if not allocate_logits(classes, rows, False, &whole):
        return False
    while first < last:
        some = head_rows(x, first, min(last, first + rows))
        y = logits_columns(&whole, 0, some.h.rows)
        done &= head_forward(&some, &y)
        first += rows
    release(whole.z.data)
    return done


# ---- entries ------------------------------------------------------------------------------------

cdef Head as_head(object h, object w, const real[::1] b, const int64_t[::1] targets,
                  real[::1] losses) except *:
    cdef Head x
    x.w = as_matrix(w, "w", -1, -1)
    x.h = as_matrix(h, "h", -1, -1)
    expect(x.w.columns, x.h.columns, "w: columns")
    expect(targets.shape[0], x.h.rows, "targets: length")
    expect(losses.shape[0], x.h.rows, "losses: length")
    x.b = vector(b, x.w.rows, "b")
    if x.w.data == NULL:
        raise ValueError("w: expected a shape without zeros")
    check_ids(targets, -(1 << 62), x.w.rows, "targets")
    x.dh.data = x.dw.data = x.db = NULL
    if x.h.rows:
        x.targets, x.losses = &targets[0], &losses[0]
    return x


cdef double one_over_count(const int64_t[::1] targets) noexcept nogil:
    """The factor that makes a mean of a sum over the targets that are not left out."""
    cdef Py_ssize_t count = 0, n
    for n in range(targets.shape[0]):
        count += targets[n] >= 0
    return 1.0 / max(1, count)


def linear_cross_entropy(h not None, w not None, const real[::1] b,
                         const int64_t[::1] targets not None, real[::1] losses not None):
    cdef Head x = as_head(h, w, b, targets, losses)
    cdef Py_ssize_t M = x.h.rows
    cdef int threads
    cdef bint done
    if M == 0:
        return
    with nogil:
        threads = thread_count(<double> M * x.w.rows * x.w.columns, units(M))
        done = run(head_losses_part, &x, threads, threads)
    if not done:
        raise MemoryError(f"linear_cross_entropy: no memory for logits of {x.w.rows} classes")


cdef void clear_grads(const Head *x) noexcept nogil:
    clear_matrix(x.dw)
    if x.db != NULL:
        memset(x.db, 0, x.w.rows * sizeof(real))


def linear_cross_entropy_with_grads(
        h not None, w not None, const real[::1] b, const int64_t[::1] targets not None,
        real[::1] losses not None, grads, scale, bint accumulate):
    cdef Head x = as_head(h, w, b, targets, losses)
    cdef Py_ssize_t M = x.h.rows, V = x.w.rows, H = x.w.columns, m
    cdef double loss = 0
    cdef bint done = True
    cdef real[::1] db
    dh, dw, db = grads
    if dh is None or dw is None:
        raise TypeError("grads: expected arrays for dh and dw")
    x.dh = as_matrix(dh, "dh", M, H, True)
    x.dw = as_matrix(dw, "dw", V, H, True)
    x.db = vector(db, V, "db")
    x.scale = one_over_count(targets) if scale is None else scale
    x.accumulate = accumulate
    with nogil:
        if M == 0:
            if not accumulate:
                clear_grads(&x)
        elif V * H <= HEAD_SMALL and M > HEAD_SMALL_ROWS:
            done = head_groups(&x)
        else:
            done = head_blocks(&x, block_rows(M, V, HEAD_ROWS), False)
        for m in range(M):
            loss += x.losses[m]
    if not done:
        raise MemoryError(f"linear_cross_entropy: no memory for logits of {V} classes")
    return loss
