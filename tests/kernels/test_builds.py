"""Every build against the oracle in double precision: signatures, cells, optimizer updates."""

import ast
import inspect
import math
import platform
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import one_layer
import pytest
from cases import CELLS, LARGE_CELLS, Cell
from compare import assert_close, frozen, same_bits
from updates import UPDATES

from fastseq import _kernels
from fastseq._kernels import oracle
from fastseq._kernels.cells import CELLS as TABLE
from fastseq._kernels.records import Clip, Gradients, LayerCall, Saved, Weights

# -- the builds themselves -----------------------------------------------------------------

NEEDS = {"avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"}}


@pytest.mark.parametrize("name", NEEDS)
def test_detection_agrees_with_the_operating_system(compiled_build, name):
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        pytest.skip("no /proc/cpuinfo")
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()[2:]}
    assert _kernels.supported(name) == (NEEDS[name] <= flags)


def test_neon_is_detected_on_arm64(compiled_build):
    assert _kernels.supported("neon") == (platform.machine().lower() in ("arm64", "aarch64"))


def signatures(module):
    """Names of the parameters of every function, and of every public method of a class."""
    functions = {name: getattr(module, name) for name in module.__all__ if name != "NAME"}
    for name in [name for name, f in functions.items() if inspect.isclass(f)]:
        cls = functions.pop(name)
        methods = (method for method in dir(cls) if not method.startswith("_"))
        functions |= {f"{name}.{method}": getattr(cls, method) for method in methods}
    return {name: list(inspect.signature(f).parameters) for name, f in functions.items()}


def test_same_names_and_signatures(k, build):
    assert build == k.NAME
    assert signatures(k) == signatures(oracle)


def stub_signatures():
    """The same of the types that are written for a build."""
    tree = ast.parse(Path(_kernels.__file__).with_name("_build.pyi").read_text())
    found = {f.name: f for f in tree.body if isinstance(f, ast.FunctionDef)}
    for cls in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        methods = (f for f in cls.body if not f.name.startswith("_"))
        found |= {f"{cls.name}.{f.name}": f for f in methods}
    return {name: [a.arg for a in f.args.args] for name, f in found.items()}


def test_the_types_of_a_build_have_its_signatures():
    assert stub_signatures() == signatures(oracle)


# -- cells ---------------------------------------------------------------------------------


@cache
def reference(case):
    a = case.arrays("float64")
    states = one_layer.forward(oracle, case, a)
    return states, one_layer.backward(oracle, case, a, states)


def assert_same_layer(k, case, dtype, reference):
    """Every output and gradient of a case, from inputs that cannot be written."""
    a = one_layer.each_array(frozen, case.arrays(dtype))
    want, want_gradients = reference
    states = one_layer.forward(k, case, a)
    active = case.active()
    for name in ("h_n", "c_n"):
        if getattr(want, name) is not None:
            assert_close(getattr(states, name), getattr(want, name), name)
    for name in ("y", *Saved._fields):
        if getattr(want, name) is not None:
            assert_close(getattr(states, name)[active], getattr(want, name)[active], name)
    gradients = one_layer.backward(k, case, a, states)
    assert gradients.keys() == want_gradients.keys()
    for name, want_gradient in want_gradients.items():
        part = active if name in Saved._fields else ...
        assert_close(gradients[name][part], want_gradient[part], f"d {name}", factor=32)


@pytest.mark.parametrize("case", CELLS, ids=str)
def test_cells(k, case, dtype):
    assert_same_layer(k, case, dtype, reference(case))


