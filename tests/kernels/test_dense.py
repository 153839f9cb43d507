"""Products, rows of tables and heads of every build, against NumPy in double precision."""

import itertools

import numpy as np
import pytest
from cases import HEADS, LARGE_HEADS, LARGE_PRODUCTS, PRODUCTS
from compare import LAYOUTS, assert_close, frozen, laid_out, same_bits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastseq._kernels.records import LinearGrads


def normal(rng, dtype, *shape):
    return rng.standard_normal(shape).astype(dtype)


# -- matmul --------------------------------------------------------------------------------


def assert_product(k, a, b, bias, accumulate, columns=0):
    """a @ b + bias in the middle of an array whose margins must stay as they are."""
    (M, K), N = a.shape, b.shape[1]
    margin = np.arange((M + 2) * (N + 2 * columns), dtype=a.dtype).reshape(M + 2, -1) % 7 + 100
    array = margin.copy()
    out = array[1 : M + 1, columns : columns + N]
    out[...] = np.arange(N) % 5 if accumulate else np.nan
    exact = a.astype(np.float64) @ b.astype(np.float64)
    exact = exact + (0.0 if bias is None else bias) + (np.arange(N) % 5 if accumulate else 0.0)
    k.matmul(a, b, out, bias, accumulate)
    # The rounding of a sum of K terms, here and in `exact`, is a random walk.
    assert_close(out, exact, f"{M, N, K}", factor=max(16, K**0.5))
    out[...] = margin[1 : M + 1, columns : columns + N]
    assert same_bits(array, margin)


PAIRS = list(zip(LAYOUTS, LAYOUTS[1:] + LAYOUTS[:1], strict=True))


@pytest.mark.parametrize(("M", "N", "K"), PRODUCTS)
def test_matmul(k, dtype, rng, M, N, K):
    values, bias = (normal(rng, dtype, M, K), normal(rng, dtype, K, N)), normal(rng, dtype, N)
    for layouts in PAIRS:
        a, b = map(laid_out, values, layouts)
        a.flags.writeable = b.flags.writeable = False
        for one, accumulate in itertools.product((None, frozen(bias)), (False, True)):
            assert_product(k, a, b, one, accumulate, columns=3)


def test_matmul_layouts(k, dtype, rng):
    a, b = normal(rng, dtype, 15, 17), normal(rng, dtype, 17, 33)
    for left, right in itertools.product(LAYOUTS, LAYOUTS):
        assert_product(k, laid_out(a, left), laid_out(b, right), None, True)


def test_matmul_of_one_row_repeated(k, dtype, rng):
    """Strides of zero."""
    a = np.broadcast_to(normal(rng, dtype, 19), (5, 19))
    b = np.broadcast_to(normal(rng, dtype, 19, 1), (19, 40))
    assert_product(k, a, b, None, False)


sizes = st.integers(0, 40)


@given(sizes, sizes, sizes, st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS), st.booleans())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_matmul_of_any_shape(k, dtype, M, N, K, left, right, accumulate):
    rng = np.random.default_rng([M, N, K])
    a, b = normal(rng, dtype, M, K), normal(rng, dtype, K, N)
    bias = normal(rng, dtype, N)
    assert_product(k, laid_out(a, left), laid_out(b, right), bias, accumulate, columns=1)


@pytest.mark.parametrize(("M", "N", "K"), LARGE_PRODUCTS)
def test_large_matmul(compiled, dtype, rng, M, N, K):
    a, b = normal(rng, dtype, M, K), normal(rng, dtype, K, N)
    for layout, accumulate in (("contiguous", True), ("transposed", False)):
        assert_product(compiled, laid_out(a, layout), laid_out(b, layout), None, accumulate)


def packed_column(values):
    """The values in an array whose rows lie an odd number of bytes apart."""
    record = np.dtype([("x", values.dtype, values.shape[1:]), ("y", np.uint8)])
    records = np.zeros(len(values), record)
    records["x"] = values
    return records["x"]


def test_matmul_refuses_strides_between_items(compiled, dtype, rng):
    a, b, out = (normal(rng, dtype, *shape) for shape in ((3, 4), (4, 5), (3, 5)))
    before = out.copy()
    for name, arrays in {
        "a": (packed_column(a), b, out),
        "b": (a, packed_column(b), out),
        "out": (a, b, packed_column(out)),
    }.items():
        message = f"^{name}: expected strides that are multiples of the item size"
        with pytest.raises(ValueError, match=message):
            compiled.matmul(*arrays, None, False)
    with pytest.raises(ValueError, match=r"^a: expected strides"):
        compiled.sum_rows(packed_column(a), np.zeros(4, dtype))
    assert same_bits(out, before)


