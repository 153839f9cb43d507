"""Every build against the oracle in double precision: signatures, cells, optimizer updates."""

import inspect
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import one_layer
import pytest
from cases import CELLS, GATES, LARGE_CELLS, Cell
from compare import assert_close, frozen, same_bits
from updates import UPDATES

from fastseq import _kernels
from fastseq._kernels import oracle
from fastseq._kernels import oracle as DOUBLE
from fastseq._kernels.arguments import Clip

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


def test_same_names_and_signatures(build):
    module = _kernels.load(build)
    assert build == module.NAME
    assert set(module.__all__) == set(oracle.__all__)
    for name in set(oracle.__all__) - {"NAME"}:
        ours, theirs = inspect.signature(getattr(module, name)), getattr(oracle, name)
        assert list(ours.parameters) == list(inspect.signature(theirs).parameters), name


def test_threads_are_counted(build):
    module = _kernels.load(build)
    before = module.get_num_threads()
    module.set_num_threads(3)
    assert module.get_num_threads() == (1 if build == "oracle" else 3)
    module.set_num_threads(before)


# -- cells ---------------------------------------------------------------------------------


@cache
def reference(case):
    a = case.arrays("float64")
    states = one_layer.forward(DOUBLE, case, a)
    return states, one_layer.backward(DOUBLE, case, a, states)


def assert_same_layer(k, case, dtype, reference):
    """Every output and gradient of a case, from inputs that cannot be written."""
    a = one_layer.each_array(frozen, case.arrays(dtype))
    want, want_gradients = reference
    states = one_layer.forward(k, case, a)
    active = case.active()
    for name in ("h", "c"):
        if getattr(want, name) is not None:
            assert_close(getattr(states, name), getattr(want, name), name)
    for name in ("gates", "m", "hn"):  # unspecified where a row has ended
        if getattr(want, name) is not None:
            assert_close(getattr(states, name)[active], getattr(want, name)[active], name)
    gradients = one_layer.backward(k, case, a, states)
    assert gradients.keys() == want_gradients.keys()
    for name, want_gradient in want_gradients.items():
        assert_close(gradients[name], want_gradient, f"d {name}", factor=32)
    if case.projection is None:
        assert same_bits(gradients["dy"], a.dy)


@pytest.mark.parametrize("case", CELLS, ids=str)
def test_cells(k, case, dtype):
    assert_same_layer(k, case, dtype, reference(case))


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize(("T", "B"), [(0, 2), (3, 0)])
@pytest.mark.parametrize("reverse", [False, True])
def test_nothing_to_do(k, dtype, cell, T, B, reverse):
    case = Cell(cell, T, B, 2, 3, reverse=reverse)
    a = case.arrays(dtype)
    states = one_layer.forward(k, case, a)
    gradients = one_layer.backward(k, case, a, states)
    if T == 0:
        assert same_bits(states.h[0], a.h0)
        assert same_bits(gradients["h0"], a.dh)
    assert not gradients["w_hh"].any()
    assert not gradients["bias"].any()


@pytest.mark.parametrize(("H", "P"), [(0, 0), (0, 2), (2, 0)])
def test_lstm_without_columns(compiled, dtype, H, P):
    def array(*shape):
        return np.zeros(shape, dtype)

    w_hh, w_hr = array(4 * H, P), None if H == P else array(P, H)
    gates, h, c, m = array(2, 3, 4 * H), array(3, 3, P), array(3, 3, H), array(2, 3, H)
    refused = pytest.raises(ValueError, match=f"h, c: expected at least one column, got {P}, {H}")
    with refused:
        compiled.lstm_forward(gates, w_hh, w_hr, h, c, m, None, False)
    with refused:
        compiled.lstm_backward(gates, w_hh, w_hr, c, h[1:], h[0], c[0], None, False)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_changes_nothing(k, dtype, cell, reverse):
    """A row with a length equals the same row cut off there, bit for bit."""
    lengths = (3, 5, 1, 4)
    case = Cell(cell, 5, 4, 3, 9, reverse=reverse, lengths=lengths)
    a = case.arrays(dtype)
    states = one_layer.forward(k, case, a)
    gradients = one_layer.backward(k, case, a, states)
    y = one_layer.outputs(case, states)
    for b, length in enumerate(lengths):
        alone = replace(case, T=length, B=1, lengths=None)
        cut = {name: getattr(a, name)[:length, b : b + 1].copy() for name in ("x", "dy")}
        cut |= {
            name: getattr(a, name)[b : b + 1].copy()
            for name in ("h0", "c0", "dh", "dc")
            if getattr(a, name) is not None
        }
        one = one_layer.each_array(lambda v: v, a)
        vars(one).update(cut, lengths=None)
        short = one_layer.forward(k, alone, one)
        back = one_layer.backward(k, alone, one, short)
        assert same_bits(y[:length, b : b + 1].copy(), one_layer.outputs(alone, short).copy())
        assert same_bits(gradients["gates"][:length, b : b + 1].copy(), back["gates"])
        assert same_bits(gradients["h0"][b : b + 1].copy(), back["h0"])


# -- large cells, against the same build's pieces ------------------------------------------


@pytest.mark.parametrize("case", LARGE_CELLS, ids=str)
def test_large_cells(compiled, case, dtype):
    """Too much for the oracle. A row does not depend on the batch around it, and one step on
    no other, so a few rows of a few steps, done by the oracle, vouch for the rest."""
    a = case.arrays(dtype)
    states = one_layer.forward(compiled, case, a)
    before = states.h[1:] if case.reverse else states.h[:-1]
    rng = np.random.default_rng(1)
    for t, b in rng.permutation(np.argwhere(case.active()))[:2]:
        one = _one_step(case, a, states, before, t, b)
        single = replace(case, T=1, B=1, lengths=None, reverse=False)
        want = one_layer.forward(DOUBLE, single, one)
        assert_close(one_layer.outputs(case, states)[t, b], want.h[1, 0], "h")
        assert_close(states.gates[t, b], want.gates[0, 0], "gates")


def _one_step(case, a, states, before, t, b):
    """The inputs of step t of row b in double precision."""
    one = one_layer.each_array(
        lambda v: None if v is None else v.astype(np.float64) if v.dtype.kind == "f" else v, a
    )
    one.x, one.dy = one.x[t, b][None, None], one.dy[t, b][None, None]
    one.h0 = before[t, b].astype(np.float64)[None]
    if states.c is not None:
        cells = states.c[1:] if case.reverse else states.c[:-1]
        one.c0, one.dc = cells[t, b].astype(np.float64)[None], one.dc[b : b + 1]
    one.dh, one.lengths = one.dh[b : b + 1], None
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
        update.call(DOUBLE, q, d, exact, None, clip)
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
    update.call(DOUBLE, q, d, exact, rows, clip)
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
