"""fastseq.neural_bytes against the original's algorithm, written out in plain Python below."""

import copy
import math
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq.neural_bytes import LSTM, RNN, activations, plot_loss, utils
from fastseq.neural_bytes._model import pick
from fastseq.neural_bytes._random import uniforms

EXAMPLE = Path(__file__).parents[1] / "examples" / "neural_bytes_verne.py"
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
    """The same model twice, from the same seed: fastseq's and the plain one."""
    random.seed(seed)
    ours = model(V, H, 4, lr, clip)
    after = random.getstate()
    random.seed(seed)
    plain = PLAIN[model](V, H, lr, clip)
    assert random.getstate() == after
    return ours, plain


def start_states(model, H):
    """Nested lists, not zero."""
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


# -- against the plain algorithm --------------------------------------------------------------


@both
@pytest.mark.parametrize(("V", "H"), [(5, 3), (1, 1), (40, 25), (2, 17)])
def test_same_seed_same_weights_to_the_last_bit(model, V, H):
    ours, plain = twins(model, V, H)
    assert equal_bits(ours, plain)


@both
@pytest.mark.parametrize(
    ("V", "H", "T", "clip"), [(5, 3, 4, 5.0), (1, 1, 1, 5.0), (7, 2, 9, 0.05), (3, 5, 2, 5.0)]
)
def test_training_and_sampling_are_the_original_algorithm(build, model, V, H, T, clip):
    ours, plain = twins(model, V, H, clip)
    states = plain_states = start_states(model, H)
    for update in range(4):
        inputs, targets = window(V, T, seed=update)
        loss, cache, *states = ours.forward(inputs, targets, *states)
        plain_loss, trace, plain_states = plain.forward(inputs, targets, *plain_states)
        close(loss, plain_loss)
        close(states, plain_states)
        grads, plain_grads = ours.backward(cache), plain.backward(trace)
        if update % 2:  # gradients unread and read
            for gradient, expected in zip(grads, plain_grads, strict=True):
                close(gradient, expected)
        ours.update(grads)
        plain.update(plain_grads)
    memories = [getattr(ours, f"m{n}") for n in plain.names] if model is RNN else ours.memory
    for name, memory in zip(plain.names, memories, strict=True):
        close(getattr(ours, name), plain.p[name])
        close(memory, plain.m[name])
    random.seed(3)
    expected = plain.sample(0, 30, *plain_states), random.getstate()
    random.seed(3)
    assert (ours.sample(0, 30, *states), random.getstate()) == expected


@pytest.mark.parametrize("ids", [[1, -1, 2], [9, 5, 0], [5, 5, 5]])
def test_rnn_with_indices_out_of_range(build, ids):
    ours, plain = twins(RNN, 5, 3)
    h = start_states(RNN, 3)
    for inputs, targets in ((ids, [0, 1, 2]), ([0, 1, 2], ids)):
        loss, cache, last = ours.forward(inputs, targets, *h)
        plain_loss, trace, (plain_last,) = plain.forward(inputs, targets, *h)
        close(loss, plain_loss)
        close(last, plain_last)
        for gradient, expected in zip(ours.backward(cache), plain.backward(trace), strict=True):
            close(gradient, expected)


@both
def test_gradients_are_those_of_the_loss(model):
    """Central differences, independent of the plain algorithm's backward."""
    ours, _ = twins(model, 4, 3)
    inputs, targets = [0, 2, 2, 1, 2], [2, 2, 1, 0, 3]
    if model is RNN:
        inputs[1], targets[2] = -1, 4
    states, step = start_states(model, 3), 1e-5
    grads = ours.backward(ours.forward(inputs, targets, *states)[1])
    for name, gradient in zip(NAMES[model], grads, strict=True):
        parameter = getattr(ours, name)
        for at in np.ndindex(parameter.shape):
            middle, losses = parameter[at], []
            for side in (step, -step):
                parameter[at] = middle + side
                losses.append(ours.forward(inputs, targets, *states)[0])
            parameter[at] = middle
            slope = (losses[0] - losses[1]) / (2 * step)
            assert gradient[at] == pytest.approx(slope, rel=1e-6, abs=1e-8), (name, at)


@both
def test_loss_of_an_impossible_token_is_finite(model):
    ours, _ = twins(model, 3, 2)
    ours.c[0][0] = 1e4
    states = start_states(model, 2)
    loss, cache, *_ = ours.forward([0], [1], *states)
    assert loss == pytest.approx(-math.log(1e-12))
    assert ours.backward(cache)[-1].ravel().tolist() == [1.0, -1.0, 0.0]  # softmax − onehot


@both
def test_empty_window(build, model):
    ours, _ = twins(model, 3, 2)
    states = start_states(model, 2)
    loss, cache, *last = ours.forward([], [], *states)
    assert (loss, last) == (0.0, states)
    assert not any(gradient.any() for gradient in ours.backward(cache))


