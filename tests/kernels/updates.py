"""Every optimizer update with every option as one call: update(k, p, g, states, rows, clip).

`states` maps the names in `Update.states` to arrays like p; clip is a `Clip`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from compare import drawn

from fastseq._kernels.records import AdagradOptions, AdamOptions, RMSpropOptions, SGDOptions


class Update(NamedTuple):
    """One optimizer with one choice of options."""

    name: str
    states: tuple[str, ...]
    takes_rows: bool
    call: Callable[..., None]

    def __str__(self):
        return self.name

    def arrays(self, shape, dtype):
        """p, g and the states, away from points where rounding is magnified."""
        p, g, mean, velocity, spread = drawn(0, 5, *shape)
        square = mean * mean + np.float32(0.3) + spread * spread
        known = {"momentum_buffer": velocity, "sum_of_squares": square}
        known |= {"square_avg": square, "grad_avg": mean, "exp_avg": mean, "exp_avg_sq": square}
        states = {name: known[name].astype(dtype) for name in self.states}
        return p.astype(dtype), g.astype(dtype), states


def _sgd(name, momentum, dampening, nesterov, first):
    options = SGDOptions(0.1, momentum, dampening, nesterov, first)

    def call(k, p, g, s, rows, clip):
        k.sgd(p, g, s.get("momentum_buffer"), rows, clip, options)

    return Update(name, ("momentum_buffer",) if momentum else (), True, call)


def _adagrad(name, inside):
    def call(k, p, g, s, rows, clip):
        k.adagrad(p, g, s["sum_of_squares"], rows, clip, AdagradOptions(0.1, 1e-8, inside))

    return Update(name, ("sum_of_squares",), True, call)


def _rmsprop(name, *others):
    options = RMSpropOptions(0.01, 0.95, 1e-8, 0.9 if "momentum_buffer" in others else 0.0)

    def call(k, p, g, s, rows, clip):
        k.rmsprop(
            p, g, s["square_avg"], s.get("grad_avg"), s.get("momentum_buffer"), clip, options
        )

    return Update(name, ("square_avg", *others), False, call)


def _adam(name, step, decoupled):
    options = AdamOptions(0.01, 0.9, 0.99, 1e-8, step, decoupled)

    def call(k, p, g, s, rows, clip):
        k.adam(p, g, s["exp_avg"], s["exp_avg_sq"], clip, options)

    return Update(name, ("exp_avg", "exp_avg_sq"), False, call)


UPDATES = (
    _sgd("sgd", 0.0, 0.0, False, False),
    _sgd("sgd-momentum-first", 0.9, 0.3, False, True),
    _sgd("sgd-momentum", 0.9, 0.3, False, False),
    _sgd("sgd-nesterov", 0.9, 0.0, True, False),
    _adagrad("adagrad", False),
    _adagrad("adagrad-eps-inside", True),
    _rmsprop("rmsprop"),
    _rmsprop("rmsprop-centred", "grad_avg"),
    _rmsprop("rmsprop-momentum", "momentum_buffer"),
    _rmsprop("rmsprop-centred-momentum", "grad_avg", "momentum_buffer"),
    _adam("adam", 1, False),
    _adam("adam-later", 1000, False),
    _adam("adamw", 7, True),
)
