"""docs/by_hand.md: every number on the page is what every build of the kernels computes.

A row of a table such as `| h₁ | 0.8005 | −0.6044 |` shows the value named `h₁`. `values` computes
all of them through the public layers, from the weights in the page's own tables. A worked line
such as `h₁[1] = tanh(1.1) = 0.8005` is evaluated.
"""

import contextlib
import importlib
import io
import math
import re
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fastseq import backend, nn, no_grad, optim

DOCS = Path(__file__).parents[1] / "docs"
sys.path.append(str(DOCS))
draw = importlib.import_module("draw")
PAGE = (DOCS / "by_hand.md").read_text("utf-8")
PARTS = dict(zip(("rnn", "lstm"), PAGE.split("\n## The LSTM\n"), strict=True))
GATES = {"rnn": [""], "lstm": ["_i", "_f", "_g", "_o"]}
X, TARGETS = np.eye(3)[[0, 1, 0]], np.array([1, 0, 2])  # a b a, then b a c
STEPS = "₀₁₂₃₄"
LR, NUDGE, UPDATES = 0.1, 0.01, 100


@cache
def rows(part):
    """The page's tables, as docs/draw.py reads them: strings by the name of the row."""
    return draw.tables(PARTS[part])


def number(text):
    return float(text.replace("−", "-"))


def given(part, name):
    return [number(cell) for cell in rows(part)[name]]


# -- the two models, computed by the public layers ---------------------------------------------


class Model:
    """A recurrent layer with two units and a linear layer, with the page's weights."""

    def __init__(self, part, dtype):
        self.part, self.dtype, self.gates = part, np.dtype(dtype), GATES[part]
        self.rnn = {"rnn": nn.RNN, "lstm": nn.LSTM}[part](3, 2, dtype=dtype)
        self.head = nn.Linear(2, 3, dtype=dtype)
        self.criterion = nn.CrossEntropyLoss(reduction="none")
        w = np.array([given(part, f"W{gate}[{unit}]") for gate in self.gates for unit in (1, 2)])
        y = np.array([given(part, f"W_y[{letter}]") for letter in "abc"])
        self.rnn.weight_ih_l0.data, self.rnn.weight_hh_l0.data = w[:, :3], w[:, 3:5]
        self.rnn.bias_ih_l0.data, self.rnn.bias_hh_l0.data = w[:, 5], 0 * w[:, 5]
        self.rnn.bias_hh_l0.requires_grad = False  # one bias by hand
        self.head.weight.data, self.head.bias.data = y[:, :2], y[:, 2]

    def losses(self):
        return self.criterion(self.head(self.rnn(X.astype(self.dtype))[0]), TARGETS)

    def matrices(self, attribute):
        """[W_x W_h b] and [W_y b_y], their values or gradients."""
        r, h = self.rnn, self.head
        pairs = (r.weight_ih_l0, r.weight_hh_l0, r.bias_ih_l0), (h.weight, h.bias)
        return [np.column_stack([getattr(p, attribute) for p in some]) for some in pairs]

    def backward(self):
        """Gradients of all weights, and of the output of every step."""
        for module in (self.rnn, self.head):
            module.zero_grad()
        losses = self.losses()
        dz = self.criterion.backward()
        dy = self.head.backward(dz)
        self.rnn.backward(dy)
        return losses, dz, dy

    def run(self, t, states, dy, dc=None):
        """Steps t and after, from given states: gradients of these states, and of the bias."""
        states, self.rnn.bias_ih_l0.grad[...] = [s[None] for s in states], 0
        out, _ = self.rnn(X[t:][: len(dy)].astype(self.dtype), *self._states(states))
        dstate = None if dc is None else (np.zeros_like(dc)[None], dc[None])
        _, d = self.rnn.backward(dy.astype(self.dtype), dstate)
        d = d if self.part == "lstm" else [d]
        return out, [a[0] for a in d], self.rnn.bias_ih_l0.grad.copy()

    def _states(self, states):
        return [tuple(states)] if self.part == "lstm" else states


