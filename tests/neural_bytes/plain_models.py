"""The algorithm of the original in plain Python, and helpers of the tests."""

import math
import random

import numpy as np
import pytest

from fastseq.neural_bytes import LSTM, RNN

NAMES = {
    RNN: ["U", "W", "V", "b", "c"],
    LSTM: ["Wf", "Uf", "bf", "Wi", "Ui", "bi", "Wo", "Uo", "bo", "Wc", "Uc", "bc", "V", "c"],
}


# -- the algorithm in plain Python: columns are lists, matrices lists of rows -----------------


def drawn(rows, columns, scale):
    return [[(random.random() - 0.5) * scale for _ in range(columns)] for _ in range(rows)]


def zeros(rows, columns=1):
    return [[0.0] * columns for _ in range(rows)]


def times(matrix, x):
    return [sum(m * v for m, v in zip(row, x, strict=True)) for row in matrix]


def flat(column):
    return [value for (value,) in column]


class PlainRNN:
    names = NAMES[RNN]

    def __init__(self, V, H, lr, clip):
        self.sizes, self.lr, self.clip = (V, H), lr, clip
        # times 2 is exact, so (r − 0.5) · 2 · scale and (r − 0.5) · (2 · scale) are the same bits
        self.p = {
            "U": drawn(H, V, 2 * math.sqrt(1 / V)),
            "W": drawn(H, H, 2 * math.sqrt(1 / H)),
            "V": drawn(V, H, 2 * math.sqrt(1 / H)),
            "b": zeros(H),
            "c": zeros(V),
        }
        self.m = {n: zeros(len(p), len(p[0])) for n, p in self.p.items()}

    def onehot(self, ix):
        return [1.0 if i == ix else 0.0 for i in range(self.sizes[0])]

    def affine(self, gate, x, h):
        U, W, b = (self.p[kind + gate] for kind in "UWb")
        return [u + w + v for u, w, v in zip(times(U, x), times(W, h), flat(b), strict=True)]

    def probabilities(self, h):
        z = [v + c for v, c in zip(times(self.p["V"], h), flat(self.p["c"]), strict=True)]
        e = [math.exp(v - max(z)) for v in z]
        return [v / sum(e) for v in e]

    def start(self, states):
        return [flat(states[0])]

    def step(self, x, state):
        return [[math.tanh(a) for a in self.affine("", x, state[0])]]

    def forward(self, inputs, targets, *states):
        trace, loss, state = [], 0.0, self.start(states)
        for ix, target in zip(inputs, targets, strict=True):
            x, before = self.onehot(ix), state
            state = self.step(x, before)
            p = self.probabilities(state[0])
            if 0 <= target < len(p):
                loss -= math.log(p[target] + 1e-12)
            trace.append((x, before, state, p, target))
        return loss, trace, [[[v] for v in s] for s in state[: len(states)]]

    def backward(self, trace):
        self.g = {n: zeros(len(p), len(p[0])) for n, p in self.p.items()}
        carry = [[0.0] * self.sizes[1], [0.0] * self.sizes[1]]
        for x, before, state, p, target in reversed(trace):
            dy = [v - (i == target) for i, v in enumerate(p)]
            if not 0 <= target < len(p):
                dy = [0.0] * len(p)
            self.add("V", dy, state[0])
            self.add("c", dy, [1.0])
            dh = times(zip(*self.p["V"], strict=True), dy)
            carry = self.step_backward([a + b for a, b in zip(dh, carry[0], strict=True)],
                                       carry[1], x, before, state)  # fmt: skip
        return [
            [[min(max(v, -self.clip), self.clip) for v in row] for row in self.g[n]]
            for n in self.names
        ]

    def add(self, name, left, right):
        """g[name] += left · rightᵀ."""
        for row, a in zip(self.g[name], left, strict=True):
            for j, b in enumerate(right):
                row[j] += a * b

    def gate_backward(self, gate, da, x, h):
        self.add("U" + gate, da, x)
        self.add("W" + gate, da, h)
        self.add("b" + gate, da, [1.0])
        return times(zip(*self.p["W" + gate], strict=True), da)

    def step_backward(self, dh, dc, x, before, state):
        da = [d * (1 - v * v) for d, v in zip(dh, state[0], strict=True)]
        return self.gate_backward("", da, x, before[0]), dc

    def update(self, grads):
        for name, gradient in zip(self.names, grads, strict=True):
            for p, m, g in zip(self.p[name], self.m[name], gradient, strict=True):
                for j in range(len(g)):
                    m[j] += g[j] * g[j]
                    p[j] -= self.lr * g[j] / math.sqrt(m[j] + 1e-8)

    def sample(self, seed_ix, n, *states):
        ix, state, tokens = seed_ix, self.start(states), []
        for _ in range(n):
            state = self.step(self.onehot(ix), state)
            r, mass, ix = random.random(), 0.0, 0
            for i, p in enumerate(self.probabilities(state[0])):
                mass += p
                if mass > r:
                    ix = i
                    break
            tokens.append(ix)
        return tokens


