"""The ranking finds units that follow a feature, and only those."""

import numpy as np
import pytest
from planted import UNIT, model_with_a_quote_unit, quoted_text

from fastseq.inspection import inspect
from fastseq.inspection.features import FEATURES
from fastseq.inspection.ranking import rank
from fastseq.inspection.recording import Recording
from fastseq.inspection.tokens import TokenText
from fastseq.text import Vocabulary

TEXT = quoted_text()
TOKENS = TokenText.of(Vocabulary.characters(TEXT), TEXT)
L, H = 2, 10


def noise(seed=0):
    """A recording of units that follow nothing: each is a slow random walk between bounds."""
    steps = np.random.default_rng(seed).normal(size=(L, len(TOKENS), H))
    for t in range(1, len(TOKENS)):
        steps[:, t] += 0.9 * steps[:, t - 1]
    states = np.tanh(steps)
    empty = np.empty((0, 0))
    return Recording({"h": states, "c": 3 * states}, {}, np.empty(len(TOKENS)), empty, empty)


def ranking(recording, feature, quantity="h"):
    return next(
        found for found in rank([feature], TOKENS, recording, 5) if found.quantity == quantity
    )


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_planted_unit_comes_first(feature, sign):
    recording, values = noise(), feature.of_tokens(TOKENS)
    if not np.ptp(values):
        assert feature.name == "indentation"  # of which the text has none
        return
    little = 0.02 * noise(1).states["h"][0, :, 0]
    recording.states["h"][1, :, 7] = sign * values / values.max() + little
    found = ranking(recording, feature)
    first = found.units[0]
    assert (first.layer, first.unit, np.sign(first.correlation)) == (1, 7, sign)
    assert abs(first.correlation) > 0.95
    assert abs(first.correlation) > found.chance
    # The other state has no such unit.
    assert abs(ranking(recording, feature, "c").units[0].correlation) < 0.6


def test_correlations_are_pearsons():
    recording = noise()
    half = len(TOKENS) // 2
    values = FEATURES[0].of_tokens(TOKENS)
    for unit in ranking(recording, FEATURES[0]).units:
        states = recording.states["h"][unit.layer, :, unit.unit]
        first = np.corrcoef(values[:half], states[:half])[0, 1]
        second = np.corrcoef(values[half:], states[half:])[0, 1]
        assert unit.chosen == pytest.approx(first, abs=1e-4)
        assert unit.correlation == pytest.approx(second, abs=1e-4)


def test_a_unit_that_follows_only_in_the_first_half_is_found_out():
    recording, values = noise(), FEATURES[0].of_tokens(TOKENS)
    half = len(TOKENS) // 2
    recording.states["h"][0, :half, 2] = values[:half]
    first = ranking(recording, FEATURES[0]).units[0]
    assert (first.unit, first.chosen) == (2, 1.0)
    assert abs(first.correlation) < 0.3


def test_noise_is_seldom_better_than_chance():
    """The level is made so that one case of twenty exceeds it."""
    features = [feature for feature in FEATURES if feature.name in ("quotes", "line position")]
    above = [
        found.best > found.chance
        for seed in range(40)
        for found in rank(features, TOKENS, noise(seed), 1)
        if found.quantity == "h"
    ]
    assert len(above) == 80
    assert sum(above) <= 10


def test_units_that_never_change_come_last():
    recording = noise()
    recording.states["h"][0] = 0.25
    units = rank(FEATURES[:1], TOKENS, recording, L * H)[0].units
    assert [unit.correlation for unit in units[H:]] == [0.0] * H


def test_features_that_do_not_vary_and_short_texts_are_left_out():
    names = {found.feature for found in rank(FEATURES, TOKENS, noise(), 1)}
    assert names == {feature.name for feature in FEATURES} - {"indentation"}
    assert rank(FEATURES, TOKENS.part(0, 199), noise(), 1) == ()


def test_a_quote_unit_of_a_model_is_found():
    found = inspect(model_with_a_quote_unit(TEXT, layers=2), TEXT)
    quotes = next(one for one in found.best_units() if one.feature == "quotes")
    best = quotes.units[0]
    assert (quotes.quantity, best.layer, best.unit) == ("h", 0, UNIT)
    assert best.correlation > 0.95 > quotes.chance
