"""The oracle's own truth: its gradients against central differences, and against PyTorch."""

import math
from dataclasses import replace

import numpy as np
import one_layer
import pytest
from cases import CELLS, GRADIENT_CELLS, HEADS
from compare import same_bits

from fastseq._kernels.cells import BY_NAME
from fastseq._kernels.records import LinearGrads, Weights

STEP = 1e-5  # truncation and rounding both leave errors near 1e-10


def differences(value, a):
    """d value() / d a, by moving each element of `a` in place."""
    gradient = np.empty_like(a)
    for at in np.ndindex(a.shape):
        middle = a[at]
        a[at] = middle + STEP
        above = value()
        a[at] = middle - STEP
        below = value()
        a[at] = middle
        gradient[at] = (above - below) / (2 * STEP)
    return gradient


def assert_gradient(got, value, a, name):
    np.testing.assert_allclose(got, differences(value, a), rtol=1e-7, atol=1e-8, err_msg=name)


# -- cells ---------------------------------------------------------------------------------


def assert_away_from_kinks(case, states):
    """Central differences say nothing where relu's argument changes sign within a step."""
    assert np.abs(states.gates[case.active()]).min() > 100 * STEP


@pytest.mark.parametrize("case", GRADIENT_CELLS, ids=str)
def test_cell_gradients(truth, case):
    a = case.arrays("float64")
    active = case.active()

    def loss():
        states = one_layer.forward(truth, case, a)
        h, c = one_layer.final(case, states)
        total = (a.dy * one_layer.outputs(case, states))[active].sum() + (a.dh * h).sum()
        return total + (0.0 if c is None else (a.dc * c).sum())

    states = one_layer.forward(truth, case, a)
    if case.cell == "rnn_relu":
        assert_away_from_kinks(case, states)
    gradients = one_layer.backward(truth, case, a, states)
    for name in ("x", *Weights._fields, "h0", "c0"):
        if getattr(a, name) is not None:
            assert_gradient(gradients[name], loss, getattr(a, name), name)


@pytest.mark.parametrize("case", [case for case in GRADIENT_CELLS if case.lengths], ids=str)
def test_padding_is_never_looked_at(k, dtype, case):
    """NaN in the padding of every input changes no bit of any result."""
    results = []
    for padding in (0.0, np.nan):
        a = case.arrays(dtype)
        if case.resets:
            a.resets[~case.active()] = np.isnan(padding)
        a.x[~case.active()] = a.dy[~case.active()] = padding
        states = one_layer.forward(k, case, a)
        gradients = one_layer.backward(k, case, a, states)
        results.append([states.y, states.h_n, *gradients.values()])
        assert np.isfinite(states.y[case.active()]).all()
        assert all(np.isfinite(gradients[name]).all() for name in ("x", "w_ih", "w_hh", "h0"))
    assert all(same_bits(*pair) for pair in zip(*results, strict=True))


@pytest.mark.parametrize("case", [case for case in GRADIENT_CELLS if case.lengths], ids=str)
def test_final_states_are_those_of_the_last_steps(k, dtype, case):
    """Where a sequence has ended; the initial state where it has no steps."""
    a = case.arrays(dtype)
    states = one_layer.forward(k, case, a)
    for b, length in enumerate(case.lengths):
        last = 0 if case.reverse else length - 1
        for end, steps, start in (("h_n", "y", "h0"), ("c_n", "c", "c0")):
            if getattr(states, end) is not None:
                want = getattr(states, steps)[last, b] if length else getattr(a, start)[b]
                assert same_bits(getattr(states, end)[b], want)


# PyTorch has these families, and refuses rows of length 0.
TORCH_CASES = [
    replace(case, lengths=case.lengths and tuple(max(n, 1) for n in case.lengths))
    for case in CELLS
    if case.H <= 17 and not case.resets and BY_NAME[case.cell].family in ("lstm", "gru", "rnn")
]


def torch_layer(torch, case, a):
    """PyTorch's layer with the parameters of the case, which are also returned by our names.

    The reverse direction is the second half of a bidirectional layer.
    """
    options = {"proj_size": case.projection} if case.projection else {}
    if case.cell.startswith("rnn_"):
        options["nonlinearity"] = case.cell.removeprefix("rnn_")
    kind = getattr(torch.nn, case.cell.partition("_")[0].upper())
    layer = kind(
        case.I, case.H, bias=case.bias, bidirectional=case.reverse, dtype=torch.float64, **options
    )
    suffix = "_l0_reverse" if case.reverse else "_l0"
    parameters = {
        name: getattr(layer, name.replace("w_", "weight_").replace("b_", "bias_") + suffix)
        for name in Weights._fields
        if getattr(a, name) is not None
    }
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(getattr(a, name)))
    return layer, parameters


