"""What is recorded, against the oracle, the cells' formulas and the model's own scores."""

import math

import numpy as np
import pytest

from fastseq import backend
from fastseq.inspection.recording import Extent, gate_names, record
from fastseq.inspection.tokens import TokenText
from fastseq.lm import LanguageModel
from fastseq.lm.sampling import start_token
from fastseq.text import Vocabulary

TEXT = "a tale of two seas, and a boat\n" * 12
CELLS = ["rnn", "gru", "lstm"]


def make(cell="lstm", **options):
    options = {"hidden_size": 3, "num_layers": 2, "dtype": "float64", "dropout": 0.3} | options
    return LanguageModel(Vocabulary.characters(TEXT), cell=cell, seed=4, **options)


def recorded(lm, text, start=0, shown=None, ranked=None, gates=True):
    ids = np.concatenate([[start_token(lm.vocabulary)], lm.vocabulary.encode(text)])
    ranked = len(ids) - 1 - start if ranked is None else ranked
    extent = Extent(start, ranked if shown is None else shown, ranked, 4, gates)
    return record(lm, ids, extent, lambda done, total: None)


def arrays(recording):
    return recording.states | recording.gates | {
        "bits": recording.bits, "probabilities": recording.next_probabilities
    }  # fmt: skip


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding", [None, 4])
def test_every_build_records_what_the_oracle_does(cell, embedding, build):
    lm = make(cell, embedding_size=embedding)
    found = arrays(recorded(lm, TEXT[:40]))
    with backend.use_backend("oracle"):
        expected = arrays(recorded(lm, TEXT[:40]))
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def by_formula(cell, lm, layer, x):
    """States and gates of one layer by the formulas of the cells, in NumPy."""
    w = {name: array.astype(float) for name, array in lm.state_dict().items()}
    w_ih, w_hh, b_ih, b_hh = (
        w[f"rnn.{kind}_l{layer}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    h = c = np.zeros(w_hh.shape[1])
    names = {"rnn": ["h"], "gru": ["h", *"rzn"], "lstm": ["h", "c", *"ifgo"]}[cell]
    steps = {name: [] for name in names}
    for row in x:
        a, b = w_ih @ row + b_ih, w_hh @ h + b_hh
        if cell == "rnn":
            h = np.tanh(a + b)
        elif cell == "gru":
            (ar, az, an), (br, bz, bn) = np.split(a, 3), np.split(b, 3)
            r, z = sigmoid(ar + br), sigmoid(az + bz)
            n = np.tanh(an + r * bn)
            h = (1 - z) * n + z * h
        else:
            i, f, g, o = np.split(a + b, 4)
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            c = f * c + i * g
            h = o * np.tanh(c)
        for name in names:
            steps[name].append(locals()[name])
    return {name: np.stack(values) for name, values in steps.items()}


@pytest.mark.parametrize("cell", CELLS)
def test_states_and_gates_by_the_formulas_of_the_cells(cell, build):
    lm, text = make(cell), TEXT[:300]  # longer than a window
    if build == "oracle":
        text = TEXT[:30]
    recording = recorded(lm, text)
    ids = [start_token(lm.vocabulary), *lm.vocabulary.encode(text)]
    x = np.eye(len(lm.vocabulary))[ids]
    for layer in range(2):
        expected = by_formula(cell, lm, layer, x)
        assert set(expected) == set(recording.names)
        for name, values in expected.items():
            found = (recording.states | recording.gates)[name][layer]
            np.testing.assert_allclose(found, values[1:], rtol=1e-9, atol=1e-12)
        x = expected["h"]


@pytest.mark.parametrize("cell", CELLS)
def test_bits_and_predictions_are_those_of_the_model(cell):
    lm = make(cell)
    recording = recorded(lm, TEXT)
    np.testing.assert_allclose(recording.bits, -lm.score(TEXT) / math.log(2), rtol=1e-9)
    state, token = None, np.array([start_token(lm.vocabulary)])
    for t, following in enumerate(lm.vocabulary.encode(TEXT[:20])):
        _, state = lm.step(token, state)
        token = following[None]
        log_probabilities, _ = lm.step(token, state)
        best = np.argsort(-log_probabilities[0], kind="stable")[:4]
        np.testing.assert_array_equal(recording.next_ids[t], best)
        expected = np.exp(log_probabilities[0, best])
        np.testing.assert_allclose(recording.next_probabilities[t], expected, rtol=1e-9)


@pytest.mark.parametrize(("start", "shown", "ranked"), [(0, 7, 7), (3, 5, 300), (258, 1, 2)])
def test_a_part_is_a_part_of_the_whole(start, shown, ranked):
    lm = make()
    whole, part = recorded(lm, TEXT), recorded(lm, TEXT, start, shown, ranked)
    for name, array in whole.states.items():
        np.testing.assert_allclose(part.states[name], array[:, start : start + ranked], rtol=1e-9)
    for name, array in whole.gates.items():
        np.testing.assert_allclose(part.gates[name], array[:, start : start + shown], rtol=1e-9)
    np.testing.assert_allclose(part.bits, whole.bits[start : start + ranked], rtol=1e-9)
    np.testing.assert_array_equal(part.next_ids, whole.next_ids[start : start + shown])


def test_gates_may_be_left_out():
    assert recorded(make(), TEXT, gates=False).names == ("h", "c")
    assert gate_names(make("rnn")) == ()


def test_progress_counts_every_token():
    lm, calls = make(), []
    ids = lm.vocabulary.encode(TEXT)
    record(lm, ids, Extent(270, 5, 20, 2), lambda *counts: calls.append(counts))
    assert [total for _, total in calls] == [291] * len(calls)
    done = [count for count, _ in calls]
    assert done == sorted(done)
    assert done[-1] == 291


@pytest.mark.parametrize("level", ["characters", "bytes", "words"])
def test_the_ends_of_documents_are_tokens(level):
    documents = ["ab ä", "", "b a"]
    known = {"bytes": [], "characters": ["ab ä"], "words": ["ab ä b a"]}[level]
    vocabulary = getattr(Vocabulary, level)(*known).with_documents()
    tokens = TokenText.of(vocabulary, documents)
    ends = np.flatnonzero(tokens.ids == vocabulary.eod_id)
    gaps, pieces = tokens.gaps_and_pieces()
    assert [pieces[end] for end in ends] == ["\n"] * 3
    assert "".join(gap + piece for gap, piece in zip(gaps, pieces, strict=True)) == tokens.text
    assert tokens.text == "ab ä\n\nb a\n"
    with pytest.raises(ValueError, match="without documents"):
        TokenText.of(getattr(Vocabulary, level)(*known), documents)
