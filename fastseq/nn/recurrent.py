"""RNN, LSTM and GRU with the interface of ``torch.nn``, on NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .checks import check_nonlinearity, check_pair
from .rnn_base import Recurrent, StateGradients

StatePair = tuple[np.ndarray, np.ndarray]  # (h, c) of an LSTM


class RNN(Recurrent):
    """Elman network: layers of tanh or ReLU units with recurrent connections [1]_.

    At step t of a sequence each layer computes, in each direction::

        h[t] = tanh(weight_ih x[t] + bias_ih + weight_hh h[t−1] + bias_hh)

    or max(0, ·) instead of tanh. Arguments, names, shapes and results are those of
    ``torch.nn.RNN``. In the shapes below T is the number of steps, B of sequences,
    I = `input_size`, H = `hidden_size`, L = `num_layers`, D = 1 or 2 directions, K = L · D.

    All parameters start uniform in ±1/√H. In eval mode, and under `fastseq.no_grad`, any number
    of threads may call one layer at once.

    Parameters
    ----------
    input_size : int
        Number I of features of the input at each step.
    hidden_size : int
        Number H of units of each layer and direction.
    num_layers : int
        Layers on top of each other, each reading the output of the one below; at most 10,000.
    nonlinearity : {"tanh", "relu"}
        Activation of the units.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Input and output are (B, T, ·) instead of (T, B, ·). States keep their shape.
    dropout : float
        Probability, 0 to 1, with which each output of every layer but the last is dropped in
        training mode.
    bidirectional : bool
        Add to each layer a second direction, which runs from the last step to the first.
    dtype : {"float32", "float64"}
        Type of the parameters; input and states must have the same.
    seed : int or None
        Seed of the initial values and of dropout. None draws from the generator that
        `fastseq.manual_seed` seeds.
    **unsupported : Any
        Always an error: `proj_size` as in PyTorch, since only an `LSTM` has it, or an unknown
        name.

    Attributes
    ----------
    weight_ih_l0 : Parameter of shape (H, I)
        Input weights of the lowest layer. Those of layer l > 0, ``weight_ih_l<l>``, are (H, D·H).
    weight_hh_l0 : Parameter of shape (H, H)
        Recurrent weights.
    bias_ih_l0, bias_hh_l0 : Parameter of shape (H,)
        Biases; absent without `bias`.
    weight_ih_l0_reverse, … : Parameter
        The same for the second direction, under names that end in ``_reverse``.

    Raises
    ------
    TypeError
        A size that is not an integer, a flag that is not a bool, an unknown keyword, or a dtype
        other than float32 and float64.
    ValueError
        A size below 1, `dropout` outside of [0, 1], an unknown `nonlinearity`, or more weights and
        gradients than the machine's memory holds.

    Warns
    -----
    UserWarning
        `dropout` with a single layer, where it has no effect.

    References
    ----------
    .. [1] J. Elman, "Finding structure in time", Cognitive Science 14, 1990.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> rnn = nn.RNN(input_size=3, hidden_size=4, num_layers=2, seed=0)
    >>> x = np.ones((5, 2, 3), np.float32)  # 5 steps of 2 sequences
    >>> y, h_n = rnn(x)
    >>> y.shape, h_n.shape
    ((5, 2, 4), (2, 2, 4))
    >>> bool((y[-1] == h_n[-1]).all())  # the last output is the last layer's final state
    True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
        **unsupported: Any,
    ) -> None:
        _refuse(unsupported, "RNN")
        check_nonlinearity(nonlinearity)
        self.nonlinearity = nonlinearity
        super().__init__(
            f"rnn_{nonlinearity}", input_size, hidden_size, num_layers, bias, batch_first,
            dropout, bidirectional, 0, dtype, seed,
        )  # fmt: skip


