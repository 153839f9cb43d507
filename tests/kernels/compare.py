"""How results are compared, and arrays laid out in memory in every way that is allowed."""

from functools import cache

import numpy as np


@cache
def drawn(seed, *shape):
    """Normal numbers that fit float32, the same whenever the same are asked for; read only."""
    numbers = np.random.default_rng([seed, *shape]).standard_normal(shape, np.float32)
    numbers.flags.writeable = False
    return numbers


def assert_close(got, want, name="", factor=16):
    """Equal to `factor` roundings of the largest element (of 1, where all are smaller)."""
    assert got.shape == want.shape, name
    if want.size:
        bound = factor * np.finfo(got.dtype).eps * max(1.0, np.abs(want).max())
        worst = np.abs(got - want).max()
        assert worst <= bound, f"{name}: {worst:.3g} > {bound:.3g}"


def same_bits(a, b):
    """Equal bits: NaN equals NaN, 0 differs from −0."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def ulps(got, exact):
    """Distance to the exact values (of a wider dtype) in units of the last place.

    Kernels flush subnormal numbers to zero. Where the exact value lies below, or a rounding
    above, the smallest normal number, zero counts as exact.
    """
    limits = np.finfo(got.dtype)
    flushed = (np.abs(exact) < limits.tiny * (1 + 4 * limits.eps)) & (got == 0)
    magnitude = np.maximum(np.abs(exact), exact.dtype.type(limits.tiny))
    unit = np.exp2(np.floor(np.log2(magnitude))) * exact.dtype.type(limits.eps)
    return np.where(flushed, 0.0, np.abs(got - exact) / unit)


def frozen(a):
    """The same values in an array that cannot be written; None stays None."""
    if a is None:
        return None
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    """The same values in an array that starts one element after an aligned one."""
    if a is None or a.size == 0:
        return a
    storage = np.empty(a.size + 65, a.dtype)
    skip = -storage.ctypes.data % 64 // a.itemsize + 1
    view = storage[skip : skip + a.size].reshape(a.shape)
    view[...] = a
    assert view.ctypes.data % 64 == a.itemsize
    return view


LAYOUTS = ("contiguous", "transposed", "strided", "reversed", "columns of a wider array")


def laid_out(a, layout):
    """A view with the values of the matrix `a`; memory between them is NaN."""
    M, N = a.shape
    if layout == "contiguous":
        return a.copy()
    if layout == "transposed":
        return a.T.copy().T
    if layout == "reversed":
        return a[::-1, ::-1].copy()[::-1, ::-1]
    if layout == "strided":
        wide, at = np.full((2 * M, 3 * N), np.nan, a.dtype), np.s_[::2, 1::3]
    else:
        wide, at = np.full((M, N + 5), np.nan, a.dtype), np.s_[:, 2 : N + 2]
    wide[at] = a
    return wide[at]
