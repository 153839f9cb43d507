"""The kernels. setup.py compiles this source once for each instruction set and number type."""

include "_common.pxi"
include "_products.pxi"
include "_loss.pxi"
include "_head.pxi"
include "_elementwise.pxi"
include "_updates.pxi"
include "_cells.pxi"
include "_rnn.pxi"
include "_lstm.pxi"
include "_gru.pxi"
include "_recurrence.pxi"
include "_layer.pxi"
include "_decode.pxi"
include "_step.pxi"

cdef extern from *:
    const char *FS_BUILD  # defined by setup.py

NAME = FS_BUILD.decode()

# Public names of a build, the same as the oracle's.
__all__ = [
    "NAME",
    "PackedStack",
    "adagrad",
    "adam",
    "clear_rows",
    "gather_rows",
    "layer_backward",
    "layer_forward",
    "linear_cross_entropy",
    "linear_cross_entropy_with_grads",
    "matmul",
    "rmsprop",
    "scatter_add_rows",
    "sgd",
    "softmax_cross_entropy",
    "sum_rows",
    "sum_squares",
    "unique_ids",
    "vexp",
    "vlog",
    "vsigmoid",
    "vtanh",
]
