"""Cells: loops over time against PyTorch and against the layers; what holds for every cell."""

import copy
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from test_errors import assert_alike, error
from test_recurrent import LAYOUTS, assert_same_bits
from torch_twins import assert_same, torch

import fastseq
from fastseq import nn
from fastseq.nn.recurrent_module import FIXED

CELLS = {
    "RNN": lambda I, H, **k: nn.RNNCell(I, H, **k),  # noqa: E741
    "relu": lambda I, H, **k: nn.RNNCell(I, H, nonlinearity="relu", **k),  # noqa: E741
    "GRU": lambda I, H, **k: nn.GRUCell(I, H, **k),  # noqa: E741
    "LSTM": lambda I, H, **k: nn.LSTMCell(I, H, **k),  # noqa: E741
}
every_cell = pytest.mark.parametrize("name", CELLS)
T, B, I, H = 4, 3, 3, 5  # noqa: E741


def parts(state):
    """A state as a list of arrays."""
    return list(state) if isinstance(state, tuple) else [state]


def whole(arrays):
    """The inverse of `parts`."""
    return tuple(arrays) if len(arrays) == 2 else arrays[0]


def bptt(cell, x, initial, dys):
    """A loop over time, and back: every state, the gradients of every input, by name.

    initial : list of h0 and c0, or None; dys : for each step a list with the gradients of h and c.
    """
    state, results = None if initial is None else whole(initial), {}
    for t in range(len(x)):
        state = cell(x[t], state)
        results |= {f"{n}{t}": a for n, a in zip("hc", parts(state), strict=False)}
    carried = [np.zeros_like(a) for a in parts(state)]
    for t in reversed(range(len(x))):
        total = [d + more for d, more in zip(dys[t], carried, strict=True)]
        results[f"dx{t}"], carried = cell.backward(whole(total))
        carried = parts(carried)
    if initial is not None:
        results |= {f"d{n}0": a for n, a in zip("hc", carried, strict=False)}
    return results | {f"d{name}": p.grad.copy() for name, p in cell.named_parameters()}


def torch_bptt(cell, x, initial, dys):
    """The same by PyTorch's cell."""
    x, state = torch.from_numpy(x).requires_grad_(), None
    if initial is not None:
        initial = [torch.from_numpy(a).requires_grad_() for a in initial]
        state = whole(initial)
    results, loss = {}, 0.0
    for t in range(len(x)):
        state = cell(x[t], state)
        results |= {f"{n}{t}": a for n, a in zip("hc", parts(state), strict=False)}
        loss += sum(
            (a * torch.from_numpy(d)).sum() for a, d in zip(parts(state), dys[t], strict=True)
        )
    loss.backward()
    results |= {f"dx{t}": x.grad[t] for t in reversed(range(len(x)))}
    if initial is not None:
        results |= {f"d{n}0": a.grad for n, a in zip("hc", initial, strict=False)}
    results |= {f"d{name}": p.grad for name, p in cell.named_parameters()}
    return {name: value.detach().numpy() for name, value in results.items()}


@dataclass(frozen=True)
class Loop:
    """One configuration of a cell and of a loop over it."""

    name: str
    T: int = T
    B: int = B
    I: int = I  # noqa: E741
    H: int = H
    bias: bool = True
    unbatched: bool = False
    state: bool = True
    dtype: str = "float64"
    seed: int = 0

    def build(self):
        """Both cells, with the same weights."""
        ours = CELLS[self.name](self.I, self.H, bias=self.bias, dtype=self.dtype, seed=self.seed)
        options = {"nonlinearity": "relu"} if self.name == "relu" else {}
        theirs = getattr(torch.nn, type(ours).__name__)(
            self.I, self.H, bias=self.bias, dtype=getattr(torch, self.dtype), **options
        )
        # Its own values go into our cell: the names and shapes of both are the same.
        ours.load_state_dict({n: v.numpy() for n, v in theirs.state_dict().items()})
        return ours, theirs

    def arrays(self):
        """x, [h0, c0] or None, gradients of [h, c] for each step."""
        rng = np.random.default_rng(self.seed)
        rows = () if self.unbatched else (self.B,)
        count = 2 if self.name == "LSTM" else 1

        def normal(*shape):
            return rng.normal(size=shape).astype(self.dtype)

        x = normal(self.T, *rows, self.I)
        initial = [normal(*rows, self.H) for _ in range(count)] if self.state else None
        return x, initial, [[normal(*rows, self.H) for _ in range(count)] for _ in range(self.T)]