@pytest.mark.parametrize("case", CELLS, ids=str)
def test_a_forward_pass_that_saves_nothing_gives_the_same_bits(k, case, dtype):
    a = case.arrays(dtype)
    want, got = one_layer.forward(k, case, a), one_layer.forward(k, case, a, saves=False)
    for name in ("y", "h_n", "c_n"):
        if getattr(want, name) is not None:
            assert same_bits(getattr(got, name), getattr(want, name)), name


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
@pytest.mark.parametrize(("T", "B"), [(0, 2), (3, 0)])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_nothing_to_do(k, dtype, row, T, B, reverse, ragged):
    case = Cell(row.name, T, B, 2, 3, reverse=reverse, lengths=(0,) * B if ragged else None)
    a = case.arrays(dtype)
    states = one_layer.forward(k, case, a)
    gradients = one_layer.backward(k, case, a, states)
    for end, start, d in (("h_n", "h0", "dh"), ("c_n", "c0", "dc")):
        if getattr(a, start) is not None:
            assert same_bits(getattr(states, end), getattr(a, start))
            assert same_bits(gradients[start], getattr(a, d))
    for name in ("w_ih", "w_hh", "b_ih", "b_hh"):
        assert not gradients[name].any(), name


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
@pytest.mark.parametrize(("H", "P"), [(0, 0), (0, 2), (2, 0)])
def test_a_layer_without_columns_is_refused(compiled, dtype, row, H, P):
    def array(*shape):
        return np.zeros(shape, dtype)

    width = len(row.gates) * H
    weights = Weights(array(width, 2), array(width, P), None, None, array(P, H))
    c_n = array(3, H) if row.has_c else None
    states = array(3, P), array(3, H) if row.has_c else None
    saved = Saved(array(6, width), array(6, H), array(6, H), array(6, H))
    call = LayerCall(row.id, array(6, 2), weights, None, None, None, False, array(6, P),
                     array(3, P), c_n, saved)  # fmt: skip
    refused = pytest.raises(ValueError, match=f"h: expected at least one column, got {P} of {H}")
    with refused:
        compiled.layer_forward(call)
    with refused:
        compiled.layer_backward(call, Gradients(None, *states, None, False, weights, False))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_sequence_equals_itself_alone(k, dtype, row, reverse):
    """A sequence among longer and shorter ones equals the same one alone, bit for bit."""
    lengths = (3, 5, 1, 4)
    case = Cell(row.name, 5, 4, 3, 9, reverse=reverse, lengths=lengths)
    a = case.arrays(dtype)
    states = one_layer.forward(k, case, a)
    gradients = one_layer.backward(k, case, a, states)
    for b, length in enumerate(lengths):
        alone = replace(case, T=length, B=1, lengths=None)
        cut = {name: getattr(a, name)[:length, b : b + 1].copy() for name in ("x", "dy")}
        cut |= {
            name: getattr(a, name)[b : b + 1].copy()
            for name in ("h0", "c0", "dh", "dc")
            if getattr(a, name) is not None
        }
        one = SimpleNamespace(**(vars(a) | cut | {"lengths": None}))
        short = one_layer.forward(k, alone, one)
        back = one_layer.backward(k, alone, one, short)
        for name in ("gates", "inner", "x"):
            if name in gradients:
                assert same_bits(gradients[name][:length, b : b + 1].copy(), back[name]), name
        for name in ("h0", "c0"):
            if name in gradients:
                assert same_bits(gradients[name][b : b + 1].copy(), back[name]), name
        assert same_bits(states.y[:length, b : b + 1].copy(), short.y)
        assert same_bits(states.h_n[b : b + 1].copy(), short.h_n)


# -- large cells, against the same build's pieces ------------------------------------------


@pytest.mark.parametrize("case", LARGE_CELLS, ids=str)
def test_large_cells(compiled, case, dtype):
    """Too much for the oracle. A row does not depend on the batch around it, and one step on
    no other, so a few rows of a few steps, done by the oracle, vouch for the rest."""
    a = case.arrays(dtype)
    states = one_layer.forward(compiled, case, a)
    rng = np.random.default_rng(1)
    for t, b in rng.permutation(np.argwhere(case.active()))[:2]:
        one = _one_step(case, a, states, t, b)
        single = replace(case, T=1, B=1, lengths=None, reverse=False, resets=False)
        want = one_layer.forward(oracle, single, one)
        assert_close(states.y[t, b], want.y[0, 0], "y")
        assert_close(states.gates[t, b], want.gates[0, 0], "gates")


