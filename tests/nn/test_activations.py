"""Activations and layer normalization against PyTorch and against central differences."""

import numpy as np
import pytest
from test_gradients import numerical
from test_layers import close

from fastseq import nn

ACTIVATIONS = {
    "ReLU": {},
    "Tanh": {},
    "Sigmoid": {},
    "Softmax": {"dim": -1},
    "LogSoftmax": {"dim": -1},
    "Softmax 0": {"dim": 0},
    "LogSoftmax 0": {"dim": 0},
}
NORMS = [(3, {}), (3, {"eps": 0.1}), ((4, 3), {}), (3, {"bias": False}),
         (3, {"elementwise_affine": False})]  # fmt: skip


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


def made(name):
    return getattr(nn, name.split()[0])(**ACTIVATIONS[name])


def compare(torch, ours, theirs, x, dtype, rng):
    """Outputs and gradients of two calls, the second of which waits first; y is overwritten."""
    leaf, dy = torch.from_numpy(x.copy()).requires_grad_(), rng.normal(size=x.shape).astype(dtype)
    dy = np.asarray(dy)
    theirs(leaf).backward(torch.from_numpy(dy))
    y = ours(x)
    assert type(y) is np.ndarray
    assert y.dtype == dtype
    close(y, theirs(leaf), dtype)
    y[...] = np.nan
    ours(np.asarray(-x))
    ours.backward(np.zeros_like(dy))
    close(ours.backward(dy), leaf.grad, dtype)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3), (0, 3), (3, 0), ()], ids=str)
def test_activations(build, torch, name, shape, dtype, rng):
    theirs = getattr(torch.nn, name.split()[0])(**ACTIVATIONS[name])
    x = np.asarray(rng.normal(size=shape) * 3).astype(dtype)
    compare(torch, made(name), theirs, x, dtype, rng)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_activations(name, rng):
    layer, x, dy = made(name), rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    expected = numerical(lambda: float(np.sum(layer(x) * dy)), x)
    layer(x)
    np.testing.assert_allclose(layer.backward(dy), expected, atol=1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_extreme_values(torch, name, dtype):
    x = np.array([[1e4, -1e4, 0.0], [-np.inf, 1.0, 2.0], [3e38, -3e38, np.nan]], dtype)
    theirs = getattr(torch.nn, name.split()[0])(**ACTIVATIONS[name])
    y = theirs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(made(name)(x), y, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a.astype(a.dtype.newbyteorder())])
def test_activations_read_any_memory_layout_and_write_nothing(name, layout, dtype, rng):
    x, layer = rng.normal(size=(4, 3)).astype(dtype), made(name)
    other = layout(x)
    np.testing.assert_array_equal(layer(other), layer(x))
    np.testing.assert_array_equal(layer.backward(other), layer.backward(x))
    np.testing.assert_array_equal(other, x)


@pytest.mark.parametrize(("size", "options"), NORMS, ids=str)
@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3), (5, 2, 4, 3), (0, 4, 3)], ids=str)
def test_layer_norm(torch, size, options, shape, dtype, rng):
    ours = nn.LayerNorm(size, dtype=dtype, **options)
    theirs = torch.nn.LayerNorm(size, dtype=getattr(torch, dtype.name), **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    for p in ours.parameters():
        p.data += rng.normal(size=p.shape)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    # Values far apart, since those close to each other make rounding errors large.
    x = rng.normal(size=shape) + np.array([0.0, 4.0, -2.0])
    compare(torch, ours, theirs, x.astype(dtype), dtype, rng)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, dtype)


@pytest.mark.parametrize(("size", "options"), NORMS, ids=str)
def test_gradients_of_layer_norm(size, options, rng):
    layer = nn.LayerNorm(size, dtype="float64", **options)
    for p in layer.parameters():
        p.data += rng.normal(size=p.shape)
    x, dy = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 4, 3))
    arrays = {"x": x} | {name: p.data for name, p in layer.named_parameters()}
    expected = {n: numerical(lambda: float(np.sum(layer(x) * dy)), a) for n, a in arrays.items()}
    layer(x)
    got = {"x": layer.backward(dy)} | {name: p.grad for name, p in layer.named_parameters()}
    for name, gradient in expected.items():
        np.testing.assert_allclose(got[name], gradient, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: nn.LayerNorm(0), ValueError),
        (lambda: nn.LayerNorm(()), ValueError),
        (lambda: nn.LayerNorm(2.0), TypeError),
        (lambda: nn.LayerNorm(3)(np.zeros((3, 2), np.float32)), RuntimeError),
        (lambda: nn.LayerNorm((2, 3))(np.zeros(3, np.float32)), RuntimeError),
        (lambda: nn.LayerNorm(3)(np.zeros((2, 3))), ValueError),
        (lambda: nn.LayerNorm(3)([1.0]), TypeError),
        (lambda: nn.LayerNorm(3).backward(np.zeros(3)), RuntimeError),
        (lambda: nn.Softmax(2)(np.zeros((2, 3))), IndexError),
        (lambda: nn.Softmax("a"), TypeError),
        (lambda: nn.ReLU()(np.zeros(3, int)), TypeError),
        (lambda: nn.ReLU().backward(np.zeros(3)), RuntimeError),
        (lambda: nn.Select("a"), TypeError),
        (lambda: nn.Select(2)((1, 2)), IndexError),
        (lambda: nn.Select(0)(np.zeros(3)), TypeError),
        (lambda: nn.LastStep(1), TypeError),
        (lambda: nn.LastStep()(np.zeros(3)), ValueError),
        (lambda: nn.LastStep()(np.zeros((3, 2, 4)), [4, 1]), ValueError),
        (lambda: nn.LastStep()(np.zeros((0, 2, 4))), ValueError),
        (lambda: nn.FinalState()(np.zeros((3, 2, 4))), TypeError),
        (lambda: nn.FinalState(True)((0, np.zeros((1, 2, 4)))), ValueError),
    ],
)
def test_errors(call, expected):
    with pytest.raises(expected):
        call()
