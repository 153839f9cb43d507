"""Tuples in which kernels take arguments that belong together."""

from typing import NamedTuple

import numpy as np


class LinearGrads(NamedTuple):
    """Gradients of a linear layer's input (M, H), weight (V, H) and bias (V,) or None."""

    dh: np.ndarray
    dw: np.ndarray
    db: np.ndarray | None


class Clip(NamedTuple):
    """What an update makes of a gradient: clip(scale · g, ±limit) + weight_decay · p."""

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
