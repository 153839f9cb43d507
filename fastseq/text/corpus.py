"""Corpora: texts encoded once, and split for training, validation and test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from .._version import __version__
from ..checks import check_choice
from .batches import Batches
from .documents import Reading, gathered, read_documents
from .reading import PathOrPaths, TextError, find_sources
from .sources import Sources, file_checksum
from .store import Encoded, Tokens, TokenStream, encode_cached, encode_in_memory, vocabulary_cached
from .vocabulary import Policy, Vocabulary

VocabularyOrMaker: TypeAlias = Vocabulary | Callable[[Iterable[str]], Vocabulary]

# Up to this size in bytes, a text is encoded each time and stays in memory.
IN_MEMORY_BYTES = 1 << 22
# Up to this size in bytes, a text is counted each time for a vocabulary.
COUNTED_ANEW_BYTES = 1 << 20
# Text seldom compresses better than this.
_GZIP_RATIO = 8


class Corpus:
    """Streams of tokens named "train" and, if requested, "valid" and "test".

    Make one with `from_text` or `from_files`.

    Parameters
    ----------
    vocabulary : Vocabulary
        Has encoded the streams.
    encoded : mapping of str to Encoded
        Stream and statistics of "train" and of splits with a text of their own.
    fractions : mapping of str to float
        Splits that are cut off the end of "train", in order.
    reading : Reading or None
        Encoding and division into documents of its files; None for a corpus that was not made
        from files.
    sources : Sources or None
        The files themselves; None for the same corpora.

    Attributes
    ----------
    vocabulary : Vocabulary
    splits : dict of str to TokenStream
    unknown_rate : float
        Fraction of the sources' symbols that are not in the vocabulary, over all splits.
    reading : Reading or None
    sources : Sources or None

    Examples
    --------
    >>> import fastseq
    >>> text = "the quick brown fox. " * 10
    >>> corpus = fastseq.Corpus.from_text(text, fastseq.Vocabulary.characters, valid=0.1)
    >>> len(corpus.tokens("train")), len(corpus.tokens("valid")), len(corpus.vocabulary)
    (189, 21, 18)
    >>> inputs, targets = corpus.batches("train", batch_size=4, seq_length=8).window(0)
    >>> inputs.shape
    (8, 4)
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        encoded: Mapping[str, Encoded],
        fractions: Mapping[str, float],
        reading: Reading | None = None,
        sources: Sources | None = None,
    ) -> None:
        self.vocabulary, self.reading, self.sources = vocabulary, reading, sources
        self.splits = {name: source.stream for name, source in encoded.items()}
        self.splits |= _cut(self.splits["train"], fractions)
        symbols = sum(source.symbols for source in encoded.values())
        unknown = sum(source.unknown for source in encoded.values())
        self.unknown_rate = unknown / max(1, symbols)
        self._unknown_token_rates: dict[str, float] = {}
        self._checksums = {name: source.sha256 for name, source in encoded.items()}

    @classmethod
    def from_text(
        cls,
        text: str,
        vocabulary: VocabularyOrMaker,
        valid: float | str = 0.0,
        test: float | str = 0.0,
        policy: Policy = "unk",
    ) -> Corpus:
        """Build a corpus from a string.

        Parameters
        ----------
        text : str
            The training text, and the rest if `valid` or `test` is a fraction.
        vocabulary : Vocabulary or callable
            A vocabulary, or a function that builds one from the pieces of the training text,
            such as `Vocabulary.characters`.
        valid, test : float or str
            Fraction of the text to cut off its end (the order is train, valid, test), or a
            separate text.
        policy : {"unk", "error", "skip"}
            Treatment of unknown symbols; see `Vocabulary.encode`.

        Returns
        -------
        Corpus

        Raises
        ------
        TextError
            An empty text; with "error" a symbol that is not in the vocabulary.
        ValueError
            Fractions that are not from 0 to less than 1, each and together.

        Examples
        --------
        >>> import fastseq
        >>> corpus = fastseq.Corpus.from_text("to be or not to be", fastseq.Vocabulary.words)
        >>> corpus.tokens().tolist(), corpus.vocabulary.tokens
        ([1, 2, 3, 4, 1, 2], ('<unk>', 'to', 'be', 'or', 'not'))
        """
        splits: dict[str, float | str] = {"valid": valid, "test": test}
        fractions = _fractions(splits)
        held_out = {n: own for n, own in splits.items() if not isinstance(own, int | float)}
        texts = {"train": text} | held_out
        for name, content in texts.items():
            if not content:
                raise TextError(f"{name}: empty text")
        if not isinstance(vocabulary, Vocabulary):
            vocabulary = vocabulary([text])
        encoded = {
            name: encode_in_memory([[content]], vocabulary, policy)
            for name, content in texts.items()
        }
        return cls(vocabulary, encoded, fractions)

    @classmethod
    def from_files(
        cls,
        paths: PathOrPaths,
        vocabulary: VocabularyOrMaker,
        valid: float | PathOrPaths = 0.0,
        test: float | PathOrPaths = 0.0,
        policy: Policy = "unk",
        strip_licence: bool = True,
        separator: str = "\n",
        documents: bool | str = False,
        encoding: str = "utf-8",
    ) -> Corpus:
        """Build a corpus from files, folders or glob patterns; see `find_sources`.

        The text is read in pieces and never held as a whole. Texts of more than 4 MB are encoded
        into a memory-mapped file in `cache_dir` (a temporary one if that is not writable), which
        is found again by a checksum of sources, vocabulary and the options below. The cache also
        keeps vocabularies that `Vocabulary.characters` or `words`, or a `functools.partial` of
        them, builds from more than 1 MB.

        Parameters
        ----------
        paths : path-like or sequence of path-like
        vocabulary : Vocabulary or callable
            A vocabulary, or a function that builds one from the pieces of the training files'
            text (including the end that `valid` and `test` cut off), such as
            `Vocabulary.characters`.
        valid, test : float, path-like or sequence of path-like
            Fraction of the tokens to cut off the end (the order is train, valid, test), or
            separate files, which are left out of training if they are among `paths`.
        policy : {"unk", "error", "skip"}
            Treatment of unknown symbols; see `Vocabulary.encode`.
        strip_licence : bool
            Leave out Project Gutenberg's header and footer.
        separator : str
            Text inserted between two files, unless they are documents.
        documents : bool or {"files", "lines", "csv:COLUMN"}
            Divide the text into documents and append a token for the end of each; see
            `Vocabulary.with_documents`. A document is a file ("files" or True), a line that is
            not blank, or a field of a column that is not blank in files of comma-separated
            values. COLUMN is the name of a column in the first row; or its number, from 1,
            in files whose first row is data. Fields are quoted as Python's `csv` expects. A
            vocabulary with a token for the end implies "files". Documents keep their order, so
            shuffle a sorted list before.
        encoding : str
            Encoding of the files, any of Python's that can be decoded piece by piece. Bytes of
            other encodings than UTF-8 are converted to UTF-8.

        Returns
        -------
        Corpus

        Raises
        ------
        FileNotFoundError, TextError
            A source is missing, empty or, except for a vocabulary of bytes in UTF-8, not in
            the encoding; comma-separated values that are malformed or lack the column.
        ValueError, TypeError
            Unusable options.

        Examples
        --------
        >>> from pathlib import Path
        >>> import fastseq
        >>> Path("poem.txt").write_text("Roses are red")
        13
        >>> corpus = fastseq.Corpus.from_files("poem.txt", fastseq.Vocabulary.bytes())
        >>> bytes(corpus.tokens().tolist())
        b'Roses are red'

        A corpus of names, one a line or in the column "name" of a table::

            Corpus.from_files("names.txt", Vocabulary.characters, documents="lines")
            Corpus.from_files("people.csv", Vocabulary.characters, documents="csv:name")
        """
        if isinstance(documents, bool):
            reading = Reading("files" if documents else None, encoding)
        else:
            reading = Reading(documents, encoding)
        splits: dict[str, float | PathOrPaths] = {"valid": valid, "test": test}
        fractions = _fractions(splits)
        held_out = {n: own for n, own in splits.items() if not isinstance(own, int | float)}
        files = _find_files(paths, held_out)
        # Everything that decides, beside files and vocabulary, which tokens come out.
        read_as = {
            **fractions, "policy": policy, "strip_licence": strip_licence, "separator": separator,
            "documents": documents, "encoding": encoding,
        }  # fmt: skip
        recorded = Sources.of(files, read_as)
        options = _FileOptions(strip_licence, separator, reading)
        if not isinstance(vocabulary, Vocabulary):
            vocabulary = _make_vocabulary(vocabulary, files["train"], options)
        if reading.documents is not None:
            vocabulary = vocabulary.with_documents()
        if vocabulary.eod_id is not None:
            reading = replace(reading, documents=reading.documents or "files")
            options = _FileOptions(strip_licence, "", reading)
        encoded = {
            name: _encode_files(sources, vocabulary, policy, options)
            for name, sources in files.items()
        }
        return cls(vocabulary, encoded, fractions, reading, recorded)

    @classmethod
    def from_sources(
        cls,
        sources: Sources,
        vocabulary: Vocabulary,
        paths: PathOrPaths | None = None,
        **options: Any,
    ) -> Corpus:
        """Read the files of a corpus again.

        Parameters
        ----------
        sources : Sources
            The record of another corpus.
        vocabulary : Vocabulary
            The vocabulary of that corpus.
        paths : path-like or sequence of path-like, optional
            The training files, where they have been moved.
        **options : Any
            Arguments of `from_files` that differ, such as a moved file in ``valid``.

        Returns
        -------
        Corpus

        Raises
        ------
        FileNotFoundError, TextError
            A file is missing or has changed.
        """
        replaced = {*options, *(() if paths is None else ("train",))}
        for name in sources.files.keys() - replaced:
            sources.check(name)
        held_out = {name: sources.paths(name) for name in sources.files if name != "train"}
        paths = sources.paths("train") if paths is None else paths
        return cls.from_files(paths, vocabulary, **{**sources.options, **held_out, **options})

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(stream):,}" for name, stream in self.splits.items())
        return f"<Corpus: {sizes} tokens, unknown {self.unknown_rate:.2%}, {self.vocabulary!r}>"

    def tokens(self, split: str = "train") -> Tokens:
        """Return the tokens of a split.

        Parameters
        ----------
        split : str
            "train", or one that was requested.

        Returns
        -------
        ndarray of shape (n,), of the smallest unsigned type that holds the vocabulary
            Read-only; of a large corpus a view of a mapped file.

        Raises
        ------
        ValueError
            There is no such split.
        """
        return self._split(split).tokens

    def batches(
        self, split: str, batch_size: int, seq_length: int, drop_last: bool = False
    ) -> Batches:
        """Cut a split into windows.

        Parameters
        ----------
        split : str
            "train", or one that was requested.
        batch_size : int
            Number B of parallel streams.
        seq_length : int
            Steps T of a window.
        drop_last : bool
            Leave out a last window of fewer than T steps.

        Returns
        -------
        Batches

        Raises
        ------
        TypeError, ValueError
            There is no such split, or an unusable size.
        TextError
            There are fewer than ``batch_size * seq_length + 1`` tokens.
        """
        stream = self._split(split)
        return Batches(stream.tokens, batch_size, seq_length, drop_last, stream.release)

    def unknown_token_rate(self, split: str) -> float | None:
        """Return the fraction of a split's tokens that are unknown.

        Parameters
        ----------
        split : str
            "train", or one that was requested.

        Returns
        -------
        float or None
            0 to 1. None if there are unknown symbols in the corpus that cannot be found in its
            tokens, because the vocabulary has no `unk_id`.

        Raises
        ------
        ValueError
            There is no such split.
        """
        stream = self._split(split)
        if not self.unknown_rate:
            return 0.0
        if self.vocabulary.unk_id is None:
            return None
        if split not in self._unknown_token_rates:
            count = stream.count(self.vocabulary.unk_id)
            self._unknown_token_rates[split] = count / max(1, len(stream))
        return self._unknown_token_rates[split]

    def fingerprint(self) -> str:
        """Return a checksum of vocabulary, tokens and splits; equal corpora have equal ones.

        Returns
        -------
        str
            A SHA-256 in hexadecimal.
        """
        sizes = {name: len(stream) for name, stream in self.splits.items()}
        return _checksum([self.vocabulary.fingerprint(), self._checksums, sizes])

    def _split(self, name: str) -> TokenStream:
        check_choice("split", name, tuple(self.splits))
        return self.splits[name]


