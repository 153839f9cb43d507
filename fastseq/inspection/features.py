"""What a unit may follow: features of a text, a number for each of its characters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tokens import TokenText


@dataclass(frozen=True)
class Feature:
    """A number for each character of a text, known once that character has been read.

    Attributes
    ----------
    name : str
    meaning : str
        What the number is, in a few words.
    measure : callable
        From a text to one number for each character.
    anywhere : bool
        A token of several characters has the largest of their numbers; otherwise the last one.
    """

    name: str
    meaning: str
    measure: Callable[[str], Iterable[float]]
    anywhere: bool = False

    def of_tokens(self, tokens: TokenText) -> NDArray[np.float32]:
        """One number for each token."""
        if not len(tokens):
            return np.zeros(0, np.float32)
        starts, stops = tokens.spans.T
        end = int(stops[-1])
        values = np.fromiter(self.measure(tokens.text[:end]), np.float32, end)
        if not self.anywhere:
            return values[stops - 1]
        # Pairs of a token and what lies between it and the next; reduceat needs indices < end.
        edges = np.stack([starts, np.minimum(stops, end - 1)], axis=1).reshape(-1)
        return np.maximum(np.maximum.reduceat(values, edges)[::2], values[stops - 1])


def _paragraph_ends(text: str) -> Iterator[tuple[str, bool]]:
    """Each character, and whether it is the newline of a blank line."""
    blank = False
    for character in text:
        yield character, blank and character == "\n"
        blank = character == "\n" or (blank and character.isspace())


def _inside_quotes(text: str) -> Iterator[bool]:
    """Between double quotes; a blank line ends a quotation that is left open."""
    opened = False
    for character, ends in _paragraph_ends(text):
        if character == '"':
            opened = not opened
        elif character in "“«":
            opened = True
        elif character in "”»" or ends:
            opened = False
        yield opened


def _bracket_depth(text: str) -> Iterator[int]:
    """Open brackets; a blank line closes those that are left open."""
    depth = 0
    for character, ends in _paragraph_ends(text):
        depth += (character in "([{") - (character in ")]}")
        depth = 0 if ends else max(depth, 0)
        yield depth


def _since(starts: Iterable[bool]) -> Iterator[int]:
    """Steps since the last start; 0 there."""
    count = 0
    for start in starts:
        count = 0 if start else count + 1
        yield count


def _line_position(text: str) -> Iterator[int]:
    return _since(character == "\n" for character in text)


def _sentence_position(text: str) -> Iterator[int]:
    return _since(character in ".!?" or ends for character, ends in _paragraph_ends(text))


def _word_position(text: str) -> Iterator[int]:
    return _since(not (character.isalnum() or character == "_") for character in text)


def _indentation(text: str) -> Iterator[int]:
    width, leading = 0, True
    for character in text:
        if character == "\n":
            width, leading = 0, True
        else:
            leading = leading and character in " \t"
            width += leading
        yield width


def _each(test: Callable[[str], bool]) -> Callable[[str], Iterator[bool]]:
    return lambda text: map(test, text)


FEATURES = (
    Feature("quotes", "inside double quotes", _inside_quotes),
    Feature("brackets", "number of open brackets", _bracket_depth),
    Feature("line position", "characters since the line began", _line_position),
    Feature("sentence position", "characters since . ! or ?", _sentence_position),
    Feature("word position", "letters since the word began", _word_position),
    Feature("indentation", "width of the space before the line", _indentation),
    Feature("white space", "a space, tab or end of line", _each(str.isspace)),
    Feature("end of line", "the end of a line", _each("\n".__eq__)),
    Feature("capitals", "a capital letter", _each(str.isupper), anywhere=True),
    Feature("digits", "a digit", _each(str.isdigit), anywhere=True),
    Feature("punctuation", "one of . , ; : ! ?", _each(".,;:!?".__contains__), True),
)
