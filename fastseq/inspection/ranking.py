"""The ranking: which units follow a feature of the text.

The first half of the text chooses units, the second half judges them, so that a unit that fits
the first half by chance does not look good. What the best unit reaches by chance is measured with
the feature moved along the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .features import Feature
from .recording import Recording
from .tokens import TokenText

Floats = NDArray[Any]
MIN_TOKENS = 200  # of two halves; in fewer, nothing can be told from chance
SHIFTS = 100
QUANTILE = 0.95


class Follower(NamedTuple):
    """A unit and how well it follows a feature.

    Attributes
    ----------
    layer, unit : int
    chosen : float
        Correlation in the first half, by which the unit was chosen.
    correlation : float
        Correlation in the second half.
    """

    layer: int
    unit: int
    chosen: float
    correlation: float


@dataclass(frozen=True)
class FeatureRanking:
    """The units that follow one feature best.

    Attributes
    ----------
    feature, meaning : str
        See `Feature`.
    quantity : str
        The state that is correlated: ``h`` or ``c``.
    chance : float
        Level that the unit chosen for a feature moved along the text exceeds, in absolute value,
        in one of twenty cases.
    units : tuple of Follower
        By decreasing absolute correlation in the first half.
    """

    feature: str
    meaning: str
    quantity: str
    chance: float
    units: tuple[Follower, ...]

    @property
    def best(self) -> float:
        """Absolute correlation of the first unit in the second half."""
        return abs(self.units[0].correlation)

    def as_json(self) -> dict[str, Any]:
        """The ranking as values that `json.dumps` takes."""
        return asdict(self) | {"units": [unit._asdict() for unit in self.units]}


def rank(
    features: Sequence[Feature], tokens: TokenText, recording: Recording, count: int
) -> tuple[FeatureRanking, ...]:
    """Rank the units of all layers for each feature that varies in both halves of a text.

    The measure is Pearson's correlation between feature and state over the tokens of a half,
    which for a feature of two values is the point-biserial correlation.

    Parameters
    ----------
    features : sequence of Feature
    tokens : TokenText
        Those of the recording's states.
    recording : Recording
    count : int
        Units to list for each feature and state.
    """
    if len(tokens) < MIN_TOKENS:
        return ()
    half = len(tokens) // 2
    moved = {}
    for feature in features:
        values = feature.of_tokens(tokens)
        if np.ptp(values[:half]) > 0 and np.ptp(values[half:]) > 0:
            moved[feature] = _shifted(values)
    ranked = []
    for quantity, states in recording.states.items():
        L, _, H = states.shape
        units = np.moveaxis(states, 1, 0).reshape(-1, L * H)
        halves = _standardized(units[:half]), _standardized(units[half:])
        for feature, rows in moved.items():
            first, second = (
                _standardized(part.T).T @ unit
                for part, unit in zip((rows[:, :half], rows[:, half:]), halves, strict=True)
            )
            chance = _chance(first[1:], second[1:])
            order = np.argsort(-np.abs(first[0]), kind="stable")[:count].tolist()
            followers = tuple(
                Follower(
                    n // H, n % H, round(float(first[0, n]), 4), round(float(second[0, n]), 4)
                )
                for n in order
            )
            ranked.append(
                FeatureRanking(feature.name, feature.meaning, quantity, chance, followers)
            )
    return tuple(ranked)


def _shifted(values: Floats) -> Floats:
    """A feature, and the same moved along the text by many distances, around its end."""
    T = len(values)
    shifts = np.random.default_rng(0).integers(T // 20, T - T // 20, SHIFTS)
    return np.stack([values, *(np.roll(values, shift) for shift in shifts)])


def _standardized(columns: Floats) -> NDArray[np.float32]:
    """Columns of mean 0 and norm 1, so that products are correlations; constant ones are 0."""
    centred = columns - columns.mean(axis=0, keepdims=True, dtype=np.float64)
    norms = np.sqrt((centred * centred).sum(axis=0, keepdims=True))
    scale = 1e-6 * (1.0 + np.abs(columns).max(axis=0, keepdims=True)) * np.sqrt(len(columns))
    centred *= np.where(norms > scale, 1.0 / np.maximum(norms, 1e-300), 0.0)
    return centred.astype(np.float32)


def _chance(first: Floats, second: Floats) -> float:
    """Quantile, over the moved features, of what the chosen unit reaches in the second half."""
    best = np.abs(first).argmax(axis=1)
    reached = np.abs(second[np.arange(len(second)), best])
    return round(float(np.quantile(reached, QUANTILE)), 4)
