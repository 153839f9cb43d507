"""The compiled kernels for AVX-512 F, BW, DQ and VL, computing in float32."""

NAME = "avx512"
ctypedef float real

include "_kernels.pxi"
