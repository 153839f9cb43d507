"""The compiled kernels for AVX2 and FMA."""

NAME = "avx2"

include "_dense.pxi"
include "_cells.pxi"
include "_updates.pxi"
include "_decode.pxi"
include "_names.pxi"
