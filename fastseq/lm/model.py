"""The language model as users hold it: a vocabulary, a network, and what to do with text."""

from __future__ import annotations

from ..text import Vocabulary
from .config import Cell, DType, ModelConfig
from .network import Network


class LanguageModel(Network):
    """Predicts the next token of a text from all tokens before it.

    Parameters
    ----------
    vocabulary : Vocabulary
    cell : {"lstm", "gru", "rnn"}
    hidden_size : int
        H, of each layer.
    num_layers : int
        L.
    embedding_size : int, optional
        Tokens enter as one-hot vectors by default, else through an embedding of this size.
    dropout : float
        Share of activations dropped in training: of the embedding and of each layer's output.
    tie_weights : bool
        Use the embedding as the softmax layer's weight; `embedding_size` must be `hidden_size`.
    forget_bias : float
        Initial bias of the LSTM's forget gate.
    dtype : {"float32", "float64"}
    seed : int
        Of the initial weights and of dropout.

    Raises
    ------
    ValueError, TypeError
        An argument that makes no sense, by name.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        cell: Cell = "lstm",
        hidden_size: int = 128,
        num_layers: int = 1,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        tie_weights: bool = False,
        forget_bias: float = 1.0,
        dtype: DType = "float32",
        seed: int = 0,
    ) -> None:
        config = ModelConfig(
            cell, hidden_size, num_layers, embedding_size, dropout, tie_weights, forget_bias,
            dtype, seed,
        )  # fmt: skip
        super().__init__(config, len(vocabulary))
        self.vocabulary = vocabulary
