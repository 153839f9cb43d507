"""The compiled kernels for any processor, computing in float32."""

NAME = "generic"
ctypedef float real

include "_kernels.pxi"
