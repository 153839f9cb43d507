"""Generation: every build against the oracle, and against the other kernels step by step."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from compare import assert_close, frozen, same_bits

from benchmarks.cases import GATES
from fastseq._kernels import oracle

CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru")  # in the order of their numbers
PLAIN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "penalty": 1.0}


def network(dtype, cell="lstm", layers=1, V=13, H=5, B=1, S=12, bias=True, seed=0):
    """Weights, states and random numbers, sharp enough that filters have something to do."""
    rng = np.random.default_rng([seed, layers, V, H, B])
    width, lstm, gru = GATES[cell] * H, cell == "lstm", cell == "gru"

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32).astype(dtype)

    tokens = np.full((S + 1, B), -1)
    tokens[0] = rng.integers(0, V, B)
    return SimpleNamespace(
        cell=CELLS.index(cell), table=normal(V, width), w_ih=normal(layers - 1, width, H),
        bias=normal(layers - 1, width), w_hh=normal(layers, width, H) / dtype.type(2),
        b_hn=normal(layers, H) if gru and bias else None, h=normal(layers, B, H),
        c=normal(layers, B, H) if lstm else None, head_w=normal(V, H),
        head_b=normal(V) if bias else None, allowed=None, seen=None,
        uniforms=rng.random((S, B)), tokens=tokens, log_probs=np.full((S, B), np.nan),
    )  # fmt: skip


def decode(k, n, **options):
    """Run a network; its weights cannot be written, its states are those after."""
    o = PLAIN | options
    names = ("table", "w_ih", "bias", "w_hh", "b_hn")
    weights = [frozen(getattr(n, name)) for name in names]
    head = [frozen(a) for a in (n.head_w, n.head_b, n.allowed)]
    k.decode(
        n.cell, *weights, n.h, n.c, *head, n.seen, frozen(n.uniforms), o["temperature"],
        o["top_k"], o["top_p"], o["min_p"], o["penalty"], n.tokens, n.log_probs,
    )  # fmt: skip
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


@pytest.mark.parametrize("cell", CELLS)
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


@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_the_other_kernels(k, dtype, cell):
    """The drawn tokens, fed to gather, cell and head, have the same log-probabilities."""
    S, B, H = 7, 2, 6
    n = network(dtype, cell, B=B, H=H, S=S)
    h = np.full((S + 1, B, H), np.nan, dtype)
    h[0] = n.h[0]
    c = None if n.c is None else np.concatenate([n.c, np.full((S, B, H), np.nan, dtype)])
    decode(k, n)
    gates = np.empty((S, B, n.table.shape[1]), dtype)
    k.gather_rows(n.table, n.tokens[:-1].ravel(), None, gates.reshape(S * B, -1))
    if cell == "lstm":
        k.lstm_forward(gates, n.w_hh[0], None, h, c, None, None, False)
    elif cell == "gru":
        k.gru_forward(gates, n.w_hh[0], n.b_hn[0], h, np.empty((S, B, H), dtype), None, False)
    else:
        k.rnn_forward(gates, n.w_hh[0], h, None, False, cell == "rnn_relu")
    losses = np.empty(S * B, dtype)
    top, tokens = h[1:].reshape(S * B, H), n.tokens[1:].ravel()
    k.linear_cross_entropy(top, n.head_w, n.head_b, tokens, losses)
    assert_close(n.h[0], h[-1], "h")
    assert_close(losses, -n.log_probs.ravel(), "log_probs", factor=64)


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


def test_no_layers(compiled, dtype):
    n = network(dtype)
    n.w_hh, n.h, n.c = n.w_hh[:0], n.h[:0], n.c[:0]
    with pytest.raises(ValueError, match="h: expected at least one layer, got 0"):
        decode(compiled, n)


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
