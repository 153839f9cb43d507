"""Clipping of gradients, and sequences of different lengths (`rnn`)."""

from . import rnn
from .clip import clip_coefficient, clip_grad_norm_, clip_grad_value_

__all__ = ["clip_coefficient", "clip_grad_norm_", "clip_grad_value_", "rnn"]