def _one_step(case, a, states, t, b):
    """The inputs of step t of sequence b in double precision."""
    one = one_layer.each_array(
        lambda v: None if v is None else v.astype(np.float64) if v.dtype.kind == "f" else v, a
    )
    one.x = one.x[t, b][None, None]
    h, c = one_layer.before(case, a, states, t, b)
    one.h0, one.c0 = h.astype(np.float64)[None], None if c is None else c.astype(np.float64)[None]
    one.lengths = one.resets = None
    return one


# -- updates -------------------------------------------------------------------------------

SHAPES = [(1, 1), (1, 7), (3, 5), (1, 33), (4, 16), (5, 63), (2, 257), (0, 3), (3, 0)]
CLIPS = [Clip(1.0, math.inf, 0.0), Clip(0.3, 0.2, 0.01)]


@pytest.mark.parametrize("update", UPDATES, ids=str)
@pytest.mark.parametrize("clip", CLIPS, ids=["plain", "clipped"])
def test_updates(k, dtype, update, clip):
    for shape in SHAPES:
        p, g, states = update.arrays(shape, dtype)
        q, d, exact = update.arrays(shape, "float64")
        update.call(k, p, frozen(g), states, None, clip)
        update.call(oracle, q, d, exact, None, clip)
        assert_close(p, q, f"{shape} p")
        for name, state in states.items():
            assert_close(state, exact[name], f"{shape} {name}")


@pytest.mark.parametrize("update", [u for u in UPDATES if u.takes_rows], ids=str)
@pytest.mark.parametrize("clip", CLIPS, ids=["plain", "clipped"])
def test_updates_of_some_rows(k, dtype, update, clip):
    rows = frozen(np.array([5, 0, 3]))
    p, g, states = update.arrays((7, 19), dtype)
    q, d, exact = update.arrays((7, 19), "float64")
    update.call(k, p, frozen(g), states, rows, clip)
    update.call(oracle, q, d, exact, rows, clip)
    assert_close(p, q, "p")
    for name, state in states.items():
        assert_close(state, exact[name], name)
    assert same_bits(p[[1, 2, 4, 6]], update.arrays((7, 19), dtype)[0][[1, 2, 4, 6]])


# The others change a row's state, and with it the row, without a gradient.
LAZY = [u for u in UPDATES if u.takes_rows and "momentum_buffer" not in u.states]


@pytest.mark.parametrize("update", LAZY, ids=str)
def test_rows_equal_the_dense_update(k, dtype, update):
    """Bit for bit, without weight decay."""
    rows, clip = np.array([5, 0, 3]), Clip(0.7, 0.5, 0.0)
    p, g, states = update.arrays((7, 19), dtype)
    q, _, dense = update.arrays((7, 19), dtype)
    g[[1, 2, 4, 6]] = 0
    update.call(k, p, g, states, rows, clip)
    update.call(k, q, g, dense, None, clip)
    assert same_bits(p, q)
    assert all(same_bits(states[name], dense[name]) for name in states)


@pytest.mark.parametrize("update", UPDATES, ids=str)
def test_bad_gradients(k, dtype, update):
    """Clipping by value bounds infinity and lets NaN through, where it can be seen."""
    p, g, states = update.arrays((1, 40), dtype)
    g[0, 3], g[0, 38], g[0, 20] = np.nan, np.inf, -np.inf
    update.call(k, p, g, states, None, Clip(1.0, 0.5, 0.0))
    assert np.flatnonzero(np.isnan(p)).tolist() == [3]
    assert np.isfinite(np.delete(p, 3)).all()


@pytest.mark.parametrize("shape", [*SHAPES, (3, 1111)], ids=str)
def test_sum_squares(k, dtype, rng, shape):
    g = frozen((rng.normal(size=shape) * 1e15).astype(dtype))
    exact = (g.astype(np.float64) ** 2).sum()
    assert k.sum_squares(g, None) == pytest.approx(exact, rel=1e-12)
    rows = np.arange(shape[0])[::2].copy()
    exact = (g[rows].astype(np.float64) ** 2).sum()
    assert k.sum_squares(g, rows) == pytest.approx(exact, rel=1e-12)
