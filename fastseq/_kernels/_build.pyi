"""Types of a build's kernels. The oracle's docstrings say what each of them computes."""

from collections.abc import Sequence

from .records import (
    AdagradOptions,
    AdamOptions,
    Array,
    Clip,
    Draw,
    Gradients,
    LayerCall,
    LinearGrads,
    RMSpropOptions,
    SGDOptions,
    Weights,
)

__all__ = [
    "NAME",
    "PackedStack",
    "adagrad",
    "adam",
    "clear_rows",
    "gather_rows",
    "layer_backward",
    "layer_forward",
    "linear_cross_entropy",
    "linear_cross_entropy_with_grads",
    "matmul",
    "rmsprop",
    "scatter_add_rows",
    "sgd",
    "softmax_cross_entropy",
    "sum_rows",
    "sum_squares",
    "unique_ids",
    "vexp",
    "vlog",
    "vsigmoid",
    "vtanh",
]

NAME: str

class PackedStack:
    def __init__(
        self,
        cell: int,
        layers: Sequence[Weights],
        table: Array | None = None,
        head: tuple[Array | None, Array | None] = (None, None),
    ) -> None: ...
    def step(self, x: Array, h: Array, c: Array | None) -> None: ...
    def decode(
        self,
        h: Array,
        c: Array | None,
        tokens: Array,
        log_probs: Array,
        uniforms: Array,
        draw_options: Draw,
        seen: Array | None,
    ) -> None: ...

def layer_forward(call: LayerCall) -> None: ...
def layer_backward(call: LayerCall, gradients: Gradients) -> None: ...
def matmul(a: Array, b: Array, out: Array, bias: Array | None, accumulate: bool) -> None: ...
def sum_rows(a: Array, out: Array) -> None: ...
def gather_rows(table: Array, ids: Array, bias: Array | None, out: Array) -> None: ...
def scatter_add_rows(rows: Array, ids: Array, table: Array) -> None: ...
def clear_rows(table: Array, ids: Array) -> None: ...
def unique_ids(ids: Array, marks: Array, out: Array) -> int: ...
def softmax_cross_entropy(
    logits: Array, targets: Array, scale: float, losses: Array, dlogits: Array | None
) -> None: ...
def linear_cross_entropy(
    h: Array, w: Array, b: Array | None, targets: Array, losses: Array
) -> None: ...
def linear_cross_entropy_with_grads(
    h: Array,
    w: Array,
    b: Array | None,
    targets: Array,
    losses: Array,
    grads: LinearGrads,
    scale: float,
    accumulate: bool,
) -> None: ...
def sum_squares(g: Array, rows: Array | None) -> float: ...
def sgd(
    p: Array,
    g: Array,
    momentum_buffer: Array | None,
    rows: Array | None,
    clip: Clip,
    options: SGDOptions,
) -> None: ...
def adagrad(
    p: Array,
    g: Array,
    sum_of_squares: Array,
    rows: Array | None,
    clip: Clip,
    options: AdagradOptions,
) -> None: ...
def rmsprop(
    p: Array,
    g: Array,
    square_avg: Array,
    grad_avg: Array | None,
    momentum_buffer: Array | None,
    clip: Clip,
    options: RMSpropOptions,
) -> None: ...
def adam(
    p: Array,
    g: Array,
    exp_avg: Array,
    exp_avg_sq: Array,
    clip: Clip,
    options: AdamOptions,
) -> None: ...
def vexp(x: Array, out: Array) -> None: ...
def vlog(x: Array, out: Array) -> None: ...
def vsigmoid(x: Array, out: Array) -> None: ...
def vtanh(x: Array, out: Array) -> None: ...
