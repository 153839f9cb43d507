"""The compiled kernels for AVX-512 F, BW, DQ and VL, computing in float64."""

NAME = "avx512"
ctypedef double real

include "_kernels.pxi"
