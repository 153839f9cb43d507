"""The compiled kernels for AVX-512 F, BW, DQ and VL."""

NAME = "avx512"

include "_dense.pxi"
include "_cells.pxi"
include "_updates.pxi"
include "_decode.pxi"
include "_names.pxi"
