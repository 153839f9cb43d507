"""What PyTorch refuses is refused here: the same exception type, a message that begins alike."""

import re

import numpy as np
import pytest

from fastseq import nn

torch = pytest.importorskip("torch")

CELLS = ["RNN", "GRU", "LSTM"]
I, H = 3, 4  # noqa: E741


def error(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever PyTorch raises
        call()
    return caught.value


def words(message, count=3):
    return re.sub(r"[^\w\s.\[\]()]", "", str(message)).split()[:count]


def assert_alike(ours, theirs, cell="RNN"):
    """``cell``: ours names the layer where PyTorch calls every layer an RNN."""
    assert type(ours) is type(theirs), f"{ours!r} but PyTorch {theirs!r}"
    assert words(ours) == words(str(theirs).replace("RNN", cell))


CONSTRUCTORS = [
    ((2.0, H), {}),
    ((I, 3.0), {}),
    (("2", H), {}),
    ((0, H), {}),
    ((-1, H), {}),
    ((I, 0), {}),
    ((I, H, 0), {}),
    ((I, H, -1), {}),
    ((I, H), {"bias": 1}),
    ((I, H), {"batch_first": 1}),
    ((I, H), {"dropout": -0.1}),
    ((I, H), {"dropout": 1.1}),
    ((I, H), {"dropout": True}),
    ((I, H), {"dropout": float("nan")}),
    ((I, H), {"dropout": "a"}),
    ((I, H), {"dropout": None}),
    ((I, H), {"proj_size": -1}),
    ((I, H), {"proj_size": H}),
    ((I, H), {"proj_size": H + 1}),
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("args", "options"), CONSTRUCTORS, ids=str)
def test_constructor(cell, args, options):
    assert_alike(
        error(lambda: getattr(nn, cell)(*args, **options)),
        error(lambda: getattr(torch.nn, cell)(*args, **options)),
    )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("args", "options"),
    [((), {}), ((I,), {}), ((I, H), {"size": 1}), ((I, H, 1.5), {}), ((I, H, "a"), {})],
    ids=str,
)
def test_constructor_types(cell, args, options):
    assert type(error(lambda: getattr(torch.nn, cell)(*args, **options))) is TypeError
    assert type(error(lambda: getattr(nn, cell)(*args, **options))) is TypeError


def test_nonlinearity():
    assert_alike(
        error(lambda: nn.RNN(I, H, nonlinearity="gelu")),
        error(lambda: torch.nn.RNN(I, H, nonlinearity="gelu")),
    )
    for cell in ("GRU", "LSTM"):
        assert type(error(lambda c=cell: getattr(nn, c)(I, H, nonlinearity="tanh"))) is TypeError


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_on_one_layer_warns(cell):
    with pytest.warns(UserWarning, match="dropout option") as theirs:
        getattr(torch.nn, cell)(I, H, dropout=0.5)
    with pytest.warns(UserWarning, match="dropout option") as ours:
        getattr(nn, cell)(I, H, dropout=0.5)
    assert words(ours[0].message, 8) == words(theirs[0].message, 8)
    assert ours[0].filename == __file__


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("size", [(10**30, 3), (3, 10**30), (2**62, 2**62), (10**9, 10**9)])
def test_overflowing_sizes(cell, size):
    with pytest.raises((MemoryError, ValueError)):
        getattr(nn, cell)(*size)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("size", [(3, 3, 10**6), (3, 3, 10**30), (10**12, 3), (3, 10**4, 10**4)])
def test_sizes_beyond_this_machine_are_refused_at_once(cell, size):
    with pytest.raises(ValueError, match=r"num_layers|input_size, hidden_size, num_layers"):
        getattr(nn, cell)(*size)


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64", "nonsense"])
def test_dtype(dtype):
    with pytest.raises(TypeError):
        nn.LSTM(I, H, dtype=dtype)