class _FileOptions(NamedTuple):
    """How files are read for a corpus: arguments of `read_documents`."""

    strip_licence: bool
    separator: str
    reading: Reading

    def documents(self, sources: list[Path], errors: str = "strict") -> Iterator[Iterator[str]]:
        return read_documents(sources, errors=errors, **self._asdict())

    def facts(self) -> dict[str, Any]:
        """As values for JSON."""
        return self._asdict() | {"reading": self.reading.to_json()}


def _fractions(splits: Mapping[str, object]) -> dict[str, float]:
    """Splits that are fractions of the text, in order."""
    fractions = {n: value for n, value in splits.items() if isinstance(value, int | float)}
    for name, value in fractions.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name}: expected a fraction from 0 to less than 1, got {value!r}")
    if sum(fractions.values()) >= 1:
        raise ValueError(f"valid, test: expected less than 1 together, got {fractions}")
    return {name: value for name, value in fractions.items() if value}


def _cut(stream: TokenStream, fractions: Mapping[str, float]) -> dict[str, TokenStream]:
    """Cut a stream into "train" and, in their order, the fractions of its end."""
    shares = accumulate(fractions.values(), initial=1 - sum(fractions.values()))
    stops = [int(len(stream) * share) for share in shares]
    stops[-1] = len(stream)  # despite rounding
    names = ("train", *fractions)
    return {
        name: stream.part(start, stop)
        for name, start, stop in zip(names, (0, *stops[:-1]), stops, strict=True)
    }