def check(loop):
    ours, theirs = loop.build()
    arrays = loop.arrays()
    assert_same(bptt(ours, *arrays), torch_bptt(theirs, *arrays), loop.dtype)


def draw(seed):
    r = random.Random(seed)
    return Loop(
        r.choice(list(CELLS)),
        T=r.randint(1, 4),
        B=r.randint(1, 4),
        I=r.randint(1, 6),
        H=r.choice([1, 2, 5, 17, 33]),
        bias=r.random() < 0.7,
        unbatched=r.random() < 0.3,
        state=r.random() < 0.7,
        dtype=r.choice(["float32", "float64"]),
        seed=seed,
    )


@pytest.mark.parametrize("seed", range(80))
def test_random_loops(seed):
    check(draw(seed))


@every_cell
def test_every_build(build, name):
    check(Loop(name, dtype="float32"))


@every_cell
@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_a_loop_gives_the_bits_of_the_layer(compiled_build, name, rows):
    loop = Loop(name, B=rows, dtype="float32")
    cell, _ = loop.build()
    x, initial, dys = loop.arrays()
    options = {"nonlinearity": "relu"} if name == "relu" else {}
    kind = "RNN" if name == "relu" else name
    layer = getattr(nn, kind)(I, H, **options)
    layer.load_state_dict({f"{n}_l0": v for n, v in cell.state_dict().items()})
    for dy in dys:  # a layer has gradients of h alone, and of the last c
        dy[1:] = [np.zeros_like(d) for d in dy[1:]]
    got = bptt(cell, x, initial, dys)
    y, end = layer(x, whole([a[None] for a in initial]))
    dx, d0 = layer.backward(np.stack([dy[0] for dy in dys]))
    assert_same_bits([got[f"h{t}"] for t in range(T)], y)
    assert_same_bits([got[f"dx{t}"] for t in range(T)], dx)
    assert_same_bits(
        [got[f"{n}{T - 1}"] for n in "hc"[: len(initial)]], [a[0] for a in parts(end)]
    )
    assert_same_bits([got[f"d{n}0"] for n in "hc"[: len(initial)]], [a[0] for a in parts(d0)])


@every_cell
def test_one_sequence_is_a_batch_of_one(build, name):
    cell, x = CELLS[name](I, H, seed=0), np.ones(I, np.float32)
    one, batch = parts(cell(x)), parts(cell(x[None]))
    assert_same_bits(one, [a[0] for a in batch])
    dx, dh = cell.backward(whole(batch))
    dx_one, dh_one = cell.backward(whole(one))
    assert_same_bits([dx_one, *parts(dh_one)], [dx[0], *(a[0] for a in parts(dh))])


@every_cell
def test_no_rows(build, name):
    cell = CELLS[name](I, H)
    state = cell(np.zeros((0, I), np.float32))
    dx, dh = cell.backward(state)
    assert dx.shape == (0, I)
    assert all(a.shape == (0, H) for a in parts(state) + parts(dh))
    assert not any(p.grad.any() for p in cell.parameters())


