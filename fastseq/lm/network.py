"""The numbers of a language model: tokens in, loss and gradients out, nothing allocated.

ids -> input share of the gates -> cells -> ... -> softmax cross-entropy
       (`inputs.py`)               (`nn.cells`)    (one fused kernel)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backend import kernels
from ..nn.buffers import Buffers
from ..nn.cells import Direction, project, project_backward
from ..nn.module import Module, Parameter
from .config import ModelConfig
from .dropout import Dropout
from .inputs import Embedded, OneHot

Ids = NDArray[np.int64]
Floats = NDArray[Any]


class State(NamedTuple):
    """What a model remembers of the tokens before.

    Attributes
    ----------
    h : ndarray of shape (L, B, H)
    c : ndarray of shape (L, B, H), or None unless an LSTM
    """

    h: Floats
    c: Floats | None

    def copy(self) -> State:
        return State(self.h.copy(), None if self.c is None else self.c.copy())

    def rows(self, index: Any) -> State:
        """The state of some rows of the batch, by any index of NumPy's; a copy."""
        h, c = self.h[:, index], self.c
        return State(h.copy(), None if c is None else c[:, index].copy())


class _Parameters(Module):
    """A named group of parameters."""

    def __getitem__(self, name: str) -> Parameter:
        parameter: Parameter = vars(self)[name]
        return parameter