# -- what a script can do with a model --------------------------------------------------------


@both
def test_parameters_read_and_write_like_nested_lists(model):
    ours, plain = twins(model, 5, 3)
    states = start_states(model, 3)
    for name in plain.names:
        matrix = getattr(ours, name)
        assert len(matrix) == len(plain.p[name])
        assert [list(row) for row in matrix] == plain.p[name]
        matrix[0][-1] = plain.p[name][0][-1] = 0.75
        assert getattr(ours, name)[0][-1] == 0.75
    close(ours.forward([1, 4], [4, 0], *states)[0], plain.forward([1, 4], [4, 0], *states)[0])


@both
def test_assigned_nested_lists_are_copied(model):
    ours, plain = twins(model, 5, 3)
    other = model(5, 3)
    for name in plain.names:
        setattr(other, name, plain.p[name])
    assert equal_bits(other, plain)
    other.V = ours.V
    other.V[0][0] += 1
    assert equal_bits(ours, plain)
    with pytest.raises(ValueError, match=r"V: expected shape \(5, 3\), got \(3, 5\)"):
        ours.V = zeros(3, 5)


@both
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_trains_on_alike_and_apart(model, duplicate):
    ours, _ = twins(model, 5, 3)
    inputs, targets = window(5, 6)
    states = start_states(model, 3)
    ours.update(ours.backward(ours.forward(inputs, targets, *states)[1]))
    twin = duplicate(ours)
    for each in (ours, twin):
        each.update(each.backward(each.forward(inputs, targets, *states)[1]))
    loss = ours.forward(inputs, targets, *states)[0]
    assert loss == twin.forward(inputs, targets, *states)[0]
    twin.V[:] = 0
    assert ours.forward(inputs, targets, *states)[0] == loss


@both
def test_caches_are_independent_and_can_be_used_again(model):
    ours, _ = twins(model, 6, 3)
    states = start_states(model, 3)
    cache = ours.forward(*window(6, 5, seed=1), *states)[1]
    first = ours.backward(cache)
    ours.backward(ours.forward(*window(6, 5, seed=2), *states)[1])
    for a, b in zip(first, ours.backward(cache), strict=True):
        assert a.tolist() == b.tolist()


@both
@pytest.mark.parametrize(
    "form", [tuple, list, lambda grads: [g.tolist() for g in grads], lambda grads: grads[:]]
)
def test_gradients_may_come_in_any_form(model, form):
    one, _ = twins(model, 9, 3)
    other, _ = twins(model, 9, 3)
    inputs, targets = window(9, 4)
    for ours, change in ((one, lambda grads: grads), (other, form)):
        for _ in range(2):
            cache = ours.forward(inputs, targets, *start_states(model, 3))[1]
            ours.update(change(ours.backward(cache)))
    for name in NAMES[model]:
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


@both
def test_gradients_changed_by_the_script_count(model):
    ours, plain = twins(model, 6, 3)
    inputs, targets, states = [1, 1], [2, 2], start_states(model, 3)
    grads = ours.backward(ours.forward(inputs, targets, *states)[1])
    expected = plain.backward(plain.forward(inputs, targets, *states)[1])
    for gradient, plain_gradient in zip(grads, expected, strict=True):
        gradient[0][-1] = plain_gradient[0][-1] = 0.5  # token 5's column: not in the window
    ours.update(grads)
    plain.update(expected)
    for name in plain.names:
        close(getattr(ours, name), plain.p[name])


@both
def test_unread_input_gradients_stay_short(model):
    ours, _ = twins(model, 50, 3)
    inputs = [3, 7, 3]
    grads = ours.backward(ours.forward(inputs, [1, 2, 3], *start_states(model, 3))[1])
    ours.update(grads)
    for k, name in enumerate(NAMES[model]):
        short = grads.unread(k)
        assert (short is not None) == name.startswith("U")
        assert short is None or short.rows.shape == (2, 3)
    assert len(grads) == len(NAMES[model])
    assert all(isinstance(gradient, np.ndarray) for gradient in grads)
    assert not any(grads.unread(k) for k in range(len(grads)))


def test_memories_can_be_restored_from_nested_lists():
    results = []
    for restored in (False, True):
        lstm, rnn = twins(LSTM, 4, 3)[0], twins(RNN, 4, 3)[0]
        for ours in (lstm, rnn):
            states = start_states(type(ours), 3)
            for _ in range(2):
                ours.update(ours.backward(ours.forward([0, 1], [1, 2], *states)[1]))
                if restored:
                    lstm.memory = [np.asarray(m).tolist() for m in lstm.memory]
                    rnn.mU, rnn.mc = rnn.mU.tolist(), rnn.mc.tolist()
        results.append([np.asarray(m).tolist() for m in (*lstm.memory, rnn.mU, rnn.mc, rnn.U)])
    assert results[0] == results[1]


