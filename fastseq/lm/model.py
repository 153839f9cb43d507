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

    Tokens are embedded, or fed as one-hot vectors, to a stack of recurrent layers; a softmax layer
    turns the output h of the last one into probabilities::

        p(next token) = softmax(head.weight h + head.bias)

    `fastseq.Trainer` trains it, `sample` writes text, `evaluate` measures it, `save` and `load`
    keep it in a file.

    Parameters
    ----------
    vocabulary : Vocabulary
        Converts text to tokens and back.
    *values : Any
        A `ModelConfig`, or some of the options below by position.
    **options : Any
        The fields of `ModelConfig`, in this order and with these defaults: ``cell="lstm"`` (or
        "gru", "rnn"), ``hidden_size=128`` (H), ``num_layers=1`` (L), ``embedding_size=None``
        (one-hot tokens), ``dropout=0.0``, ``tie_weights=False``, ``forget_bias=1.0``,
        ``dtype="float32"``, ``seed=0``. They are explained there.

    Attributes
    ----------
    vocabulary : Vocabulary
    config : ModelConfig
    dtype : numpy.dtype
    random : numpy.random.Generator
        Draws the initial weights, then dropout.

    Raises
    ------
    TypeError, ValueError
        An unusable argument, by name; also a model whose weights and gradients would exceed the
        machine's memory.

    Examples
    --------
    >>> import fastseq
    >>> text = "the cat sat on the mat. " * 20
    >>> vocabulary = fastseq.Vocabulary.characters(text)
    >>> lm = fastseq.LanguageModel(vocabulary, cell="gru", hidden_size=16)
    >>> len(lm.sample("the ", length=20, seed=0))  # an untrained model writes gibberish
    24
    >>> lm.save("cat.safetensors")
    >>> fastseq.LanguageModel.load("cat.safetensors").config.hidden_size
    16
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
            Number of tokens to draw.
        stop : str or sequence of str
            Strings that end the text; the first one to be complete does, and is left out.
        seed : int or None
            The same seed gives the same text. None takes a fresh one.
        **options : Any
            The fields of `Sampling`: temperature, top_k, top_p, min_p, repetition_penalty,
            allow_unk.

        Returns
        -------
        str
            `prime` and what follows.

        Raises
        ------
        TypeError, ValueError
            An unusable argument, by name.

        Examples
        --------
        >>> import fastseq
        >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
        >>> lm = fastseq.LanguageModel(vocabulary, hidden_size=8)
        >>> text = lm.sample("to be", length=10, temperature=0.8, top_p=0.9, seed=1)
        >>> text.startswith("to be"), len(text)
        (True, 15)
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
        """Yield the text of `sample` piece by piece, as it is drawn.

        Parameters
        ----------
        prime : str
            Beginning of the text, at the start of a line or document; may be empty.
        length : int or None
            Number of tokens to draw; None for a text without end.
        stop : str or sequence of str
            Strings that end the text; the first one to be complete does, and is left out.
        seed : int or None
            The same seed gives the same text. None takes a fresh one.
        **options : Any
            The fields of `Sampling`: temperature, top_k, top_p, min_p, repetition_penalty,
            allow_unk.

        Returns
        -------
        iterator of str
            Pieces of text that are not empty, the prime first.

        Raises
        ------
        TypeError, ValueError
            An unusable argument, by name.

        Examples
        --------
        >>> import itertools
        >>> import fastseq
        >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
        >>> lm = fastseq.LanguageModel(vocabulary, hidden_size=8)
        >>> pieces = lm.generate("to", seed=1)  # without end
        >>> len(list(itertools.islice(pieces, 5)))
        5
        """
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
        """Sample several texts in one batch, which is faster than one after the other.

        Parameters
        ----------
        count : int
            Number of texts.
        prime : str
            Beginning of each text, at the start of a line or document; may be empty.
        length : int
            Number of tokens to draw for each.
        stop : str or sequence of str
            Strings that end a text; the first one to be complete does, and is left out.
        seed : int or None
            The same seed gives the same texts. None takes a fresh one.
        progress : callable or None
            Called now and then with the number of tokens drawn so far, and of all.
        **options : Any
            The fields of `Sampling`: temperature, top_k, top_p, min_p, repetition_penalty,
            allow_unk.

        Returns
        -------
        list of str
            Each begins with `prime`.

        Raises
        ------
        TypeError, ValueError
            An unusable argument, by name.

        Examples
        --------
        >>> import fastseq
        >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
        >>> lm = fastseq.LanguageModel(vocabulary, hidden_size=8)
        >>> [len(text) for text in lm.samples(3, "to", length=10, seed=1)]
        [12, 12, 12]
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
            Tokens to continue; at least one.
        length : int
            Number of tokens to draw.
        count : int
            Number of rows, each of which continues the prime on its own.
        state : State or None
            State of one row before the prime, None for `start_state`; it is not modified.
        allowed : array_like of shape (V,), bool, or None
            Tokens that may be drawn; None for all, apart from the unknown token without
            ``allow_unk=True``.
        seed : int or None
            The same seed gives the same tokens. None takes a fresh one.
        **options : Any
            The fields of `Sampling`: temperature, top_k, top_p, min_p, repetition_penalty,
            allow_unk.

        Returns
        -------
        Samples
            Arrays ``ids`` and ``log_probs``, both of shape (count, length).

        Raises
        ------
        TypeError, ValueError
            An unusable argument, by name.
        IndexError
            A token that is not in the vocabulary.

        Examples
        --------
        >>> import fastseq
        >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
        >>> lm = fastseq.LanguageModel(vocabulary, hidden_size=8)
        >>> drawn = lm.sample_tokens(vocabulary.encode("to"), length=10, count=3, seed=1)
        >>> drawn.ids.shape, bool((drawn.log_probs < 0).all())
        ((3, 10), True)
        >>> letters = [token != " " for token in vocabulary.tokens]
        >>> drawn = lm.sample_tokens([1], length=50, allowed=letters, seed=1)
        >>> " " in vocabulary.decode(drawn.ids)
        False
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
        """Search for the most likely continuations of `length` tokens.

        At each token the `beams` most likely partial texts are kept, so that the result is likely,
        but need not be the most likely of all. A document may end early, as in `sample`.

        Parameters
        ----------
        prime : str
            Beginning of the text, at the start of a line or document; may be empty.
        length : int
            Number of tokens to add.
        beams : int
            Number of partial texts.
        allow_unk : bool
            Whether the unknown token may occur.

        Returns
        -------
        list of Beam
            At most `beams` pairs (text, log_prob), the most likely first.

        Raises
        ------
        TypeError, ValueError
            An unusable argument, by name.

        Examples
        --------
        >>> import fastseq
        >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
        >>> lm = fastseq.LanguageModel(vocabulary, hidden_size=8)
        >>> best, second = lm.beam_search("to", length=4, beams=2)
        >>> len(best.text), best.log_prob >= second.log_prob
        (6, True)
        """
        return beam.beam_search(self, self.vocabulary, prime, length, beams, allow_unk)

    # -- evaluation ------------------------------------------------------------------------

    def score(self, text: str | ArrayLike) -> NDArray[np.float64]:
        """Return the log-probability of each token of a text, given all tokens before it.

        The text is taken to start a line, like the prime of `sample`.

        Parameters
        ----------
        text : str, or array_like of shape (n,) and integers
            A text or its tokens.

        Returns
        -------
        ndarray of shape (n,), float64
            In nats, all negative.

        Raises
        ------
        TypeError
            Neither a str nor an array of integers.
        IndexError
            A token that is not in the vocabulary.

        Examples
        --------
        >>> import fastseq
        >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
        >>> lm = fastseq.LanguageModel(vocabulary, hidden_size=8)
        >>> lm.score("to be").shape
        (5,)
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
        """Measure how well the model predicts a text.

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
        progress : callable or None
            Called now and then with the number of tokens scored so far, and of all.

        Returns
        -------
        Evaluation
            Nats per token, bits per character, perplexity.

        Raises
        ------
        TypeError
            `text` is neither a str nor an array of integers.
        ValueError
            A str without any token, fewer than 2 ids, or documents for a model that was
            trained without.
        IndexError
            A token that is not in the vocabulary.

        Examples
        --------
        >>> import fastseq
        >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
        >>> lm = fastseq.LanguageModel(vocabulary, hidden_size=8)
        >>> evaluation = lm.evaluate("to be or not")
        >>> evaluation.tokens, 5 < evaluation.perplexity < 15  # of 8 tokens; a guess has 8
        (12, True)
        """
        check_int("batch_size", batch_size, 1)
        check_int("seq_length", seq_length, 1)
        check_int("overlap", overlap, 0)
        return evaluation.evaluate(
            self, self.vocabulary, text, carry_state, batch_size, seq_length, overlap, progress
        )

    # -- files -----------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights, configuration and vocabulary to one safetensors file, atomically.

        Parameters
        ----------
        path : path-like
            File to write; what it held stays whole until the new contents are complete.

        Raises
        ------
        OSError
            The file cannot be written, or the disk is full.
        """
        checkpoint.save_model(self, self.vocabulary, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a model from a file, or the best model of a run directory.

        Every byte is verified, and nothing in the file is executed.

        Parameters
        ----------
        path : path-like
            A file that `save` or a `Trainer` wrote, or a trainer's directory.

        Returns
        -------
        LanguageModel
            In training mode, like any new model.

        Raises
        ------
        OSError
            The file cannot be opened.
        CheckpointError
            It is damaged, or something else than a model.

        Examples
        --------
        >>> import fastseq
        >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
        >>> fastseq.LanguageModel(vocabulary, hidden_size=8).save("be.safetensors")
        >>> fastseq.LanguageModel.load("be.safetensors").vocabulary == vocabulary
        True
        """
        return cls.from_checkpoint(checkpoint.open_checkpoint(path))

    @classmethod
    def from_checkpoint(cls, opened: Checkpoint) -> Self:
        """Build the model of a checkpoint that `open_checkpoint` has read.

        Parameters
        ----------
        opened : Checkpoint
            It may serve several calls.

        Returns
        -------
        LanguageModel
            With weights of its own.
        """
        lm = cls(opened.vocabulary, opened.config)
        lm.load_state_dict(opened.weights)
        lm.start = opened.start
        return lm
