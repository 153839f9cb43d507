"""Records in which layers hand arrays and options to a kernel, compiled or oracle."""

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Weights(NamedTuple):
    """Parameters of one layer in one direction, or their gradients.

    Attributes
    ----------
    w_ih : ndarray of shape (G·H, I), or None where the input projection comes from elsewhere
    w_hh : ndarray of shape (G·H, P)
    b_ih, b_hh : ndarray of shape (G·H,), or both None
    w_hr : ndarray of shape (P, H), or None; then P = H

    Among gradients, None marks one that is not wanted.
    """

    w_ih: Array | None
    w_hh: Array | None
    b_ih: Array | None = None
    b_hh: Array | None = None
    w_hr: Array | None = None


class Saved(NamedTuple):
    """Arrays of one call that `layer_backward` needs; `layer_forward` fills them.

    Attributes
    ----------
    gates : ndarray of shape (N, G·H)
        The input projection, where the call's x is None; afterwards the activated gates; after
        `layer_backward` the gradient of the input projection.
    c : ndarray of shape (N, H), or None unless the cell has a cell state
    inner : ndarray of shape (N, inner_gates·H), or None unless the cell has inner gates
        Their recurrent product, bias included; after `layer_backward` its gradient.
    unprojected : ndarray of shape (N, H), or None unless there is a projection
        The output before it is projected.
    """

    gates: Array
    c: Array | None = None
    inner: Array | None = None
    unprojected: Array | None = None


class LayerCall(NamedTuple):
    """One call of one layer in one direction: its inputs, its outputs, what it has saved.

    Sequences are packed: the B sequences are ordered by decreasing length, step t holds those that
    are longer than t, and the N = Σ lengths rows of all steps follow each other.

    Attributes
    ----------
    cell : int
        `Cell.id`.
    x : ndarray of shape (N, I), or None
        None: ``saved.gates`` holds the input projection.
    weights : Weights
    h0, c0 : ndarray of shape (B, P), (B, H), or None for zeros
    batch_sizes : ndarray of int64 of shape (T,), or None
        Sequences of each step; None: B at every step.
    reverse : bool
        Run from each sequence's last step to its first.
    y : ndarray of shape (N, P), OUT
        h of every step; rows may lie further apart than P.
    h_n : ndarray of shape (B, P), OUT
        State after each sequence's last step (reverse: its first).
    c_n : ndarray of shape (B, H), OUT, or None unless the cell has a cell state
    saved : Saved or None
        None: no `layer_backward` follows, and x is not None.
    resets : ndarray of uint8 of shape (N,), or None
        Other than 0: the state before this row's step, in the order of computation, is zero.
    """

    cell: int
    x: Array | None
    weights: Weights
    h0: Array | None
    c0: Array | None
    batch_sizes: Array | None
    reverse: bool
    y: Array
    h_n: Array
    c_n: Array | None
    saved: Saved | None
    resets: Array | None = None


class Gradients(NamedTuple):
    """Gradients that flow into `layer_backward` and out of it.

    Attributes
    ----------
    y : ndarray of shape (N, P), or None for zeros
        d loss / d y; rows may lie further apart than P.
    h, c : ndarray of shape (B, P), (B, H), INOUT
        d loss / d final state in, d loss / d initial state out; c is None unless the cell has a
        cell state.
    x : ndarray of shape (N, I), OUT or ACC, or None where it is not wanted
    add_to_x : bool
        Add to `x` instead of overwriting it.
    weights : Weights
        OUT or ACC; None where a gradient is not wanted.
    accumulate : bool
        Add to the gradients of `weights` instead of overwriting them.
    """

    y: Array | None
    h: Array
    c: Array | None
    x: Array | None
    add_to_x: bool
    weights: Weights
    accumulate: bool


class Draw(NamedTuple):
    """How the next token is drawn from its distribution.

    Attributes
    ----------
    temperature : float
        0 takes the most likely token.
    top_k, top_p, min_p : int, float, float
        Keep the k likeliest (0: all), the smallest set whose mass reaches p (1: all) [1]_,
        those at least min_p times as likely as the likeliest (0: all). Applied in this order.
    penalty : float
        A positive logit of a seen token is divided by it, a negative one multiplied [2]_.
    allowed : ndarray of uint8 of shape (V,), or None
        0 marks a token that is never drawn.

    References
    ----------
    .. [1] A. Holtzman et al., "The curious case of neural text degeneration", ICLR 2020.
    .. [2] N. Keskar et al., "CTRL: a conditional transformer language model", 2019.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    penalty: float
    allowed: Array | None


class LinearGrads(NamedTuple):
    """Gradients of a linear layer's input (M, H), weight (V, H) and bias (V,) or None."""

    dh: Array
    dw: Array
    db: Array | None


class Clip(NamedTuple):
    """How an update changes a gradient: clip(scale · g, ±limit) + weight_decay · p."""

    scale: float
    limit: float
    weight_decay: float


class SGDOptions(NamedTuple):
    """Options of `sgd`."""

    lr: float
    momentum: float
    dampening: float
    nesterov: bool
    first: bool


class AdagradOptions(NamedTuple):
    """Options of `adagrad`."""

    lr: float
    eps: float
    eps_inside: bool


class RMSpropOptions(NamedTuple):
    """Options of `rmsprop`."""

    lr: float
    alpha: float
    eps: float
    momentum: float


class AdamOptions(NamedTuple):
    """Options of `adam`."""

    lr: float
    beta1: float
    beta2: float
    eps: float
    step: int
    decoupled: bool
