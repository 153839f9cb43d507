"""Linear, Embedding, Dropout, clipping and initial values."""

import math

import numpy as np
import pytest

from fastseq import nn

TOLERANCE = {"float32": 1e-6, "float64": 1e-13}


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)  # its threads wait for each other where the machine is busy
    return module


def close(ours, theirs, dtype):
    theirs = theirs.detach().numpy()
    scale = max(1.0, np.abs(theirs).max(initial=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=scale * TOLERANCE[str(dtype)])


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 4, 3), (0, 3), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(build, torch, shape, bias, dtype, rng):
    ours = nn.Linear(3, 4, bias, dtype=dtype, seed=0)
    theirs = torch.nn.Linear(3, 4, bias, dtype=getattr(torch, dtype.name))
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    x, dy = rng.normal(size=shape).astype(dtype), rng.normal(size=(*shape[:-1], 4)).astype(dtype)
    tx = torch.from_numpy(x).requires_grad_()
    for _ in range(2):  # gradients accumulate
        y, ty = ours(x), theirs(tx)
        dx = ours.backward(dy)
        tx.grad = None
        ty.backward(torch.from_numpy(dy))
    close(y, ty, dtype)
    close(dx, tx.grad, dtype)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, dtype)
    assert np.abs(ours.weight.data).max() <= 1 / math.sqrt(3)


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", ">i8"])
def test_embedding(build, torch, padding_idx, kind, dtype, rng):
    ours = nn.Embedding(6, 3, padding_idx, dtype=dtype, seed=0)
    theirs = torch.nn.Embedding(6, 3, padding_idx, dtype=getattr(torch, dtype.name))
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    for _ in range(2):
        ids = rng.integers(0, 6, (4, 2))
        dy = rng.normal(size=(4, 2, 3)).astype(dtype)
        y, ty = ours(ids.astype(kind)), theirs(torch.from_numpy(ids))
        ours.backward(dy)
        ty.backward(torch.from_numpy(dy))
        close(y, ty, dtype)
        close(ours.weight.grad, theirs.weight.grad, dtype)
    touched = set(ours.weight.rows.tolist())
    assert set(np.flatnonzero(ours.weight.grad.any(axis=1))) <= touched
    if padding_idx is not None:
        assert padding_idx % 6 not in touched
        assert not nn.Embedding(6, 3, padding_idx).weight.data[padding_idx].any()
    ours.zero_grad()
    assert not ours.weight.grad.any()


def test_embedding_of_nothing():
    layer = nn.Embedding(6, 3)
    assert layer(np.zeros((0, 2), int)).shape == (0, 2, 3)
    layer.backward(np.zeros((0, 2, 3), np.float32))
    assert not layer.weight.grad.any()


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_dropout(p, dtype, rng):
    layer, x = nn.Dropout(p, seed=0), rng.normal(size=(100, 100)).astype(dtype) + 10
    y = layer(x)
    kept = y != 0
    assert abs(kept.mean() - (1 - p)) < 0.02
    if kept.any():
        np.testing.assert_allclose(y[kept], x[kept] / (1 - p), rtol=1e-6)
    np.testing.assert_array_equal(layer.backward(x), y)
    assert y.dtype == dtype
    assert layer.eval()(x) is x
    assert (nn.Dropout(p, seed=0)(x) == y).all()
    assert (layer.train()(x) != y).any() == (0 < p < 1)


# -- clipping ----------------------------------------------------------------------------------


def gradients(rng, torch, dtype):
    """Dense and row-sparse parameters with gradients, and PyTorch's of the same values."""
    ours = [nn.Parameter(np.zeros((3, 2), dtype)), nn.Parameter(np.zeros(4, dtype))]
    ours += [nn.Parameter(np.zeros((5, 2), dtype), row_sparse=True)]
    for p in ours[:2]:
        p.grad = rng.normal(size=p.shape)
    ours[2].mark_rows(np.array([3, 1, 3]))
    ours[2].grad[[1, 3]] = rng.normal(size=(2, 2))
    theirs = [torch.zeros(p.shape, dtype=getattr(torch, dtype.name)) for p in ours]
    for p, q in zip(ours, theirs, strict=True):
        q.grad = torch.from_numpy(p.grad.copy())
    return ours, theirs


@pytest.mark.parametrize("max_norm", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
def test_clip_grad_norm(build, torch, max_norm, norm_type, dtype, rng):
    ours, theirs = gradients(rng, torch, dtype)
    norm = nn.utils.clip_grad_norm_(iter(ours), max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert norm == pytest.approx(float(expected), rel=TOLERANCE[dtype.name])
    for p, q in zip(ours, theirs, strict=True):
        close(p.grad, q.grad, dtype)


def test_clip_grad_value(torch, dtype, rng):
    ours, theirs = gradients(rng, torch, dtype)
    nn.utils.clip_grad_value_(ours, 0.5)
    torch.nn.utils.clip_grad_value_(theirs, 0.5)
    for p, q in zip(ours, theirs, strict=True):
        close(p.grad, q.grad, dtype)
    nn.utils.clip_grad_value_(ours[0], 0.1)
    assert np.abs(ours[0].grad).max() == dtype.type(0.1)


# -- initial values ----------------------------------------------------------------------------


def test_init(dtype):
    rng, array = np.random.default_rng(0), np.empty((60, 40), dtype)
    assert nn.init.uniform_(array, -2, 3, rng) is array
    assert -2 <= array.min() < -1.9
    assert 2.9 < array.max() <= 3
    nn.init.normal_(array, 5, 2, rng)
    assert abs(array.mean() - 5) < 0.2
    assert abs(array.std() - 2) < 0.1
    nn.init.xavier_uniform_(array, 2, rng)
    assert 0.95 < np.abs(array).max() / (2 * math.sqrt(6 / 100)) <= 1
    nn.init.orthogonal_(array, 3, rng)
    np.testing.assert_allclose(array.T @ array, 9 * np.eye(40), atol=1e-4)
    nn.init.orthogonal_(array.T, rng=rng)
    np.testing.assert_allclose(array.T @ array, np.eye(40), atol=1e-5)
    assert not nn.init.zeros_(array).any()
    with pytest.raises(ValueError, match="matrix"):
        nn.init.orthogonal_(array[0])
