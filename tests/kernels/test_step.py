"""One step of a network with packed weights: every build against the oracle, bad arguments."""

import copy
import pickle
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from compare import assert_close, drawn, frozen, same_bits

from fastseq._kernels import oracle
from fastseq._kernels.cells import BY_NAME, CELLS
from fastseq._kernels.records import LayerCall, Weights

# L, B, I, H
SIZES = [(1, 1, 1, 1), (2, 1, 5, 17), (3, 4, 33, 16), (1, 15, 3, 33), (2, 3, 40, 300)]
PROJECTING = [row.name for row in CELLS if row.can_project]


def network(dtype, cell, L, B, I, H, P=None, bias=True):  # noqa: E741
    """Layers, an input, states that are not zero."""
    row, P = BY_NAME[cell], P or H
    width = len(row.gates) * H

    def normal(number, *shape, scale=1.0):  # what fits float32, for every dtype
        return (drawn(number, *shape) * np.float32(scale)).astype(dtype)

    layers = []
    for n in range(L):
        inputs = P if n else I
        layers.append(
            Weights(
                normal(n, width, inputs, scale=inputs**-0.5),
                normal(L + n, width, P, scale=P**-0.5),
                normal(20 + n, width) if bias else None,
                normal(30 + n, width) if bias else None,
                normal(50 + n, P, H, scale=H**-0.5) if P < H else None,
            )
        )
    return SimpleNamespace(
        row=row, layers=layers, x=normal(1, B, I), h=normal(4, L, B, P),
        c=normal(5, L, B, H) if row.has_c else None,
    )  # fmt: skip


def pack(k, n):
    return k.PackedStack(n.row.id, [Weights(*map(frozen, w)) for w in n.layers])


def step(k, n):
    pack(k, n).step(frozen(n.x), n.h, n.c)
    return n


@cache
def wanted(*sizes):
    return step(oracle, network(np.dtype("float64"), *sizes))


def assert_as_oracle(k, dtype, factor, *sizes):
    got, want = step(k, network(dtype, *sizes)), wanted(*sizes)
    assert_close(got.h, want.h, "h", factor)
    if want.c is not None:
        assert_close(got.c, want.c, "c", factor)