def table_rows(named, v, mark=""):
    """Name the rows of matrices: d and a prime mark gradients and updated weights."""
    prefix, prime = ("d", "") if mark == "d" else ("", mark)
    recurrent, output = named
    gates = ["_i", "_f", "_g", "_o"] if len(recurrent) == 8 else [""]
    for r, row in enumerate(recurrent):
        v[f"{prefix}W{gates[r // 2]}{prime}[{r % 2 + 1}]"] = row
        if len(gates) == 1:
            v[f"{prefix}W_x{prime}[{r + 1}]"], v[f"{prefix}W_h{prime}[{r + 1}]"] = (
                row[:3],
                row[3:5],
            )
    for letter, row in zip("abc", output, strict=True):
        v[f"{prefix}W_y{prime}[{letter}]"] = row


def forward_values(m, v):
    """States, gates, logits, probabilities and losses of every step; return the states."""
    k, w = backend.kernels(m.dtype), m.matrices("data")[0]
    cell = nn.Linear(5, len(w), dtype=m.dtype)
    cell.weight.data, cell.bias.data = w[:, :5], w[:, 5]
    states, zeros = [], np.zeros(2, m.dtype)
    h = c = zeros
    for t, x in enumerate(X.astype(m.dtype)):
        states.append((h, c)[: 1 + (m.part == "lstm")])
        a, s = cell(np.concatenate([x, h])), STEPS[t + 1]
        y, state = m.rnn(x[None], *m._states([one[None] for one in states[-1]]))
        h, z = y[0], m.head(y)[0]
        v |= {f"x{s}": x, f"h{s}": h, f"z{s}": z}
        if m.part == "lstm":
            c, tanh_c = state[1][0], np.empty_like(c)
            k.vtanh(c, tanh_c)
            v |= {f"c{s}": c, f"tanh(c{s})": tanh_c}
        for gate, part in zip(m.gates, a.reshape(-1, 2), strict=True):
            v[f"a{gate}{s}"] = part
            if gate:
                v[f"{gate[1]}{s}"] = active = np.empty_like(part)
                (k.vtanh if gate == "_g" else k.vsigmoid)(part.copy(), active)
        v[f"exp(z{s})"] = e = np.empty_like(z)
        k.vexp(z, e)
        v |= {f"S{s}": [e.sum()], f"p{s}": e / e.sum()}
    v["L_uniform"] = [3 * math.log(3)]
    return states


def backward_values(m, states, v):
    """Gradients of every step: what comes from the output, what from the next step, and sums."""
    losses, dz, dy = m.backward()
    v |= {f"L{STEPS[t + 1]}": [losses[t]] for t in range(3)} | {"L": [losses.sum()]}
    table_rows(m.matrices("grad"), v, "d")
    from_next = [np.zeros(2, m.dtype)] * 2
    for t in (2, 1, 0):
        s, n, dh = STEPS[t + 1], STEPS[t + 2], dy[t] + from_next[0]
        v |= {f"dz{s}": dz[t], f"W_yᵀ·dz{s}": dy[t], f"W_hᵀ·da{n}": from_next[0], f"dh{s}": dh}
        v[f"1 − h{s}²"] = 1 - v[f"h{s}"] ** 2
        if m.part == "lstm":
            lstm_step_values(v, s, n, states[t][1], from_next[1])
        _, _, da = m.run(t, states[t], dh[None], from_next[1] if m.part == "lstm" else None)
        for gate, part in zip(m.gates, da.reshape(-1, 2), strict=True):
            v[f"da{gate}{s}"] = part
        _, from_next, _ = m.run(t, states[t], dy[t:])


def lstm_step_values(v, s, n, c_prev, dc_from_next):
    i, g, o, dh, tanh_c = *(v[name + s] for name in ("i", "g", "o", "dh")), v[f"tanh(c{s})"]
    through_h = dh * o * (1 - tanh_c**2)
    dc = through_h + dc_from_next
    v |= {f"dh{s}∘o{s}∘(1 − tanh(c{s})²)": through_h, f"dc{n}∘f{n}": dc_from_next, f"dc{s}": dc}
    v |= {f"do{s}": dh * tanh_c, f"di{s}": dc * g, f"df{s}": dc * c_prev, f"dg{s}": dc * i}


def influence(m, states, v):
    """How much the last state answers to the state before: ∂h₃/∂h₂, of an LSTM ∂c₃/∂c₂ alone."""
    for unit in (0, 1):
        one, zero = np.eye(2, dtype=m.dtype)[unit], np.zeros((1, 2), m.dtype)
        if m.part == "rnn":
            v[f"∂h₃[{unit + 1}]/∂h₂"] = m.run(2, states[2], one[None])[1][0]
        else:
            v[f"∂c₃[{unit + 1}]/∂c₂"] = m.run(2, states[2], zero, one)[1][1]


