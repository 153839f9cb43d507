"""A language model in ONNX is one step of it, with the vocabulary to read the result."""

import json

import numpy as np
import pytest
from graphs import agree, onnx, runtime

import fastseq
from fastseq.onnx import OnnxError, export, load
from fastseq.text import Vocabulary

TEXT = "the cat sat on the mat. the dog sat on the log.\n" * 5
SIZES = [{}, {"embedding_size": 5}, {"embedding_size": 8, "tie_weights": True}]


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("sizes", SIZES, ids=["one-hot", "embedding", "tied"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_steps_are_those_of_the_model(cell, sizes, num_layers, tmp_path, rng):
    vocabulary = Vocabulary.characters(TEXT)
    lm = fastseq.LanguageModel(vocabulary, cell=cell, hidden_size=8, num_layers=num_layers,
                               dropout=0.5, **sizes)  # fmt: skip
    path = tmp_path / "model.onnx"
    export(lm, path)
    onnx.checker.check_model(str(path), full_check=True)
    again, others = load(path), runtime(path)
    state = lm.zero_state(3)
    names = ["h", "c"][: 1 + (cell == "lstm")]
    assert [port.name for port in again.inputs] == ["ids", *names]
    assert again.outputs[0] == ("log_probs", np.dtype(np.float32), ("batch", len(vocabulary)))
    inputs = dict(zip(names, state, strict=False))
    for ids in rng.integers(0, len(vocabulary), (4, 3)):
        log_probs, state = lm.step(ids, state)
        expected = [log_probs, *[a for a in state if a is not None]]
        agree(again(ids, **inputs), expected)
        results = others(ids=ids, **inputs)
        agree(results, expected)
        inputs = dict(zip(names, results[1:], strict=True))


def test_the_metadata_are_enough_to_write_text(tmp_path):
    lm = fastseq.LanguageModel(Vocabulary.characters(TEXT), hidden_size=8)
    lm.learn_start(lm.vocabulary.encode(TEXT))
    export(lm, tmp_path / "model.onnx", metadata={"author": "me"})
    again = load(tmp_path / "model.onnx")
    assert again.metadata["author"] == "me"
    assert again.metadata["model"] == lm.config.to_json()
    assert Vocabulary.from_json(again.metadata["vocabulary"]) == lm.vocabulary
    start = json.loads(again.metadata["start"])
    h, c = (np.array(start[name], np.float32) for name in "hc")
    agree([h, c], lm.start_state())
    tokens = json.loads(again.metadata["vocabulary"])["tokens"]
    ids = np.array([int(again.metadata["start_token"])])
    text = ["t"]
    for number in range(11):
        log_probs, h, c = again(ids, h, c)
        ids = log_probs.argmax(axis=1) if number else np.array([tokens.index("t")])
        text += [tokens[ids[0]]] if number else []
    assert "".join(text) == lm.sample("t", 10, temperature=0)


def test_a_language_model_takes_no_further_inputs(tmp_path):
    lm = fastseq.LanguageModel(Vocabulary.bytes(), hidden_size=8)
    with pytest.raises(OnnxError, match="a language model takes none of them"):
        export(lm, tmp_path / "model.onnx", states=True)