@pytest.mark.parametrize("cell", BY_NAME)
@pytest.mark.parametrize(("L", "B", "I", "H"), SIZES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_as_oracle(k, dtype, cell, L, B, I, H, bias):  # noqa: E741
    # Roundings grow as the root of the terms of a sum.
    assert_as_oracle(k, dtype, max(16, L * (I + H) ** 0.5), cell, L, B, I, H, None, bias)


@pytest.mark.parametrize("cell", PROJECTING)
@pytest.mark.parametrize(("H", "P"), [(2, 1), (17, 16), (33, 7)])
@pytest.mark.parametrize("L", [1, 3])
def test_projection(k, dtype, cell, L, H, P):
    assert_as_oracle(k, dtype, 16, cell, L, 3, 4, H, P)


@pytest.mark.parametrize(
    ("cell", "P"), [(cell, None) for cell in BY_NAME] + [(cell, 7) for cell in PROJECTING]
)
def test_steps_give_the_bits_of_layer_forward(compiled, dtype, cell, P):
    L, B, T, H = 2, 3, 4, 33
    n = network(dtype, cell, L, B, 5, H, P)
    x = drawn(9, T, B, 5).astype(dtype)
    stack, h0 = pack(compiled, n), n.h.copy()
    c0 = [None] * L if n.c is None else n.c.copy()
    got = []
    for now in x:
        stack.step(frozen(now), n.h, n.c)
        got.append(n.h[-1].copy())
    y = x.reshape(T * B, -1)
    for layer in range(L):
        out = np.empty((T * B, P or H), dtype)
        ends = np.empty_like(n.h[0]), None if n.c is None else np.empty_like(n.c[0])
        compiled.layer_forward(
            LayerCall(n.row.id, y, n.layers[layer], h0[layer], c0[layer], None, False, out, *ends,
                      None)
        )  # fmt: skip
        y = out
        assert same_bits(ends[0], n.h[layer])
        assert n.c is None or same_bits(ends[1], n.c[layer])
    assert same_bits(np.concatenate(got), y)


def test_later_changes_of_the_weights_do_not_matter(k, dtype):
    want, n = (network(dtype, "gru", 2, 3, 5, 40) for _ in range(2))
    stack = pack(k, n)
    packed = [a for w in n.layers for a in w if a is not None]
    for a in packed:
        a[...] = np.nan
    stack.step(n.x, n.h, n.c)
    assert same_bits(n.h, step(k, want).h)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_packed_weights_stay_where_they_are(k, dtype, copied):
    with pytest.raises(TypeError, match="packed weights cannot be copied or pickled"):
        copied(pack(k, network(dtype, "gru", 1, 1, 2, 3)))


def test_no_batch_rows(k, dtype):
    n = network(dtype, "lstm", 2, 0, 3, 4)
    step(k, n)
    assert n.h.shape == (2, 0, 4)


def test_no_layers(k, dtype):
    n = network(dtype, "lstm", 1, 1, 3, 4)
    n.layers = []
    with pytest.raises(ValueError, match="layers: expected at least one, got 0"):
        pack(k, n)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("x", lambda a: a[:2], "h: rows: expected 4, got 6"),
        ("x", lambda a: a[:, :2], "x: columns: expected 4, got 2"),
        ("h", lambda a: a[:1], "h: rows: expected 6, got 3"),
        ("h", lambda a: a[:, :, :5], "h: columns: expected 6, got 5"),
        ("c", lambda a: a[:1], "c: rows: expected 6, got 3"),
        ("c", lambda a: a[:, :1], "c: rows: expected 6, got 2"),
        ("c", lambda a: a[:, :, :5], "c: columns: expected 6, got 5"),
        ("c", lambda a: None, "c: expected an array, got None"),
    ],
)
def test_wrong_sizes(compiled, dtype, name, change, message):
    n = network(dtype, "lstm", 2, 3, 4, 6)
    stack, before = pack(compiled, n), (n.h.copy(), n.c.copy())
    arrays = {name: getattr(n, name) for name in ("x", "h", "c")}
    array = change(arrays[name])
    arrays[name] = None if array is None else np.ascontiguousarray(array)
    with pytest.raises(ValueError, match=message):
        stack.step(**arrays)
    assert same_bits(n.h, before[0])
    assert same_bits(n.c, before[1])


@pytest.mark.parametrize(
    ("layer", "field", "change", "message"),
    [
        (0, "w_ih", lambda a: a[:-1], "w_ih: rows: expected 24, got 23"),
        (1, "w_hh", lambda a: None, "w_hh: expected an array, got None"),
        (1, "w_ih", lambda a: None, "w_ih: expected an array, got None"),
        (1, "w_ih", lambda a: a[:, 1:], "w_ih: columns: expected 6, got 5"),
        (1, "w_hh", lambda a: a[1:], "w_hh: rows: expected 24, got 23"),
        (1, "w_hh", lambda a: a[:, 1:], "w_hh: columns: expected 6, got 5"),
        (0, "b_ih", lambda a: a[1:], "b_ih: columns: expected 24, got 23"),
        (0, "b_ih", lambda a: None, "b_ih, b_hh: expected two arrays or None twice"),
        (1, "b_hh", lambda a: None, "b_ih, b_hh: expected two arrays or None twice"),
        (1, "w_hr", lambda a: np.zeros((5, 6)), "w_hr: rows: expected 6, got 5"),
    ],
)
def test_wrong_weights(compiled, dtype, layer, field, change, message):
    n = network(dtype, "lstm", 2, 3, 4, 6)
    array = change(getattr(n.layers[layer], field))
    array = None if array is None else np.ascontiguousarray(array, dtype)
    n.layers[layer] = n.layers[layer]._replace(**{field: array})
    with pytest.raises(ValueError, match=message):
        pack(compiled, n)
