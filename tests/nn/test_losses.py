"""Losses and their gradients against PyTorch and against central differences."""

import math
import warnings

import numpy as np
import pytest
from test_gradients import numerical
from test_layers import close

from fastseq import nn

SHAPES = [(5,), (4, 5), (3, 5, 2), (2, 5, 3, 2), (0, 5)]
REDUCTIONS = ["mean", "sum", "none"]
WEIGHT = [0.5, 2.0, 0.0, 1.0, 3.0]
# Name, arguments of our module, of PyTorch's: losses of classes.
CLASS_OPTIONS = {
    "plain": {},
    "weight": {"weight": WEIGHT},
    "smooth": {"label_smoothing": 0.3},
    "both": {"weight": WEIGHT, "label_smoothing": 0.3},
    "all smooth": {"label_smoothing": 1.0},
}
ELEMENT_LOSSES = {
    "mse": ("MSELoss", {}),
    "l1": ("L1Loss", {}),
    "huber": ("HuberLoss", {}),
    "huber 0.3": ("HuberLoss", {"delta": 0.3}),
    "smooth l1": ("SmoothL1Loss", {}),
    "smooth l1 0.3": ("SmoothL1Loss", {"beta": 0.3}),
    "smooth l1 0": ("SmoothL1Loss", {"beta": 0.0}),
    "bce": ("BCEWithLogitsLoss", {}),
    "bce weight": ("BCEWithLogitsLoss", {"weight": [0.5, 2.0, 0.0]}),
    "bce pos_weight": ("BCEWithLogitsLoss", {"pos_weight": [0.5, 2.0, 0.0]}),
    "bce both": ("BCEWithLogitsLoss", {"weight": [0.5, 2.0, 3.0], "pos_weight": [3.0, 1.0, 0.5]}),
}


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


def drawn(shape, ignore_index, rng):
    """Scores and targets, of which the second is ignored where there are more than two."""
    logits = rng.normal(size=shape) * 5
    targets = np.asarray(rng.integers(0, 5, shape[:1] + shape[2:] if len(shape) > 1 else ()))
    if targets.size > 2:
        targets.flat[1] = ignore_index
    return logits, targets


def both_modules(torch, name, options, dtype):
    """Ours, and PyTorch's with arrays as tensors."""
    tensors = {
        k: torch.tensor(v, dtype=getattr(torch, dtype)) if isinstance(v, list) else v
        for k, v in options.items()
    }
    return getattr(nn, name)(**options), getattr(torch.nn, name)(**tensors)


def compare(torch, modules, x, target, dtype, check_gradient=True):
    """Losses, and gradients of the loss or of Σ wᵢ lossᵢ."""
    ours, theirs = modules
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    loss, their_loss = ours(x, target), theirs(leaf, torch.from_numpy(target))
    close(loss, their_loss, dtype)
    assert isinstance(loss, np.ndarray if ours.reduction == "none" else float)
    if isinstance(loss, np.ndarray):
        assert loss.dtype == x.dtype
    weights = np.random.default_rng(1).normal(size=np.shape(loss)).astype(x.dtype)
    their_loss.backward(torch.from_numpy(np.asarray(weights)))
    grad = ours.backward(weights)
    assert grad.shape == x.shape
    assert grad.dtype == x.dtype
    if check_gradient:
        close(grad, leaf.grad, dtype)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("ignore_index", [-100, 1, -1])
@pytest.mark.parametrize("name", CLASS_OPTIONS)
def test_cross_entropy(build, torch, reduction, shape, ignore_index, name, dtype, rng):
    logits, targets = drawn(shape, ignore_index, rng)
    options = CLASS_OPTIONS[name] | {"ignore_index": ignore_index, "reduction": reduction}
    modules = both_modules(torch, "CrossEntropyLoss", options, dtype.name)
    # PyTorch's gradient of a mean over nothing is NaN.
    compare(torch, modules, logits.astype(dtype), targets, dtype, targets.size > 0)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("ignore_index", [-100, 1, -1])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weight"])
def test_nll_loss(torch, reduction, shape, ignore_index, weight, dtype, rng):
    scores, targets = drawn(shape, ignore_index, rng)
    options = {"weight": weight, "ignore_index": ignore_index, "reduction": reduction}
    modules = both_modules(torch, "NLLLoss", options, dtype.name)
    compare(torch, modules, scores.astype(dtype), targets, dtype, targets.size > 0)


