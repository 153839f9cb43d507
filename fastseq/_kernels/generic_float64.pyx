"""The compiled kernels for any processor, computing in float64."""

NAME = "generic"
ctypedef double real

include "_kernels.pxi"