class Network(Module):
    """Embedding or one-hot, recurrent layers, softmax: the arithmetic of a `LanguageModel`.

    Parameters
    ----------
    config : ModelConfig
    vocabulary_size : int

    Attributes
    ----------
    random : numpy.random.Generator
        Has drawn the initial weights and goes on to draw dropout.
    """

    embedding: _Parameters
    rnn: _Parameters
    head: _Parameters

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        config.check_memory(vocabulary_size)
        self.config = config
        self.dtype = np.dtype(config.dtype)
        self.random = np.random.default_rng(config.seed)
        self._make_parameters(vocabulary_size)
        self.flatten_parameters()
        self._buffers = Buffers(self.dtype)
        self._layers = [self._make_layer(n) for n in range(config.num_layers)]
        self._weights = [self.rnn[f"weight_ih_l{n}"] for n in range(config.num_layers)]
        self._dropouts = [self._make_dropout(f"after {n}") for n in range(config.num_layers)]
        self._inputs = self._make_inputs()
        self._outputs: list[Floats] = []  # of each layer, dropout included

    def _make_parameters(self, vocabulary_size: int) -> None:
        for name, shape in self.config.parameter_shapes(vocabulary_size).items():
            group, key = name.split(".")
            if not hasattr(self, group):
                setattr(self, group, _Parameters())
            one_hot = key == "weight_ih_l0" and self.config.embedding_size is None
            values = initial_values(name, shape, self.config, self.random)
            parameter = Parameter(
                (values.T if one_hot else values).astype(self.dtype),
                row_sparse=one_hot or (group == "embedding" and not self.config.tie_weights),
                transposed=one_hot,
            )
            setattr(getattr(self, group), key, parameter)

    def _make_layer(self, n: int) -> Direction:
        w_hh, b_ih, b_hh = (
            self.rnn[f"{kind}_l{n}"] for kind in ("weight_hh", "bias_ih", "bias_hh")
        )
        return Direction(self.config.kernel_cell, w_hh, b_ih, b_hh)

    def _make_dropout(self, place: str) -> Dropout:
        return Dropout(self.config.dropout, self.random, self._buffers, place)

    def _make_inputs(self) -> OneHot | Embedded:
        if self.config.embedding_size is None:
            return OneHot(self._weights[0])
        dropout = self._make_dropout("embedding")
        embedding, tied = self.embedding["weight"], self.config.tie_weights
        return Embedded(embedding, self._weights[0], tied, dropout, self._buffers)

    @property
    def vocabulary_size(self) -> int:
        return self.head["bias"].size

    @property
    def head_weight(self) -> Parameter:
        """The softmax layer's weight (V, H): the embedding's where they are tied."""
        return (self.embedding if self.config.tie_weights else self.head)["weight"]

    # -- one window ------------------------------------------------------------------------

    def forward_backward(
        self,
        inputs: Ids,
        targets: Ids,
        state: State | None = None,
        scale: float | None = None,
        accumulate: bool = False,
    ) -> tuple[float, State]:
        """Loss of one window and the gradients of all parameters (truncated BPTT).

        Dropout acts in training mode (`train`, the default; `eval` ends it).

        Parameters
        ----------
        inputs, targets : ndarray of shape (T, B), int64
            Targets below 0 are left out.
        state : State, optional
            What the window before left; zeros by default.
        scale : float, optional
            Gradients are those of the summed loss times `scale`; by default 1 / number of
            targets, which is the mean.
        accumulate : bool
            Add to the gradients instead of overwriting them.

        Returns
        -------
        loss : float
            Summed over all targets, in nats, with dropout where it acts.
        state : State
            After the window.

        Raises
        ------
        IndexError
            A token that is not in the vocabulary.
        """
        T, B = self._check(inputs, targets, state)
        ids, aims = inputs.reshape(-1), targets.reshape(-1)
        top, end = self._forward(ids, T, B, state, self.training)
        losses, dtop = self._buffers("losses", T * B), self._buffers("dtop", *top.shape)
        weight, bias = self.head_weight, self.head["bias"]
        loss: float = kernels(self.dtype).head_backward(
            top, weight.data, bias.data, aims, scale,
            losses, dtop, weight.grad, bias.grad, accumulate,
        )  # fmt: skip
        self._backward(ids, T, B, dtop, accumulate)
        return loss, end

    def loss(self, inputs: Ids, targets: Ids, state: State | None = None) -> tuple[float, State]:
        """Loss of one window as `forward_backward` returns it, without gradients or dropout."""
        losses, end = self.losses(inputs, targets, state)
        return float(np.add.reduce(losses, axis=None, dtype=np.float64)), end

    def losses(
        self, inputs: Ids, targets: Ids, state: State | None = None
    ) -> tuple[Floats, State]:
        """Loss of each target, of shape (T, B): a buffer that the next call overwrites."""
        T, B = self._check(inputs, targets, state)
        top, end = self._forward(inputs.reshape(-1), T, B, state, False)
        losses, weight, bias = self._buffers("losses", T * B), self.head_weight, self.head["bias"]
        kernels(self.dtype).head_losses(top, weight.data, bias.data, targets.reshape(-1), losses)
        return losses.reshape(T, B), end

    def step(self, ids: Ids, state: State | None = None) -> tuple[Floats, State]:
        """Feed one token to each row of a batch.

        Parameters
        ----------
        ids : ndarray of shape (B,), int64
        state : State, optional

        Returns
        -------
        log_probs : ndarray of shape (B, V)
            Of the token that follows.
        state : State
        """
        inputs = ids[None]
        _, B = self._check(inputs, inputs, state)
        top, end = self._forward(ids, 1, B, state, False)
        logits = np.empty((B, self.vocabulary_size), self.dtype)
        weight, bias = self.head_weight.data, self.head["bias"].data
        kernels(self.dtype).matmul(top, weight.T, logits, bias, False)
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logits, end

    def advance(self, inputs: Ids, state: State | None = None) -> State:
        """The state after reading `inputs`, of shape (T, B) and int64."""
        T, B = self._check(inputs, inputs, state)
        return self._forward(inputs.reshape(-1), T, B, state, False)[1]

    def token_table(self) -> Floats:
        """What each token sends to the first layer's gates, biases included: (V, G·H)."""
        return self._inputs.table(self.gate_bias(0))

    def gate_bias(self, layer: int) -> Floats:
        """Bias of one layer's gates; of the GRU's n only b_ih."""
        bias = self._layers[layer].bias()
        assert bias is not None
        return bias.copy()

    def zero_state(self, batch_size: int = 1) -> State:
        """The state before the first token."""
        h, c = self._empty_state(batch_size)
        h.fill(0)
        if c is not None:
            c.fill(0)
        return State(h, c)

    def _empty_state(self, batch_size: int) -> State:
        shape = self.config.num_layers, batch_size, self.config.hidden_size
        c = np.empty(shape, self.dtype) if self.config.cell == "lstm" else None
        return State(np.empty(shape, self.dtype), c)

    def _check(self, inputs: Ids, targets: Ids, state: State | None) -> tuple[int, int]:
        if inputs.ndim != 2 or inputs.size == 0:
            raise ValueError(f"inputs: expected shape (T, B), got {inputs.shape}")
        if inputs.shape != targets.shape:
            raise ValueError(f"targets: expected shape {inputs.shape}, got {targets.shape}")
        if inputs.dtype != np.int64 or targets.dtype != np.int64:
            raise TypeError(
                f"inputs, targets: expected int64, got {inputs.dtype}, {targets.dtype}"
            )
        T, B = inputs.shape
        if state is not None:
            self.check_state(state, B)
        return T, B

    def check_state(self, state: State, batch_size: int) -> None:
        """Refuse a state of another shape.

        Raises
        ------
        ValueError
        """
        shape = self.config.num_layers, batch_size, self.config.hidden_size
        if state.h.shape != shape:
            raise ValueError(f"state: expected shape {shape}, got {state.h.shape}")

    # -- forward and backward --------------------------------------------------------------

    def _forward(
        self, ids: Ids, T: int, B: int, state: State | None, training: bool
    ) -> tuple[Floats, State]:
        """The top layer's output, of shape (T·B, H), and the state after the window."""
        end = self._empty_state(B)
        self._outputs.clear()
        for n, layer in enumerate(self._layers):
            rows = layer.gates(T, B)
            if n == 0:
                self._inputs.forward(ids, layer.bias(), rows, training)
            else:
                project(self._outputs[-1], self._weights[n], layer.bias(), rows)
            h0 = None if state is None else state.h[n]
            c0 = None if state is None or state.c is None else state.c[n]
            y = layer.forward(h0, c0).reshape(T * B, -1)
            self._outputs.append(self._dropouts[n].forward(y, training))
            end.h[n] = layer.h_end
            if end.c is not None:
                end.c[n] = layer.c_end
        return self._outputs[-1], end

    def _backward(self, ids: Ids, T: int, B: int, dy: Floats, accumulate: bool) -> None:
        """Invert `_forward`: from dy, the gradient of its output, to all parameters."""
        H = self.config.hidden_size
        dh, dc = self._buffers("dh", B, H), self._buffers("dc", B, H)
        for n in reversed(range(len(self._layers))):
            self._dropouts[n].backward(dy)
            dh.fill(0)  # no gradient comes from beyond the window
            dc.fill(0)
            layer = self._layers[n]
            drows = layer.backward(dy.reshape(T, B, H), dh, dc, accumulate, biases=n > 0)
            if n == 0:
                layer.bias_gradients(self._inputs.backward(ids, drows, accumulate), accumulate)
            else:
                x = self._outputs[n - 1]
                project_backward(drows, x, self._weights[n], dy, False, accumulate)


def initial_values(
    name: str, shape: tuple[int, ...], config: ModelConfig, random: np.random.Generator
) -> NDArray[np.float64]:
    """Initial values of one parameter.

    Weights are uniform in ±1/√H as PyTorch's are, biases zero except for the LSTM's forget
    gate [1]_. An embedding is standard normal, or of the softmax's scale where it is tied.

    References
    ----------
    .. [1] R. Jozefowicz, W. Zaremba, I. Sutskever, "An empirical exploration of recurrent
           network architectures", ICML 2015.
    """
    H = config.hidden_size
    if name == "embedding.weight" and not config.tie_weights:
        return random.standard_normal(shape)
    if "bias" not in name:
        bound = 1.0 / math.sqrt(H)
        return random.uniform(-bound, bound, shape)
    values = np.zeros(shape)
    if config.cell == "lstm" and name.startswith("rnn.bias_ih"):
        values[H : 2 * H] = config.forget_bias
    return values
