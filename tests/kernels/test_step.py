"""One step of a network with packed weights: every build against the oracle, bad arguments."""

from types import SimpleNamespace

import numpy as np
import pytest
from cases import GATES
from compare import assert_close, drawn, frozen, same_bits, unaligned

CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru")  # in the order of their numbers
# L, B, I, H
SIZES = [(1, 1, 1, 1), (2, 1, 5, 17), (3, 4, 33, 16), (1, 15, 3, 33), (2, 3, 40, 300)]


def network(dtype, cell, L, B, I, H, P=None, bias=True):  # noqa: E741
    """Weights in the order in which they are packed, an input, states that are not zero."""
    P, width = P or H, GATES[cell] * H

    def normal(number, *shape, scale=1.0):  # what fits float32, for every dtype
        return (drawn(number, *shape) * np.float32(scale)).astype(dtype)

    weights = [normal(0, width, I, scale=I**-0.5)]
    weights += [normal(layer, width, P, scale=P**-0.5) for layer in range(1, 2 * L)]
    weights += [normal(50 + layer, P, H, scale=H**-0.5) for layer in range(L) if P < H]
    return SimpleNamespace(
        cell=CELLS.index(cell), weights=weights, x=normal(1, B, I),
        bias=normal(2, L, width), b_hn=normal(3, L, H) if bias and cell == "gru" else None,
        h=normal(4, L, B, P), c=normal(5, L, B, H) if cell == "lstm" else None,
    )  # fmt: skip


def pack(k, weights):
    parts = [np.full(k.packed_length(w), np.nan, w.dtype) for w in weights]
    for w, part in zip(weights, parts, strict=True):
        k.pack_weight(frozen(w), part)
    return np.concatenate(parts)


def step(k, n, layout=frozen):
    packed = layout(pack(k, n.weights))
    k.stack_step(n.cell, frozen(n.x), packed, frozen(n.bias), frozen(n.b_hn), n.h, n.c)
    return n


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("L", "B", "I", "H"), SIZES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_as_oracle(k, truth, dtype, cell, L, B, I, H, bias):  # noqa: E741
    got = step(k, network(dtype, cell, L, B, I, H, bias=bias))
    want = step(truth, network(np.dtype("float64"), cell, L, B, I, H, bias=bias))
    factor = max(16, L * (I + H) ** 0.5)  # roundings grow as the root of the terms of a sum
    assert_close(got.h, want.h, "h", factor)
    if cell == "lstm":
        assert_close(got.c, want.c, "c", factor)


@pytest.mark.parametrize(("H", "P"), [(2, 1), (17, 16), (33, 7)])
@pytest.mark.parametrize("L", [1, 3])
def test_projection(k, truth, dtype, L, H, P):
    got = step(k, network(dtype, "lstm", L, 3, 4, H, P))
    want = step(truth, network(np.dtype("float64"), "lstm", L, 3, 4, H, P))
    assert_close(got.h, want.h, "h")
    assert_close(got.c, want.c, "c")


def test_packed_weights_may_lie_anywhere(compiled, dtype):
    """They survive a copy to memory that is not aligned."""
    here, there = (network(dtype, "gru", 2, 3, 5, 40) for _ in range(2))
    assert same_bits(step(compiled, here).h, step(compiled, there, unaligned).h)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("x", lambda a: a[:2], "x: rows: expected 3, got 2"),
        ("x", lambda a: a[:, :2], "packed: length"),
        ("bias", lambda a: a[:1], "bias: layers: expected 2, got 1"),
        ("bias", lambda a: a[:, :-1], "bias: columns: expected 20, got 23"),
        ("c", lambda a: a[:1], "c: layers: expected 2, got 1"),
        ("c", lambda a: a[:, :1], "c: rows: expected 3, got 1"),
        ("c", lambda a: a[:, :, :5], "c: columns: expected 6, got 5"),
        ("c", lambda a: None, "c: layers: expected 2, got 0"),
    ],
)
def test_wrong_sizes(compiled, dtype, name, change, message):
    n = network(dtype, "lstm", 2, 3, 4, 6)
    array = change(getattr(n, name))
    setattr(n, name, None if array is None else np.ascontiguousarray(array))
    before = n.h.copy()
    with pytest.raises(ValueError, match=message):
        step(compiled, n)
    assert same_bits(n.h, before)