def _find_files(paths: PathOrPaths, held_out: Mapping[str, PathOrPaths]) -> dict[str, list[Path]]:
    """Files of every split; held-out ones are left out of training."""
    separate = {name: find_sources(sources) for name, sources in held_out.items()}
    excluded = {path.resolve() for sources in separate.values() for path in sources}
    train = [path for path in find_sources(paths) if path.resolve() not in excluded]
    if not train:
        raise TextError("corpus: all files are held out, expected at least one for training")
    for sources in (train, *separate.values()):
        if not any(path.stat().st_size for path in sources):
            raise TextError(f"{sources[0]}: empty file")
    return {"train": train} | separate


def _make_vocabulary(
    maker: Callable[[Iterable[str]], Vocabulary], sources: list[Path], options: _FileOptions
) -> Vocabulary:
    """Build a vocabulary, or load it from the cache if the maker is a method of `Vocabulary`."""
    known = maker if isinstance(maker, partial) else partial(maker)
    if options.reading.has_records and known.func == Vocabulary.characters:
        options = options._replace(separator="")  # only words need a line end between documents
    pieces = gathered(chain.from_iterable(options.documents(sources)))
    named = known.func in (Vocabulary.characters, Vocabulary.words) and not known.args
    if not named or sum(map(_text_size, sources)) <= COUNTED_ANEW_BYTES:
        return maker(pieces)
    about = [__version__, known.func.__name__, repr(sorted(known.keywords.items()))]
    key = _checksum([_contents(sources), about, options.facts()])
    return vocabulary_cached(key, lambda: maker(pieces))


def _encode_files(
    sources: list[Path], vocabulary: Vocabulary, policy: Policy, options: _FileOptions
) -> Encoded:
    """Encode files, into memory or the cache by their size."""
    documents = options.documents(sources, vocabulary.text_errors)
    if sum(map(_text_size, sources)) <= IN_MEMORY_BYTES:
        encoded = encode_in_memory(documents, vocabulary, policy)
    else:
        key = _cache_key(sources, vocabulary, options.facts() | {"policy": policy})
        encoded = encode_cached(key, documents, vocabulary, policy)
    if not encoded.stream:
        raise TextError(f"{sources[0]}: expected text, got none")
    return encoded


def _text_size(path: Path) -> int:
    return path.stat().st_size * (_GZIP_RATIO if path.suffix == ".gz" else 1)


def _cache_key(sources: list[Path], vocabulary: Vocabulary, options: dict[str, Any]) -> str:
    """Checksum of everything that the encoded tokens depend on."""
    return _checksum([_contents(sources), vocabulary.fingerprint(), options])


def _contents(sources: list[Path]) -> list[tuple[bool, str]]:
    return [(path.suffix == ".gz", file_checksum(path)) for path in sources]


def _checksum(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