def nudged(m, v):
    """The loss with one recurrent weight changed a little, and the slope between."""
    for sign, name in ((1, "+"), (-1, "−")):
        other = Model(m.part, m.dtype)
        other.rnn.weight_hh_l0.data[0, 1] += sign * NUDGE
        v[f"L({name}{NUDGE})"] = [other.losses().sum()]
    v["slope"] = [(v[f"L(+{NUDGE})"][0] - v[f"L(−{NUDGE})"][0]) / (2 * NUDGE)]


def update_values(m, v):
    """Weights and losses after one update, and after many."""
    sgd = optim.SGD([*m.rnn.parameters(), *m.head.parameters()], lr=LR)
    for module in (m.rnn, m.head):
        module.forget_calls()
    for n in range(1, UPDATES + 1):
        m.backward()
        sgd.step()
        if n == 1:
            table_rows(m.matrices("data"), v, "′")
            with no_grad():
                losses = m.losses()
            v |= {f"L{STEPS[t + 1]}′": [losses[t]] for t in range(3)} | {"L′": [losses.sum()]}
    losses = m.losses()
    v[f"L after {UPDATES}"] = [losses.sum()]
    z = m.head(m.rnn(X.astype(m.dtype))[0])
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    v |= {f"p{STEPS[t + 1]} after {UPDATES}": p[t] for t in range(3)}


@cache
def values(part, backend_name, dtype):
    """Every number that the page may name, by its name."""
    v = {}
    with backend.use_backend(backend_name):
        m = Model(part, dtype)
        table_rows(m.matrices("data"), v)
        states = forward_values(m, v)
        backward_values(m, states, v)
        influence(m, states, v)
        nudged(m, v)
        update_values(m, v)
    return v


# -- the page -----------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_every_number_in_a_table_is_computed(part, build, dtype):
    v = values(part, build, dtype.name)
    for name, cells in rows(part).items():
        assert len(v[name]) == len(cells), name
        for cell, value in zip(cells, v[name], strict=True):
            digits = len(cell.partition(".")[2])
            bound = 0.5 * 10**-digits + 32 * np.finfo(dtype).eps * max(1.0, abs(value))
            if dtype == np.float32 and name == "slope":
                bound += np.finfo(dtype).eps * 16 / NUDGE  # of a difference of losses
            assert abs(number(cell) - value) <= bound, f"{name}: {cell}, computed {value}"


@pytest.mark.parametrize("part", PARTS)
def test_gradients_agree_with_finite_differences(part, build):
    m, slopes, step = Model(part, "float64"), {}, 1e-5
    recurrent = m.rnn.weight_ih_l0, m.rnn.weight_hh_l0, m.rnn.bias_ih_l0
    for parameter in (*recurrent, m.head.weight, m.head.bias):
        for at in np.ndindex(parameter.shape):
            before, losses = parameter.data[at], []
            for sign in (1, -1):
                parameter.data[at] = before + sign * step
                losses.append(m.losses().sum())
            parameter.data[at] = before
            parameter.grad[at] = (losses[0] - losses[1]) / (2 * step)
    table_rows(m.matrices("grad"), slopes, "d")
    for name in slopes.keys() & rows(part).keys():
        np.testing.assert_allclose(given(part, name), slopes[name], rtol=0, atol=0.5e-4 + 1e-8)


# -- worked lines and text ------------------------------------------------------------------------

PRINTED = re.compile(r"(?<![\d.])\d+\.\d{4}(?!\d)")  # a number with four decimals
WORKED = [  # an indented line continues the one before
    (part, *re.sub(r"\n +", " ", line).split(" = "))
    for part, text in PARTS.items()
    for block in re.findall(r"```\n(.*?)```", text, re.S)
    for line in re.findall(r"^\S.*(?:\n +.*)*", block, re.M)
    if PRINTED.search(line)
]
FUNCTIONS = {"exp": math.exp, "ln": math.log, "tanh": math.tanh,
             "σ": lambda a: 1 / (1 + math.exp(-a))}  # fmt: skip


