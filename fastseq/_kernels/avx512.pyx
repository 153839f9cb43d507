"""The compiled kernels for AVX-512 F, BW, DQ and VL."""

NAME = "avx512"

include "_kernels.pxi"
