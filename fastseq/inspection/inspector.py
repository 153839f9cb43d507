"""The inspection of a language model on a text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import check_choice, check_int
from ..lm import LanguageModel
from ..lm.sampling import start_token
from ..storage.files import atomic_file
from .contents import page_arrays, page_facts
from .features import FEATURES, Feature
from .page import build_page
from .ranking import MIN_TOKENS, FeatureRanking, rank
from .recording import Extent, Progress, Recording, gate_names, record, state_names
from .tokens import TokenText

MAX_TOKENS, RANKED_TOKENS = 4000, 20_000
CONTEXT = 2000  # tokens before the start that are read
MAX_PAGE_NUMBERS = 6_000_000  # at most 8 MB, usually 4 to 6 after compression
MAX_RANKED_NUMBERS = 25_000_000  # 100 MB in memory
NEXT_TOKENS = 6
LISTED_UNITS = 10
CLEAR = 0.5  # correlation of a unit that is worth looking at first


@dataclass(frozen=True)
class Inspection:
    """What a language model computes while it reads a text; made by `inspect`.

    Attributes
    ----------
    lm : LanguageModel
    tokens : TokenText
        The n tokens that the page shows.
    start : int
        Number of tokens before them.
    recording : Recording
        Its states and bits may go on after the tokens that are shown.
    rankings : tuple of FeatureRanking
        By state, then by feature.
    notes : tuple of str
        What was left out, and why.

    Examples
    --------
    >>> import fastseq
    >>> from fastseq.inspection import inspect
    >>> text = 'She said "no" and he said "yes".\\n' * 20
    >>> lm = fastseq.LanguageModel(fastseq.Vocabulary.characters(text), hidden_size=8, seed=1)
    >>> inspection = inspect(lm, text, max_tokens=100)
    >>> sorted(inspection.recording.gates)
    ['f', 'g', 'i', 'o']
    >>> [ranking.feature for ranking in inspection.best_units()][:2]
    ['quotes', 'line position']
    """

    lm: LanguageModel
    tokens: TokenText
    start: int
    recording: Recording
    rankings: tuple[FeatureRanking, ...]
    notes: tuple[str, ...]

    def best_units(self) -> list[FeatureRanking]:
        """Choose for each feature the state whose best unit fits it best.

        Returns
        -------
        list of FeatureRanking
            The fit is that of the first half of the tokens.
        """
        best: dict[str, FeatureRanking] = {}
        for ranking in self.rankings:
            rival = best.setdefault(ranking.feature, ranking)
            if abs(ranking.units[0].chosen) > abs(rival.units[0].chosen):
                best[ranking.feature] = ranking
        return list(best.values())

    def ranking_as_json(self) -> list[dict[str, Any]]:
        """All rankings as values that `json.dumps` takes.

        Returns
        -------
        list of dict
        """
        return [ranking.as_json() for ranking in self.rankings]

    def html(
        self,
        title: str = "What the units of a network follow",
        layer: int | None = None,
        unit: int | None = None,
        quantity: str | None = None,
    ) -> str:
        """The page: one HTML document that needs no other file and no network.

        Parameters
        ----------
        title : str
            Heading of the page.
        layer, unit : int, optional
            What it shows at first. Without both it is a unit that follows a feature of the text
            well; with one of them the other is 0 by default.
        quantity : str, optional
            The state or gate that it shows at first; by default the state in which that unit
            follows its feature, or the hidden state.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            A layer, unit or quantity that the model does not have.
        """
        first = self._first_shown(layer, unit, quantity)
        facts = page_facts(self.lm, self.tokens, self.recording, self.best_units())
        facts |= {"title": title, "first": first, "notes": self.notes, "start": self.start}
        return build_page(title, facts, page_arrays(self.recording, len(self.tokens)))

    def _first_shown(
        self, layer: int | None, unit: int | None, quantity: str | None
    ) -> dict[str, Any]:
        ranking = self._most_telling()
        if layer is None and unit is None and ranking is not None:
            layer, unit, *_ = ranking.units[0]
            quantity = quantity or ranking.quantity
        layer, unit, quantity = layer or 0, unit or 0, quantity or "h"
        check_view(self.lm, layer, unit, quantity, bool(self.recording.gates))
        return {"layer": layer, "unit": unit, "show": quantity}

    def _most_telling(self) -> FeatureRanking | None:
        """The first feature that a unit follows clearly, else the one that it follows best."""
        best = self.best_units()
        clear = [one for one in best if one.best >= max(CLEAR, one.chance)]
        return next(iter(clear), max(best, key=lambda one: one.best, default=None))

    def write(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the page to a file, which appears whole or not at all.

        Parameters
        ----------
        path : path-like
        **options
            Those of `html`.
        """
        page = self.html(**options).encode("utf-8")
        with atomic_file(path) as file:
            file.write(page)


