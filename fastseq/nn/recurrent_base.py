"""What the recurrent layers share: parameters, checks of arguments, forward and backward."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from . import init
from .cells import GATES, Direction
from .checks import (
    MAX_LAYERS,
    check_array,
    check_int,
    check_lengths,
    check_memory,
    float_type,
    same_type,
    zeros,
)
from .module import Module, Parameter
from .stack import Layer, Stack
from .stepper import Stepper

KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")  # of parameters


class Recurrent(Module):
    """Base class of `RNN`, `LSTM` and `GRU`.

    In eval mode, and under `no_grad`, any number of threads may call one layer at once.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        dtype: npt.DTypeLike,
        seed: int | None,
    ) -> None:
        _check_options(bias, batch_first, dropout, num_layers)
        check_int("input_size", input_size)
        check_int("hidden_size", hidden_size)
        check_int("num_layers", num_layers, maximum=MAX_LAYERS)
        _check_projection(proj_size, hidden_size)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bool(bidirectional), proj_size
        self.cell, self.dtype = cell, float_type(dtype)
        self._suffixes = ("", "_reverse") if bidirectional else ("",)
        self._state_size = proj_size or hidden_size
        self._count = num_layers * len(self._suffixes)  # K
        self._rng = np.random.default_rng(seed)
        self._spare: list[Stack] = []  # each call takes one or makes one, so calls never share
        self._kept: tuple[Stack, int] | None = None
        size = sum(math.prod(shape) for _, shape in self._shapes())
        check_memory("input_size, hidden_size, num_layers", 2 * size * self.dtype.itemsize)
        for name, shape in self._shapes():
            setattr(self, name, Parameter(zeros(self.dtype, *shape)))
        self.flatten_parameters()
        self.reset_parameters()

    # -- parameters ------------------------------------------------------------------------

    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of all parameters."""
        rows, below = GATES[self.cell] * self.hidden_size, self.input_size
        for layer in range(self.num_layers):
            for suffix in self._suffixes:
                shapes: dict[str, tuple[int, ...]]
                shapes = {"weight_ih": (rows, below), "weight_hh": (rows, self._state_size)}
                if self.bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if self.proj_size:
                    shapes["weight_hr"] = (self.proj_size, self.hidden_size)
                for name, shape in shapes.items():
                    yield f"{name}_l{layer}{suffix}", shape
            below = self._state_size * len(self._suffixes)

    def reset_parameters(self) -> None:
        """Draw all parameters from U(−1/√H, 1/√H)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter.data, -bound, bound, self._rng)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if isinstance(value, Parameter):  # stacks hold on to the parameter that was here
            self._spare, self._kept = [], None

    def _stack(self, keep: bool) -> Stack:
        """A stack that nobody else uses, if need be the one that waits for `backward`."""
        if keep and self._kept is not None:
            stack, self._kept = self._kept[0], None
            return stack
        try:
            return self._spare.pop()
        except IndexError:
            layers = [self._layer(number) for number in range(self.num_layers)]
            return Stack(layers, self.dropout)

    def _layer(self, number: int) -> Layer:
        return [self._direction(f"_l{number}{suffix}") for suffix in self._suffixes]

    def _direction(self, end: str) -> tuple[Direction, Parameter]:
        w_ih, w_hh, b_ih, b_hh, w_hr = (vars(self).get(kind + end) for kind in KINDS)
        assert w_ih is not None
        assert w_hh is not None
        return Direction(self.cell, w_hh, b_ih, b_hh, w_hr, end.endswith("_reverse")), w_ih

    def __getstate__(self) -> dict[str, Any]:  # buffers stay behind
        return vars(self) | {"_spare": [], "_kept": None}

    # -- forward ---------------------------------------------------------------------------

    def forward(
        self,
        x: np.ndarray,
        h0: np.ndarray | None = None,
        lengths: npt.ArrayLike | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the network over a batch of sequences, or over one.

        Parameters
        ----------
        x : ndarray of shape (T, B, I), or (B, T, I) with `batch_first`, or (T, I) unbatched
            Of the layer's dtype, in any memory layout.
        h0 : ndarray of shape (K, B, H), unbatched (K, H), or None for zeros
            Initial state of the K = layers · directions, layer by layer, forward first.
        lengths : B integers from 1 to T, in any order, or None
            What stands beyond a sequence's length is not looked at.

        Returns
        -------
        output : ndarray of shape (T, B, D·H), laid out as x is
            Of the last layer, its D directions side by side; zero beyond a length.
        h_n : ndarray of shape (K, B, H), unbatched (K, H)
            States at each sequence's true end (reverse: at its start).

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As PyTorch raises them.
        """
        y, h, _ = self._run(x, h0, None, lengths)
        return y, h

    def _run(
        self,
        x: np.ndarray,
        h0: np.ndarray | None,
        c0: np.ndarray | None,
        lengths: npt.ArrayLike | None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        steps = self._time_major(x)
        T, B = steps.shape[:2]
        if h0 is not None:
            h0 = self._initial("hx", h0, self._state_size, x.ndim, B)
        if c0 is not None:
            c0 = self._initial("cx", c0, self.hidden_size, x.ndim, B)
        checked = None if lengths is None else check_lengths(lengths, T, B)
        keep = self.keeps()
        stack, spare = self._stack(keep), self._spare
        rng = self._rng if self.training else None
        y, h, c = stack.forward(steps, h0, c0, checked, rng, keep)
        if keep:
            self._kept = stack, x.ndim
        else:
            spare.append(stack)
        if x.ndim == 2:
            return y[:, 0], h[:, 0], None if c is None else c[:, 0]
        return y.swapaxes(0, 1) if self.batch_first else y, h, c

    def _time_major(self, x: np.ndarray) -> np.ndarray:
        check_array("x", x)
        if x.ndim == 3:
            steps = x.swapaxes(0, 1) if self.batch_first else x
        elif x.ndim == 2:
            steps = x[:, None]
        else:
            raise ValueError(
                f"{type(self).__name__}: Expected input to be 2D or 3D, got {x.ndim}D instead"
            )
        if not same_type(x, self.dtype):
            raise ValueError(
                f"{type(self).__name__} input dtype ({x.dtype}) does not match weight dtype "
                f"({self.dtype}). Convert input: x.astype({self.dtype.name!r})"
            )
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. "
                f"Expected {self.input_size}, got {x.shape[-1]}"
            )
        if len(steps) == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN, got 0")
        return steps

    def _initial(self, name: str, state: Any, size: int, ndim: int, B: int) -> np.ndarray:
        """An initial state as (K, B, size)."""
        check_array(name, state)
        if state.shape != self._state_shape(size, ndim, B):
            raise self._wrong_shape(name, state, size, ndim, B)
        if not same_type(state, self.dtype):
            raise ValueError(
                f"{name} dtype ({state.dtype}) does not match weight dtype ({self.dtype})"
            )
        return state if ndim == 3 else state[:, None]

    def _wrong_shape(
        self, name: str, state: np.ndarray, size: int, ndim: int, B: int
    ) -> RuntimeError:
        if state.ndim != ndim:
            kind = "batched 3-D" if ndim == 3 else "unbatched 2-D"
            return RuntimeError(
                f"For {kind} input, {name} should also be {ndim}-D but got {state.ndim}-D"
            )
        label = "hidden" if self.cell != "lstm" else f"hidden[{int(name == 'cx')}]"
        expected = self._state_shape(size, ndim, B)
        return RuntimeError(f"Expected {label} size {expected}, got {state.shape} for {name}")

    def _state_shape(self, size: int, ndim: int, B: int) -> tuple[int, ...]:
        return (self._count, B, size) if ndim == 3 else (self._count, size)

    def stepper(self, batch_size: int | None = None) -> Stepper:
        """The network as it is now, for one time step after the other.

        Parameters
        ----------
        batch_size : int, optional
            Streams side by side; None for one without a dimension for it.

        Raises
        ------
        RuntimeError
            A bidirectional network, which needs the whole sequence.
        """
        if self.bidirectional:
            raise RuntimeError("stepper: expected one direction, got a bidirectional network")
        if batch_size is not None:
            check_int("batch_size", batch_size)
        return Stepper([self._layer(n)[0] for n in range(self.num_layers)], batch_size)

    # -- backward --------------------------------------------------------------------------

    def backward(
        self, grad_output: np.ndarray | None, grad_state: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Back-propagate through the last forward call in training mode, once.

        The parameters' gradients are added to their ``grad``.

        Parameters
        ----------
        grad_output : ndarray of the shape of output, or None for zeros
        grad_state : ndarray of the shape of h_n, or None for zeros

        Returns
        -------
        grad_x, grad_h0 : ndarray
            Of the shapes of x and h_n.

        Raises
        ------
        RuntimeError
            No such forward call, or a wrong shape.
        """
        dx, dh, _ = self._run_back(grad_output, grad_state, None)
        return dx, dh

    def _run_back(
        self, grad_output: np.ndarray | None, grad_h: np.ndarray | None, grad_c: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self._kept is None:
            raise RuntimeError("backward: no forward call in training mode is left to go through")
        stack, ndim = self._kept
        T, B, _ = stack.shape
        dy = self._output_gradient(grad_output, ndim, T, B)
        dh = self._state_gradient("hidden", grad_h, self._state_size, ndim, B)
        dc = self._state_gradient("cell", grad_c, self.hidden_size, ndim, B)
        self._kept = None
        dx = stack.backward(dy, dh, dc)
        self._spare.append(stack)
        if ndim == 2:
            return dx[:, 0], dh[:, 0], dc[:, 0]
        return dx.swapaxes(0, 1) if self.batch_first else dx, dh, dc

    def _output_gradient(
        self, grad: np.ndarray | None, ndim: int, T: int, B: int
    ) -> np.ndarray | None:
        """The gradient of the output as (T, B, D·P)."""
        if grad is None:
            return None
        width = self._state_size * len(self._suffixes)
        batch_first = self.batch_first and ndim == 3
        outer = (B, T) if batch_first else (T, B)
        expected = (T, width) if ndim == 2 else (*outer, width)
        self._check_gradient("grad_output", grad, expected)
        if ndim == 2:
            return grad[:, None]
        return grad.swapaxes(0, 1) if batch_first else grad

    def _state_gradient(
        self, name: str, grad: np.ndarray | None, size: int, ndim: int, B: int
    ) -> np.ndarray:
        """A fresh (K, B, size) array with the gradient of a final state."""
        fresh = np.zeros(self._state_shape(size, 3, B), self.dtype)
        if grad is not None:
            self._check_gradient(f"grad_state ({name})", grad, self._state_shape(size, ndim, B))
            fresh[...] = grad if ndim == 3 else grad[:, None]
        return fresh

    def _check_gradient(self, name: str, grad: Any, expected: tuple[int, ...]) -> None:
        check_array(name, grad)
        if grad.shape != expected:
            raise RuntimeError(
                f"Mismatch in shape: {name} has a shape of {grad.shape}, expected {expected}"
            )
        if not same_type(grad, self.dtype):
            raise ValueError(f"{name}: expected dtype {self.dtype}, got {grad.dtype}")

    # -- printing --------------------------------------------------------------------------

    def extra_repr(self) -> str:
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        changed = [f"{k}={vars(self)[k]}" for k, v in defaults.items() if vars(self)[k] != v]
        return ", ".join([str(self.input_size), str(self.hidden_size), *changed])


def _check_options(bias: Any, batch_first: Any, dropout: Any, num_layers: Any) -> None:
    float(dropout)  # None and the like are a TypeError, text that is no number a ValueError
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an "
            f"element being zeroed, got {dropout!r}"
        )
    for name, value in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero "
            f"dropout expects num_layers greater than 1, but got dropout={dropout} and "
            "num_layers=1",
            stacklevel=4,
        )


def _check_projection(proj_size: Any, hidden_size: int) -> None:
    if not isinstance(proj_size, int):
        raise TypeError(f"proj_size should be of type int, got: {type(proj_size).__name__}")
    if proj_size < 0:
        raise ValueError(
            "proj_size should be a positive integer or zero to disable projections, "
            f"got {proj_size}"
        )
    if proj_size >= hidden_size:
        raise ValueError(
            f"proj_size has to be smaller than hidden_size, got {proj_size} and {hidden_size}"
        )
