"""Equal bits: for any number of threads, for avx2 and avx512, for any alignment and batch."""

import math
import time
from dataclasses import replace

import numpy as np
import one_layer
import pytest
from cases import CELLS, HEADS, LARGE_CELLS, LARGE_HEADS, PRODUCTS, Cell
from compare import drawn, same_bits, unaligned
from test_decode import decode, network
from updates import UPDATES

from fastseq import backend
from fastseq._kernels.cells import CELLS as TABLE
from fastseq._kernels.records import Clip, LinearGrads, SGDOptions, Weights

# -- everything that a build computes, as one dictionary of arrays -------------------------


def as_is(a):
    return a


def layer(k, case, dtype, place=as_is):
    """Every output and gradient of a layer."""
    a = one_layer.each_array(place, case.arrays(dtype))
    states = one_layer.forward(k, case, a, place=place)
    results = {name: array for name, array in vars(states).items() if name != "call"}
    results = {f"forward {name}": s for name, s in results.items() if s is not None}
    return results | one_layer.backward(k, case, a, states, place)


def product(k, shape, dtype, place=as_is):
    """a @ b with a both ways round."""
    M, N, K = shape
    a, b, bias = (place(drawn(0, *s).astype(dtype)) for s in ((M, K), (K, N), (N,)))
    results = {name: place(np.ones((M, N), dtype)) for name in ("set", "added", "transposed")}
    k.matmul(a, b, results["set"], bias, False)
    k.matmul(a, b, results["added"], None, True)
    k.matmul(place(a.T.copy()).T, b, results["transposed"], bias, False)
    return results


def head(k, shape, dtype, place=as_is):
    """Softmax, head and the kernels for rows."""
    N, V, H = shape
    sizes = ((N, H), (V, H), (V,), (N, V))
    h, w, b, z = (place(drawn(0, *s).astype(dtype)) for s in sizes)
    targets = np.arange(N) * 7919 % (V + 1) - 1
    ids = np.maximum(targets, 0)
    sizes = {"losses": N, "dh": (N, H), "dw": (V, H), "db": V, "dz": (N, V), "rows": (N, H),
             "summed": H, "table": (V, H), "some": N}  # fmt: skip
    r = {name: place(np.zeros(size, dtype)) for name, size in sizes.items()}
    grads = LinearGrads(r["dh"], r["dw"], r["db"])
    k.linear_cross_entropy_with_grads(h, w, b, targets, r["losses"], grads, 0.3, False)
    k.softmax_cross_entropy(z, targets, 0.3, r["some"], r["dz"])
    k.gather_rows(w, ids, None, r["rows"])
    k.scatter_add_rows(h, ids, r["table"])
    k.sum_rows(h, r["summed"])
    return r


def update(k, one, shape, dtype, place=as_is):
    """Parameters and states after one optimizer step, and the norm of the gradient."""
    p, g, states = one.arrays(shape, dtype)
    p, g = place(p), place(g)
    states = {name: place(state) for name, state in states.items()}
    one.call(k, p, g, states, None, Clip(0.7, 1.5, 0.01))
    norm = np.array(k.sum_squares(g, None))
    return {"p": p, "norm": norm, **states}


def generation(k, cell, dtype, place=as_is):
    n = network(dtype, cell, layers=2, V=130, H=70, B=9, S=5)
    for name in ("h", "c", "table", "head_w", "head_b"):
        setattr(n, name, place(getattr(n, name)))
    n.layers = [Weights(*map(place, w)) for w in n.layers]
    decode(k, n, temperature=0.8, top_k=50, top_p=0.95)
    return {"tokens": n.tokens, "log_probs": n.log_probs, "h": n.h}


def elementwise(k, dtype, place=as_is):
    x = place(np.random.default_rng(3).normal(size=3001).astype(dtype) * 20)
    names = ("vexp", "vtanh", "vsigmoid", "vlog")
    results = {name: place(np.empty_like(x)) for name in names}
    for name in names:
        getattr(k, name)(np.abs(x) if name == "vlog" else x, results[name])
    return results


