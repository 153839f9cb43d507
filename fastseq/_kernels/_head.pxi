# The head, softmax(h wT + b), with its cross-entropy. The specification is oracle/dense.py.
#
# Logits are held transposed, zT[v, n] for word v and row n of h: then the large matrices w and zT
# are read along their rows and never packed, only h is, which is small.
#
#     zT = w hT + b       dzT = scale * (softmax - onehot)       dw = dzT h       dh = dzTT w
#
# a. First pass: the columns of zT are cut among the threads. Each goes through all words, a chunk
#    at a time: while a chunk is in the second-level cache, it becomes exp(zT - peak), where the
#    peak is the largest logit so far; it is kept for each chunk.
# b. Second pass: the words are cut into segments. Each goes through its chunks again, which come
#    from memory once for dzT, dw, db and dh. Every segment has its own sum for dh: their number
#    depends on V alone, not on the threads, and so do the bits.
# c. Rows of h are taken in blocks, so that the (T * B, V) array of a large vocabulary is never
#    held whole.
# d. Where w is small, neither pass has enough work for several threads. There the blocks are cut
#    into groups, each with a dw and db of its own; their number depends on the shape alone.

cdef Py_ssize_t HEAD_CHUNK = 256  # words
cdef Py_ssize_t HEAD_ROWS = 512  # a block, unless zT would then take more than
cdef Py_ssize_t HEAD_BYTES = 24 << 20
cdef Py_ssize_t HEAD_SMALL = 1 << 17  # numbers of w
cdef Py_ssize_t HEAD_SMALL_ROWS = 256  # a block where w is small


