"""RNNCell, GRUCell and LSTMCell with the interface of ``torch.nn``: one time step each call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .cell_base import Gradient, RecurrentCell
from .checks import check_nonlinearity, check_pair

StatePair = tuple[np.ndarray, np.ndarray]  # (h, c) of an LSTM


class RNNCell(RecurrentCell):
    """One time step of an Elman network of tanh or ReLU units.

    ::

        h' = tanh(weight_ih x + bias_ih + weight_hh h + bias_hh)

    or max(0, ·) instead of tanh. Arguments, names, shapes and results are those of
    ``torch.nn.RNNCell``; in the shapes below I = `input_size` and H = `hidden_size`. It is for
    loops in which a step's input depends on the step before; where all inputs are known, one call
    of `RNN` is much faster.

    Parameters
    ----------
    input_size : int
        Number I of features of the input.
    hidden_size : int
        Number H of units.
    bias : bool
        Whether there are biases.
    nonlinearity : {"tanh", "relu"}
        Activation of the units.
    dtype : {"float32", "float64"}
        Type of the parameters; input and state must have the same.
    seed : int or None
        Seed of the initial values, uniform in ±1/√H. None draws from the generator
        that `fastseq.manual_seed` seeds.

    Attributes
    ----------
    weight_ih : Parameter of shape (H, I)
    weight_hh : Parameter of shape (H, H)
    bias_ih, bias_hh : Parameter of shape (H,)
        Absent without `bias`.

    Raises
    ------
    TypeError
        A size that is not an integer, a flag that is not a bool, or a dtype other than float32
        and float64.
    ValueError
        A size below 1, an unknown `nonlinearity`, or more weights and gradients than the machine's
        memory holds.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> cell = nn.RNNCell(input_size=3, hidden_size=4, seed=0)
    >>> h = None
    >>> for x in np.ones((5, 2, 3), np.float32):  # 5 steps of 2 sequences
    ...     h = cell(x, h)
    >>> h.shape
    (2, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        check_nonlinearity(nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(f"rnn_{nonlinearity}", input_size, hidden_size, bias, dtype, seed)


class GRUCell(RecurrentCell):
    """One time step of a gated recurrent unit; `GRU` gives the formulas.

    Arguments, names, shapes and results are those of ``torch.nn.GRUCell``; in the shapes below
    I = `input_size` and H = `hidden_size`. It is for loops in which a step's input depends on the
    step before; where all inputs are known, one call of `GRU` is much faster.

    Parameters
    ----------
    input_size : int
        Number I of features of the input.
    hidden_size : int
        Number H of units.
    bias : bool
        Whether there are biases.
    dtype : {"float32", "float64"}
        Type of the parameters; input and state must have the same.
    seed : int or None
        Seed of the initial values, uniform in ±1/√H. None draws from the generator
        that `fastseq.manual_seed` seeds.

    Attributes
    ----------
    weight_ih : Parameter of shape (3H, I)
        The gates r, z, n below each other.
    weight_hh : Parameter of shape (3H, H)
    bias_ih, bias_hh : Parameter of shape (3H,)
        Absent without `bias`.

    Raises
    ------
    TypeError
        A size that is not an integer, a flag that is not a bool, or a dtype other than float32
        and float64.
    ValueError
        A size below 1, or more weights and gradients than the machine's memory holds.

    Examples
    --------
    A backward pass through time takes the steps in reverse order:

    >>> import numpy as np
    >>> from fastseq import nn
    >>> cell = nn.GRUCell(input_size=3, hidden_size=4, seed=0)
    >>> x = np.ones((5, 2, 3), np.float32)  # 5 steps of 2 sequences
    >>> h = np.zeros((2, 4), np.float32)
    >>> for t in range(5):
    ...     h = cell(x[t], h)
    >>> grad_h = np.ones_like(h)  # of a loss that reads the last state
    >>> for t in reversed(range(5)):
    ...     grad_x, grad_h = cell.backward(grad_h)
    >>> grad_x.shape, grad_h.shape
    ((2, 3), (2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__("gru", input_size, hidden_size, bias, dtype, seed)


class LSTMCell(RecurrentCell):
    """One time step of long short-term memory; `LSTM` gives the formulas.

    Arguments, names, shapes and results are those of ``torch.nn.LSTMCell``; in the shapes below
    I = `input_size` and H = `hidden_size`. It is for loops in which a step's input depends on the
    step before; where all inputs are known, one call of `LSTM` is much faster.

    Parameters
    ----------
    input_size : int
        Number I of features of the input.
    hidden_size : int
        Number H of cells.
    bias : bool
        Whether there are biases.
    dtype : {"float32", "float64"}
        Type of the parameters; input and state must have the same.
    seed : int or None
        Seed of the initial values, uniform in ±1/√H. None draws from the generator
        that `fastseq.manual_seed` seeds.

    Attributes
    ----------
    weight_ih : Parameter of shape (4H, I)
        The gates i, f, g, o below each other.
    weight_hh : Parameter of shape (4H, H)
    bias_ih, bias_hh : Parameter of shape (4H,)
        Absent without `bias`.

    Raises
    ------
    TypeError
        A size that is not an integer, a flag that is not a bool, or a dtype other than float32
        and float64.
    ValueError
        A size below 1, or more weights and gradients than the machine's memory holds.

    Examples
    --------
    A loss that reads every h, back-propagated through time:

    >>> import numpy as np
    >>> from fastseq import nn
    >>> cell = nn.LSTMCell(input_size=3, hidden_size=4, seed=0)
    >>> x = np.ones((5, 2, 3), np.float32)  # 5 steps of 2 sequences
    >>> h = c = np.zeros((2, 4), np.float32)
    >>> outputs = []
    >>> for t in range(5):
    ...     h, c = cell(x[t], (h, c))
    ...     outputs.append(h)
    >>> grad_outputs = np.ones((5, 2, 4), np.float32)
    >>> grad_h, grad_c = np.zeros_like(h), None
    >>> for t in reversed(range(5)):
    ...     grad_x, (grad_h, grad_c) = cell.backward((grad_outputs[t] + grad_h, grad_c))
    >>> grad_x.shape, cell.weight_ih.grad.shape
    ((2, 3), (16, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__("lstm", input_size, hidden_size, bias, dtype, seed)

    def forward(  # type: ignore[override]  # the state is a pair, as in PyTorch
        self, x: np.ndarray, hx: tuple[np.ndarray | None, np.ndarray | None] | None = None
    ) -> StatePair:
        """Compute the next state.

        Calling the cell does the same. In training mode the call waits for `backward`.

        Parameters
        ----------
        x : ndarray of shape (B, I) or (I,)
            Input of one time step, of the cell's dtype and in any memory layout. An array (I,)
            belongs to one sequence without a dimension for the batch.
        hx : pair of ndarray of shape (B, H) or (H,), or None for zeros
            The state (h, c) before the step; either may be None for zeros.

        Returns
        -------
        pair of ndarray of shape (B, H) or (H,)
            The state (h, c) after the step, fresh arrays; h is the output, too.

        Raises
        ------
        TypeError
            Not a NumPy array, or `hx` is not a pair.
        ValueError
            An array of another dtype, or with neither 1 nor 2 axes.
        RuntimeError
            An input of another size than I, or a state of a wrong shape.

        Examples
        --------
        >>> import numpy as np
        >>> from fastseq import nn
        >>> cell = nn.LSTMCell(3, 4, seed=0)
        >>> h, c = cell(np.ones(3, np.float32))  # of one sequence
        >>> h.shape, c.shape
        ((4,), (4,))
        """
        h0, c0 = (None, None) if hx is None else check_pair("hx", hx)
        h, c = self._run(x, h0, c0)
        assert c is not None
        return h, c

    if TYPE_CHECKING:
        __call__ = forward  # type: ignore[assignment]  # the state is a pair

    def backward(  # type: ignore[override]  # the gradient of the state is a pair, too
        self, grad_state: tuple[Gradient, Gradient], needs_input_grad: bool = True
    ) -> tuple[np.ndarray | None, StatePair]:
        """Back-propagate through the last forward call that is still pending.

        Calls in training mode wait for `backward`, which takes the last one first. The gradients
        of the parameters are added to their ``grad``, except where ``requires_grad`` is False.

        Parameters
        ----------
        grad_state : pair of ndarray of the shape of h
            Gradients of the loss with respect to the new h and c: what comes from their use as
            outputs, plus what the backward call of the next step has returned. Either may be None
            for zeros.
        needs_input_grad : bool
            Whether to compute the gradient of x.

        Returns
        -------
        grad_x : ndarray of the shape of x, or None without needs_input_grad
            Gradient with respect to x.
        grad_hx : pair of ndarray of the shape of h
            Gradients (grad_h, grad_c) with respect to the state before the step.

        Raises
        ------
        RuntimeError
            No forward call is pending, or an array of a wrong shape.
        TypeError, ValueError
            Not a NumPy array, not a pair, or of another dtype.

        Examples
        --------
        >>> import numpy as np
        >>> from fastseq import nn
        >>> cell = nn.LSTMCell(3, 4, seed=0)
        >>> h, c = cell(np.ones(3, np.float32))
        >>> dx, (dh, dc) = cell.backward((np.ones_like(h), None))  # of the sum of h
        >>> dx.shape, dh.shape, dc.shape
        ((3,), (4,), (4,))
        """
        dx, dh, dc = self._run_back(check_pair("grad_state", grad_state), needs_input_grad)
        assert dc is not None
        return dx, (dh, dc)