@every_cell
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "broadcast"])
@pytest.mark.parametrize("training", [True, False])
def test_memory_layout_changes_nothing(name, layout, training, rng):
    cell, count = CELLS[name](I, H, seed=1).train(training), 2 if name == "LSTM" else 1
    shapes = [(1, B, I)] + [(1, B, H)] * 2 * count
    arrays = [rng.normal(size=s).astype(np.float32) for s in shapes]

    def run(arrays):
        x, *states = (a[0] for a in arrays)
        cell.zero_grad()
        out = parts(cell(x, whole(states[:count])))
        if training:
            dx, dh = cell.backward(whole(states[count:]))
            out += [dx, *parts(dh)]
        return out + [p.grad.copy() for p in cell.parameters()]

    changed = [LAYOUTS[layout](a) for a in arrays]
    before = [a.tobytes() for a in changed]
    assert_same_bits(run(changed), run(arrays))
    assert [a.tobytes() for a in changed] == before


@every_cell
def test_a_call_shares_nothing_with_its_caller(name):
    loop = Loop(name, T=1, dtype="float32")
    cell, _ = loop.build()
    x, initial, dys = loop.arrays()
    want = bptt(cell, x, initial, dys)
    cell.zero_grad()
    mine, start = x[0].copy(), [a.copy() for a in initial]
    state = parts(cell(mine, whole(start)))
    for a in (mine, *start, *state):
        a[...] = np.nan
        a.flags.writeable = False
    dx, _ = cell.backward(whole(dys[0]))
    assert_same_bits([dx], [want["dx0"]])
    assert_same_bits([p.grad for p in cell.parameters()],
                     [want[f"d{n}"] for n, _ in cell.named_parameters()])  # fmt: skip


@every_cell
def test_nothing_is_kept_in_eval_mode_or_without_grad(name):
    cell, x = CELLS[name](I, H), np.ones((B, I), np.float32)
    state = cell.eval()(x)
    cell.train()
    with fastseq.no_grad():
        cell(x)
    with pytest.raises(RuntimeError, match="no forward call"):
        cell.backward(state)


