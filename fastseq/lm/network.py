"""The arithmetic of a language model: tokens in, loss and gradients out.

ids -> input projection -> recurrent stack -> softmax cross-entropy
       (`inputs.py`)       (`nn.stack`)       (one fused kernel)
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._kernels.records import LayerCall, LinearGrads
from ..backend import kernels
from ..nn.buffers import pooled_empty
from ..nn.checks import as_kernel_array, check_floats
from ..nn.dropout import draw_mask
from ..nn.module import Module, PendingCalls
from ..nn.parameter import Parameter
from ..nn.recurrence import Recurrence
from ..nn.stack import Stack, StackCall
from .config import ModelConfig
from .inputs import Embedded, OneHot, TokenInput

Ids = NDArray[np.int64]
Floats = NDArray[Any]


class State(NamedTuple):
    """The hidden state of a language model between two windows.

    Attributes
    ----------
    h : ndarray of shape (L, B, H)
        Of L layers, B rows and H units, in the model's dtype.
    c : ndarray of shape (L, B, H), or None
        Cell states of an LSTM; None for other cells.

    Examples
    --------
    >>> import fastseq
    >>> lm = fastseq.LanguageModel(fastseq.Vocabulary.bytes(), cell="gru", hidden_size=8)
    >>> state = lm.zero_state(batch_size=3)
    >>> state.h.shape, state.c
    ((1, 3, 8), None)
    """

    h: Floats
    c: Floats | None

    def copy(self) -> State:
        """Return a state with arrays of its own.

        Returns
        -------
        State
        """
        return State(self.h.copy(), None if self.c is None else self.c.copy())

    def rows(self, index: Any) -> State:
        """Return a copy of the state of some rows of the batch.

        Parameters
        ----------
        index : int array, slice or bool array
            Any index of NumPy's that keeps the axis of rows; rows may be repeated.

        Returns
        -------
        State
        """
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
        Draws the initial weights, then dropout.
    start : State or None
        State of one row before a text; see `start_state`.
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
        self.reset_parameters()
        self.start: State | None = None
        self._pending = PendingCalls()
        self._dropout = (config.dropout,) * config.num_layers
        self._stack = Stack([[self._layer(n)] for n in range(config.num_layers)])
        self._input = self._make_input()

    def _make_parameters(self, vocabulary_size: int) -> None:
        for name, shape in self.config.parameter_shapes(vocabulary_size).items():
            group, key = name.split(".")
            if not hasattr(self, group):
                setattr(self, group, _Parameters())
            one_hot = key == "weight_ih_l0" and self.config.embedding_size is None
            parameter = Parameter(
                np.zeros(shape[::-1] if one_hot else shape, self.dtype),
                row_sparse=one_hot or (group == "embedding" and not self.config.tie_weights),
                transposed=one_hot,
            )
            setattr(getattr(self, group), key, parameter)

    def reset_parameters(self) -> None:
        """Draw the initial values of all parameters anew; see `initial_values`."""
        for name, parameter in self.named_parameters():
            view = parameter.public_view()
            view[...] = initial_values(name, view.shape, self.config, self.random)

    def _layer(self, n: int) -> Recurrence:
        one_hot = n == 0 and self.config.embedding_size is None
        return Recurrence.of(self.config.kernel_cell, vars(self.rnn), f"_l{n}", inputs=not one_hot)

    def _make_input(self) -> TokenInput:
        if self.config.embedding_size is None:
            return OneHot(self.rnn["weight_ih_l0"])
        tied, dropout = self.config.tie_weights, self.config.dropout
        return Embedded(self.embedding["weight"], tied, dropout)

    @property
    def vocabulary_size(self) -> int:
        """Number V of tokens."""
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
        """Compute the loss of one window and all gradients, by truncated BPTT [1]_.

        Dropout acts in training mode (`train`, the default; `eval` ends it). T is the number of
        steps, B of parallel streams.

        Parameters
        ----------
        inputs : ndarray of shape (T, B), int64
            Tokens to read.
        targets : ndarray of shape (T, B), int64
            Token that follows each of them; targets below 0 are left out.
        state : State, optional
            Final state of the window before; zeros by default.
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
        TypeError, ValueError
            Not int64; shapes that do not go together.
        IndexError
            A token that is not in the vocabulary.

        References
        ----------
        .. [1] R. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of
               recurrent network trajectories", Neural Computation 2, 1990.

        Examples
        --------
        >>> import fastseq
        >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
        >>> lm = fastseq.LanguageModel(vocabulary, hidden_size=8)
        >>> ids = vocabulary.encode("to be")[:, None]  # one stream
        >>> loss, state = lm.forward_backward(ids[:-1], ids[1:])
        >>> round(loss / 4, 1), lm.head_weight.grad.shape
        (2.1, (8, 8))
        """
        T, B = self._check(inputs, targets, state)
        top, end, call = self._run(inputs.reshape(-1), B, state, self.training, True)
        losses, dtop = pooled_empty((T * B,), self.dtype), pooled_empty(top.shape, self.dtype)
        weight, bias = self.head_weight, self.head["bias"]
        grads = LinearGrads(dtop, weight.grad, bias.grad)
        loss: float = kernels(self.dtype).linear_cross_entropy_with_grads(
            top, weight.data, bias.data, targets.reshape(-1), losses, grads, scale, accumulate
        )
        self._stack.backward(call, dtop, self._zero_gradients(B), None, accumulate)
        return loss, end

    def _zero_gradients(self, B: int) -> tuple[Floats, Floats | None]:
        """Gradients of the final states: truncated BPTT passes none back from the next window."""
        return self.zero_state(B)

    def loss(self, inputs: Ids, targets: Ids, state: State | None = None) -> tuple[float, State]:
        """Compute the loss of one window without gradients and without dropout.

        Parameters
        ----------
        inputs : ndarray of shape (T, B), int64
            Tokens to read.
        targets : ndarray of shape (T, B), int64
            Token that follows each of them; targets below 0 are left out.
        state : State, optional
            Final state of the window before; zeros by default.

        Returns
        -------
        loss : float
            Summed over all targets, in nats.
        state : State
            After the window.

        Raises
        ------
        TypeError, ValueError
            Not int64; shapes that do not go together.
        IndexError
            A token that is not in the vocabulary.
        """
        losses, end = self.losses(inputs, targets, state)
        return float(np.add.reduce(losses, axis=None, dtype=np.float64)), end

    def losses(
        self, inputs: Ids, targets: Ids, state: State | None = None
    ) -> tuple[Floats, State]:
        """Compute the loss of each target, without dropout.

        Parameters
        ----------
        inputs : ndarray of shape (T, B), int64
            Tokens to read.
        targets : ndarray of shape (T, B), int64
            Token that follows each of them; a target below 0 has the loss 0.
        state : State, optional
            Final state of the window before; zeros by default.

        Returns
        -------
        losses : ndarray of shape (T, B)
            In nats.
        state : State
            After the window.

        Raises
        ------
        TypeError, ValueError
            Not int64; shapes that do not go together.
        IndexError
            A token that is not in the vocabulary.
        """
        T, B = self._check(inputs, targets, state)
        top, end, _ = self._run(inputs.reshape(-1), B, state, False, False)
        losses, weight, bias = np.empty(T * B, self.dtype), self.head_weight, self.head["bias"]
        kernels(self.dtype).linear_cross_entropy(
            top, weight.data, bias.data, targets.reshape(-1), losses
        )
        return losses.reshape(T, B), end

    def forward(self, inputs: Ids, state: State | None = None) -> tuple[Floats, State]:
        """Compute the logits of the token that follows each token.

        Dropout acts in training mode, in which the call waits for `backward`.

        Parameters
        ----------
        inputs : ndarray of shape (T, B), int64
            Tokens to read.
        state : State, optional
            After the tokens before; zeros by default.

        Returns
        -------
        logits : ndarray of shape (T, B, V)
            Unnormalised log-probabilities.
        state : State
            After the window.

        Raises
        ------
        TypeError, ValueError
            Not int64; shapes that do not go together.
        IndexError
            A token that is not in the vocabulary.

        Examples
        --------
        >>> import numpy as np
        >>> import fastseq
        >>> lm = fastseq.LanguageModel(fastseq.Vocabulary.bytes(), hidden_size=8)
        >>> logits, state = lm(np.array([[7, 8], [9, 10]]))
        >>> logits.shape
        (2, 2, 256)
        """
        T, B = self._check(inputs, inputs, state)
        save = self.saves_for_backward()
        if save:  # the caller may overwrite its own
            inputs, state = inputs.copy(), None if state is None else state.copy()
        top, end, call = self._run(inputs.reshape(-1), B, state, self.training, save)
        if save:
            self._pending.push((call, top, (T, B)), T * B * self._stack.row_bytes)
        return self._logits(top).reshape(T, B, -1), end

    def activations(
        self, inputs: Ids, state: State | None = None
    ) -> tuple[Floats, State, list[LayerCall]]:
        """What every layer computes while the model reads tokens, without dropout.

        Parameters
        ----------
        inputs : ndarray of shape (T, B), int64
        state : State, optional
            After the tokens before; zeros by default.

        Returns
        -------
        logits : ndarray of shape (T·B, V)
            Of the token that follows each token.
        state : State
        calls : list of LayerCall
            By layer. Row t·B + b of ``y``, ``saved.c`` and ``saved.gates`` holds the output, the
            cell state and the activated gates after step t of sequence b.
        """
        _, B = self._check(inputs, inputs, state)
        top, end, call = self._run(inputs.reshape(-1), B, state, False, True)
        return self._logits(top), end, [layer[0] for layer in call.calls]

    def backward(self, grad_output: Floats) -> None:
        """Add to the gradients of all parameters; tokens have no gradient.

        Parameters
        ----------
        grad_output : ndarray of shape (T, B, V)
            Gradient of the loss with respect to the logits of the last forward call that is still
            pending.

        Raises
        ------
        RuntimeError
            No forward call in training mode is pending, or a wrong shape.
        TypeError, ValueError
            Not a NumPy array, or of another dtype.
        """
        call, top, (T, B) = self._pending.last()
        check_floats("grad_output", grad_output, self.dtype, (T, B, self.vocabulary_size))
        self._pending.pop()
        k, weight, bias = kernels(self.dtype), self.head_weight, self.head["bias"]
        rows = as_kernel_array(grad_output, self.dtype).reshape(T * B, -1)
        dtop = pooled_empty(top.shape, self.dtype)
        k.matmul(rows, weight.data, dtop, None, False)
        k.matmul(rows.T, top, weight.grad, None, True)
        k.sum_rows(rows, bias.grad)
        self._stack.backward(call, dtop, self._zero_gradients(B), None, True)

    def step(self, ids: Ids, state: State | None = None) -> tuple[Floats, State]:
        """Feed one token to each row of a batch, without dropout.

        Parameters
        ----------
        ids : ndarray of shape (B,), int64
            Tokens to read.
        state : State, optional
            After the tokens before; zeros by default.

        Returns
        -------
        log_probs : ndarray of shape (B, V)
            Log-probabilities of the token that follows, in nats.
        state : State
            After the token.

        Raises
        ------
        TypeError, ValueError
            Not int64; shapes that do not go together.
        IndexError
            A token that is not in the vocabulary.

        Examples
        --------
        >>> import numpy as np
        >>> import fastseq
        >>> lm = fastseq.LanguageModel(fastseq.Vocabulary.bytes(), hidden_size=8)
        >>> log_probs, state = lm.step(np.array([7, 8, 9]))
        >>> log_probs.shape, np.exp(log_probs).sum(axis=1).round(4).tolist()
        ((3, 256), [1.0, 1.0, 1.0])
        """
        inputs = ids[None]
        _, B = self._check(inputs, inputs, state)
        top, end, _ = self._run(ids, B, state, False, False)
        logits = self._logits(top)
        logits -= logits.max(axis=1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return logits, end

    def _logits(self, top: Floats) -> Floats:
        logits: Floats = np.empty((len(top), self.vocabulary_size), self.dtype)
        weight, bias = self.head_weight.data, self.head["bias"].data
        kernels(self.dtype).matmul(top, weight.T, logits, bias, False)
        return logits

    def advance(self, inputs: Ids, state: State | None = None) -> State:
        """Read tokens without predicting any.

        Parameters
        ----------
        inputs : ndarray of shape (T, B), int64
            Tokens to read.
        state : State, optional
            After the tokens before; zeros by default.

        Returns
        -------
        State
            After the tokens.

        Raises
        ------
        TypeError, ValueError
            Not int64; shapes that do not go together.
        IndexError
            A token that is not in the vocabulary.
        """
        _, B = self._check(inputs, inputs, state)
        return self._run(inputs.reshape(-1), B, state, False, False)[1]

    @property
    def layers(self) -> list[Recurrence]:
        """The recurrent layers; the first may get its input projection from tokens."""
        return [layer[0] for layer in self._stack.layers]

    def token_table(self) -> Floats:
        """Compute the input projection of every token to the first layer, biases included.

        Returns
        -------
        ndarray of shape (V, G·H)
            G is the number of gates.
        """
        return self._input.table(self.layers[0])

    def start_state(self, batch_size: int = 1) -> State:
        """Return the state before a text: `start` in every row, or zeros without one.

        Parameters
        ----------
        batch_size : int
            Number B of rows.

        Returns
        -------
        State
            A copy.
        """
        if self.start is None:
            return self.zero_state(batch_size)
        return self.start.rows(np.zeros(batch_size, np.int64))

    def zero_state(self, batch_size: int = 1) -> State:
        """Return a state of zeros, in which training starts.

        Parameters
        ----------
        batch_size : int
            Number B of rows.

        Returns
        -------
        State
        """
        shape = self.config.num_layers, batch_size, self.config.hidden_size
        has_c = self.layers[0].cell.has_c
        return State(np.zeros(shape, self.dtype), np.zeros(shape, self.dtype) if has_c else None)

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

        Parameters
        ----------
        state : State
            What a caller passes.
        batch_size : int
            Number B of rows that it must have.

        Raises
        ------
        ValueError
            Its h is not of shape (L, B, H).
        """
        shape = self.config.num_layers, batch_size, self.config.hidden_size
        if state.h.shape != shape:
            raise ValueError(f"state: expected shape {shape}, got {state.h.shape}")

    def _run(
        self, ids: Ids, B: int, state: State | None, training: bool, save: bool
    ) -> tuple[Floats, State, StackCall]:
        """The top layer's output, of shape (T·B, H), the state after it, and the call."""
        rng = self.random if training and self.config.dropout > 0.0 else None
        source = self._input.read(ids, rng)
        states = (None, None) if state is None else (state.h, state.c)
        batch = len(ids), B, None
        draw = None if rng is None else partial(draw_mask, rng)
        top, end, call = self._stack.forward(source, states, batch, save, self._dropout, draw)
        return top, State(*end), call


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
    gates = config.kernel_cell.gates
    if "f" in gates and name.startswith("rnn.bias_ih"):
        values[gates.index("f") * H :][:H] = config.forget_bias
    return values