def works(sizes):
    """Named pieces of work that cover every kernel, small or large."""
    cells, heads, products, shape = {
        "small": (CELLS[5::4], HEADS, PRODUCTS, (3, 45)),
        "large": (LARGE_CELLS, LARGE_HEADS, ((64, 700, 300), (1, 2100, 1030)), (1100, 701)),
    }[sizes]
    yield from ((str(c), lambda *a, c=c: layer(a[0], c, *a[1:])) for c in cells)
    yield from ((f"product{s}", lambda *a, s=s: product(a[0], s, *a[1:])) for s in products)
    yield from ((f"head{s}", lambda *a, s=s: head(a[0], s, *a[1:])) for s in heads)
    updates = UPDATES if sizes == "small" else {u.name.split("-")[0]: u for u in UPDATES}.values()
    yield from ((str(u), lambda *a, u=u: update(a[0], u, shape, *a[1:])) for u in updates)
    names = [row.name for row in TABLE]
    yield from ((f"generate-{c}", lambda *a, c=c: generation(a[0], c, *a[1:])) for c in names)
    yield ("elementwise", elementwise)


SMALL, LARGE = (dict(works(sizes)) for sizes in ("small", "large"))


def assert_same_bits(got, want):
    assert got.keys() == want.keys()
    for name in want:
        assert same_bits(got[name], want[name]), name


# -- threads, instruction sets, alignment --------------------------------------------------


@pytest.fixture
def threads():
    """Set the number of threads; afterwards it is what it was."""
    before = backend.get_num_threads()
    yield backend.set_num_threads
    backend.set_num_threads(before)


@pytest.mark.parametrize("name", LARGE)
def test_any_number_of_threads(compiled, dtype, threads, name):
    threads(1)
    want = LARGE[name](compiled, dtype)
    for count in (2, 3):
        threads(count)
        assert_same_bits(LARGE[name](compiled, dtype), want)


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_avx2_equals_avx512(dtype, name):
    if not {"avx2", "avx512"} <= set(backend.available_backends()):
        pytest.skip("needs a processor with both")
    work, results = (SMALL | LARGE)[name], []
    for build in ("avx2", "avx512"):
        with backend.use_backend(build):
            results.append(work(backend.kernels(dtype), dtype))
    assert_same_bits(*results)


@pytest.mark.parametrize("name", SMALL)
def test_any_alignment(compiled, dtype, name):
    assert_same_bits(SMALL[name](compiled, dtype, unaligned), SMALL[name](compiled, dtype))


# Sizes over the limits of `choose_team`, so that three threads cut the layer, and beside
# multiples of a packed panel (64, 32, 16 columns). A weight of more than 1 MiB is cut by columns;
# a smaller one leaves the batch to be cut by rows. Both need 8 million multiply-adds a thread.
CUT_H = {
    "columns": {1: 577, 3: 319, 4: 257},  # by the number of gates
    "rows": {1: 191, 3: 129, 4: 95},
}
CUT_SIZES = {"columns": (3, 33), "rows": (12, 61)}  # T, B


def _cuts():
    for way, (T, B) in CUT_SIZES.items():
        for row in TABLE:
            H = CUT_H[way][len(row.gates)]
            shapes = [(H, None)]
            if row.can_project:
                shapes.append((383, 193) if way == "columns" else (129, 65))
            for n, (H, P) in enumerate(shapes):
                reverse = (row.id + n) % 2 == 1
                yield Cell(row.name, T, B, 7, H, P, reverse=reverse)
                yield Cell(row.name, T, B, 7, H, P, reverse=not reverse, resets=True)
                ragged = 2 * T + 2  # lengths from 0 to here, in no order
                lengths = tuple((ragged - 5 * b) % (ragged + 1) for b in range(B))
                yield Cell(row.name, ragged, B, 7, H, P, reverse=not reverse, lengths=lengths)


CUTS = tuple(_cuts())


def test_cuts_are_large_enough_for_three_threads():
    for case in CUTS:
        weight = case.width * case.P
        assert weight * case.active().sum() >= 3 * 8e6, case
        by_columns = case.H in CUT_H["columns"].values() or case.projection == 193
        assert (weight * 4 > 1 << 20) if by_columns else (weight * 8 <= 1 << 20), case


@pytest.mark.parametrize("case", CUTS, ids=str)
def test_any_cut_of_a_layer(compiled, dtype, threads, case):
    """Rows or columns, any number of threads, with and without saving: the same bits."""
    a = case.arrays(dtype)
    threads(1)
    want = layer(compiled, case, dtype)
    for count in (2, 3):
        threads(count)
        assert_same_bits(layer(compiled, case, dtype), want)
    unsaved = one_layer.forward(compiled, case, a, saves=False)
    for name in ("y", "h_n", "c_n"):
        if getattr(unsaved, name) is not None:
            assert same_bits(getattr(unsaved, name), want[f"forward {name}"]), name