@every_cell
def test_threads_on_one_cell_in_eval_mode(name, rng):
    cell = CELLS[name](I, H, seed=0).eval()
    inputs = [rng.normal(size=(1 + n % 5, I)).astype(np.float32) for n in range(64)]
    want = [parts(cell(x)) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for got, one in zip(pool.map(lambda x: parts(cell(x)), inputs), want, strict=True):
            assert_same_bits(got, one)


@every_cell
def test_gradients_that_nobody_wants(name):
    cell, x = CELLS[name](I, H, seed=0), np.ones((B, I), np.float32)
    state = cell(x)
    want = cell.backward(state)
    kept = {n: p.grad.copy() for n, p in cell.named_parameters()}
    cell.zero_grad()
    cell.weight_hh.requires_grad = False
    cell(x)
    dx, dh = cell.backward(state, needs_input_grad=False)
    assert dx is None
    assert_same_bits(parts(dh), parts(want[1]))
    assert not cell.weight_hh.grad.any()
    assert_same_bits(
        [cell.weight_ih.grad, cell.bias_hh.grad], [kept["weight_ih"], kept["bias_hh"]]
    )


@every_cell
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_and_replaced_parameters(name, copied):
    cell, x = CELLS[name](I, H, seed=0), np.ones((B, I), np.float32)
    want = parts(cell(x))
    twin = copied(cell)
    with pytest.raises(RuntimeError, match="no forward call"):
        twin.backward(whole(want))
    assert_same_bits(parts(twin(x)), want)
    twin.weight_ih = nn.Parameter(np.zeros_like(cell.weight_ih.data))
    assert not np.array_equal(parts(twin(x))[0], want[0])
    assert_same_bits(parts(cell(x)), want)


@every_cell
def test_attributes_that_shaped_the_parameters_cannot_be_changed(name):
    cell = CELLS[name](I, H)
    for attribute in set(FIXED) & set(vars(cell)):
        with pytest.raises(AttributeError, match=f"{attribute}: cannot be changed"):
            setattr(cell, attribute, getattr(cell, attribute))


def test_repr():
    assert repr(nn.LSTMCell(I, H)) == "LSTMCell(3, 5)"
    assert repr(nn.RNNCell(I, H, bias=False, nonlinearity="relu")) == (
        "RNNCell(3, 5, bias=False, nonlinearity=relu)"
    )


# -- errors --------------------------------------------------------------------------------

Z = np.zeros
BAD_CALLS = [
    (Z((B, I + 1)), None),
    (Z(I + 1), None),
    (Z((1, B, I)), None),
    (Z(()), None),
    (Z((B, I)), Z((B, H + 1))),
    (Z((B, I)), Z((B + 1, H))),
    (Z(I), Z(H + 1)),
]


@pytest.mark.parametrize("kind", ["RNNCell", "GRUCell", "LSTMCell"])
@pytest.mark.parametrize(("x", "h"), BAD_CALLS, ids=lambda a: str(np.shape(a)))
def test_wrong_shapes_are_refused_as_by_pytorch(kind, x, h):
    def call(library, convert):
        state = None if h is None else convert(h.astype("float32"))
        if kind == "LSTMCell" and state is not None:
            state = state, convert(Z(np.shape(h), "float32"))
        getattr(library, kind)(I, H)(convert(x.astype("float32")), state)

    assert_alike(
        error(lambda: call(nn, lambda a: a)), error(lambda: call(torch.nn, torch.from_numpy))
    )


def test_wrong_arguments():
    x, h = Z((B, I), np.float32), Z((B, H), np.float32)
    for call, kind, message in [
        (lambda: nn.LSTMCell(I, H)(x, h), TypeError, "hx: expected a pair of arrays, got ndarray"),
        (lambda: nn.LSTMCell(I, H)(x, (h,)), RuntimeError, "lstm expects two hidden states"),
        (lambda: nn.GRUCell(I, H)(x, h[0]), RuntimeError, "For batched 2-D input, hidden0 should"),
        (lambda: nn.GRUCell(I, H)(x[0], h), RuntimeError, "For unbatched 1-D input, hidden0 sho"),
        (lambda: nn.GRUCell(I, H)(x, h[None]), ValueError, "Expected hidden0 to be 1D or 2D, got"),
        (lambda: nn.GRUCell(I, H)(x.tolist()), TypeError, "x: expected a NumPy array, got list"),
        (
            lambda: nn.GRUCell(I, H)(x.astype(int)),
            ValueError,
            "input dtype .int64. does not match",
        ),
        (lambda: nn.GRUCell(I, H)(x, h.astype("f8")), ValueError, "hidden0 dtype .float64. does"),
        (lambda: nn.RNNCell(I, H, nonlinearity="x"), ValueError, "Unknown nonlinearity 'x'"),
        (lambda: nn.GRUCell(0, H), ValueError, "input_size must be greater than zero, got 0"),
        (lambda: nn.GRUCell(I, 2.0), TypeError, "hidden_size should be of type int, got: float"),
        (lambda: nn.GRUCell(I, H, bias=1), TypeError, "bias should be of type bool, got: int"),
        (lambda: nn.GRUCell(I, H, dtype="int8"), TypeError, "dtype: expected float32 or float64"),
    ]:
        with pytest.raises(kind, match=message):
            call()


@every_cell
def test_a_wrong_gradient_leaves_the_call_pending(name):
    cell, x = CELLS[name](I, H, seed=0), np.ones((B, I), np.float32)
    state = parts(cell(x))
    for bad, kind in [
        (state[0][1:], RuntimeError), (state[0].astype("float64"), ValueError), ([], TypeError),
    ]:  # fmt: skip
        with pytest.raises(kind, match=r"grad_state \(hidden\): expected"):
            cell.backward(whole([bad, *state[1:]]))
    cell.backward(whole([None] * len(state)))
    assert not any(p.grad.any() for p in cell.parameters())