def evaluate(expression, shifted=None):
    """The value of an expression, one of whose printed numbers may be half a digit larger."""
    count = iter(range(100))

    def value(match):
        return repr(float(match[0]) + (0.5e-4 if next(count) == shifted else 0.0))

    text = PRINTED.sub(value, expression)
    for old, new in (("·", "*"), ("−", "-"), ("²", "**2")):
        text = text.replace(old, new)
    return eval(text, {"__builtins__": {}}, FUNCTIONS)


def slack(expression):
    """How far an expression may be off because its numbers are rounded to four decimals."""
    count, exact = len(PRINTED.findall(expression)), evaluate(expression)
    return sum(abs(evaluate(expression, n) - exact) for n in range(count))


def named(v, name):
    """The value of a name such as S₁, h₁[2], z₁[a] or W_h[1][2]."""
    if name in v:
        return v[name][0]
    array, at = re.fullmatch(r"(.+)\[(\w)\]", name).groups()
    return v[array]["abc".find(at) if at in "abc" else int(at) - 1]


@pytest.mark.parametrize(("part", "name", "parts"), [(w[0], w[1], w[2:]) for w in WORKED])
def test_worked_lines(part, name, parts):
    v = values(part, "oracle", "float64")
    assert abs(number(parts[-1]) - named(v, name)) <= 0.5e-4 + 1e-9
    for left, right in pairwise(parts):
        assert abs(evaluate(left) - evaluate(right)) <= slack(left) + slack(right) + 1e-9


def weights_in(part, name, line):
    """The weights of a unit in the line that computes its pre-activation or gate, and on the page.

    Some are multiplied by zero, so that the result does not tell whether they are right.
    """
    gate, step, unit = re.fullmatch(r"(a|a_f|[ifgo])([₁₂₃])\[(\d)\]", name).groups()
    row = given(part, f"W_{gate[-1]}[{unit}]" if part == "lstm" else f"W[{unit}]")
    read = X[STEPS.index(step) - 1].argmax()
    shown = [float(n) for n in re.findall(r"(?<![\d.])\d\.\d(?!\d)", line)]
    return shown, [abs(w) for w in (row[read], *row[3:])]


def test_worked_lines_use_the_weights():
    sums = [
        (part, name, line)
        for part, name, line, *_ in WORKED
        if re.match(r"(a|a_f|[ifgo])[₁₂₃]\[", name)
        and re.search(r"[·].*[·].* [+−] \d\.\d\b(?!\d)", line)
    ]
    assert len(sums) == 11
    for part, name, line in sums:
        shown, expected = weights_in(part, name, line)
        assert shown == expected, line


@pytest.mark.parametrize("part", PARTS)
def test_every_other_number_is_one_of_the_computed(part):
    """A printed number stands for one of the values, whose sign the text may put before it."""
    v = values(part, "oracle", "float64")
    known = {f"{abs(x):.4f}" for array in v.values() for x in array}
    text = "\n".join(line for line in PARTS[part].splitlines() if not line.startswith("|"))
    found = PRINTED.findall(text.partition("```text")[0])
    assert found
    assert set(found) <= known


def test_the_text_names_the_constants():
    assert PAGE.count(f"learning rate of {LR}:") == 1
    assert f"learning rate {LR} again, w′ = w − {LR}·dw:" in PAGE
    assert PAGE.count(f"w′ = w − {LR}·dw") == 2
    assert f"W_h[1][2], which is −{-given('rnn', 'W[1]')[4]}, with ±{NUDGE}:" in PAGE
    assert PAGE.count(f"fter {UPDATES} updates") == 2


def test_the_program_prints_what_the_page_says(build):
    (source,), (output,) = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.S)
                            for kind in ("python", "text"))  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(source, "by_hand.md", "exec"), {})
    assert printed.getvalue() == output


@pytest.mark.parametrize("part", PARTS)
def test_the_page_shows_every_step(part):
    states, gates = ["x", "h", "z", "p", "L", "dz", "dh"], GATES[part]
    if part == "lstm":
        states = [*states[1:], *"ifgoc", "di", "df", "dg", "do", "dc"]
    names = [name + step for name in states + [f"da{gate}" for gate in gates] for step in "₁₂₃"]
    names += [f"{d}W{gate}{prime}[{unit}]" for gate in gates for unit in (1, 2)
              for d, prime in (("", ""), ("d", ""), ("", "′"))]  # fmt: skip
    assert set(names) <= set(rows(part))
