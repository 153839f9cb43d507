"""A fixed model of spelling: what a word costs that is not in a vocabulary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

CODE_POINTS = 0x110000
_ORDER = 2  # characters before a character on which its probability depends
_END = ""


class Spelling:
    """Probabilities of words, from the spelling of known ones.

    A word is spelt character by character, then an end. Each has the probability of its
    frequency after the two characters before it among the known words, interpolated with that
    after one, after none, and with a uniform distribution over all code points and the end. The
    weight of the frequencies after a context is n / (n + d), where the context occurs n times
    and d different characters follow it [1]_. The probabilities of all words therefore add up
    to 1 at most: ``bits`` are the length of a code.

    Parameters
    ----------
    words : iterable of str
        Known words, each counted once. There may be none.

    References
    ----------
    .. [1] I. Witten, T. Bell, "The zero-frequency problem", 1991 (method C).

    Examples
    --------
    >>> spelling = Spelling(["sea", "seal", "sail"])
    >>> spelling.bits("sell") < spelling.bits("zzzz")
    True
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        for word in words:
            for context, symbol in _steps(word):
                for start in range(len(context) + 1):
                    self._counts[context[start:], symbol] += 1
        self._totals: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        for (context, _), count in self._counts.items():
            self._totals[context] += count
            self._kinds[context] += 1

    def bits(self, word: str) -> float:
        """Code length of a word, −log₂ of its probability."""
        return -sum(math.log2(self._probability(*step)) for step in _steps(word))

    def _probability(self, context: str, symbol: str) -> float:
        probability = 1 / (CODE_POINTS + 1)
        for start in range(len(context), -1, -1):
            known = context[start:]
            total, kinds = self._totals[known], self._kinds[known]
            if total:
                count = self._counts[known, symbol]
                probability = (count + kinds * probability) / (total + kinds)
        return probability


def _steps(word: str) -> Iterable[tuple[str, str]]:
    """Each character of a word, and its end, with the characters before it.

    The beginning of the word is a context of its own: a space, which no word contains.
    """
    padded = " " + word
    for i, symbol in enumerate([*word, _END]):
        yield padded[max(0, i + 1 - _ORDER) : i + 1], symbol