@pytest.mark.parametrize("case", [c for c in CUTS if c.H in CUT_H["columns"].values()], ids=str)
def test_threads_that_cut_columns_do_not_race(compiled_build, threads, case):
    k, a = backend.kernels("float32"), case.arrays("float32")
    threads(1)
    want = one_layer.forward(k, case, a, saves=False)
    threads(3)
    for _ in range(10):
        assert same_bits(one_layer.forward(k, case, a, saves=False).y, want.y)


def test_many_updates(compiled_build, threads):
    """200 updates of an LSTM by one thread and by two: nothing adds up."""
    k, case = backend.kernels("float32"), Cell("lstm", 4, 48, 12, 64)
    plain, ends = SGDOptions(1.0, 0.0, 0.0, nesterov=False, first=False), []
    for count in (1, 2):
        threads(count)
        a = case.arrays("float32")
        for _ in range(200):
            gradients = one_layer.backward(k, case, a, one_layer.forward(k, case, a))
            for name in ("w_ih", "w_hh"):
                p, g = getattr(a, name), gradients[name]
                k.sgd(p, g, None, None, Clip(1e-3, math.inf, 1e-3), plain)
        ends.append({"w_ih": a.w_ih, "w_hh": a.w_hh})
    assert not same_bits(ends[0]["w_hh"], case.arrays("float32").w_hh)
    assert_same_bits(*ends)


# -- rows are independent ------------------------------------------------------------------

ROWS = [case for case in CELLS if case.B in (14, 15) and case.I < 10]


def only_row(a, b):
    """The arrays of a case for one row of its batch."""
    names = [name for name in ("x", "dy", "resets") if getattr(a, name) is not None]
    parts = {name: getattr(a, name)[:, b : b + 1].copy() for name in names}
    for name in ("h0", "c0", "dh", "dc", "lengths"):
        if getattr(a, name) is not None:
            parts[name] = getattr(a, name)[b : b + 1].copy()
    return one_layer.each_array(as_is, type(a)(**(vars(a) | parts)))


@pytest.mark.parametrize("case", ROWS, ids=str)
def test_a_row_alone(compiled, dtype, case):
    """A row of a batch equals the same row by itself, forward and backward."""
    a = case.arrays(dtype)
    states = one_layer.forward(compiled, case, a)
    gradients = one_layer.backward(compiled, case, a, states)
    for b in range(case.B):
        alone = replace(case, B=1, lengths=case.lengths and case.lengths[b : b + 1])
        one = only_row(a, b)
        single = one_layer.forward(compiled, alone, one)
        back = one_layer.backward(compiled, alone, one, single)
        assert same_bits(states.y[:, b].copy(), single.y[:, 0].copy())
        for name in {"gates", "inner", "x"} & back.keys():
            assert same_bits(gradients[name][:, b].copy(), back[name][:, 0].copy()), name
        for name in {"h0", "c0"} & back.keys():
            assert same_bits(gradients[name][b], back[name][0]), name


@pytest.mark.parametrize(("M", "N", "K"), [(15, 33, 16), (29, 63, 4), (65, 13, 33), (7, 9, 600)])
def test_a_row_of_a_product(k, dtype, rng, M, N, K):
    a, b = rng.normal(size=(M, K)).astype(dtype), rng.normal(size=(K, N)).astype(dtype)
    whole, row = np.empty((M, N), dtype), np.empty((1, N), dtype)
    k.matmul(a, b, whole, None, False)
    for m in range(M):
        k.matmul(a[m : m + 1], b, row, None, False)
        assert same_bits(row[0], whole[m])


@pytest.mark.parametrize("M", range(1, 8))
@pytest.mark.parametrize(
    ("N", "K"), [(n, k) for n in (1, 3, 8, 17, 31, 64, 79) for k in (0, 1, 6, 15, 16, 33, 130)]
)
def test_a_weight_is_read_in_any_layout(compiled, dtype, rng, M, N, K):
    """Few rows take a weight that lies along K as it is; in other layouts it is packed."""
    a, bias, start = (rng.normal(size=s).astype(dtype) for s in ((M, K), N, (M, N)))
    w = rng.normal(size=(N, K)).astype(dtype)
    cut = np.full((N, K + 3), np.nan, dtype)[:, 2 : K + 2]
    strided = np.full((N, 2 * K + 1), np.nan, dtype)[:, : 2 * K : 2]
    cut[...], strided[...] = w, w
    for b, accumulate in ((None, False), (bias, False), (None, True), (bias, True)):
        results = []
        for left, weight in ((a, strided), (a, w), (np.asfortranarray(a), cut)):
            out = start.copy()
            compiled.matmul(left, weight.T, out, b, accumulate)
            results.append(out)
        assert all(same_bits(results[0], other) for other in results[1:])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("case", ROWS, ids=str)
