"""The oracle's optimizer updates against closed forms over the whole history of gradients.

A running mean with rate r that starts at zero is (1 − r) Σᵢ rⁿ⁻ⁱ vᵢ after n steps; the same
sum without (1 − r) is a velocity. PyTorch's optimizers, where installed, say it again.
"""

import math

import numpy as np
import pytest

from fastseq._kernels.records import (
    AdagradOptions,
    AdamOptions,
    Clip,
    RMSpropOptions,
    SGDOptions,
)

SHAPE = (3, 4)
STEPS = 5
CLOSE = {"rtol": 1e-11, "atol": 1e-13}


def decayed(values, rate):
    """Σᵢ rateⁿ⁻ⁱ vᵢ."""
    return sum(rate ** (len(values) - 1 - i) * v for i, v in enumerate(values))


def mean_of(values, rate):
    return (1 - rate) * decayed(values, rate)


def clipped(g, p, clip):
    return np.clip(clip.scale * g, -clip.limit, clip.limit) + clip.weight_decay * p


def run(update, rng, clip):
    """Parameters before and after every step, and what each step takes for its gradient.

    `update` is called with (p, g, step) and changes p in place.
    """
    p = rng.normal(size=SHAPE)
    path, gradients = [p.copy()], []
    for step in range(1, STEPS + 1):
        g = rng.normal(size=SHAPE) * 2
        gradients.append(clipped(g, p, clip))
        update(p, g, step)
        path.append(p.copy())
    return path, gradients


CLIPS = [
    Clip(1.0, math.inf, 0.0), Clip(0.25, math.inf, 0.1), Clip(1.0, 0.5, 0.0), Clip(3.0, 0.5, 0.1),
]  # fmt: skip
clips = pytest.mark.parametrize("clip", CLIPS)


@clips
@pytest.mark.parametrize(
    ("momentum", "dampening", "nesterov"),
    [(0.0, 0.0, False), (0.9, 0.0, False), (0.9, 0.3, False), (0.9, 0.0, True)],
)
def test_sgd(truth, rng, clip, momentum, dampening, nesterov):
    lr, buffer = 0.1, np.full(SHAPE, np.nan) if momentum else None

    def update(p, g, step):
        options = SGDOptions(lr, momentum, dampening, nesterov, step == 1)
        truth.sgd(p, g, buffer, None, clip, options)

    path, d = run(update, rng, clip)
    for n in range(1, STEPS + 1):
        # The first gradient enters the velocity undamped.
        v = decayed([d[0]] + [(1 - dampening) * one for one in d[1:n]], momentum)
        direction = d[n - 1] + momentum * v if nesterov else v
        np.testing.assert_allclose(path[n], path[n - 1] - lr * direction, **CLOSE)


@clips
@pytest.mark.parametrize("inside", [True, False])
def test_adagrad(truth, rng, clip, inside):
    lr, eps, sums = 0.1, 1e-3, np.zeros(SHAPE)

    def update(p, g, step):
        truth.adagrad(p, g, sums, None, clip, AdagradOptions(lr, eps, inside))

    path, d = run(update, rng, clip)
    for n in range(1, STEPS + 1):
        total = sum(one**2 for one in d[:n])
        root = (total + eps) ** 0.5 if inside else total**0.5 + eps
        np.testing.assert_allclose(path[n], path[n - 1] - lr * d[n - 1] / root, **CLOSE)


@clips
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_rmsprop(truth, rng, clip, centred, momentum):
    lr, alpha, eps, square_avg = 0.01, 0.9, 1e-3, np.zeros(SHAPE)
    grad_avg = np.zeros(SHAPE) if centred else None
    buffer = np.zeros(SHAPE) if momentum else None
    options = RMSpropOptions(lr, alpha, eps, momentum)

    def update(p, g, step):
        truth.rmsprop(p, g, square_avg, grad_avg, buffer, clip, options)

    path, d = run(update, rng, clip)
    directions = []
    for n in range(1, STEPS + 1):
        variance = mean_of([one**2 for one in d[:n]], alpha)
        if centred:
            variance = variance - mean_of(d[:n], alpha) ** 2
        directions.append(d[n - 1] / (variance**0.5 + eps))
        np.testing.assert_allclose(
            path[n], path[n - 1] - lr * decayed(directions, momentum), rtol=1e-9
        )


