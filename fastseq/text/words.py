"""Words: splitting, counting and joining."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from .reading import TextError

# With more distinct words than this the rarest are dropped while counting.
MAX_DISTINCT = 500_000
MAX_WORD_LENGTH = 1 << 24

# Tokenised corpora (Penn Treebank, WikiText) separate these with spaces.
_SHORT_FORMS = {"'s", "'m", "'d", "'re", "'ve", "'ll", "n't"}
_CLOSING = frozenset(",.;:!?)]}%…”’") | _SHORT_FORMS
_CLOSING |= {word.replace("'", "’") for word in _SHORT_FORMS}
_OPENING = frozenset("([{$£€“‘")
_JOINING = {"@-@": "-", "@,@": ",", "@.@": "."}


def split_words(text: str, lowercase: bool = False, eos: bool = False) -> list[str | None]:
    """Split at white space; with `eos`, None marks the end of every line.

    The mark is not a string, so that no word of the text can be confused with it.
    """
    if lowercase:
        text = text.lower()
    if not eos:
        return [*text.split()]
    symbols: list[str | None] = []
    for line in text.split("\n"):
        symbols += line.split()
        symbols.append(None)
    return symbols[:-1]  # a newline ends a line, the end of the text does not


def whole_words(chunks: Iterable[str]) -> Iterator[str]:
    """Divide the same text anew, so that no word is split between two pieces."""
    rest = ""
    for chunk in chunks:
        rest += chunk
        if rest and not rest[-1].isspace():
            cut = len(rest) - len(rest.rsplit(maxsplit=1)[-1])
        else:
            cut = len(rest)
        if cut:
            yield rest[:cut]
        rest = rest[cut:]
        if len(rest) > MAX_WORD_LENGTH:
            raise TextError(f"text: no white space in {len(rest)} characters, expected words")
    if rest:
        yield rest


def count_words(chunks: Iterable[str], lowercase: bool = False) -> Counter[str]:
    """Count each word, in order of first occurrence.

    Memory is bounded: whenever there are more than `MAX_DISTINCT` words, those seen only once
    so far are dropped, the next time those seen at most twice, and so on.
    """
    counts: Counter[str] = Counter()
    floor = 0
    for chunk in whole_words(chunks):
        counts.update((chunk.lower() if lowercase else chunk).split())
        if len(counts) > MAX_DISTINCT:
            floor += 1
            counts = Counter({word: n for word, n in counts.items() if n > floor})
    return counts


def join_words(words: Iterable[str | None]) -> Iterator[str]:
    """Join a stream of words to readable text, one piece per word.

    None ends a line; an empty word ends a document and adds no text. Words are separated by a
    space, except before closing and after opening punctuation that is a word of its own. A
    double quote as a word alternately opens and closes.
    """
    glued, quoted = True, False
    for word in words:
        if word is None:
            yield "\n"
            glued, quoted = True, False
        elif not word:
            yield ""
            quoted = False
        elif word in _JOINING:
            yield _JOINING[word]
            glued = True
        else:
            closing = word in _CLOSING or (word == '"' and quoted)
            yield word if glued or closing else " " + word
            quoted ^= word == '"'
            glued = word in _OPENING or (word == '"' and quoted)