def check_view(
    lm: LanguageModel, layer: int | None, unit: int | None, quantity: str | None, gates: bool
) -> None:
    """Refuse a layer, unit or quantity that the model does not have; None passes.

    Raises
    ------
    ValueError
    """
    check_int("layer", layer or 0, 0, lm.config.num_layers - 1)
    check_int("unit", unit or 0, 0, lm.config.hidden_size - 1)
    if quantity is not None:
        check_choice("quantity", quantity, _names(lm, gates))


def _names(lm: LanguageModel, gates: bool) -> tuple[str, ...]:
    return (*state_names(lm), *(gate_names(lm) if gates else ()))


def inspect(
    lm: LanguageModel,
    text: str | Sequence[str],
    *,
    start: int = 0,
    max_tokens: int = MAX_TOKENS,
    ranked_tokens: int = RANKED_TOKENS,
    gates: bool = True,
    features: Sequence[Feature] = FEATURES,
    progress: Progress | None = None,
) -> Inspection:
    """Read a text with a language model and record what its units do [1]_.

    Parameters
    ----------
    lm : LanguageModel
    text : str or sequence of str
        A text, which is taken to start a line, like the prime of `LanguageModel.sample`; for a
        model of documents also several, whose ends are shown as line ends.
    start : int
        Number of tokens before those that the page shows; the last 2000 of them are read, too.
    max_tokens : int
        Largest number of tokens to show. A large model gets fewer, so that the page stays small.
    ranked_tokens : int
        Largest number of tokens, from `start` on, by which units are ranked. Those that are
        shown count in any case.
    gates : bool
        Whether to show gates beside states.
    features : sequence of Feature
        What units are ranked by.
    progress : callable, optional
        Called with the number of tokens that have been read and of those to read.

    Returns
    -------
    Inspection

    Raises
    ------
    ValueError
        A text without tokens after `start`, or a model so large that not one token fits.

    References
    ----------
    .. [1] A. Karpathy, J. Johnson, L. Fei-Fei, "Visualizing and understanding recurrent
           networks", 2015.

    Examples
    --------
    >>> import fastseq
    >>> from fastseq.inspection import inspect
    >>> lm = fastseq.LanguageModel(fastseq.Vocabulary.characters("abc "), hidden_size=4)
    >>> inspect(lm, "a cab, a bac", start=2).notes[0]
    'units are only ranked by 200 tokens or more'
    """
    check_int("start", start, 0)
    check_int("max_tokens", max_tokens, 1)
    check_int("ranked_tokens", ranked_tokens, 1)
    tokens = TokenText.of(lm.vocabulary, text)
    left = len(tokens) - start
    if left < 1:
        raise ValueError(f"text: expected more than {start:,} tokens, got {len(tokens):,}")
    shown = min(left, max_tokens, MAX_PAGE_NUMBERS // _numbers_of_a_token(lm, gates))
    ranked = max(
        shown, min(left, ranked_tokens, MAX_RANKED_NUMBERS // _numbers_of_a_token(lm, False))
    )
    read = min(start, CONTEXT)
    tokens = tokens.after(start - read)
    ids = np.concatenate([[start_token(lm.vocabulary)], tokens.ids])
    extent = Extent(read, shown, ranked, NEXT_TOKENS, gates and bool(gate_names(lm)))
    recording = record(lm, ids, extent, progress or (lambda done, total: None))
    rankings = rank(features, tokens.part(read, read + ranked), recording, LISTED_UNITS)
    notes = _notes(extent, left, max_tokens)
    return Inspection(lm, tokens.part(read, read + shown), start, recording, rankings, notes)


def _numbers_of_a_token(lm: LanguageModel, gates: bool) -> int:
    numbers = lm.config.num_layers * lm.config.hidden_size * len(_names(lm, gates))
    if numbers > MAX_PAGE_NUMBERS:
        raise ValueError(
            f"model: expected at most {MAX_PAGE_NUMBERS:,} numbers for a token, got {numbers:,}"
        )
    return numbers


def _notes(extent: Extent, left: int, max_tokens: int) -> tuple[str, ...]:
    """What the page leaves out, and what the ranking is based on."""
    notes = []
    if extent.shown < left:
        full = extent.shown < max_tokens
        why = f"a page holds {MAX_PAGE_NUMBERS:,} numbers" if full else "max_tokens"
        gates = ", more tokens without gates" if full and extent.gates else ""
        notes.append(f"the first {extent.shown:,} of {left:,} tokens are shown ({why}{gates})")
    if extent.ranked >= MIN_TOKENS:
        notes.append(f"units are ranked by {extent.ranked:,} tokens")
    else:
        notes.append(f"units are only ranked by {MIN_TOKENS:,} tokens or more")
    return tuple(notes)