def test_what_is_not_finite_stays_in_its_row(compiled, dtype, case, value):
    a, bad = case.arrays(dtype), case.B // 2
    want = one_layer.forward(compiled, case, a)
    want_back = one_layer.backward(compiled, case, a, want)
    a.x[:, bad] = value
    with np.errstate(invalid="ignore"):
        states = one_layer.forward(compiled, case, a)
        gradients = one_layer.backward(compiled, case, a, states)
    others = np.arange(case.B) != bad
    assert same_bits(states.y[:, others], want.y[:, others])
    assert same_bits(states.h_n[others], want.h_n[others])
    assert same_bits(gradients["gates"][:, others], want_back["gates"][:, others])
    assert same_bits(gradients["h0"][others], want_back["h0"][others])
    active = case.active()[:, bad]
    if np.isnan(value) and active.any():
        assert np.isnan(states.y[active, bad]).any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_head_rows_are_independent(k, dtype, rng, value):
    h, w = rng.normal(size=(17, 6)).astype(dtype), rng.normal(size=(35, 6)).astype(dtype)
    targets, others = rng.integers(0, 35, 17), np.arange(17) != 8
    results = []
    for bad in (0.0, value):
        h[8] = bad
        losses, dh, dw = (np.empty(s, dtype) for s in (17, (17, 6), (35, 6)))
        with np.errstate(invalid="ignore"):
            grads = LinearGrads(dh, dw, None)
            k.linear_cross_entropy_with_grads(h, w, None, targets, losses, grads, 1.0, False)
        results.append((losses[others], dh[others]))
    assert all(same_bits(x, y) for x, y in zip(*results, strict=True))
    assert np.isnan(losses[8])


# -- subnormal numbers ---------------------------------------------------------------------


def keeps_subnormals():
    """Whether this thread still computes with them: neither flushed as result nor as operand."""
    results = []
    for dtype in (np.float32, np.float64):
        tiny = np.finfo(dtype).smallest_normal
        half = np.full(16, tiny, dtype) / dtype(4)
        results += [(half > 0).all(), (half * dtype(4) == tiny).all()]
    return all(results)


@pytest.mark.parametrize("name", SMALL)
def test_floating_point_state_is_restored(compiled, dtype, name):
    assert keeps_subnormals()
    SMALL[name](compiled, dtype)
    assert keeps_subnormals()


def test_floating_point_state_is_restored_after_errors(k, dtype):
    ids = np.array([7])
    table, out, losses = (np.ones(s, dtype) for s in ((3, 2), (1, 2), 1))
    for call in (
        lambda: k.gather_rows(table, ids, None, out),
        lambda: k.scatter_add_rows(out, ids, table),
        lambda: k.softmax_cross_entropy(out, ids, 1.0, losses, None),
        lambda: k.linear_cross_entropy(out, table, None, ids, losses),
        lambda: k.linear_cross_entropy_with_grads(
            out, table, None, ids, losses, LinearGrads(out, table, None), 1.0, False
        ),
    ):
        with pytest.raises(IndexError):
            call()
        assert keeps_subnormals()


def best_time(function, repeats=15):
    def once():
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return min(once() for _ in range(repeats))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_subnormals_cost_nothing(compiled, dtype, row):
    """They take a hundred cycles each where they are not flushed."""
    case = Cell(row.name, 10, 16, 4, 64)
    usual, small = case.arrays(dtype), case.arrays(dtype)
    for name, a in vars(small).items():
        if a is not None:
            getattr(small, name)[...] *= np.finfo(dtype).smallest_normal / 8
    small.w_hh = usual.w_hh

    def run(a):
        return one_layer.backward(compiled, case, a, one_layer.forward(compiled, case, a))

    gradients = run(small)
    assert all(np.abs(gradients[name]).max() < 1e-30 for name in ("gates", "h0"))
    assert best_time(lambda: run(small)) < 3 * best_time(lambda: run(usual))