@both
def test_samples_start_from_zero_and_leave_the_states_alone(model):
    ours, _ = twins(model, 5, 3)
    states = [zeros(3) for _ in start_states(model, 3)]
    random.seed(1)
    without = ours.sample(2, 20)
    random.seed(1)
    assert ours.sample(2, 20, *map(np.array, states)) == without
    random.seed(1)
    assert ours.sample(2, 20, *states) == without
    assert states == [zeros(3) for _ in states]
    assert ours.sample(2, 0) == []
    assert all(type(token) is int and 0 <= token < 5 for token in without)


@given(
    logits=st.lists(st.floats(-20, 20), min_size=1, max_size=9),
    uniform=st.floats(0, 1, exclude_max=True),
)
def test_pick_is_the_first_index_whose_mass_exceeds(logits, uniform):
    index = pick(np.array(logits), uniform)
    e = [math.exp(z) for z in logits]
    before, upto = sum(e[:index]) / sum(e), sum(e[: index + 1]) / sum(e)
    assert before - 1e-12 <= uniform < upto + 1e-12


def test_pick_without_any_index_is_0():
    assert pick(np.zeros(3), 1.0) == 0


# -- random numbers ---------------------------------------------------------------------------


@given(
    seed=st.integers(0, 2**64), before=st.integers(0, 700), counts=st.lists(st.integers(0, 900))
)
def test_uniforms_go_on_where_random_stands(seed, before, counts):
    random.seed(seed)
    random.gauss(0, 1)  # keeps a second number, which must survive
    for _ in range(before):
        random.random()
    state = random.getstate()
    expected = [[random.random() for _ in range(count)] for count in counts]
    after = random.gauss(0, 1), random.getrandbits(70), random.getstate()
    random.setstate(state)
    assert [uniforms(count).tolist() for count in counts] == expected
    assert (random.gauss(0, 1), random.getrandbits(70), random.getstate()) == after


# -- errors -----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("inputs", "targets", "h", "error", "message"),
    [
        ([0, 1], [1], zeros(3), ValueError, "targets: expected 2 as there are inputs, got 1"),
        ([0.5], [1], zeros(3), TypeError, "inputs: expected integers, got float64"),
        ([0], [[1]], zeros(3), ValueError, "targets: expected a flat list"),
        ([0], [1], zeros(2), ValueError, r"hprev: expected shape \(3, 1\), got \(2, 1\)"),
        ([0], [1], [[1], [2, 3], [4]], ValueError, "hprev: expected rows of numbers"),
    ],
)
def test_forward_refuses(model, inputs, targets, h, error, message):
    ours = model(5, 3)
    with pytest.raises(error, match=message):
        ours.forward(inputs, targets, h)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        ([0, 5], [0, 0], "inputs: expected 0 <= id < 5, got 5 at position 1"),
        ([0, 0], [-1, 0], "targets: expected 0 <= id < 5, got -1 at position 0"),
    ],
)
def test_lstm_refuses_indices_out_of_range(inputs, targets, message):
    with pytest.raises(IndexError, match=message):
        LSTM(5, 3).forward(inputs, targets, zeros(3))


@both
def test_refused_gradients_change_nothing(model):
    ours, plain = twins(model, 5, 3)
    grads = list(ours.backward(ours.forward([0], [1], *start_states(model, 3))[1]))
    with pytest.raises(ValueError, match=f"grads: expected {len(grads)} matrices, got 1"):
        ours.update(grads[:1])
    with pytest.raises(ValueError, match=r"dc: expected shape \(5, 1\), got \(1, 5\)"):
        ours.update([*grads[:-1], grads[-1].T])
    assert equal_bits(ours, plain)


@both
def test_sizes_and_seeds_are_checked(model):
    with pytest.raises(ValueError, match="vocab_size: expected at least 1, got 0"):
        model(0)
    with pytest.raises(TypeError, match=r"hidden_size: expected an integer, got 2\.5"):
        model(3, 2.5)
    with pytest.raises(IndexError, match="seed_ix: expected 0 <= id < 3, got 3"):
        model(3, 2).sample(3, 1)


# -- helpers ----------------------------------------------------------------------------------

