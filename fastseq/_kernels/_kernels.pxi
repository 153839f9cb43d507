# Everything that a build is made of.

include "_common.pxi"
include "_elementwise.pxi"

# What a build offers, which is what the oracle offers.
__all__ = [
    "NAME",
    "get_num_threads",
    "set_num_threads",
    "vexp",
    "vlog",
    "vsigmoid",
    "vtanh",
]
