"""The compiled kernels for arm64 (NEON), computing in float64."""

NAME = "neon"
ctypedef double real

include "_kernels.pxi"