CALLS = {
    "1-D": ((I,), None),
    "4-D": ((1, 1, 1, I), None),
    "no steps": ((0, 2, I), None),
    "input size": ((2, 2, I + 1), None),
    "float64": ((2, 2, I), None, "float64"),
    "integers": ((2, 2, I), None, "int64"),
    "2-D state": ((2, 2, I), [(1, H)]),
    "3-D state": ((2, I), [(1, 2, H)]),
    "state's batch": ((2, 2, I), [(1, 3, H)]),
    "state's size": ((2, 2, I), [(1, 2, H + 1)]),
    "state's layers": ((2, 2, I), [(2, 2, H)]),
    "state's layers, unbatched": ((2, I), [(2, H)]),
    "cell's batch": ((2, 2, I), [(1, 2, H), (1, 3, H)]),
    "cell's size": ((2, 2, I), [(1, 2, H), (1, 2, H - 1)]),
    "cell's layers": ((2, 2, I), [(1, 2, H), (2, 2, H)]),
}


@pytest.mark.parametrize(
    ("cell", "name"),
    [(c, n) for c in CELLS for n in CALLS if c == "LSTM" or not n.startswith("cell")],
)
def test_call(cell, name):
    shape, states, dtype = (*CALLS[name], "float32")[:3]

    def arguments(convert):
        arrays = [convert(np.zeros(s, "float32")) for s in states or []]
        state = arrays[0] if cell != "LSTM" and arrays else tuple(arrays * 2)[:2] or None
        return convert(np.zeros(shape, dtype)), state

    assert_alike(
        error(lambda: getattr(nn, cell)(I, H)(*arguments(np.asarray))),
        error(lambda: getattr(torch.nn, cell)(I, H)(*arguments(torch.from_numpy))),
        cell,
    )


def test_messages_say_what_came_and_what_was_expected():
    lstm, x = nn.LSTM(I, H), np.zeros((2, 2, I), np.float32)
    h, c = np.zeros((1, 2, H), np.float32), np.zeros((1, 3, H), np.float32)
    for call, parts in [
        (lambda: lstm(x, (h, c)), ["hidden[1]", "(1, 2, 4)", "(1, 3, 4)", "cx"]),
        (lambda: lstm(x.astype("float64")), ["float64", "float32"]),
        (lambda: lstm(x, (h.astype("float64"), h)), ["hx", "float64", "float32"]),
        (lambda: lstm(x[:, :, :2]), ["input_size", "3", "2"]),
        (lambda: lstm(x, None, [1, 3]), ["lengths", "3", "index 1"]),
        (lambda: lstm(x[:, :0], None, [3]), ["lengths", "(0,)", "(1,)"]),
    ]:
        message = str(error(call))
        assert all(part in message for part in parts), message


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([0, 1], "index 0"),
        ([1, -1], "index 1"),
        ([3, 1], "index 0"),
        ([1], r"\(2,\)"),
        ([1, 1, 1], r"\(2,\)"),
        ([[1, 1]], r"\(2,\)"),
    ],
    ids=str,
)
def test_lengths(cell, lengths, expected):
    with pytest.raises(ValueError, match=expected):
        getattr(nn, cell)(I, H)(np.zeros((2, 2, I), np.float32), None, lengths)


@pytest.mark.parametrize("lengths", [[1.0, 2.0], ["a", "b"], [True, True]], ids=str)
def test_lengths_that_are_no_integers(lengths):
    with pytest.raises(TypeError, match="lengths"):
        nn.GRU(I, H)(np.zeros((2, 2, I), np.float32), None, lengths)


@pytest.mark.parametrize("state", [np.zeros((1, 2, H), np.float32), "hc", 3])
def test_lstm_state_that_is_no_pair(state):
    with pytest.raises((TypeError, RuntimeError), match="hx"):
        nn.LSTM(I, H)(np.zeros((2, 2, I), np.float32), state)


@pytest.mark.parametrize("x", [[[1.0, 2.0, 3.0]], None, 1.0])
def test_input_that_is_no_array(x):
    for layer in (nn.LSTM(I, H), nn.Linear(I, H), nn.Embedding(I, H)):
        with pytest.raises(TypeError, match="expected a NumPy array"):
            layer(x)


