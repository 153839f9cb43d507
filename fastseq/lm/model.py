"""The language model: a network with a vocabulary, and its operations on text."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_int
from ..text import Vocabulary
from . import beam, checkpoint, evaluation, sampling
from .beam import Beam
from .checkpoint import Checkpoint
from .config import ModelConfig, ModelOptions
from .evaluation import Evaluation
from .network import Network, State
from .sampling import Decoder, Samples, Sampling, SamplingOptions
from .start import mean_state, start_contexts


class LanguageModel(Network):
    """Predicts the next token of a text from all tokens before it.

    After the vocabulary come the fields of `ModelConfig`, which also holds their defaults, by
    position or by keyword; or one `ModelConfig`.

    Parameters
    ----------
    vocabulary : Vocabulary
    cell : {"lstm", "gru", "rnn"}
    hidden_size : int
        Size H of each layer.
    num_layers : int
        Number of layers L, at most 10,000.
    embedding_size : int, optional
        Size of the embedding of tokens. Without it tokens are one-hot vectors.
    dropout : float
        Fraction of activations dropped in training: of the embedding and of each layer's output.
    tie_weights : bool
        Use the embedding as the softmax layer's weight; `embedding_size` must be `hidden_size`.
    forget_bias : float
        Initial bias of the LSTM's forget gate.
    dtype : {"float32", "float64"}
    seed : int
        Seed of the initial weights and of dropout.

    Raises
    ------
    ValueError, TypeError
        An unusable argument, by name; also a model whose weights and gradients would exceed
        the machine's memory.
    """

    def __init__(
        self, vocabulary: Vocabulary, *values: Any, **options: Unpack[ModelOptions]
    ) -> None:
        config = values[0] if values and isinstance(values[0], ModelConfig) else None
        if config is None:
            config = ModelConfig(*values, **options)
        elif len(values) > 1 or options:
            raise TypeError("config: expected no further arguments beside a ModelConfig")
        super().__init__(config, len(vocabulary))
        self.vocabulary = vocabulary

    def learn_start(self, tokens: ArrayLike) -> None:
        """Set the state in which texts start to the mean of that before starts in `tokens`.

        Samples, scores and evaluations start in it. A text starts after the end of a document,
        or of a line without documents. `Trainer` does this with the training text whenever it
        saves or samples; call it after training in another way, and again when the weights
        have changed. Without it texts start from zeros, a state in which no line or document
        starts in training, and samples often start with an unlikely character.

        Parameters
        ----------
        tokens : array_like of shape (n,), integer
            The text that the model is trained on. If the vocabulary has no end of a line or
            document, or none is found here, texts start from zeros.

        Examples
        --------
        >>> from fastseq.text import Vocabulary
        >>> vocabulary = Vocabulary.characters("Ada\\nEmmy\\n")
        >>> lm = LanguageModel(vocabulary, hidden_size=8)
        >>> lm.learn_start(vocabulary.encode("Ada\\nEmmy\\n" * 20))
        >>> lm.start_state().h.shape
        (1, 1, 8)
        """
        end = sampling.end_token(self.vocabulary)
        contexts = None if end is None else start_contexts(np.asarray(tokens), end)
        self.start = None if contexts is None else mean_state(self, contexts)

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
        """Sample a text that begins with `prime` and continues for `length` tokens.

        With a vocabulary of documents the text ends early where the end of a document is drawn.

        Parameters
        ----------
        prime : str
            Beginning of the text, at the start of a line or document; may be empty.
        length : int
        stop : str or sequence of str
            Strings that end the text; the first one to be complete does, and is left out.
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
        """Yield the text of `sample` piece by piece; endless with length None."""
        return sampling.generate(
            self, self.vocabulary, prime, length, stop, seed, Sampling(**options)
        )

    def samples(
        self,
        count: int,
        prime: str = "",
        length: int = 400,
        *,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        progress: Callable[[int, int], object] | None = None,
        **options: Unpack[SamplingOptions],
    ) -> list[str]:
        """Sample `count` texts in one batch; see `sample`.

        `progress` is called now and then with the number of tokens drawn so far, and of all.
        """
        settings = Sampling(**options)
        return sampling.sample_many(
            self, self.vocabulary, count, prime, length, stop, seed, settings, progress
        )

    def sample_tokens(
        self,
        prime: ArrayLike,
        length: int,
        *,
        count: int = 1,
        state: State | None = None,
        allowed: ArrayLike | None = None,
        seed: int | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Samples:
        """Sample tokens, with their log-probabilities.

        Parameters
        ----------
        prime : array_like of shape (n,), integer
            At least one token.
        length, count : int
            Tokens to draw for each of `count` rows.
        state : State, optional
            State of one row before the prime, by default `start_state`; it is not modified.
        allowed : array_like of shape (V,), bool, optional
            Tokens that may be drawn; by default all, apart from the unknown token without
            ``allow_unk=True``.

        Examples
        --------
        >>> from fastseq.text import Vocabulary
        >>> lm = LanguageModel(Vocabulary.codes(128), hidden_size=4)
        >>> digits = [chr(i).isdigit() for i in range(128)]
        >>> drawn = lm.sample_tokens([65], 5, allowed=digits, seed=1)
        >>> lm.vocabulary.decode(drawn.ids).isdigit()
        True
        """
        ids = evaluation.as_tokens(self.vocabulary, prime)
        if not len(ids):
            raise ValueError("prime: expected at least one token, got none")
        check_int("length", length, 0)
        check_int("count", count, 1)
        settings = Sampling(**options)
        mask = None if allowed is None else np.asarray(allowed)
        decoder = Decoder(self, ids, count, settings, self.vocabulary, seed, state, mask)
        return decoder.draw(length)

    def beam_search(
        self, prime: str = "", length: int = 40, *, beams: int = 5, allow_unk: bool = False
    ) -> list[Beam]:
        """Search for the most likely continuations of `length` tokens, with `beams` partial texts.

        A document may end early, as in `sample`.

        Returns
        -------
        list of Beam
            Pairs (text, log_prob), the most likely first.
        """
        return beam.beam_search(self, self.vocabulary, prime, length, beams, allow_unk)

    # -- evaluation ------------------------------------------------------------------------

    def score(self, text: str | ArrayLike) -> NDArray[np.float64]:
        """Log-probability of each token of a text (or of ids), given all tokens before it.

        The text is taken to start a line, like the prime of `sample`.
        """
        return evaluation.score(self, self.vocabulary, text)

    def evaluate(
        self,
        text: str | Sequence[str] | ArrayLike,
        carry_state: bool = True,
        *,
        batch_size: int = 1,
        seq_length: int = evaluation.WINDOW,
        overlap: int = 0,
        progress: Callable[[int, int], object] | None = None,
    ) -> Evaluation:
        """Evaluate how well the model predicts a text.

        Parameters
        ----------
        text : str, list of str, or array_like of shape (n,) and integers
            A str is a whole text: it starts as the texts of `sample` do, and all its tokens are
            predicted, with the end of the document if the vocabulary has a token for it. A list
            has documents, which are read one after another as in training. Ids are a part
            of a text: their first token is given, and the state before it is zero, as in
            validation by `Trainer`.
        carry_state : bool
            Keep the state from window to window; otherwise each window starts like the first.
        batch_size : int
            Largest number of parallel streams in which the text is read, which is faster. Each
            starts without the text before it, so that more streams score slightly worse unless
            they overlap.
        seq_length : int
            Tokens in a window. It has no effect if the state is carried.
        overlap : int
            Tokens that each stream but the first reads before those that it scores. With a
            few hundred the score hardly differs from that of one stream. A text is cut into
            so few streams that each has three times as many.
        progress : callable, optional
            Called now and then with the number of tokens scored so far, and of all.

        Raises
        ------
        ValueError
            A str without any token, fewer than 2 ids, or documents for a model that was
            trained without.
        """
        check_int("batch_size", batch_size, 1)
        check_int("seq_length", seq_length, 1)
        check_int("overlap", overlap, 0)
        return evaluation.evaluate(
            self, self.vocabulary, text, carry_state, batch_size, seq_length, overlap, progress
        )

    # -- files -----------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights, configuration and vocabulary to one safetensors file, atomically."""
        checkpoint.save_model(self, self.vocabulary, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a model from a file, or the best model of a run directory.

        Raises
        ------
        OSError
            The file cannot be opened.
        CheckpointError
            It is damaged or something else; nothing in it is executed.
        """
        return cls.from_checkpoint(checkpoint.open_checkpoint(path))

    @classmethod
    def from_checkpoint(cls, opened: Checkpoint) -> Self:
        """Build the model of a checkpoint that `open_checkpoint` has read."""
        lm = cls(opened.vocabulary, opened.config)
        lm.load_state_dict(opened.weights)
        lm.start = opened.start
        return lm