@clips
@pytest.mark.parametrize("decoupled", [True, False])
def test_adam(truth, rng, clip, decoupled):
    lr, beta1, beta2, eps = 0.01, 0.9, 0.99, 1e-3
    exp_avg, exp_avg_sq = np.zeros(SHAPE), np.zeros(SHAPE)
    decay = clip.weight_decay

    def update(p, g, step):
        options = AdamOptions(lr, beta1, beta2, eps, step, decoupled)
        truth.adam(p, g, exp_avg, exp_avg_sq, clip, options)

    path, d = run(update, rng, clip._replace(weight_decay=0.0) if decoupled else clip)
    for n in range(1, STEPS + 1):
        m = mean_of(d[:n], beta1) / (1 - beta1**n)
        v = mean_of([one**2 for one in d[:n]], beta2) / (1 - beta2**n)
        start = path[n - 1] * (1 - lr * decay) if decoupled else path[n - 1]
        np.testing.assert_allclose(path[n], start - lr * m / (v**0.5 + eps), **CLOSE)


def test_sum_squares(truth, rng):
    g = rng.normal(size=SHAPE)
    assert truth.sum_squares(g, None) == pytest.approx(np.linalg.norm(g) ** 2, rel=1e-14)
    rows = np.array([2, 0])
    assert truth.sum_squares(g, rows) == pytest.approx((g[rows] ** 2).sum(), rel=1e-14)


# -- PyTorch -------------------------------------------------------------------------------


def against_pytorch(rng, kind, options, update):
    torch = pytest.importorskip("torch")
    start = rng.normal(size=SHAPE)
    theirs = torch.tensor(start, requires_grad=True)
    optimizer = getattr(torch.optim, kind)([theirs], **options)
    ours = start.copy()
    for step in range(1, STEPS + 1):
        g = rng.normal(size=SHAPE)
        theirs.grad = torch.tensor(g)
        optimizer.step()
        update(ours, g, step)
        np.testing.assert_allclose(ours, theirs.detach().numpy(), **CLOSE)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1, "weight_decay": 0.05},
        {"lr": 0.1, "weight_decay": 0.05, "momentum": 0.9, "dampening": 0.2},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ],
)
def test_sgd_against_pytorch(truth, rng, options):
    o = {"weight_decay": 0.0, "momentum": 0.0, "dampening": 0.0, "nesterov": False} | options
    buffer = np.full(SHAPE, np.nan) if o["momentum"] else None
    clip = Clip(1.0, math.inf, o["weight_decay"])
    values = o["lr"], o["momentum"], o["dampening"], o["nesterov"]

    def update(p, g, step):
        truth.sgd(p, g, buffer, None, clip, SGDOptions(*values, step == 1))

    against_pytorch(rng, "SGD", options, update)


DECAYING = Clip(1.0, math.inf, 0.05)


def test_adagrad_against_pytorch(truth, rng):
    sums, options = np.full(SHAPE, 0.3), AdagradOptions(0.1, 1e-3, False)
    against_pytorch(
        rng, "Adagrad",
        {"lr": 0.1, "weight_decay": 0.05, "eps": 1e-3, "initial_accumulator_value": 0.3},
        lambda p, g, step: truth.adagrad(p, g, sums, None, DECAYING, options),
    )  # fmt: skip


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_rmsprop_against_pytorch(truth, rng, centred, momentum):
    square_avg, options = np.zeros(SHAPE), RMSpropOptions(0.01, 0.9, 1e-3, momentum)
    grad_avg, buffer = np.zeros(SHAPE) if centred else None, np.zeros(SHAPE) if momentum else None
    against_pytorch(
        rng, "RMSprop",
        {"lr": 0.01, "weight_decay": 0.05, "alpha": 0.9, "eps": 1e-3, "centered": centred,
         "momentum": momentum},
        lambda p, g, step: truth.rmsprop(p, g, square_avg, grad_avg, buffer, DECAYING, options),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_adam_against_pytorch(truth, rng, kind):
    exp_avg, exp_avg_sq = np.zeros(SHAPE), np.zeros(SHAPE)

    def update(p, g, step):
        options = AdamOptions(0.01, 0.9, 0.99, 1e-3, step, kind == "AdamW")
        truth.adam(p, g, exp_avg, exp_avg_sq, DECAYING, options)

    against_pytorch(
        rng, kind, {"lr": 0.01, "weight_decay": 0.05, "betas": (0.9, 0.99), "eps": 1e-3}, update
    )