class GRU(Recurrent):
    """Gated recurrent unit [1]_, in the variant that applies the reset gate after the product.

    At step t each layer computes, in each direction::

        r = σ(W_ir x[t] + b_ir + W_hr h[t−1] + b_hr)            reset gate
        z = σ(W_iz x[t] + b_iz + W_hz h[t−1] + b_hz)            update gate
        n = tanh(W_in x[t] + b_in + r · (W_hn h[t−1] + b_hn))   candidate
        h[t] = (1 − z) · n + z · h[t−1]

    σ is the logistic function; products of gates are element by element. Arguments, names, shapes
    and results are those of ``torch.nn.GRU``. In the shapes below T is the number of steps, B of
    sequences, I = `input_size`, H = `hidden_size`, L = `num_layers`, D = 1 or 2 directions,
    K = L · D.

    All parameters start uniform in ±1/√H. In eval mode, and under `fastseq.no_grad`, any number
    of threads may call one layer at once.

    Parameters
    ----------
    input_size : int
        Number I of features of the input at each step.
    hidden_size : int
        Number H of units of each layer and direction.
    num_layers : int
        Layers on top of each other, each reading the output of the one below; at most 10,000.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Input and output are (B, T, ·) instead of (T, B, ·). States keep their shape.
    dropout : float
        Probability, 0 to 1, with which each output of every layer but the last is dropped in
        training mode.
    bidirectional : bool
        Add to each layer a second direction, which runs from the last step to the first.
    dtype : {"float32", "float64"}
        Type of the parameters; input and states must have the same.
    seed : int or None
        Seed of the initial values and of dropout. None draws from the generator that
        `fastseq.manual_seed` seeds.
    **unsupported : Any
        Always an error: `proj_size` as in PyTorch, since only an `LSTM` has it, or an unknown
        name.

    Attributes
    ----------
    weight_ih_l0 : Parameter of shape (3H, I)
        Input weights of the lowest layer, the gates r, z, n below each other. Those of layer
        l > 0, ``weight_ih_l<l>``, are (3H, D·H).
    weight_hh_l0 : Parameter of shape (3H, H)
        Recurrent weights, in the same order.
    bias_ih_l0, bias_hh_l0 : Parameter of shape (3H,)
        Biases; absent without `bias`.
    weight_ih_l0_reverse, … : Parameter
        The same for the second direction, under names that end in ``_reverse``.

    Raises
    ------
    TypeError
        A size that is not an integer, a flag that is not a bool, an unknown keyword, or a dtype
        other than float32 and float64.
    ValueError
        A size below 1, `dropout` outside of [0, 1], or more weights and gradients than the
        machine's memory holds.

    Warns
    -----
    UserWarning
        `dropout` with a single layer, where it has no effect.

    References
    ----------
    .. [1] K. Cho et al., "Learning phrase representations using RNN encoder-decoder for
           statistical machine translation", EMNLP 2014.

    Examples
    --------
    Two sequences of 5 and 3 steps in one batch; the end of the second one is padding:

    >>> import numpy as np
    >>> from fastseq import nn
    >>> gru = nn.GRU(3, 4, seed=0)
    >>> x = np.ones((5, 2, 3), np.float32)
    >>> y, h_n = gru(x, lengths=[5, 3])
    >>> bool((h_n[0, 1] == y[2, 1]).all()), bool(y[3:, 1].any())
    (True, False)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
        **unsupported: Any,
    ) -> None:
        _refuse(unsupported, "GRU")
        super().__init__(
            "gru", input_size, hidden_size, num_layers, bias, batch_first,
            dropout, bidirectional, 0, dtype, seed,
        )  # fmt: skip


class LSTM(Recurrent):
    """Long short-term memory [1]_ with a forget gate [2]_, optionally with a projection [3]_.

    At step t each layer computes, in each direction::

        i = σ(W_ii x[t] + b_ii + W_hi h[t−1] + b_hi)       input gate
        f = σ(W_if x[t] + b_if + W_hf h[t−1] + b_hf)       forget gate
        g = tanh(W_ig x[t] + b_ig + W_hg h[t−1] + b_hg)    candidate
        o = σ(W_io x[t] + b_io + W_ho h[t−1] + b_ho)       output gate
        c[t] = f · c[t−1] + i · g
        h[t] = o · tanh(c[t]), with a projection h[t] = W_hr (o · tanh(c[t]))

    σ is the logistic function; products of gates are element by element. Arguments, names, shapes
    and results are those of ``torch.nn.LSTM``. In the shapes below T is the number of steps, B of
    sequences, I = `input_size`, H = `hidden_size`, P = `proj_size` or H without a projection,
    L = `num_layers`, D = 1 or 2 directions, K = L · D.

    All parameters start uniform in ±1/√H, as PyTorch's do. In eval mode, and under
    `fastseq.no_grad`, any number of threads may call one layer at once.

    Parameters
    ----------
    input_size : int
        Number I of features of the input at each step.
    hidden_size : int
        Number H of cells of each layer and direction.
    num_layers : int
        Layers on top of each other, each reading the output of the one below; at most 10,000.
    bias : bool
        Whether there are biases.
    batch_first : bool
        Input and output are (B, T, ·) instead of (T, B, ·). States keep their shape.
    dropout : float
        Probability, 0 to 1, with which each output of every layer but the last is dropped in
        training mode.
    bidirectional : bool
        Add to each layer a second direction, which runs from the last step to the first.
    proj_size : int
        Size P < H to which h is projected; 0 for no projection.
    dtype : {"float32", "float64"}
        Type of the parameters; input and states must have the same.
    seed : int or None
        Seed of the initial values and of dropout. None draws from the generator that
        `fastseq.manual_seed` seeds.

    Attributes
    ----------
    weight_ih_l0 : Parameter of shape (4H, I)
        Input weights of the lowest layer, the gates i, f, g, o below each other. Those of layer
        l > 0, ``weight_ih_l<l>``, are (4H, D·P).
    weight_hh_l0 : Parameter of shape (4H, P)
        Recurrent weights, in the same order.
    bias_ih_l0, bias_hh_l0 : Parameter of shape (4H,)
        Biases; absent without `bias`.
    weight_hr_l0 : Parameter of shape (P, H)
        Weights of the projection; absent without one.
    weight_ih_l0_reverse, … : Parameter
        The same for the second direction, under names that end in ``_reverse``.

    Raises
    ------
    TypeError
        A size that is not an integer, a flag that is not a bool, an unknown keyword, or a dtype
        other than float32 and float64.
    ValueError
        A size below 1, `proj_size` not from 0 to H − 1, `dropout` outside of [0, 1], or more
        weights and gradients than the machine's memory holds.

    Warns
    -----
    UserWarning
        `dropout` with a single layer, where it has no effect.

    References
    ----------
    .. [1] S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997.
    .. [2] F. Gers, J. Schmidhuber, F. Cummins, "Learning to forget: continual prediction with
           LSTM", Neural Computation 12, 2000.
    .. [3] H. Sak, A. Senior, F. Beaufays, "Long short-term memory recurrent neural network
           architectures for large scale acoustic modeling", Interspeech 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> lstm = nn.LSTM(input_size=3, hidden_size=4, num_layers=2, seed=0)
    >>> x = np.ones((5, 2, 3), np.float32)  # 5 steps of 2 sequences
    >>> y, (h_n, c_n) = lstm(x)
    >>> y.shape, h_n.shape, c_n.shape
    ((5, 2, 4), (2, 2, 4), (2, 2, 4))
    >>> dx, (dh0, dc0) = lstm.backward(np.ones_like(y))
    >>> dx.shape, lstm.weight_ih_l0.grad.shape
    ((5, 2, 3), (16, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: npt.DTypeLike = "float32",
        seed: int | None = None,
    ) -> None:
        super().__init__(
            "lstm", input_size, hidden_size, num_layers, bias, batch_first,
            dropout, bidirectional, proj_size, dtype, seed,
        )  # fmt: skip

    def forward(  # type: ignore[override]  # the state is a pair, as in PyTorch
        self,
        x: np.ndarray,
        hx: StatePair | None = None,
        lengths: npt.ArrayLike | None = None,
        resets: npt.ArrayLike | None = None,
    ) -> tuple[np.ndarray, StatePair]:
        """Run the network over a batch of sequences, or over one.

        ``lstm(x)`` does the same. In training mode the call waits for `backward`.

        Parameters
        ----------
        x : ndarray of shape (T, B, I), or (B, T, I) with batch_first, or (T, I)
            Input, of the layer's dtype and in any memory layout. An array (T, I) is one sequence
            without a dimension for the batch.
        hx : pair of ndarray, or None for zeros
            Initial states h0 of shape (K, B, P) and c0 of shape (K, B, H), or (K, P) and (K, H)
            for one sequence: layer by layer, in each the forward direction first. Either may be
            None for zeros.
        lengths : array_like of B integers from 1 to T, or None
            Steps of each sequence, in any order. What follows them is padding: it costs no time
            and has no influence on any result.
        resets : array_like of bool of shape (T, B), or (B, T) with batch_first, or (T,), or None
            True sets the state of a sequence, h and c, to zero before that step: a new episode
            begins there. Neither state nor gradient passes from one side to the other, in the
            reverse direction, too.

        Returns
        -------
        output : ndarray of shape (T, B, D·P), laid out as x is
            Of the last layer, its directions side by side; zero in the padding.
        state : pair of ndarray of the shapes of h0 and c0
            The states (h_n, c_n) after the last step of each sequence; of the reverse direction,
            after the first.

        Raises
        ------
        TypeError
            `x` or a state is not a NumPy array; `hx` is not a pair; `lengths` are not integers;
            `resets` are not bool.
        ValueError
            An array of another dtype; `x` with neither 2 nor 3 axes; `lengths` out of range or not
            B of them; `resets` of a wrong shape.
        RuntimeError
            An input of another size than I, a sequence without steps, or a state of a wrong shape.

        Examples
        --------
        The state carries a sequence on from where it was cut:

        >>> import numpy as np
        >>> from fastseq import nn
        >>> lstm = nn.LSTM(3, 4, seed=0).eval()
        >>> x = np.ones((6, 2, 3), np.float32)
        >>> whole, _ = lstm(x)
        >>> first, state = lstm(x[:4])
        >>> rest, _ = lstm(x[4:], state)
        >>> np.allclose(np.concatenate([first, rest]), whole, atol=1e-6)
        True

        A reset does the opposite; here the second sequence begins anew at step 4:

        >>> resets = np.zeros((6, 2), bool)
        >>> resets[4, 1] = True
        >>> y, _ = lstm(x, resets=resets)
        >>> bool((y[4, 1] == whole[0, 1]).all()), bool((y[4, 0] == whole[4, 0]).all())
        (True, True)
        """
        h0, c0 = (None, None) if hx is None else check_pair("hx", hx)
        y, h, c = self._run(x, h0, c0, lengths, resets)
        assert c is not None
        return y, (h, c)

    if TYPE_CHECKING:
        __call__ = forward  # type: ignore[assignment]  # the state is a pair

    def backward(  # type: ignore[override]  # the gradient of the state is a pair, too
        self,
        grad_output: np.ndarray | None,
        grad_state: StateGradients | None = None,
        needs_input_grad: bool = True,
    ) -> tuple[np.ndarray | None, StatePair]:
        """Back-propagate through time, through the last forward call that is still pending.

        Calls in training mode wait for `backward`, which takes the last one first. The gradients
        of the parameters are added to their ``grad``, except where ``requires_grad`` is False.

        Parameters
        ----------
        grad_output : ndarray of the shape of output, or None for zeros
            Gradient of the loss with respect to output. Values in the padding are ignored.
        grad_state : pair of ndarray of the shapes of h_n and c_n, or None for zeros
            Gradients with respect to the final states; either may be None for zeros.
        needs_input_grad : bool
            Whether to compute the gradient of x.

        Returns
        -------
        grad_x : ndarray of the shape of x, or None without needs_input_grad
            Gradient with respect to x; zero in the padding.
        grad_hx : pair of ndarray of the shapes of h_n and c_n
            Gradients (grad_h0, grad_c0) with respect to the initial states.

        Raises
        ------
        RuntimeError
            No forward call is pending, or an array of a wrong shape.
        TypeError, ValueError
            Not a NumPy array, or of another dtype.

        Examples
        --------
        >>> import numpy as np
        >>> from fastseq import nn
        >>> lstm = nn.LSTM(3, 4, seed=0)
        >>> y, (h_n, c_n) = lstm(np.ones((5, 2, 3), np.float32))
        >>> dx, (dh0, dc0) = lstm.backward(None, (np.ones_like(h_n), None))  # of the sum of h_n
        >>> dx.shape, dh0.shape
        ((5, 2, 3), (1, 2, 4))
        """
        pair = (None, None) if grad_state is None else check_pair("grad_state", grad_state)
        dx, dh, dc = self._run_back(grad_output, pair, needs_input_grad)
        assert dc is not None
        return dx, (dh, dc)


def _refuse(unsupported: dict[str, Any], name: str) -> None:
    """Raise PyTorch's error for a keyword that only an LSTM takes, or for an unknown one."""
    if "proj_size" in unsupported:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
    for key in unsupported:
        raise TypeError(f"{name} got an unexpected keyword argument {key!r}")
