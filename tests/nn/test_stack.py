"""The functional core: a stack whose first layer reads tokens instead of a matrix."""

import numpy as np
import pytest

from fastseq import nn
from fastseq._kernels.cells import CELLS
from fastseq.nn.recurrence import Recurrence, bias_gradients, input_bias, project
from fastseq.nn.stack import Stack

V, H, T = 6, 5, 4
KINDS = [(row, P) for row in CELLS for P in (0, 3) if not P or row.can_project]
every_kind = pytest.mark.parametrize(
    ("row", "P"), KINDS, ids=[f"{row.name}-P{P}" if P else row.name for row, P in KINDS]
)


class Tokens:
    """The input projection of one-hot vectors: a row of the transposed weight for each token."""

    def __init__(self, ids):
        self.ids = ids

    def forward(self, layer, out):
        out[...] = layer.w_ih.data.T[self.ids]
        bias = input_bias(layer)
        if bias is not None:
            out += bias

    def backward(self, layer, saved, accumulate):
        dw = np.zeros_like(layer.w_ih.data.T)
        np.add.at(dw, self.ids, saved.gates)
        layer.w_ih.grad[...] = layer.w_ih.grad + dw.T if accumulate else dw.T
        bias_gradients(layer, saved.gates, saved.inner, accumulate)


def stack_of(row, P, layers, directions, bias, rng):
    """Random layers in double precision."""
    built, inputs = [], V
    for _ in range(layers):
        shapes = dict(row.parameter_shapes(inputs, H, bias, P))
        built.append([])
        for suffix in ("", "_reverse")[:directions]:
            parameters = {
                name + suffix: nn.Parameter(rng.normal(size=shape) / 2)
                for name, shape in shapes.items()
            }
            built[-1].append(Recurrence.of(row, parameters, suffix))
        inputs = directions * (P or H)
    return Stack(built)


def parameters_of(stack):
    names = ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
    everything = (getattr(one, n) for layer in stack.layers for one in layer for n in names)
    return [p for p in everything if p is not None]


def run(stack, x, batch, dy, dstates, accumulate, dx=None):
    """Everything that both passes give."""
    for p in parameters_of(stack):
        p.grad = np.full(p.shape, 3.0)
    y, (h_n, c_n), call = stack.forward(x, (None, None), batch, True)
    dh, dc = dstates[0].copy(), dstates[1].copy() if c_n is not None else None
    stack.backward(call, dy, (dh, dc), dx, accumulate)
    results = [y.copy(), h_n, dh] + ([] if c_n is None else [c_n, dc])
    return results + [p.grad.copy() for p in parameters_of(stack)]


@every_kind
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
def test_tokens_equal_one_hot_vectors(build, row, P, directions, bias, ragged, rng):
    batch_sizes = np.array([3, 3, 2, 1]) if ragged else None
    N, B, K = (9 if ragged else 3 * T), 3, 2 * directions
    stack = stack_of(row, P, 2, directions, bias, rng)
    ids = rng.integers(0, V, N)
    dy = rng.normal(size=(N, directions * (P or H)))
    dstates = rng.normal(size=(K, B, P or H)), rng.normal(size=(K, B, H))
    accumulate = ragged
    arguments = (N, B, batch_sizes), dy, dstates, accumulate
    want = run(stack, np.eye(V)[ids], *arguments, dx=np.empty((N, V)))
    for got, expected in zip(run(stack, Tokens(ids), *arguments), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@every_kind
def test_project_is_the_input_projection_of_a_layer(build, row, P, rng):
    layer = stack_of(row, P, 1, 1, True, rng).layers[0][0]
    x, out = rng.normal(size=(7, V)), np.full((7, layer.width), np.nan)
    project(x, layer, out)
    bias = layer.b_ih.data + layer.b_hh.data
    inner = row.inner_gates * H
    bias[layer.width - inner :] = layer.b_ih.data[layer.width - inner :]
    np.testing.assert_allclose(out, x @ layer.w_ih.data.T + bias, rtol=1e-12, atol=1e-13)
    assert input_bias(layer).tobytes() == bias.tobytes()