@pytest.mark.parametrize("name", CLASS_OPTIONS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
def test_gradient_of_cross_entropy(name, reduction, shape, rng):
    logits, targets = drawn(shape, -100, rng)
    options = CLASS_OPTIONS[name] | {"reduction": reduction}
    _, gradient = nn.cross_entropy(logits, targets, **options)
    expected = numerical(lambda: np.sum(nn.cross_entropy(logits, targets, **options)[0]), logits)
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_nll_loss_after_log_softmax_is_the_cross_entropy(rng):
    logits, targets = rng.normal(size=(4, 5, 3)), rng.integers(0, 5, (4, 3))
    layer, criterion = nn.LogSoftmax(dim=1), nn.NLLLoss(WEIGHT)
    loss, grad = nn.cross_entropy(logits, targets, WEIGHT)
    assert criterion(layer(logits), targets) == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(layer.backward(criterion.backward()), grad, atol=1e-12)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]])
def test_cross_entropy_of_ignored_targets(label_smoothing, weight):
    loss, grad = nn.cross_entropy(
        np.ones((2, 3), np.float32), np.array([-100, -100]), weight,
        label_smoothing=label_smoothing,
    )  # fmt: skip
    assert math.isnan(loss)  # as in PyTorch: a mean over nothing
    assert not grad.any()


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_cross_entropy_of_large_and_infinite_logits(torch, label_smoothing):
    logits = np.array([[1e4, -1e4, 0.0], [-np.inf, 1.0, 2.0], [0.0, 3e38, -3e38]], np.float32)
    targets = np.array([1, 2, 0])
    losses, grad = nn.cross_entropy(
        logits, targets, reduction="none", label_smoothing=label_smoothing
    )
    leaf = torch.from_numpy(logits).requires_grad_()
    theirs = torch.nn.functional.cross_entropy(
        leaf, torch.from_numpy(targets), reduction="none", label_smoothing=label_smoothing
    )
    theirs.sum().backward()
    np.testing.assert_allclose(losses, theirs.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(grad, leaf.grad.numpy(), atol=1e-6)


@pytest.mark.parametrize("name", ELEMENT_LOSSES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 5, 3), (0, 3), ()], ids=str)
def test_losses_of_elements(torch, name, reduction, shape, dtype, rng):
    kind, options = ELEMENT_LOSSES[name]
    if shape == () and "weight" in str(options):
        shape = (1, 3)  # these weights are of three elements
    x, target = np.asarray(rng.normal(size=shape) * 2), np.asarray(rng.normal(size=shape))
    if kind == "BCEWithLogitsLoss":
        target = np.asarray(rng.integers(0, 3, shape) / 2)
    modules = both_modules(torch, kind, options | {"reduction": reduction}, dtype.name)
    compare(torch, modules, x.astype(dtype), target.astype(dtype), dtype, x.size > 0)


@pytest.mark.parametrize("name", ELEMENT_LOSSES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_of_losses_of_elements(name, reduction, rng):
    kind, options = ELEMENT_LOSSES[name]
    criterion = getattr(nn, kind)(**options, reduction=reduction)
    x, target = rng.normal(size=(4, 3)), rng.uniform(size=(4, 3))
    expected = numerical(lambda: np.sum(criterion(x, target)), x)
    criterion(x, target)
    np.testing.assert_allclose(criterion.backward(), expected, atol=1e-7)


def test_losses_where_both_are_equal(torch, dtype):
    x = np.zeros((2, 3), dtype)
    for name in ("L1Loss", "HuberLoss", "SmoothL1Loss", "MSELoss"):
        compare(torch, both_modules(torch, name, {}, dtype.name), x, x, dtype)


def test_binary_cross_entropy_of_large_logits(torch, dtype):
    x = np.array([1e4, -1e4, 1e4, -1e4, 3e38, -3e38], dtype)
    target = np.array([1, 1, 0, 0, 0, 1], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        modules = both_modules(torch, "BCEWithLogitsLoss", {"reduction": "none"}, dtype.name)
        compare(torch, modules, x, target, dtype)


CALLS = {
    "cross_entropy": lambda x, t: nn.cross_entropy(x, t, WEIGHT, label_smoothing=0.2),
    "nll_loss": lambda x, t: nn.nll_loss(x, t),
    "mse_loss": lambda x, t: nn.mse_loss(x, x[::-1]),
    "l1_loss": lambda x, t: nn.l1_loss(x, x[::-1]),
    "huber_loss": lambda x, t: nn.huber_loss(x, x[::-1]),
    "smooth_l1_loss": lambda x, t: nn.smooth_l1_loss(x, x[::-1]),
    "bce": lambda x, t: nn.binary_cross_entropy_with_logits(x, x[::-1], 2.0, pos_weight=3.0),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a.astype(a.dtype.newbyteorder())])
def test_losses_read_any_memory_layout_and_write_nothing(name, layout, dtype, rng):
    x, targets = rng.normal(size=(4, 5)).astype(dtype), np.array([0, -100, 3, 4])
    want = CALLS[name](x, targets)
    other, before = layout(x), x.copy()
    got = CALLS[name](other, targets)
    assert got[0] == pytest.approx(want[0], rel=1e-6)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-6)
    np.testing.assert_array_equal(other, before)
    assert targets.tolist() == [0, -100, 3, 4]
    assert not np.shares_memory(got[1], other)