@pytest.mark.parametrize("case", TORCH_CASES, ids=str)
def test_cell_against_pytorch(truth, case):
    torch = pytest.importorskip("torch")
    a = case.arrays("float64")
    layer, parameters = torch_layer(torch, case, a)
    inputs = {
        name: torch.from_numpy(getattr(a, name)).requires_grad_()
        for name in ("x", "h0", "c0")
        if getattr(a, name) is not None
    }
    start = [
        torch.stack([torch.zeros_like(inputs[name])] * case.reverse + [inputs[name]])
        for name in ("h0", "c0")
        if name in inputs
    ]
    rnn = torch.nn.utils.rnn
    lengths = a.lengths if case.lengths else np.full(case.B, case.T)
    packed = rnn.pack_padded_sequence(inputs["x"], torch.from_numpy(lengths), enforce_sorted=False)
    y, end = layer(packed, tuple(start) if len(start) == 2 else start[0])
    y = rnn.pad_packed_sequence(y, total_length=case.T)[0][..., -case.P :]
    h, c = (end[0][-1], end[1][-1]) if case.row.has_c else (end[-1], None)

    states = one_layer.forward(truth, case, a)
    active = case.active()
    close = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(
        one_layer.outputs(case, states)[active], y.detach().numpy()[active], **close
    )
    for ours, theirs in zip(one_layer.final(case, states), (h, c), strict=True):
        if ours is not None:
            np.testing.assert_allclose(ours, theirs.detach().numpy(), **close)

    loss = (y * torch.from_numpy(a.dy)).sum() + (h * torch.from_numpy(a.dh)).sum()
    if c is not None:
        loss = loss + (c * torch.from_numpy(a.dc)).sum()
    loss.backward()
    gradients = one_layer.backward(truth, case, a, states)
    for name, tensor in (parameters | inputs).items():
        np.testing.assert_allclose(gradients[name], tensor.grad.numpy(), err_msg=name, **close)


# -- head ----------------------------------------------------------------------------------


def head_arrays(rng, N, V, H):
    """h, w, b, targets with some rows left out."""
    targets = rng.integers(0, V, N)
    targets[1::4] = -1
    return rng.normal(size=(N, H)), rng.normal(size=(V, H)), rng.normal(size=V), targets


def losses_formula(z, targets):
    """log Σ eᶻ − z[target], 0 where the target is negative."""
    losses = np.logaddexp.reduce(z, axis=1) - np.take_along_axis(z, targets[:, None], 1)[:, 0]
    return np.where(targets < 0, 0.0, losses)


@pytest.mark.parametrize(("N", "V", "H"), [head for head in HEADS if np.prod(head) < 2000])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale", [0.7, None])
def test_head_gradients(truth, rng, N, V, H, bias, scale):
    h, w, b, targets = head_arrays(rng, N, V, H)
    b = b if bias else None
    losses = np.full(N, np.nan)
    factor = 1 / max(1, np.count_nonzero(targets >= 0)) if scale is None else scale

    def loss():
        truth.linear_cross_entropy(h, w, b, targets, losses)
        return factor * losses.sum()

    loss()
    z = h @ w.T + (b if bias else 0.0)
    np.testing.assert_allclose(losses, losses_formula(z, targets), rtol=1e-12, atol=1e-12)
    dh, dw, db = np.full_like(h, np.nan), np.full_like(w, np.nan), np.full(V, np.nan)
    other = np.full(N, np.nan)
    grads = LinearGrads(dh, dw, db if bias else None)
    total = truth.linear_cross_entropy_with_grads(h, w, b, targets, other, grads, scale, False)
    assert np.array_equal(losses, other)
    assert math.isclose(total, losses.sum(), rel_tol=1e-12)
    assert_gradient(dh, loss, h, "h")
    assert_gradient(dw, loss, w, "w")
    if bias:
        assert_gradient(db, loss, b, "b")


def test_softmax_gradients(truth, rng):
    z = rng.normal(size=(5, 7)) * 3
    targets = np.array([0, 6, -1, 3, 3])
    losses, dz = np.full(5, np.nan), np.full((5, 7), np.nan)

    def loss():
        truth.softmax_cross_entropy(z, targets, 1.0, losses, None)
        return 0.7 * losses.sum()

    loss()
    np.testing.assert_allclose(losses, losses_formula(z, targets), rtol=1e-12, atol=1e-12)
    truth.softmax_cross_entropy(z, targets, 0.7, losses, dz)
    assert_gradient(dz, loss, z, "logits")


# -- linear kernels ------------------------------------------------------------------------


def test_row_kernels_are_adjoint(truth, rng):
    """⟨gather(table), r⟩ = ⟨table, scatter(r)⟩ for all tables and r, and ids that repeat."""
    ids = np.array([4, 0, 4, 2, 4])
    table, r = rng.normal(size=(6, 3)), rng.normal(size=(5, 3))
    out, back = np.empty((5, 3)), np.zeros((6, 3))
    truth.gather_rows(table, ids, None, out)
    truth.scatter_add_rows(r, ids, back)
    assert np.array_equal(out, table[ids])
    np.testing.assert_allclose((out * r).sum(), (table * back).sum(), rtol=1e-13)
    assert not back[[1, 3, 5]].any()


def test_sum_rows_is_the_gradient_of_a_bias(truth, rng):
    a, start = rng.normal(size=(6, 3)), rng.normal(size=3)
    out = start.copy()
    truth.sum_rows(a, out)
    np.testing.assert_allclose(out, start + a.sum(axis=0), rtol=1e-13)