cdef inline Py_ssize_t head_block(Py_ssize_t M, Py_ssize_t words, Py_ssize_t most,
                                  Py_ssize_t size) noexcept nogil:
    """Rows of a block: even shares of whole panels, no fewer than 64."""
    most = min(max(HEAD_BYTES // (words * size), 64), most)
    cdef Py_ssize_t blocks = (M + most - 1) // most
    return whole_panels((M + blocks - 1) // blocks)


cdef inline Py_ssize_t whole_panels(Py_ssize_t columns) noexcept nogil:
    return (columns + 31) // 32 * 32


cdef inline Py_ssize_t apart(Py_ssize_t rows, Py_ssize_t size) noexcept nogil:
    """Distance of zT's rows: those a multiple of 1 kB apart fight for the same cache sets."""
    return rows + 16 if rows * size % 1024 == 0 else rows


cdef inline Py_ssize_t head_segments(Py_ssize_t V) noexcept nogil:
    """1, 2, 4 or 8, of no fewer than 48 words."""
    cdef Py_ssize_t count = 1
    while count < 8 and V >= 96 * count:
        count *= 2
    return count


# ---- passes over 32 columns: what belongs to a column stays in registers ------------------------

cdef void add_bias(real *z, Py_ssize_t ld, Py_ssize_t words, const real *b,
                   real *peak) noexcept nogil:
    """z += b; peak = max(peak, z). NaN is not looked for: the sum of exponentials finds it."""
    cdef real lanes[32]
    cdef real shift, x
    cdef Py_ssize_t v, k
    memcpy(lanes, peak, 32 * sizeof(real))
    for v in range(words):
        shift = 0 if b == NULL else b[v]
        for k in range(32):
            x = z[v * ld + k] + shift
            z[v * ld + k] = x
            lanes[k] = x if x > lanes[k] else lanes[k]
    memcpy(peak, lanes, 32 * sizeof(real))


cdef void add_exp(real *z, Py_ssize_t ld, Py_ssize_t words, const real *peak,
                  real *total) noexcept nogil:
    """z becomes exp(z - peak); total += z, word after word."""
    cdef real lanes[32]
    cdef real shift[32]
    cdef Py_ssize_t v, k
    memcpy(lanes, total, 32 * sizeof(real))
    memcpy(shift, peak, 32 * sizeof(real))
    for v in range(words):
        for k in range(32):
            z[v * ld + k] = exp_(z[v * ld + k] - shift[k])
            lanes[k] += z[v * ld + k]
    memcpy(total, lanes, 32 * sizeof(real))


# ---- first pass: losses -------------------------------------------------------------------------

cdef bint head_columns(Py_ssize_t N, Py_ssize_t V, Py_ssize_t H, const real *h,
                       const real *w, const real *b, const int64_t *targets,
                       real *losses, real *z, Py_ssize_t ld, bint keep, real *peaks,
                       real *total) noexcept nogil:
    """Losses of N rows of h.

    keep: z (V, ld) becomes exp(zT - peak), with a row of peaks for each chunk, and total its sum
    with the last peak; else one chunk is written over the other, one row of peaks likewise.
    """
    cdef real *peak = peaks
    cdef Py_ssize_t width = whole_panels(N), first = 0, words, n
    cdef Py_ssize_t panels = packed_size(H, width), spare = scratch_size(HEAD_CHUNK)
    cdef real *packed = <real *> allocate(panels + spare + 2 * width, sizeof(real))
    cdef real *last = packed + panels + spare
    cdef real *aim = last + width
    cdef real *chunk = z
    cdef unsigned state
    if packed == NULL:
        return False
    state = flush_subnormals()
    memset(packed, 0, panels * sizeof(real))  # columns up to width, too
    pack(H, N, h, 1, H, packed)
    for n in range(width):
        peak[n], total[n] = LOWEST, 0
    while first < V:
        words = min(HEAD_CHUNK, V - first)
        chunk = z + first * ld if keep else z
        times_packed(words, width, H, w + first * H, H, packed, chunk, ld, False, packed + panels)
        memcpy(last, peak, width * sizeof(real))
        if keep and first:
            peak += ld
            memcpy(peak, last, width * sizeof(real))
        for n in range(0, width, 32):
            add_bias(chunk + n, ld, words, NULL if b == NULL else b + first, peak + n)
        for n in range(width):
            total[n] *= exp_(last[n] - peak[n])
        for n in range(N):
            if first <= targets[n] < first + words:
                aim[n] = chunk[(targets[n] - first) * ld + n]
        for n in range(0, width, 32):
            add_exp(chunk + n, ld, words, peak + n, total + n)
        first += words
    for n in range(N):
        losses[n] = 0 if targets[n] < 0 else <real> log(<double> total[n]) + (peak[n] - aim[n])
    restore_subnormals(state)
    free(packed)
    return True


cdef bint head_forward(int threads, Py_ssize_t N, Py_ssize_t V, Py_ssize_t H, const real *h,
                       const real *w, const real *b, const int64_t *targets,
                       real *losses, real *z, Py_ssize_t ld, real *peaks,
                       real *total) noexcept nogil:
    """head_columns that keeps z, cut among the threads."""
    cdef int s, done = 1
    cdef Py_ssize_t n
    for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        n = part_start(N, threads, s)
        done &= head_columns(part_start(N, threads, s + 1) - n, V, H, h + n * H, w, b,
                             targets + n, losses + n, z + n, ld, True, peaks + n, total + n)
    return done


# ---- second pass: gradients ---------------------------------------------------------------------

cdef void scale_columns(const real *z, Py_ssize_t ld, Py_ssize_t words, Py_ssize_t columns,
                        const real *factor, real *dz) noexcept nogil:
    """dz = factor * z, or zero, whatever z is, where the factor is zero.

    Row by row: z comes from memory.
    """
    cdef Py_ssize_t v, n
    for v in range(words):
        for n in range(columns):
            dz[v * ld + n] = z[v * ld + n] * factor[n] if factor[n] != 0 else <real> 0


cdef bint head_words(Py_ssize_t first, Py_ssize_t last, Py_ssize_t N, Py_ssize_t H,
                     const real *w, const int64_t *targets, real scale, const real *z,
                     Py_ssize_t ld, const real *peaks, const real *factor,
                     const real *packed, real *dh, real *dw, real *db,
                     bint add) noexcept nogil:
    """Gradients by words first to last of N rows of h, which is packed; dh is overwritten.

    The last row of peaks is the final one.
    """
    cdef Py_ssize_t begin = first, words, n, v, columns = whole_panels(N)
    cdef real *dz = <real *> allocate(
        (HEAD_CHUNK + 1) * ld + scratch_size(HEAD_CHUNK), sizeof(real))
    cdef real *scratch = dz + (HEAD_CHUNK + 1) * ld
    cdef real *now = scratch - ld
    cdef const real *peak
    cdef const real *last_peak = factor - ld
    cdef unsigned state
    cdef bint done = dz != NULL
    if dz == NULL:
        return False
    state = flush_subnormals()
    while first < last:
        # No further than a chunk of the first pass goes.
        words = min(HEAD_CHUNK - first % HEAD_CHUNK, last - first)
        peak = peaks + first // HEAD_CHUNK * ld
        for n in range(columns):
            now[n] = factor[n] * exp_(peak[n] - last_peak[n])
        scale_columns(z + first * ld, ld, words, columns, now, dz)
        for n in range(N):
            if first <= targets[n] < first + words:
                dz[(targets[n] - first) * ld + n] -= scale
        for v in range(words if db != NULL else 0):
            db[first + v] += row_sum(dz + v * ld, columns)
        times_packed(words, H, N, dz, ld, packed, dw + first * H, H, add, scratch)
        done &= gemm_one(N, H, words, dz, 1, ld, w + first * H, H, 1, dh, H, first > begin, NULL)
        first += words
    restore_subnormals(state)
    free(dz)
    return done


cdef bint head_gradients(int threads, int segments, Py_ssize_t N, Py_ssize_t V, Py_ssize_t H,
                         const real *h, const real *w, const int64_t *targets,
                         real scale, const real *z, Py_ssize_t ld, const real *peaks,
                         real *total, real *dh, real *dw, real *db,
                         bint add) noexcept nogil:
    """head_words for every segment; total becomes scale / total."""
    cdef int s, done = 1
    cdef Py_ssize_t n, panels = packed_size(N, H)
    cdef real *packed = <real *> allocate(
        panels + (segments - 1) * N * H, sizeof(real))
    cdef real *parts = packed + panels  # dh of all segments but the first
    if packed == NULL:
        return False
    pack(N, H, h, H, 1, packed)
    for n in range(whole_panels(N)):
        total[n] = 0 if n >= N or targets[n] < 0 else scale / total[n]
    for s in prange(segments, num_threads=threads, schedule="static"):
        done &= head_words(V * s // segments, V * (s + 1) // segments, N, H, w, targets, scale, z,
                           ld, peaks, total, packed, dh if s == 0 else parts + (s - 1) * N * H, dw,
                           db, add)
    for s in range(segments - 1):
        add_rows(parts + s * N * H, 1, N * H, N * H, dh)
    free(packed)
    return done


cdef bint head_blocks(bint alone, Py_ssize_t rows, Py_ssize_t M, Py_ssize_t V, Py_ssize_t H,
                      const real *h, const real *w, const real *b,
                      const int64_t *targets, real scale, real *losses, real *dh,
                      real *dw, real *db, bint add) noexcept nogil:
    """Both passes for one block of rows after the other; alone: by the thread that calls."""
    cdef int segments = 1 if alone else <int> head_segments(V), threads
    cdef Py_ssize_t ld = apart(rows, sizeof(real)), m = 0, N
    cdef Py_ssize_t chunks = (V + HEAD_CHUNK - 1) // HEAD_CHUNK
    cdef bint done = True
    # zT, then a row of peaks for each chunk, then one for the sums.
    cdef real *z = <real *> allocate((V + chunks + 1) * ld, sizeof(real))
    cdef real *peaks = z + V * ld
    cdef real *total = peaks + chunks * ld
    if z == NULL:
        return False
    if not add and db != NULL:
        memset(db, 0, V * sizeof(real))
    while m < M:
        N = min(rows, M - m)
        threads = 1 if alone else thread_count(<double> N * V * H, (N + 31) // 32)
        done &= head_forward(threads, N, V, H, h + m * H, w, b, targets + m, losses + m, z, ld,
                             peaks, total)
        threads = 1 if alone else thread_count(2.0 * N * V * H, segments)
        done &= head_gradients(threads, segments, N, V, H, h + m * H, w, targets + m, scale, z, ld,
                               peaks, total, dh + m * H, dw, db, add or m > 0)
        m += rows
    free(z)
    return done


cdef bint head_groups(Py_ssize_t M, Py_ssize_t V, Py_ssize_t H, const real *h,
                      const real *w, const real *b, const int64_t *targets,
                      real scale, real *losses, real *dh, real *dw, real *db,
                      bint add) noexcept nogil:
    """head_blocks for every group of blocks, where w is small."""
    cdef Py_ssize_t rows = head_block(M, V, HEAD_SMALL_ROWS, sizeof(real)), first, last
    cdef Py_ssize_t blocks = (M + rows - 1) // rows, size = V * (H + 1)
    cdef int groups = <int> min(blocks, 8), threads = thread_count(3.0 * M * V * H, groups), g, done = 1
    # dw and db of all groups but the first.
    cdef real *parts = <real *> allocate((groups - 1) * size, sizeof(real))
    cdef real *part
    if parts == NULL:
        return False
    for g in prange(groups, num_threads=threads, schedule="static"):
        first, last = blocks * g // groups * rows, min(blocks * (g + 1) // groups * rows, M)
        part = dw if g == 0 else parts + (g - 1) * size
        done &= head_blocks(True, rows, last - first, V, H, h + first * H, w, b, targets + first,
                            scale, losses + first, dh + first * H, part,
                            db if g == 0 or db == NULL else part + V * H, add and g == 0)
    for g in range(groups - 1):
        add_rows(parts + g * size, 1, V * H, V * H, dw)
        if db != NULL:
            add_rows(parts + g * size + V * H, 1, V, V, db)
    free(parts)
    return done


# ---- entries ------------------------------------------------------------------------------------

cdef int check_head(Py_ssize_t H, Py_ssize_t M, Py_ssize_t columns, Py_ssize_t V,
                    const real[::1] b, const int64_t[::1] targets,
                    real[::1] losses) except -1:
    expect(columns, H, "w: columns")
    expect(targets.shape[0], M, "targets: length")
    expect(losses.shape[0], M, "losses: length")
    if b is not None:
        expect(b.shape[0], V, "b: length")
    if H == 0 or V == 0:
        raise ValueError("w: expected a shape without zeros")
    return check_ids(targets, -(1 << 62), V, "targets")


cdef bint head_losses_share(Py_ssize_t M, Py_ssize_t V, Py_ssize_t H, const real *h,
                            const real *w, const real *b, const int64_t *targets,
                            real *losses) noexcept nogil:
    """head_columns for one block of rows after the other; zT of one chunk at a time."""
    cdef Py_ssize_t words = min(V, HEAD_CHUNK), m = 0
    cdef Py_ssize_t rows = head_block(M, words, HEAD_ROWS, sizeof(real))
    cdef Py_ssize_t ld = apart(rows, sizeof(real))
    cdef bint done = True
    cdef real *z = <real *> allocate((words + 2) * ld, sizeof(real))
    cdef real *peaks = z + words * ld
    if z == NULL:
        return False
    while m < M:
        done &= head_columns(min(rows, M - m), V, H, h + m * H, w, b, targets + m, losses + m, z,
                             ld, False, peaks, peaks + ld)
        m += rows
    free(z)
    return done


cdef double one_over_count(const int64_t[::1] targets) noexcept nogil:
    """What makes a mean of a sum over the targets that are not left out."""
    cdef Py_ssize_t count = 0, n
    for n in range(targets.shape[0]):
        count += targets[n] >= 0
    return 1.0 / max(1, count)


def head_losses(const real[:, ::1] h, const real[:, ::1] w, const real[::1] b,
                const int64_t[::1] targets, real[::1] losses):
    cdef Py_ssize_t M = h.shape[0], H = h.shape[1], V = w.shape[0], m
    cdef int threads, s, done = 1
    check_head(H, M, w.shape[1], V, b, targets, losses)
    if M == 0:
        return
    with nogil:
        threads = thread_count(<double> M * V * H, (M + 31) // 32)
        for s in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            m = part_start(M, threads, s)
            done &= head_losses_share(part_start(M, threads, s + 1) - m, V, H, &h[0, 0] + m * H,
                                      &w[0, 0], NULL if b is None else &b[0], &targets[0] + m,
                                      &losses[0] + m)
    if not done:
        raise MemoryError(f"head_losses: no memory for logits of {V} words")


def head_backward(const real[:, ::1] h, const real[:, ::1] w, const real[::1] b,
                  const int64_t[::1] targets, scale, real[::1] losses,
                  real[:, ::1] dh, real[:, ::1] dw, real[::1] db, bint accumulate):
    cdef Py_ssize_t M = h.shape[0], H = h.shape[1], V = w.shape[0], m
    cdef const real *b_
    cdef real *db_
    cdef real factor
    cdef double loss = 0
    cdef bint done
    check_head(H, M, w.shape[1], V, b, targets, losses)
    expect(dh.shape[0], M, "dh: rows")
    expect(dh.shape[1], H, "dh: columns")
    expect(dw.shape[0], V, "dw: rows")
    expect(dw.shape[1], H, "dw: columns")
    if db is not None:
        expect(db.shape[0], V, "db: length")
    if M == 0:
        if not accumulate:
            memset(&dw[0, 0], 0, V * H * sizeof(real))
            if db is not None:
                memset(&db[0], 0, V * sizeof(real))
        return loss
    b_, db_ = NULL if b is None else &b[0], NULL if db is None else &db[0]
    factor = one_over_count(targets) if scale is None else scale
    with nogil:
        if V * H <= HEAD_SMALL and M > HEAD_SMALL_ROWS:
            done = head_groups(M, V, H, &h[0, 0], &w[0, 0], b_, &targets[0], factor, &losses[0],
                               &dh[0, 0], &dw[0, 0], db_, accumulate)
        else:
            done = head_blocks(False, head_block(M, V, HEAD_ROWS, sizeof(real)), M, V, H,
                               &h[0, 0], &w[0, 0], b_, &targets[0], factor, &losses[0], &dh[0, 0],
                               &dw[0, 0], db_, accumulate)
        for m in range(M):
            loss += losses[m]
    if not done:
        raise MemoryError(f"head_backward: no memory for logits of {V} words")
    return loss
