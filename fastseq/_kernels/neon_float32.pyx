"""The compiled kernels for arm64 (NEON), computing in float32."""

NAME = "neon"
ctypedef float real

include "_kernels.pxi"
