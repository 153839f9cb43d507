# The functions of _vmath.h on arrays, for tests of their accuracy.

ctypedef enum Function:
    EXP
    LOG
    SIGMOID
    TANH


cdef void apply(Function function, const real *x, real *out, Py_ssize_t N) noexcept nogil:
    cdef unsigned state = flush_subnormals()
    cdef Py_ssize_t n
    if function == EXP:
        for n in range(N):
            out[n] = exp_(x[n])
    elif function == LOG:
        for n in range(N):
            out[n] = log_(x[n])
    elif function == SIGMOID:
        for n in range(N):
            out[n] = sigmoid(x[n])
    else:
        for n in range(N):
            out[n] = tanh_(x[n])
    restore_subnormals(state)


def vexp(const real[::1] x, real[::1] out):
    expect(out.shape[0], x.shape[0], "out: length")
    if x.shape[0]:
        apply(EXP, &x[0], &out[0], x.shape[0])


def vlog(const real[::1] x, real[::1] out):
    expect(out.shape[0], x.shape[0], "out: length")
    if x.shape[0]:
        apply(LOG, &x[0], &out[0], x.shape[0])


def vsigmoid(const real[::1] x, real[::1] out):
    expect(out.shape[0], x.shape[0], "out: length")
    if x.shape[0]:
        apply(SIGMOID, &x[0], &out[0], x.shape[0])


def vtanh(const real[::1] x, real[::1] out):
    expect(out.shape[0], x.shape[0], "out: length")
    if x.shape[0]:
        apply(TANH, &x[0], &out[0], x.shape[0])
