"""The tokens of a text: their ids, their places in it, and how the page shows them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..text import Vocabulary
from ..text.vocabulary import Ids, WordVocabulary

_SURROGATE_BYTES = 0xDC80, 0xDCFF  # bytes that are not UTF-8, as `read_text` reads them
_NAMES = {" ": "␣", "\n": "↵", "\t": "⇥", "\x7f": "␡"}


@dataclass(frozen=True)
class TokenText:
    """A text and where each of its tokens stands in it.

    Attributes
    ----------
    text : str
    ids : ndarray of shape (N,), int64
    spans : ndarray of shape (N, 2), int64
        The first character of each token and the one after its last. The bytes of one character
        share its span.
    """

    text: str
    ids: Ids
    spans: NDArray[np.int64]

    @classmethod
    def of(cls, vocabulary: Vocabulary, text: str | Sequence[str]) -> TokenText:
        """Encode a text, or documents, the end of each of which is shown as a line end."""
        if isinstance(text, str):
            return cls(text, vocabulary.encode(text), _spans(vocabulary, text))
        if vocabulary.eod_id is None:
            raise ValueError("text: expected a str for a model without documents")
        ids: list[Ids] = [np.empty(0, np.int64)]
        spans, done = [np.empty((0, 2), np.int64)], 0
        for document in text:
            end = done + len(document)
            ids += [vocabulary.encode(document), np.array([vocabulary.eod_id])]
            spans += [_spans(vocabulary, document) + done, np.array([[end, end + 1]])]
            done = end + 1
        return cls("".join(f"{one}\n" for one in text), np.concatenate(ids), np.concatenate(spans))

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, start: int, stop: int) -> TokenText:
        """Some of the tokens, in the same text."""
        return TokenText(self.text, self.ids[start:stop], self.spans[start:stop])

    def after(self, start: int) -> TokenText:
        """The tokens from one on, in a text that begins with it."""
        first = int(self.spans[start, 0])
        return TokenText(self.text[first:], self.ids[start:], self.spans[start:] - first)

    def gaps_and_pieces(self) -> tuple[list[str], list[str]]:
        """The white space before each token, and the token; joined, they are the text.

        A character of several bytes belongs to its last byte; the pieces of the others are empty.
        """
        gaps, pieces = [], []
        done = int(self.spans[0, 0]) if len(self) else 0
        following = [*self.spans[1:, 0].tolist(), -1]
        for n, (start, stop) in enumerate(self.spans.tolist()):
            whole = following[n] != start  # else the next byte belongs to the same character
            gaps.append(self.text[done:start])
            pieces.append(self.text[start:stop] if whole else "")
            done = stop if whole else start
        return gaps, pieces


def _spans(vocabulary: Vocabulary, text: str) -> NDArray[np.int64]:
    if isinstance(vocabulary, WordVocabulary):
        pattern = r"\S+|\n" if vocabulary.eos_id is not None else r"\S+"
        found = [match.span() for match in re.finditer(pattern, text)]
        return np.array(found, np.int64).reshape(-1, 2)
    starts = np.arange(len(text))
    if vocabulary.level == "byte":
        starts = np.repeat(starts, _utf8_lengths(text))
    return np.stack([starts, starts + 1], axis=1)


def _utf8_lengths(text: str) -> NDArray[np.int64]:
    """Bytes of each character in UTF-8, with one for each byte that is not UTF-8."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    lengths = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
    first, last = _SURROGATE_BYTES
    lengths[(codes >= first) & (codes <= last)] = 1
    return lengths.astype(np.int64)


def label(token: str) -> str:
    """A token as it is written alone: white space and other invisible characters get a sign."""
    return "".join(map(_visible, token)) or "∅"


def _visible(character: str) -> str:
    if character in _NAMES:
        return _NAMES[character]
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))  # Unicode's pictures of control characters
    if unicodedata.category(character)[0] in "CZ":
        return f"U+{ord(character):04X}"
    return character
