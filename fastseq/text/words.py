"""Words: where a text is cut into them, how they are counted and joined again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from .reading import TextError

# Beyond this many different words the rarest are forgotten while counting.
MAX_DISTINCT = 500_000
MAX_WORD_LENGTH = 1 << 24

# Tokenised corpora (Penn Treebank, WikiText) set these apart with spaces.
_SHORT_FORMS = {"'s", "'m", "'d", "'re", "'ve", "'ll", "n't"}
_CLOSING = frozenset(",.;:!?)]}%…”’") | _SHORT_FORMS
_CLOSING |= {word.replace("'", "’") for word in _SHORT_FORMS}
_OPENING = frozenset("([{$£€“‘")
_JOINING = {"@-@": "-", "@,@": ",", "@.@": "."}


def split_words(text: str, lowercase: bool = False, eos: bool = False) -> list[str | None]:
    """Cut at white space; with `eos`, None stands wherever a line ends.

    None and not a string, so that no word of the text can be taken for the end of a line.
    """
    if lowercase:
        text = text.lower()
    if not eos:
        return [*text.split()]
    symbols: list[str | None] = []
    for line in text.split("\n"):
        symbols += line.split()
        symbols.append(None)
    return symbols[:-1]  # the last newline ends a line, the end of the text does not


def whole_words(chunks: Iterable[str]) -> Iterator[str]:
    """Cut the same text anew, such that no word lies across two pieces."""
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
    """Frequency of each word, first seen first.

    Memory is bounded: whenever more than `MAX_DISTINCT` words are known, those seen no more
    than once so far are forgotten, next time those seen no more than twice, and so on.
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
    """Readable text of a stream of words, one piece per word.

    None ends a line; an empty word ends a document and is left out.

    Words are set apart by a space, except before closing and after opening punctuation that
    stands alone as a word. A lone double quote opens and closes in turn.
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
