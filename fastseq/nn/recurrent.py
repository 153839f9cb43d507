"""RNN, LSTM and GRU with the interface of ``torch.nn``, on NumPy arrays."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .checks import check_pair
from .rnn_base import Recurrent

StatePair = tuple[np.ndarray, np.ndarray]  # (h, c) of an LSTM


class RNN(Recurrent):
    """Elman network: h[t] = tanh(x[t] @ w_ihᵀ + b_ih + h[t−1] @ w_hhᵀ + b_hh), or with relu.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        Layers on top of each other, each reading the output of the one below; at most 10,000.
    nonlinearity : {"tanh", "relu"}
    bias : bool
    batch_first : bool
        x and output are (B, T, ·) instead of (T, B, ·).
    dropout : float
        Probability with which outputs of all layers but the last are dropped in training.
    bidirectional : bool
        Add to each layer a second direction that runs from the end.
    dtype : {"float32", "float64"}
    seed : int or None
        Of the initial values and of dropout.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_ih_l0_reverse, … : Parameter
        Named and shaped as in PyTorch: (H, I), (H, H), (H,), (H,), …; above the first layer
        weight_ih is (H, D·H).

    Raises
    ------
    TypeError, ValueError
        As PyTorch raises them; ValueError also where weights and gradients would take more
        than the machine's memory.
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
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity {nonlinearity!r}. Select from 'tanh' or 'relu'."
            )
        self.nonlinearity = nonlinearity
        super().__init__(
            f"rnn_{nonlinearity}", input_size, hidden_size, num_layers, bias, batch_first,
            dropout, bidirectional, 0, dtype, seed,
        )  # fmt: skip


class GRU(Recurrent):
    """Gated recurrent unit [1]_, the variant that resets after the product.

    ::

        r = σ(W_ir x + b_ir + W_hr h + b_hr)        z = σ(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r · (W_hn h + b_hn))        h ← (1 − z) · n + z · h

    Parameters as those of `RNN`; weights stack the gates r, z, n: weight_ih_l0 is (3H, I).

    References
    ----------
    .. [1] K. Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.
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
    """Long short-term memory [1]_ with forget gate, optionally with projection [2]_.

    ::

        i, f, o = σ(W_i x + b + W_h h + b′)      g = tanh(W_i x + b + W_h h + b′)
        c ← f · c + i · g        h ← o · tanh(c), with a projection h ← W_hr (o · tanh(c))

    Parameters as those of `RNN`; weights stack the gates i, f, g, o: weight_ih_l0 is (4H, I).
    The state is a pair (h, c) of shapes (K, B, P) and (K, B, H), P being `proj_size` or H.

    Parameters
    ----------
    proj_size : int
        Size P < H of h; 0 for no projection. weight_hr_l0 is (P, H).

    References
    ----------
    .. [1] S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997.
    .. [2] H. Sak, A. Senior, F. Beaufays, "Long short-term memory recurrent neural network
           architectures for large scale acoustic modeling", Interspeech 2014.
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
    ) -> tuple[np.ndarray, StatePair]:
        """As `RNN.forward`, with the pairs (h0, c0) and (h_n, c_n) as states."""
        h0, c0 = (None, None) if hx is None else check_pair("hx", hx)
        y, h, c = self._run(x, h0, c0, lengths)
        assert c is not None
        return y, (h, c)

    def backward(  # type: ignore[override]  # the gradient of the state is a pair, too
        self,
        grad_output: np.ndarray | None,
        grad_state: tuple[np.ndarray | None, np.ndarray | None] | None = None,
        needs_input_grad: bool = True,
    ) -> tuple[np.ndarray | None, StatePair]:
        """As `RNN.backward`, with pairs as states, of which either may be None for zeros."""
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
