# Everything that a build is made of.

include "_common.pxi"
include "_rows.pxi"
include "_elementwise.pxi"
include "_cells.pxi"
include "_rnn.pxi"
include "_lstm.pxi"
include "_gru.pxi"
include "_recurrence.pxi"
include "_decode.pxi"
include "_step.pxi"

# What a build offers, which is what the oracle offers.
__all__ = [
    "NAME",
    "PackedStack",
    "get_num_threads",
    "layer_backward",
    "layer_forward",
    "set_num_threads",
    "vexp",
    "vlog",
    "vsigmoid",
    "vtanh",
]
