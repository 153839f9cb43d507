# Everything that a build is made of.

include "_common.pxi"
include "_rows.pxi"
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

# Public names of a build, the same as the oracle's.
__all__ = [
    "NAME",
    "PackedStack",
    "adagrad",
    "adam",
    "clear_rows",
    "gather_rows",
    "get_num_threads",
    "layer_backward",
    "layer_forward",
    "linear_cross_entropy",
    "linear_cross_entropy_with_grads",
    "matmul",
    "rmsprop",
    "scatter_add_rows",
    "set_num_threads",
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
