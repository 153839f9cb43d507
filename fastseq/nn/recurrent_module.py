"""What recurrent layers and cells share: parameters, attributes that cannot be changed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..checks import check_memory
from . import init
from .checks import zeros
from .generator import own_generator
from .module import Module, PendingCalls
from .parameter import Parameter

# Attributes that have shaped the parameters.
FIXED = ("cell", "dtype", "input_size", "hidden_size", "num_layers", "bias", "bidirectional",
         "proj_size", "nonlinearity")  # fmt: skip


class RecurrentModule(Module):
    """Base class of recurrent layers and cells.

    A subclass assigns `dtype` and its sizes, and then calls `_make_parameters`.
    """

    dtype: np.dtype
    hidden_size: int
    _core: Any = None  # the functional core on the present parameters, made when it is needed

    def _make_parameters(
        self, sizes: str, shapes: Iterable[tuple[str, tuple[int, ...]]], seed: int | None
    ) -> None:
        """Create the parameters of these names and shapes, and draw their values.

        sizes: the arguments that an error names where memory does not suffice.
        """
        shapes = list(shapes)
        size = sum(math.prod(shape) for _, shape in shapes)
        check_memory(sizes, 2 * size * self.dtype.itemsize)
        self._rng = own_generator(seed)
        self._pending = PendingCalls()
        for name, shape in shapes:
            setattr(self, name, Parameter(zeros(self.dtype, *shape)))
        self.flatten_parameters()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew from U(−1/√H, 1/√H), where H is the hidden size."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter.data, -bound, bound, self._rng)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and name in vars(self):
            raise AttributeError(
                f"{name}: cannot be changed, since the parameters depend on it; make a new one"
            )
        super().__setattr__(name, value)
        if isinstance(value, Parameter):
            self._core = None  # it holds the parameter that was here

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_core": None}
