# Everything that a build is made of.

include "_common.pxi"
include "_dense.pxi"
include "_loss.pxi"
include "_head.pxi"
include "_elementwise.pxi"
include "_cells.pxi"
include "_lstm.pxi"
include "_gru.pxi"
include "_updates.pxi"
include "_step.pxi"
include "_decode.pxi"

# What a build offers, which is what the oracle offers.
__all__ = [
    "NAME",
    "adagrad",
    "adam",
    "clear_rows",
    "decode",
    "distinct_ids",
    "gather_rows",
    "get_num_threads",
    "gru_backward",
    "gru_forward",
    "head_backward",
    "head_losses",
    "lstm_backward",
    "lstm_forward",
    "matmul",
    "pack_weight",
    "packed_length",
    "rmsprop",
    "rnn_backward",
    "rnn_forward",
    "scatter_add_rows",
    "set_num_threads",
    "sgd",
    "softmax_cross_entropy",
    "stack_step",
    "sum_rows",
    "sum_squares",
    "vexp",
    "vlog",
    "vsigmoid",
    "vtanh",
]
