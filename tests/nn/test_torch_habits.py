"""What PyTorch users write: seeds, assignments, arrays of parameters, padded batches."""

import copy
import pickle

import numpy as np
import pytest

import fastseq
from fastseq import nn
from fastseq.nn.utils.rnn import pad_sequence, unpad_sequence


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


# -- seeds -------------------------------------------------------------------------------------


def draw():
    """Numbers of everything that draws them."""
    layers = [nn.LSTM(3, 4, num_layers=2, dropout=0.5), nn.Linear(3, 4), nn.Embedding(5, 2)]
    arrays = [p.data.copy() for layer in layers for p in layer.parameters()]
    ones = np.ones((20, 3), np.float32)
    arrays += [nn.Dropout()(ones), layers[0](ones)[0], nn.init.normal_(np.empty(3))]
    layers[1].reset_parameters()
    return [*arrays, layers[1].weight.data]


def equal(first, second):
    return all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def test_manual_seed_repeats_everything_that_is_drawn():
    fastseq.manual_seed(3)
    first, other = draw(), draw()
    fastseq.manual_seed(3)
    assert equal(first, draw())
    assert not any(a.tobytes() == b.tobytes() for a, b in zip(first, other, strict=True))
    fastseq.manual_seed(4)
    assert not equal(first, draw())


def test_manual_seed_restarts_dropout_of_layers_that_exist():
    layer, x = nn.Dropout(), np.ones(100)
    twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    masks = []
    for one in (layer, layer, *twins):
        fastseq.manual_seed(0)
        masks.append(one(x))
    assert equal(masks[:1] * 3, masks[1:])
    assert not equal([layer(x)], masks[:1])


def test_a_layers_own_seed_does_not_depend_on_manual_seed():
    layers = []
    for seed in (1, 2):
        fastseq.manual_seed(seed)
        layers.append(nn.GRU(3, 4, seed=7).weight_hh_l0.data)
    assert equal(layers[:1], layers[1:])
    fastseq.manual_seed(1)
    plain = nn.Linear(2, 2).weight.data
    fastseq.manual_seed(1)
    nn.Linear(2, 2, seed=5)
    assert equal([nn.Linear(2, 2).weight.data], [plain])


@pytest.mark.parametrize(("seed", "expected"), [(-1, ValueError), (1.5, TypeError)])
def test_manual_seed_checks_its_argument(seed, expected):
    with pytest.raises(expected, match="seed"):
        fastseq.manual_seed(seed)


# -- assignments and arrays --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "name"),
    [(nn.Embedding(5, 2), "weight"), (nn.GRU(2, 3), "bias_hh_l0"), (nn.Linear(2, 3), "bias")],
)
@pytest.mark.parametrize("value", [np.zeros(3), [1.0], 0.0, "a"], ids=repr)
def test_an_array_cannot_take_the_place_of_a_parameter(torch, layer, name, value):
    before = list(layer.state_dict())
    with pytest.raises(TypeError, match=rf"parameter '{name}' .* assign to {name}\.data"):
        setattr(layer, name, value)
    assert list(layer.state_dict()) == before
    with pytest.raises(TypeError):
        torch.nn.GRU(2, 3).bias_hh_l0 = torch.zeros(9)


def test_what_may_take_the_place_of_a_parameter_or_module():
    linear = nn.Linear(2, 3)
    linear.bias = None
    assert list(linear.state_dict()) == ["weight"]
    linear.weight = parameter = nn.Parameter(np.zeros((3, 2), np.float32))
    assert linear.weight is parameter
    model = nn.Module()
    model.part = linear
    with pytest.raises(TypeError, match="cannot assign int as child module 'part'"):
        model.part = 3
    model.part = nn.Linear(1, 1)
    model.part = None
    assert list(model.modules()) == [model]
    model.part = 3
    model.part = "not a module before"


def test_a_parameter_is_an_array_to_numpy(dtype):
    p = nn.Parameter(np.arange(6).reshape(2, 3).astype(dtype))
    a = np.asarray(p)
    assert a is p.data
    assert np.array(p) is not p.data
    assert np.array(p).tolist() == p.data.tolist()
    assert np.asarray(p, np.float16).dtype == np.float16
    assert np.asarray(p, dtype) is p.data
    x = np.ones((4, 3), dtype)
    for got, expected in [
        (x * p.data[0], x * np.asarray(p)[0]),
        (x @ p.data.T, x @ np.transpose(p)),
        (p * p.data, p.data**2),
        (p.data - p, 0 * p.data),
        (np.sqrt(p), np.sqrt(p.data)),
        (np.linalg.norm(p), np.linalg.norm(p.data)),
        (np.concatenate([p, p]), np.concatenate([p.data, p.data])),
    ]:
        assert type(got) is type(expected)
        np.testing.assert_array_equal(got, expected)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        assert np.array(p, copy=False) is p.data
        with pytest.raises(ValueError, match="copy"):
            np.array(p, np.float16, copy=False)


# -- padded batches ----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("rest", [(), (2,), (2, 3)])
@pytest.mark.parametrize("kind", ["float32", "float64", "int64"])
def test_pad_sequence(torch, batch_first, side, rest, kind, rng):
    sequences = [(rng.normal(size=(n, *rest)) * 9).astype(kind) for n in (3, 5, 1, 0)]
    ours = pad_sequence(sequences, batch_first, -1, side)
    theirs = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(s) for s in sequences], batch_first, -1, side
    )
    np.testing.assert_array_equal(ours, theirs.numpy())
    assert ours.dtype == kind
    assert ours.flags.c_contiguous


@pytest.mark.parametrize("batch_first", [False, True])
def test_padded_sequences_through_a_layer(batch_first, rng):
    sequences = [rng.normal(size=(n, 3)) for n in (3, 5, 1)]
    lengths = [len(s) for s in sequences]
    gru = nn.GRU(3, 4, batch_first=batch_first, dtype="float64")
    y, _ = gru(nn.utils.rnn.pad_sequence(sequences, batch_first), lengths=lengths)
    for one, sequence in zip(unpad_sequence(y, lengths, batch_first), sequences, strict=True):
        np.testing.assert_allclose(one, gru(sequence)[0], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: pad_sequence([]), RuntimeError),
        (lambda: pad_sequence([1.0]), RuntimeError),
        (lambda: pad_sequence([np.zeros((2, 3)), np.zeros((2, 4))]), RuntimeError),
        (lambda: pad_sequence([[1]], padding_side="top"), RuntimeError),
        (lambda: pad_sequence([[1]], 1), TypeError),
        (lambda: unpad_sequence(np.zeros((3, 2)), [4, 1]), ValueError),
        (lambda: unpad_sequence(np.zeros(3), [1]), ValueError),
        (lambda: unpad_sequence([[1]], [1]), TypeError),
    ],
)
def test_errors_of_padding(call, expected):
    with pytest.raises(expected):
        call()
