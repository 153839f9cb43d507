"""The compiled kernels for any processor."""

NAME = "generic"

include "_dense.pxi"
include "_cells.pxi"
include "_updates.pxi"
include "_decode.pxi"
include "_names.pxi"