def test_matmul_of_one_packed_record(k, dtype, rng):
    """A stride that leads nowhere is no reason to refuse."""
    a, b = normal(rng, dtype, 1, 4), normal(rng, dtype, 4, 5)
    assert_product(k, packed_column(a), b, None, False)


# -- rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("M", "N"), [(1, 1), (5, 3), (14, 33), (33, 17), (3, 65), (0, 4), (4, 0)])
def test_sum_rows(k, dtype, rng, M, N):
    wide, start = normal(rng, dtype, M, N + 2), normal(rng, dtype, N)
    for a in (frozen(wide[:, :N].copy()), wide[:, 1 : N + 1]):
        out = start.copy()
        k.sum_rows(a, out)
        assert_close(out, start + a.astype(np.float64).sum(axis=0))


@pytest.mark.parametrize(("V", "N", "R"), [(1, 1, 1), (6, 33, 9), (40, 16, 31), (3, 5, 0)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_rows_of_tables(k, dtype, rng, V, N, R, with_bias):
    table, rows = frozen(normal(rng, dtype, V, N)), frozen(normal(rng, dtype, R, N))
    ids = frozen(rng.integers(0, V, R))
    bias = frozen(normal(rng, dtype, N)) if with_bias else None
    out = np.full((R, N), np.nan, dtype)
    k.gather_rows(table, ids, bias, out)
    assert same_bits(out, table[ids] + bias if with_bias else table[ids])
    summed, exact = table.copy(), table.astype(np.float64)
    k.scatter_add_rows(rows, ids, summed)
    np.add.at(exact, ids, rows)
    assert_close(summed, exact)
    cleared, zeros = table.copy(), table.copy()
    k.clear_rows(cleared, ids)
    zeros[ids] = 0
    assert same_bits(cleared, zeros)


@pytest.mark.parametrize("ids", [[], [4], [2, 2, 0, 4, 0, 2], list(range(5))], ids=str)
def test_unique_ids(k, ids):
    marks, found = np.zeros(5, np.uint8), np.full(5, 7)
    count = k.unique_ids(frozen(np.array(ids, np.int64)), marks, found)
    assert found[:count].tolist() == list(dict.fromkeys(ids))
    assert (found[count:] == 7).all()
    assert not marks.any()


@pytest.mark.parametrize(("bad", "at"), [(-1, 2), (5, 0), (2**40, 1), (-(2**63), 2)])
def test_ids_out_of_range(k, dtype, rng, bad, at):
    table, rows, ids = normal(rng, dtype, 5, 3), normal(rng, dtype, 3, 3), np.array([4, 0, 4])
    ids[at] = bad
    out, before = np.full((3, 3), 7, dtype), table.copy()
    with pytest.raises(IndexError, match=rf"ids: .* got {bad} at position {at}"):
        k.gather_rows(table, ids, None, out)
    with pytest.raises(IndexError, match=rf"ids: .* got {bad} at position {at}"):
        k.scatter_add_rows(rows, ids, table)
    with pytest.raises(IndexError, match=rf"ids: .* got {bad} at position {at}"):
        k.clear_rows(table, ids)
    marks, found = np.zeros(5, np.uint8), np.full(5, 7)
    with pytest.raises(IndexError, match=rf"ids: .* got {bad} at position {at}"):
        k.unique_ids(ids, marks, found)
    assert (out == 7).all()
    assert same_bits(table, before)
    assert (found == 7).all()
    assert not marks.any()


# -- softmax and head ----------------------------------------------------------------------


def targets_for(rng, N, V):
    """Some rows are left out."""
    targets = rng.integers(0, V, N)
    targets[1::4] = -1 - rng.integers(0, 2**40, targets[1::4].size)
    return frozen(targets)


def cross_entropy(z, targets):
    """Losses and d Σ losses / dz."""
    N = len(targets)
    top = z.max(axis=1, keepdims=True) if N else z[:, :1]
    total = np.exp(z - top).sum(axis=1, keepdims=True)
    one_hot = np.arange(z.shape[1]) == targets[:, None]
    kept = (targets >= 0)[:, None]
    losses = kept * (np.log(total) + top - (z * one_hot).sum(axis=1, keepdims=True))
    return losses[:, 0], kept * (np.exp(z - top) / total - one_hot)


@pytest.mark.parametrize(("N", "V", "H"), HEADS)
@pytest.mark.parametrize("size", [1.0, 3e3])
def test_softmax_cross_entropy(k, dtype, rng, N, V, H, size):
    z, targets = frozen(normal(rng, dtype, N, V) * dtype.type(size)), targets_for(rng, N, V)
    want, gradient = cross_entropy(z.astype(np.float64), targets)
    losses, dz, inplace = np.full(N, np.nan, dtype), np.full((N, V), np.nan, dtype), z.copy()
    k.softmax_cross_entropy(z, targets, 1.0, losses, None)
    assert_close(losses, want, "losses")
    losses.fill(np.nan)
    k.softmax_cross_entropy(z, targets, 0.3, losses, dz)
    assert_close(losses, want, "losses")
    assert_close(dz, 0.3 * gradient, "dlogits", factor=4)
    k.softmax_cross_entropy(inplace, targets, 0.3, losses, inplace)
    assert same_bits(inplace, dz)


def assert_head(k, dtype, rng, N, V, H, bias, accumulate, scale=0.3):
    h = frozen(normal(rng, dtype, N, H))
    w = frozen(normal(rng, dtype, V, H) * dtype.type(H**-0.5))
    b = frozen(normal(rng, dtype, V)) if bias else None
    targets = targets_for(rng, N, V)
    z = h.astype(np.float64) @ w.T.astype(np.float64) + (b if bias else 0.0)
    want, dz = cross_entropy(z, targets)
    losses, again, dh = (np.full(s, np.nan, dtype) for s in (N, N, (N, H)))
    dw, db = (np.full(s, 2.0 if accumulate else np.nan, dtype) for s in ((V, H), V))
    k.linear_cross_entropy(h, w, b, targets, losses)
    grads = LinearGrads(dh, dw, db if bias else None)
    total = k.linear_cross_entropy_with_grads(h, w, b, targets, again, grads, scale, accumulate)
    assert same_bits(losses, again)
    assert_close(losses, want, "losses")
    assert total == pytest.approx(losses.sum(dtype=np.float64), rel=1e-12)
    factor = 1 / max(1, (targets >= 0).sum()) if scale is None else scale
    start = 2.0 if accumulate else 0.0
    assert_close(dh, factor * dz @ w, "dh")
    assert_close(dw, start + factor * dz.T @ h, "dw")
    if bias:
        assert_close(db, start + factor * dz.sum(axis=0), "db")


@pytest.mark.parametrize(("N", "V", "H"), HEADS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("accumulate", "scale"), [(True, 0.3), (False, 0.3), (False, None)])
def test_head(k, dtype, rng, N, V, H, bias, accumulate, scale):
    assert_head(k, dtype, rng, N, V, H, bias, accumulate, scale)


@pytest.mark.parametrize(("N", "V", "H"), LARGE_HEADS)
def test_large_head(compiled, dtype, rng, N, V, H):
    assert_head(compiled, dtype, rng, N, V, H, bias=True, accumulate=N > V / 10)


@pytest.mark.parametrize("bad", [6, 2**40])
@pytest.mark.parametrize("at", [0, 2])
def test_targets_out_of_range(k, dtype, rng, bad, at):
    h, w, z = normal(rng, dtype, 3, 4), normal(rng, dtype, 6, 4), normal(rng, dtype, 3, 6)
    targets = np.array([5, -1, 0])
    targets[at] = bad
    outs = [np.full(s, 7, dtype) for s in (3, (3, 6), (3, 4), (6, 4), 6)]
    losses, dz, dh, dw, db = outs
    for call in (
        lambda: k.softmax_cross_entropy(z, targets, 1.0, losses, dz),
        lambda: k.linear_cross_entropy(h, w, None, targets, losses),
        lambda: k.linear_cross_entropy_with_grads(
            h, w, None, targets, losses, LinearGrads(dh, dw, db), 1.0, False
        ),
    ):
        with pytest.raises(IndexError, match=rf"targets: .* got {bad} at position {at}"):
            call()
    assert all((out == 7).all() for out in outs)
