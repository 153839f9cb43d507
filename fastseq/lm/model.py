"""The language model as users hold it: a vocabulary, a network, and what to do with text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Self, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..text import Vocabulary
from . import beam, checkpoint, evaluation, sampling
from .beam import Beam
from .config import Cell, DType, ModelConfig, check_int
from .evaluation import Evaluation
from .network import Network, State
from .sampling import Decoder, Samples, Sampling, SamplingOptions


class LanguageModel(Network):
    """Predicts the next token of a text from all tokens before it.

    Parameters
    ----------
    vocabulary : Vocabulary
    cell : {"lstm", "gru", "rnn"}
    hidden_size : int
        H, of each layer.
    num_layers : int
        L, at most 10,000.
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
        An argument that makes no sense, by name; also where weights and gradients would take
        more than the machine's memory.
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

    # -- sampling --------------------------------------------------------------------------

    def sample(
        self,
        prime: str = "",
        length: int = 400,
        *,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        **options: Unpack[SamplingOptions],
    ) -> str:
        """A text that begins with `prime` and goes on for `length` tokens.

        It ends before that where the model of a vocabulary with documents draws their end.

        Parameters
        ----------
        prime : str
            Stands at the beginning of a line, or of a document; may be empty.
        length : int
        stop : str or sequence of str
            End before that of these which is complete first.
        seed : int, optional
            The same seed gives the same text.
        **options
            The fields of `Sampling`: temperature, top_k, top_p, min_p, repetition_penalty,
            allow_unk.
        """
        return "".join(self.generate(prime, length, stop=stop, seed=seed, **options))

    def generate(
        self,
        prime: str = "",
        length: int | None = None,
        *,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Iterator[str]:
        """`sample` piece by piece, as the text is made; endless with length None."""
        return sampling.generate(self, prime, length, stop, seed, Sampling(**options))

    def samples(
        self,
        count: int,
        prime: str = "",
        length: int = 400,
        *,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        **options: Unpack[SamplingOptions],
    ) -> list[str]:
        """`count` texts in one batch; see `sample`."""
        settings = Sampling(**options)
        return sampling.sample_many(self, count, prime, length, stop, seed, settings)

    def sample_tokens(
        self,
        prime: ArrayLike,
        length: int,
        *,
        count: int = 1,
        state: State | None = None,
        seed: int | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Samples:
        """Tokens and their log-probabilities.

        Parameters
        ----------
        prime : array_like of shape (n,), integer
            At least one token.
        length, count : int
            Tokens to draw for each of `count` rows.
        state : State, optional
            What one row remembers from before the prime; it stays as it is.
        """
        ids = evaluation.as_tokens(self, prime)
        if not len(ids):
            raise ValueError("prime: expected at least one token, got none")
        check_int("length", length, 0)
        check_int("count", count, 1)
        settings = Sampling(**options)
        return Decoder(self, ids, count, settings, self.vocabulary, seed, state).draw(length)

    def beam_search(
        self, prime: str = "", length: int = 40, *, beams: int = 5, allow_unk: bool = False
    ) -> list[Beam]:
        """The likeliest texts of `length` further tokens that `beams` partial texts lead to.

        A document may end before that, as in `sample`.

        Returns
        -------
        list of Beam
            Pairs (text, log_prob), the likeliest first.
        """
        return beam.beam_search(self, prime, length, beams, allow_unk)

    # -- evaluation ------------------------------------------------------------------------

    def score(self, text: str | ArrayLike) -> NDArray[np.float64]:
        """Log-probability of each token of a text (or of ids), given all before it.

        The text stands at the beginning of a line, as the prime of `sample` does.
        """
        return evaluation.score(self, text)

    def evaluate(
        self,
        text: str | ArrayLike,
        carry_state: bool = True,
        *,
        batch_size: int = 1,
        seq_length: int = evaluation.WINDOW,
    ) -> Evaluation:
        """How well the model predicts a text.

        Parameters
        ----------
        text : str, or array_like of shape (n,) and integers
            A str is a whole document: where the vocabulary has a token for its end, that is
            predicted, too.
        carry_state : bool
            Keep the state from window to window; otherwise each starts from zero.
        batch_size : int
            Read the text in so many parallel lanes, each of which starts from zero: faster,
            and slightly worse than the model is.
        seq_length : int
            Tokens in a window. Where the state is carried it makes no difference.

        Raises
        ------
        ValueError
            A text of fewer than 2 tokens.
        """
        check_int("batch_size", batch_size, 1)
        check_int("seq_length", seq_length, 1)
        return evaluation.evaluate(self, text, carry_state, batch_size, seq_length)

    # -- files -----------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights, configuration and vocabulary to one safetensors file.

        An older file of this name is replaced in one step, once the new one is on the disk.
        """
        checkpoint.save_model(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Model of a file that `save` or a training wrote, or the best of a run directory.

        Raises
        ------
        OSError
            The file cannot be opened.
        CheckpointError
            It is damaged or something else; nothing in it was executed.
        """
        return checkpoint.restore_model(cls, checkpoint.open_checkpoint(path))