def logistic(a):
    return 1 / (1 + math.exp(-a))


class PlainLSTM(PlainRNN):
    names = NAMES[LSTM]

    def __init__(self, V, H, lr, clip):
        self.sizes, self.lr, self.clip = (V, H), lr, clip
        self.p = {f"W{gate}": drawn(H, H, 0.1) for gate in "fioc"}
        self.p |= {f"U{gate}": drawn(H, V, 0.1) for gate in "fioc"}
        self.p |= {"V": drawn(V, H, 0.1), "c": zeros(V)}
        self.p |= {f"b{gate}": zeros(H) for gate in "fioc"}
        self.m = {n: zeros(len(p), len(p[0])) for n, p in self.p.items()}

    def start(self, states):
        return [flat(states[0]), flat(states[1])]

    def step(self, x, state):
        gates = {}
        for gate in "fioc":
            f = math.tanh if gate == "c" else logistic
            gates[gate] = [f(a) for a in self.affine(gate, x, state[0])]
        cell = [
            f * c + i * g
            for f, c, i, g in zip(gates["f"], state[1], gates["i"], gates["c"], strict=True)
        ]
        h = [o * math.tanh(c) for o, c in zip(gates["o"], cell, strict=True)]
        return [h, cell, gates]

    def step_backward(self, dh, dc, x, before, state):
        _, cell, gates = state
        da = {gate: [] for gate in "fioc"}
        carry = []
        for j, (d, e) in enumerate(zip(dh, dc, strict=True)):
            f, i, o, g = (gates[gate][j] for gate in "fioc")
            tanh_c = math.tanh(cell[j])
            dcell = e + d * o * (1 - tanh_c**2)
            da["f"].append(dcell * before[1][j] * f * (1 - f))
            da["i"].append(dcell * g * i * (1 - i))
            da["o"].append(d * tanh_c * o * (1 - o))
            da["c"].append(dcell * i * (1 - g * g))
            carry.append(dcell * f)
        shares = [self.gate_backward(gate, da[gate], x, before[0]) for gate in "fioc"]
        return [sum(values) for values in zip(*shares, strict=True)], carry


PLAIN = {RNN: PlainRNN, LSTM: PlainLSTM}


def twins(model, V, H, clip=5.0, lr=0.1, seed=7):
    """The same model twice, from the same seed: by fastseq and in plain Python."""
    random.seed(seed)
    ours = model(V, H, 4, lr, clip)
    after = random.getstate()
    random.seed(seed)
    plain = PLAIN[model](V, H, lr, clip)
    assert random.getstate() == after
    return ours, plain


def start_states(model, H):
    """Nested lists of values other than zero."""
    values = [[[0.1 * (j + s) - 0.2] for j in range(H)] for s in range(2)]
    return values if model is LSTM else values[:1]


def window(V, T, seed=1):
    generator = random.Random(seed)
    return [[generator.randrange(V) for _ in range(T)] for _ in range(2)]


def equal_bits(ours, plain):
    return all(
        getattr(ours, name).tolist() == plain.p[name]  # floats are compared exactly
        for name in plain.names
    )


def close(ours, plain):
    np.testing.assert_allclose(np.asarray(ours), np.asarray(plain), rtol=1e-9, atol=1e-9)


both = pytest.mark.parametrize("model", [RNN, LSTM])


both = pytest.mark.parametrize("model", [RNN, LSTM])
