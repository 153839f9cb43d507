"""The compiled kernels for AVX2 and FMA, computing in float64."""

NAME = "avx2"
ctypedef double real

include "_kernels.pxi"
