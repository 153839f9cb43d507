"""The compiled kernels for any processor."""

NAME = "generic"

include "_kernels.pxi"
