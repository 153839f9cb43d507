"""The compiled kernels for AVX2 and FMA."""

NAME = "avx2"

include "_kernels.pxi"