A, B = [[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]], [[2.0, 0.0, 1.0], [1.0, 3.0, -2.0]]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (utils.initialize_empty_matrix(2, 3), [[0, 0, 0], [0, 0, 0]]),
        (utils.transpose(A), [[1, 0.5], [-2, 4], [3, -1]]),
        (utils.matrix_multiplication(A, utils.transpose(B)), [[5, -11], [0, 14.5]]),
        (utils.matrix_multiplication([[2]], [[3, 4]]), [[6, 8]]),
        (utils.elementwise_add(A, B), [[3, -2, 4], [1.5, 7, -3]]),
        (utils.elementwise_substraction(A, B), [[-1, -2, 2], [-0.5, 1, 1]]),
        (utils.elementwise_multiplication(A, B), [[2, 0, 3], [0.5, 12, 2]]),
        (utils.scale_matrix(A, 2), [[2, -4, 6], [1, 8, -2]]),
        (utils.matrix_multiplication(np.array(A), np.array(A).T), [[14, -10.5], [-10.5, 17.25]]),
        (utils.elementwise_add([], []), []),
        (utils.transpose([]), []),
    ],
)
def test_matrix_helpers(result, expected):
    assert result == expected
    assert type(result) is list
    assert all(type(row) is list for row in result)


def test_rows_of_an_empty_matrix_are_apart():
    matrix = utils.initialize_empty_matrix(2, 2)
    matrix[0][0] = 1.0
    assert matrix == [[1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (utils.matrix_multiplication, (A, B)),
        (utils.elementwise_add, (A, [[1.0, 2.0]])),
        (utils.elementwise_substraction, (A, utils.transpose(A))),
        (utils.elementwise_multiplication, (A, [])),
        (utils.elementwise_add, ([[1.0], [1.0, 2.0]], A)),
        (utils.transpose, ([[1.0], [1.0, 2.0]],)),
        (utils.scale_matrix, ([1.0, 2.0], 3.0)),
    ],
)
def test_shapes_that_do_not_match(function, arguments):
    with pytest.raises(ValueError, match="expected"):
        function(*arguments)


def test_character_vocabulary():
    char_to_ix, ix_to_char = utils.build_ascii_vocab()
    assert [ix_to_char[i] for i in range(256)] == [chr(i) for i in range(256)]
    assert utils.text_to_indices("aé“z", char_to_ix) == [97, 233, 0, 122]
    assert len(utils.build_ascii_vocab(128)[0]) == 128


def test_word_vocabulary_falls_in_frequency_and_keeps_first_seen_order():
    word_to_ix, ix_to_word = utils.build_word_vocab("b a  c\na B c d", max_words=4)
    assert ix_to_word == {0: "a", 1: "c", 2: "b", 3: "B"}
    assert word_to_ix == {word: i for i, word in ix_to_word.items()}
    assert utils.text_to_word_indices("c d a\tB", word_to_ix) == [1, 0, 0, 3]


POINTS = [-40.0, -15.0, -1.5, 0.0, 0.3, 15.0, 40.0]


@pytest.mark.parametrize(
    ("function", "plain"),
    [
        (activations.sigmoid, lambda x: 1 / (1 + math.exp(-max(-15.0, min(15.0, x))))),
        (activations.sigmoid_derivative, lambda y: y * (1 - y)),
        (activations.tanh, math.tanh),
        (activations.tanh_derivative, lambda y: 1 - y * y),
        (activations.relu, lambda x: max(x, 0.0)),
        (activations.relu_derivative, lambda x: 1.0 if x > 0 else 0.0),
    ],
)
def test_activations(function, plain):
    expected = [plain(x) for x in POINTS]
    assert function(POINTS) == pytest.approx(expected, rel=1e-14)
    assert flat(function([[x] for x in POINTS])) == pytest.approx(expected, rel=1e-14)
    assert function(0.3) == pytest.approx(plain(0.3), rel=1e-14)


def test_softmax_of_a_column():
    p = activations.softmax([[1000.0], [1000.0 + math.log(3)], [-1000.0]])
    assert flat(p) == pytest.approx([0.25, 0.75, 0.0])
    with pytest.raises(ValueError, match="x: expected numbers"):
        activations.softmax([[1.0], [1.0, 2.0]])


# -- scripts ----------------------------------------------------------------------------------


def test_plot_loss_draws_the_curve():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    plot_loss([3.0, 2.0, 1.5])
    (line,) = plt.gca().lines
    assert line.get_xydata().tolist() == [[1, 3.0], [2, 2.0], [3, 1.5]]
    plt.close("all")


@pytest.mark.parametrize(("level", "cell"), [("char", "rnn"), ("word", "lstm")])
def test_the_example_runs(tmp_path, level, cell):
    pytest.importorskip("matplotlib")
    text = tmp_path / "text.txt"
    text.write_text("The sea is everything. It covers seven tenths of the globe.\n" * 40)
    done = subprocess.run(
        [sys.executable, EXAMPLE, text, level, cell],
        capture_output=True, encoding="utf-8", timeout=120,
        env={**os.environ, "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    losses = [float(x.split()[-1]) for x in done.stdout.splitlines() if x.startswith("epoch")]
    assert len(losses) == 10
    assert losses[-1] < losses[0] / 2
    assert done.stdout.count("----\n") == 10
