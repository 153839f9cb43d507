"""Every optimizer update with every option as one call: update(k, p, g, states, rows, clip).

`states` maps the names in `Update.states` to arrays like p; clip is (scale, limit, decay).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from compare import drawn


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
        known = {"mean": mean, "velocity": velocity, "square": square, "memory": square}
        states = {name: known[name].astype(dtype) for name in self.states}
        return p.astype(dtype), g.astype(dtype), states


def _sgd(name, momentum, dampening, nesterov, first):
    def call(k, p, g, s, rows, clip):
        scale, limit, decay = clip
        velocity = s.get("velocity")
        k.sgd(p, g, velocity, rows, scale, limit, 0.1, decay, momentum, dampening, nesterov, first)

    return Update(name, ("velocity",) if momentum else (), True, call)


def _adagrad(name, inside):
    def call(k, p, g, s, rows, clip):
        scale, limit, decay = clip
        k.adagrad(p, g, s["memory"], rows, scale, limit, 0.1, decay, 1e-8, inside)

    return Update(name, ("memory",), True, call)


def _rmsprop(name, *states):
    def call(k, p, g, s, rows, clip):
        scale, limit, decay = clip
        momentum = 0.9 if "velocity" in s else 0.0
        k.rmsprop(
            p, g, s["square"], s.get("mean"), s.get("velocity"), scale, limit, 0.01, decay,
            0.95, 1e-8, momentum,
        )  # fmt: skip

    return Update(name, states, False, call)


def _adam(name, step, decoupled):
    def call(k, p, g, s, rows, clip):
        scale, limit, decay = clip
        k.adam(
            p, g, s["mean"], s["square"], scale, limit, 0.01, decay, 0.9, 0.99, 1e-8, step,
            decoupled,
        )  # fmt: skip

    return Update(name, ("mean", "square"), False, call)


UPDATES = (
    _sgd("sgd", 0.0, 0.0, False, False),
    _sgd("sgd-momentum-first", 0.9, 0.3, False, True),
    _sgd("sgd-momentum", 0.9, 0.3, False, False),
    _sgd("sgd-nesterov", 0.9, 0.0, True, False),
    _adagrad("adagrad", False),
    _adagrad("adagrad-eps-inside", True),
    _rmsprop("rmsprop", "square"),
    _rmsprop("rmsprop-centred", "square", "mean"),
    _rmsprop("rmsprop-momentum", "square", "velocity"),
    _rmsprop("rmsprop-centred-momentum", "square", "mean", "velocity"),
    _adam("adam", 1, False),
    _adam("adam-later", 1000, False),
    _adam("adamw", 7, True),
)
