"""Exponential, logarithm, tanh and sigmoid to two units in the last place, everywhere."""

import numpy as np
import pytest
from compare import ulps

from fastseq import backend
from fastseq._kernels.cells import BY_NAME
from fastseq._kernels.records import LayerCall, Saved, Weights

WIDER = {"float32": np.float64, "float64": np.longdouble}
EXACT = {
    "vexp": np.exp,
    "vlog": np.log,
    "vtanh": np.tanh,
    "vsigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
# Where the function bends, from the first subnormal result to the first overflow.
INTERVALS = {
    "vexp": {"float32": (-104, 89.5), "float64": (-746, 710.5)},
    "vlog": {"float32": (0.3, 3), "float64": (0.3, 3)},
    "vtanh": {"float32": (-10, 10), "float64": (-20, 20)},
    "vsigmoid": {"float32": (-104, 20), "float64": (-746, 40)},
}

functions = pytest.mark.parametrize("name", EXACT)


def skip_without_wider(dtype):
    if np.finfo(WIDER[dtype.name]).nmant <= np.finfo(dtype).nmant + 8:
        pytest.skip("long double is not wider than double here")


def worst(k, name, x):
    """Largest error in ulps, over x and over finite results; the place where it occurs."""
    if name == "vlog":
        x = x[x > 0]
        x = x[x >= np.finfo(x.dtype).tiny]  # below, flushed to 0, whose logarithm is −∞
    out = np.full_like(x, np.nan)
    getattr(k, name)(x, out)
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(WIDER[x.dtype.name]))
    finite = np.abs(exact) <= np.finfo(x.dtype).max
    assert (out[~finite] == np.inf).all()
    errors = ulps(out[finite], exact[finite])
    at = errors.argmax()
    return errors[at], x[finite][at]


def all_magnitudes(rng, dtype, count):
    """Random patterns of bits: every exponent and both signs, finite."""
    x = rng.integers(0, 256, count * dtype.itemsize, dtype=np.uint8).view(dtype)
    return x[np.isfinite(x)]


@functions
def test_accuracy(k, dtype, rng, name):
    skip_without_wider(dtype)
    low, high = INTERVALS[name][dtype.name]
    near_zero = rng.normal(size=20_000) * 0.1
    x = np.concatenate([rng.uniform(low, high, 50_000), near_zero]).astype(dtype)
    for points in (x, all_magnitudes(rng, dtype, 30_000)):
        error, at = worst(k, name, points)
        assert error <= 2, f"{error:.2f} ulp at {at!r}"


@pytest.mark.slow
@functions
def test_accuracy_on_millions(compiled_build, rng, name):
    """Every 257th float32 there is, and six million doubles."""
    with np.errstate(invalid="ignore"):
        x = np.arange(0, 2**32, 257, dtype=np.uint32).view(np.float32)
        x = x[np.isfinite(x)]
    error, at = worst(backend.kernels("float32"), name, x)
    assert error <= 2, f"{error:.2f} ulp at {at!r}"
    dtype = np.dtype("float64")
    skip_without_wider(dtype)
    inside = rng.uniform(*INTERVALS[name]["float64"], 4_000_000)
    x = np.concatenate([inside, all_magnitudes(rng, dtype, 2_000_000)])
    error, at = worst(backend.kernels(dtype), name, x)
    assert error <= 2, f"{error:.2f} ulp at {at!r}"


SPECIAL = {
    "vexp": [(-np.inf, 0.0), (np.inf, np.inf), (0.0, 1.0), (-0.0, 1.0), (-1e30, 0.0),
             (1e30, np.inf), (1e-30, 1.0)],
    "vlog": [(0.0, -np.inf), (-0.0, -np.inf), (np.inf, np.inf), (1.0, 0.0), (-1.0, np.nan),
             (-np.inf, np.nan)],
    "vtanh": [(-np.inf, -1.0), (np.inf, 1.0), (0.0, 0.0), (-0.0, -0.0), (1e30, 1.0),
              (-1e30, -1.0), (1e-30, 1e-30)],
    "vsigmoid": [(-np.inf, 0.0), (np.inf, 1.0), (0.0, 0.5), (-1e30, 0.0), (1e30, 1.0)],
}  # fmt: skip


@functions
@pytest.mark.parametrize("count", [1, 5, 17])
def test_special_values(k, dtype, name, count):
    """In any lane of a vector."""
    for value, want in [*SPECIAL[name], (np.nan, np.nan)]:
        x, out = np.full(count, value, dtype), np.full(count, 7, dtype)
        getattr(k, name)(x, out)
        np.testing.assert_array_equal(out, np.full(count, want, dtype), f"{name}({value})")
        if want == 0:
            assert (np.signbit(out) == np.signbit(want)).all(), f"{name}({value})"


@functions
def test_subnormal_arguments(k, dtype, name):
    """Flushed to zero or not, they give what the smallest numbers must give."""
    tiny = np.finfo(dtype).tiny
    x = np.array([tiny / 4, tiny / 1024, np.nextafter(dtype.type(0), dtype.type(1))], dtype)
    out = np.full_like(x, np.nan)
    getattr(k, name)(x, out)
    exact = {"vexp": x * 0 + 1, "vtanh": x, "vsigmoid": x * 0 + 0.5, "vlog": np.log(x)}[name]
    flushed = {"vtanh": 0, "vlog": -np.inf}.get(name, np.nan)
    assert ((np.abs(out / exact - 1) <= 2 * np.finfo(dtype).eps) | (out == flushed)).all(), out


@functions
def test_every_length(k, dtype, rng, name):
    """A tail gives what the same numbers give inside a vector, and nothing is written after."""
    x = np.abs(rng.normal(size=40)).astype(dtype)
    whole = np.empty_like(x)
    getattr(k, name)(x, whole)
    for count in range(40):
        out = np.full(40, 7, dtype)
        getattr(k, name)(x[:count], out[:count])
        assert out[:count].tobytes() == whole[:count].tobytes()
        assert (out[count:] == 7).all()


@pytest.mark.parametrize("H", [1, 5, 16, 48])
def test_inside_cells(k, dtype, rng, H):
    """With no recurrent weight the cells are their pointwise functions."""
    skip_without_wider(dtype)
    B = 480 // H
    x = (rng.normal(size=(B, 4 * H)) * 5).astype(dtype)
    wide = x.astype(WIDER[dtype.name])

    def run(cell, gates, c):
        """h of one step."""
        w_hh = np.zeros((gates.shape[1], H), dtype)
        h, ends = np.zeros((B, H), dtype), (np.zeros((B, H), dtype) for _ in range(2))
        saved = Saved(gates, c)
        call = LayerCall(
            BY_NAME[cell].id, None, Weights(None, w_hh), None, None, None, False, h, *ends, saved
        )
        k.layer_forward(call if c is not None else call._replace(c_n=None))
        return h

    gates, c = x.copy(), np.zeros((B, H), dtype)
    h = run("lstm", gates, c)
    blocks = ("vsigmoid", "vsigmoid", "vtanh", "vsigmoid")
    for n, name in enumerate(blocks):
        block = np.s_[:, n * H : (n + 1) * H]
        assert ulps(gates[block], EXACT[name](wide[block])).max() <= 2
    assert ulps(h, gates[:, 3 * H :] * np.tanh(c.astype(wide.dtype))).max() <= 3
    h = run("rnn_tanh", np.ascontiguousarray(x[:, :H]), None)
    assert ulps(h, np.tanh(wide[:, :H])).max() <= 2
