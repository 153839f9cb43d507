"""Generation: every build against the oracle, and against the other kernels step by step."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from compare import assert_close, frozen, same_bits

from fastseq._kernels import oracle
from fastseq._kernels.cells import BY_NAME
from fastseq._kernels.records import Draw, LayerCall, Saved, Weights

PLAIN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "penalty": 1.0}


def network(dtype, cell="lstm", layers=1, V=13, H=5, B=1, S=12, bias=True, seed=0):
    """Weights, states and random numbers, sharp enough that filters have something to do."""
    rng, row = np.random.default_rng([seed, layers, V, H, B]), BY_NAME[cell]
    width = len(row.gates) * H

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32).astype(dtype)

    def weights(layer):
        biases = (normal(width), normal(width)) if bias else (None, None)
        w_ih = normal(width, H) if layer else None  # the table has the first layer's
        return Weights(w_ih, normal(width, H) / dtype.type(2), *biases)

    tokens = np.full((S + 1, B), -1)
    tokens[0] = rng.integers(0, V, B)
    return SimpleNamespace(
        row=row, table=normal(V, width), layers=[weights(layer) for layer in range(layers)],
        h=normal(layers, B, H), c=normal(layers, B, H) if row.has_c else None,
        head_w=normal(V, H), head_b=normal(V) if bias else None, allowed=None, seen=None,
        uniforms=rng.random((S, B)), tokens=tokens, log_probs=np.full((S, B), np.nan),
    )  # fmt: skip


def decode(k, n, **options):
    """Run a network; its weights cannot be written, its states are those after."""
    layers = [Weights(*map(frozen, w)) for w in n.layers]
    head = frozen(n.head_w), frozen(n.head_b)
    stack = k.PackedStack(n.row.id, layers, frozen(n.table), head)
    options = Draw(**(PLAIN | options), allowed=frozen(n.allowed))
    stack.decode(n.h, n.c, n.tokens, n.log_probs, frozen(n.uniforms), options, n.seen)
    return n


def assert_as_oracle(k, dtype, make, **options):
    got, want = decode(k, make(dtype), **options), make(np.dtype("float64"))
    decode(oracle, want, **options)
    assert np.array_equal(got.tokens, want.tokens)
    assert np.abs(got.log_probs - want.log_probs).max() <= 1000 * np.finfo(dtype).eps
    assert_close(got.h, want.h, "h", factor=300)
    if want.c is not None:
        assert_close(got.c, want.c, "c", factor=300)
    if want.seen is not None:
        assert np.array_equal(got.seen, want.seen)


@pytest.mark.parametrize("cell", BY_NAME)
@pytest.mark.parametrize(("layers", "B", "H"), [(1, 1, 5), (2, 3, 9), (3, 2, 16), (1, 5, 33)])
@pytest.mark.parametrize("bias", [True, False])
def test_cells_and_layers(k, dtype, cell, layers, B, H, bias):
    def make(dtype):
        return network(dtype, cell, layers=layers, B=B, H=H, S=6, bias=bias)

    assert_as_oracle(k, dtype, make)


FILTERS = [
    {},
    {"temperature": 0.0},
    {"temperature": 0.5},
    {"temperature": 3.0, "top_k": 1},
    {"temperature": 3.0, "top_k": 4},
    {"top_k": 100},
    {"temperature": 2.0, "top_p": 0.6},
    {"top_p": 1e-9},
    {"temperature": 2.0, "min_p": 0.3},
    {"min_p": 1.0},
    {"temperature": 4.0, "top_k": 8, "top_p": 0.8, "min_p": 0.2},
    {"penalty": 1.8},
    {"penalty": 1.8, "temperature": 0.0},
    {"penalty": 0.5, "top_k": 3},
]


@pytest.mark.parametrize("options", FILTERS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("B", [1, 3])
def test_filters(k, dtype, options, masked, B):
    def make(dtype):
        n = network(dtype, B=B, V=23, seed=3)
        if masked:
            n.allowed = (np.arange(23) % 3 != 1).astype(np.uint8)
        if "penalty" in options:
            n.seen = (np.arange(23 * B).reshape(B, 23) % 5 == 0).astype(np.uint8)
        return n

    assert_as_oracle(k, dtype, make, **options)
    if masked:
        assert (decode(k, make(dtype), **options).tokens[1:] % 3 != 1).all()


@pytest.mark.parametrize("cell", BY_NAME)
def test_agrees_with_the_other_kernels(k, dtype, cell):
    """The drawn tokens, fed to table, cell and head, have the same log-probabilities."""
    S, B, H = 7, 2, 6
    n = network(dtype, cell, B=B, H=H, S=S)
    h0, c0 = n.h[0].copy(), None if n.c is None else n.c[0].copy()
    decode(k, n)
    gates = n.table[n.tokens[:-1].ravel()]
    y, h_n, c_n = (np.full(shape, np.nan, dtype) for shape in ((S * B, H), (B, H), (B, H)))
    saved = Saved(
        gates, np.empty_like(y) if n.row.has_c else None,
        np.empty((S * B, n.row.inner_gates * H), dtype) if n.row.inner_gates else None,
    )  # fmt: skip
    k.layer_forward(
        LayerCall(n.row.id, None, n.layers[0], h0, c0, None, False, y, h_n,
                  c_n if n.row.has_c else None, saved)
    )  # fmt: skip
    logits = y @ n.head_w.T + n.head_b
    log_softmax = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    expected = log_softmax[np.arange(S * B), n.tokens[1:].ravel()]
    assert_close(n.h[0], h_n, "h")
    assert n.c is None or assert_close(n.c[0], c_n, "c") is None
    assert_close(n.log_probs.ravel().astype(dtype), expected, "log_probs", factor=64)


# -- one draw against a plain statement of every filter ------------------------------------


def kept(p, top_k, top_p, min_p):
    """The tokens that survive, of probabilities p."""
    order = sorted(range(len(p)), key=lambda v: (-p[v], v))
    if top_k:
        order = order[:top_k]
    total = sum(p[v] for v in order)
    masses = itertools.accumulate(p[v] / total for v in order)
    before = [0.0, *masses][: len(order)]
    order = [v for v, mass in zip(order, before, strict=True) if mass < top_p]
    return [v for v in order if p[v] >= min_p * p[order[0]]]


@pytest.mark.parametrize(
    ("top_k", "top_p", "min_p"),
    [(0, 1.0, 0.0), (3, 1.0, 0.0), (0, 0.55, 0.0), (0, 1.0, 0.4), (6, 0.8, 0.3)],
)
def test_draws_are_distributed_as_stated(k, dtype, top_k, top_p, min_p):
    """One step of many rows with evenly spread uniforms: each token gets its share."""
    V, rows, temperature = 9, 400, 1.7
    z = np.random.default_rng(5).normal(size=V).astype(np.float32)
    n = network(dtype, "rnn_tanh", V=V, H=1, B=rows, S=1)
    n.head_w[:], n.head_b[:] = 0, z
    n.uniforms[0] = (np.arange(rows) + 0.5) / rows
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    decode(k, n, **options)
    weights = np.exp(z.astype(np.float64) / temperature)
    share, survivors = np.zeros(V), kept(weights / weights.sum(), top_k, top_p, min_p)
    share[survivors] = weights[survivors] / weights[survivors].sum()
    drawn = np.bincount(n.tokens[1], minlength=V)
    assert np.abs(drawn - rows * share).max() <= 1
    logits = z.astype(np.float64)
    log_softmax = logits - np.logaddexp.reduce(logits)  # before temperature and filters
    assert_close(n.log_probs[0].astype(dtype), log_softmax[n.tokens[1]], "log_probs")


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"temperature": 0.0}, [0]),
        ({"top_k": 3}, [0, 1, 2]),
        ({"top_p": 0.5}, [0, 1, 2, 3]),
        ({"min_p": 1.0}, list(range(8))),
    ],
    ids=str,
)
def test_ties_go_to_the_smaller_id(k, dtype, options, tokens):
    n = network(dtype, V=8, B=64, S=1)
    n.head_w[:], n.head_b[:] = 0, 0
    n.uniforms[0] = (np.arange(64) + 0.5) / 64
    decode(k, n, **options)
    assert np.unique(n.tokens[1]).tolist() == tokens
    np.testing.assert_allclose(n.log_probs, -math.log(8), rtol=1e-6)


def test_the_last_uniform_draws_something_possible(k, dtype):
    n = network(dtype, V=8, B=1, S=1)
    n.allowed = np.array([0, 1, 1, 0, 1, 0, 0, 0], np.uint8)
    n.uniforms[:] = np.nextafter(1.0, 0.0)
    assert decode(k, n).tokens[1, 0] == 4
    n.uniforms[:] = 0.0
    assert decode(k, n).tokens[1, 0] == 1


@pytest.mark.parametrize("bad", [-1, 13, 2**40])
def test_first_token_out_of_range(k, dtype, bad):
    n = network(dtype, B=3)
    n.tokens[0, 1] = bad
    h, c, tokens = n.h.copy(), n.c.copy(), n.tokens.copy()
    with pytest.raises(IndexError, match=f"got {bad} at position 1"):
        decode(k, n)
    assert same_bits(n.h, h)
    assert same_bits(n.c, c)
    assert np.array_equal(n.tokens, tokens)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("layers", lambda a: [], "layers: expected at least one, got 0"),
        ("table", lambda a: None, "table: expected an array, got None"),
        ("head_w", lambda a: None, "table, head: expected arrays, got None"),
        ("table", lambda a: a[:, 1:], "table: columns: expected 20, got 19"),
        ("head_w", lambda a: a[1:], "head: rows: expected 13, got 12"),
        ("head_b", lambda a: a[1:], "head bias: columns: expected 13, got 12"),
        ("c", lambda a: None, "c: expected an array, got None"),
        ("h", lambda a: a[:, 1:], "h: rows: expected 3, got 2"),
        ("tokens", lambda a: a[1:], "tokens: steps: expected 13, got 12"),
        ("tokens", lambda a: a[:, 1:], "tokens: rows: expected 3, got 2"),
        ("log_probs", lambda a: a[1:], "log_probs: steps: expected 12, got 11"),
        ("allowed", lambda a: np.ones(12, np.uint8), "allowed: length: expected 13, got 12"),
        ("seen", lambda a: np.ones((3, 12), np.uint8), "seen: columns: expected 13, got 12"),
        ("seen", lambda a: np.ones((2, 13), np.uint8), "seen: rows: expected 3, got 2"),
    ],
)
def test_wrong_sizes(compiled, dtype, name, change, message):
    n = network(dtype, B=3)
    array = change(getattr(n, name))
    setattr(n, name, np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array)
    before = n.h.copy(), n.tokens.copy()
    with pytest.raises(ValueError, match=message):
        decode(compiled, n)
    assert same_bits(n.h, before[0])
    assert np.array_equal(n.tokens, before[1])


def test_in_pieces(k, dtype):
    """Two calls that hand on state and last token equal one."""
    whole, first = network(dtype, B=2, S=10), network(dtype, B=2, S=10)
    decode(k, whole)
    second = SimpleNamespace(**vars(first))
    first.uniforms, second.uniforms = whole.uniforms[:4], whole.uniforms[4:]
    first.log_probs, second.log_probs = np.full((4, 2), np.nan), np.full((6, 2), np.nan)
    second.tokens = first.tokens[4:].copy()
    first.tokens = first.tokens[:5].copy()
    decode(k, first)
    second.tokens[0] = first.tokens[-1]
    decode(k, second)
    assert np.array_equal(whole.tokens, np.concatenate([first.tokens[:-1], second.tokens]))
    assert same_bits(whole.h, second.h)
    assert same_bits(whole.log_probs, np.concatenate([first.log_probs, second.log_probs]))