# -- modules -----------------------------------------------------------------------------------


def test_weights_of_samples_are_those_of_the_losses(rng):
    logits, targets = rng.normal(size=(4, 5)), rng.integers(0, 5, 4)
    weights = rng.uniform(size=4)
    criterion = nn.CrossEntropyLoss(reduction="none")
    expected = numerical(lambda: float(criterion(logits, targets) @ weights), logits)
    criterion(logits, targets)
    with pytest.raises(RuntimeError, match=r"weights: expected the shape of the loss, \(4,\)"):
        criterion.backward(weights[:3])
    np.testing.assert_allclose(criterion.backward(weights), expected, atol=1e-8)


def test_a_gradient_is_given_once(rng):
    """So two losses of one criterion that wait at the same time are an error, not a mixture."""
    criterion, (a, b) = nn.MSELoss(), rng.normal(size=(2, 3))
    with pytest.raises(RuntimeError, match="no forward call in training mode"):
        criterion.backward()
    criterion(a, 0 * a)
    criterion(b, 0 * b)
    np.testing.assert_allclose(criterion.backward(), 2 * b / 3)
    with pytest.raises(RuntimeError, match="a criterion each"):
        criterion.backward()


def test_losses_of_validation_keep_the_gradient(rng):
    criterion, (a, b) = nn.MSELoss(), rng.normal(size=(2, 3))
    criterion(a, 0 * a)
    criterion.eval()
    criterion(b, 0 * b)
    np.testing.assert_allclose(criterion.backward(), 2 * a / 3)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda x, t: nn.cross_entropy(x, t, [1.0]), RuntimeError),
        (lambda x, t: nn.nll_loss(x, t, [1.0]), RuntimeError),
        (lambda x, t: nn.cross_entropy(x, t, label_smoothing=1.1), RuntimeError),
        (lambda x, t: nn.CrossEntropyLoss(label_smoothing=-0.1), RuntimeError),
        (lambda x, t: nn.nll_loss(x, t + 5), IndexError),
        (lambda x, t: nn.nll_loss(x, t.astype(float)), TypeError),
        (lambda x, t: nn.nll_loss(x, t, reduction="x"), ValueError),
        (lambda x, t: nn.huber_loss(x, x, delta=0.0), ValueError),
        (lambda x, t: nn.HuberLoss(delta=-1.0), ValueError),
        (lambda x, t: nn.smooth_l1_loss(x, x, beta=-1.0), ValueError),
        (lambda x, t: nn.SmoothL1Loss(beta=math.nan), ValueError),
        (lambda x, t: nn.l1_loss(x, x[:1]), RuntimeError),
        (lambda x, t: nn.L1Loss("x"), ValueError),
        (lambda x, t: nn.binary_cross_entropy_with_logits(x, x > 0), TypeError),
        (lambda x, t: nn.BCEWithLogitsLoss([1.0, 2.0])(x, x), RuntimeError),
        (lambda x, t: nn.BCEWithLogitsLoss(pos_weight=[1.0, 2.0])(x, x), RuntimeError),
    ],
)
def test_errors(call, expected):
    with pytest.raises(expected):
        call(np.zeros((2, 3)), np.array([0, 2]))
