"""The compiled kernels for AVX2 and FMA, computing in float32."""

NAME = "avx2"
ctypedef float real

include "_kernels.pxi"