@pytest.mark.parametrize("cell", CELLS)
def test_backward(cell):
    layer, x = getattr(nn, cell)(I, H), np.zeros((2, 5, I), np.float32)
    dy = np.zeros((2, 5, H), np.float32)
    with pytest.raises(RuntimeError, match="no forward call"):
        layer.backward(dy)
    _, state = layer(x)
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        layer.backward(dy[:, 1:])
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        layer.backward(dy, (dy, dy) if cell == "LSTM" else dy)
    with pytest.raises(ValueError, match="float64"):
        layer.backward(dy.astype("float64"))
    layer.backward(dy, state)  # a refused call has not used up the forward call
    with pytest.raises(RuntimeError, match="no forward call"):
        layer.backward(dy)


@pytest.mark.parametrize("ids", [[0, 5], [-1, 0], [2**40, 0]], ids=str)
def test_ids_out_of_range(ids):
    bad = next(i for i, v in enumerate(ids) if not 0 <= v < 5)
    layer = nn.Embedding(5, 2)
    with pytest.raises(IndexError, match=f"got {ids[bad]} at position {bad}"):
        layer(np.array(ids))
    with pytest.raises(IndexError):
        torch.nn.Embedding(5, 2)(torch.tensor(ids))


@pytest.mark.parametrize("ids", [np.array([0.0]), np.array([None]), np.array([True])], ids=repr)
def test_ids_of_another_kind(ids):
    with pytest.raises(TypeError, match="ids"):
        nn.Embedding(5, 2)(ids)
    with pytest.raises(TypeError, match="targets"):
        nn.cross_entropy(np.zeros((1, 2), np.float32), ids)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: nn.Embedding(0, 2), ValueError),
        (lambda: nn.Embedding(2.0, 2), TypeError),
        (lambda: nn.Embedding(5, 2, padding_idx=5), ValueError),
        (lambda: nn.Embedding(5, 2, padding_idx=-6), ValueError),
        (lambda: nn.Linear(3, 0), ValueError),
        (lambda: nn.Linear("3", 1), TypeError),
        (lambda: nn.Dropout(-0.1), ValueError),
        (lambda: nn.Dropout(1.1), ValueError),
        (lambda: nn.Dropout("a"), TypeError),
        (lambda: nn.Sequential(nn.Linear(1, 1), "a"), TypeError),
        (lambda: nn.Linear(3, 1)(np.zeros((2, 2), np.float32)), RuntimeError),
        (lambda: nn.Linear(3, 1)(np.zeros((), np.float32)), RuntimeError),
        (lambda: nn.Linear(3, 1)(np.zeros((2, 3))), ValueError),
        (lambda: nn.Linear(3, 1).backward(np.zeros((2, 1), np.float32)), RuntimeError),
        (lambda: nn.Embedding(3, 1).backward(np.zeros((2, 1), np.float32)), RuntimeError),
        (lambda: nn.Dropout().backward(np.zeros(1, np.float32)), RuntimeError),
        (lambda: nn.CrossEntropyLoss().backward(), RuntimeError),
        (lambda: nn.Parameter(np.zeros(3, np.int64)), TypeError),
    ],
)
def test_other_layers(build, expected):
    assert type(error(build)) is expected


LOSSES = {
    "target too large": ((2, 3), [0, 3], {}),
    "negative target": ((2, 3), [0, -1], {}),
    "number of targets": ((2, 3), [0, 1, 1], {}),
    "shape of targets": ((2, 3, 4), np.zeros((2, 3), int), {}),
    "reduction": ((2, 3), [0, 1], {"reduction": "x"}),
}


@pytest.mark.parametrize("name", LOSSES)
def test_cross_entropy(name):
    shape, targets, options = LOSSES[name]
    logits, targets = np.zeros(shape, np.float32), np.array(targets)
    theirs = error(
        lambda: torch.nn.functional.cross_entropy(
            torch.from_numpy(logits), torch.from_numpy(targets), **options
        )
    )
    assert_alike(error(lambda: nn.cross_entropy(logits, targets, **options)), theirs)


def test_mse_loss():
    x = np.zeros((2, 3), np.float32)
    assert type(error(lambda: nn.mse_loss(x, x[:, :2]))) is RuntimeError
    assert type(error(lambda: nn.mse_loss(x, x, "x"))) is ValueError
    assert type(error(lambda: nn.mse_loss(x, x.astype("float64")))) is ValueError
    assert type(error(lambda: nn.mse_loss(x.astype(int), x))) is TypeError
