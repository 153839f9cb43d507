"""Saving and loading models, and refusing other files."""

import json

import numpy as np
import pytest

from fastseq.lm import CheckpointError, LanguageModel
from fastseq.lm.checkpoint import open_checkpoint, save_model
from fastseq.storage.tensorfile import read_tensors, write_tensors
from fastseq.text import Reading, Vocabulary

CHARACTERS = Vocabulary.characters("abc \n")
MODELS = {
    "lstm": {},
    "gru": {"cell": "gru", "num_layers": 2, "embedding_size": 2, "dropout": 0.25},
    "rnn": {"cell": "rnn", "embedding_size": 3, "tie_weights": True, "dtype": "float64"},
}


def build(**options):
    return LanguageModel(CHARACTERS, **{"hidden_size": 3} | options)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    build().save(path)
    return path


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(
    "vocabulary", [CHARACTERS, Vocabulary.bytes(), Vocabulary.words("é <unk> é\n", eos=True)]
)
@pytest.mark.parametrize("starts", [False, True], ids=["without-start", "with-start"])
def test_round_trip(tmp_path, options, vocabulary, starts):
    lm = LanguageModel(vocabulary, **{"hidden_size": 3, "seed": 4} | options)
    if starts:
        lm.learn_start(vocabulary.encode("a b\nc\n" * 9))
    lm.save(tmp_path / "model")
    twin = LanguageModel.load(tmp_path / "model")
    assert (twin.config, twin.vocabulary) == (lm.config, lm.vocabulary)
    for name, array in lm.state_dict().items():
        np.testing.assert_array_equal(twin.state_dict()[name], array)
    assert (twin.start is not None) == starts
    for found, expected in zip(twin.start_state(2), lm.start_state(2), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert twin.sample("a", 5, seed=0) == lm.sample("a", 5, seed=0)


def test_training_tensors_are_ignored(path):
    save_model(build(), CHARACTERS, path, {"training.x": np.ones(3)}, {"training": "{}"})
    assert LanguageModel.load(path).vocabulary == CHARACTERS


def test_run_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="no best"):
        LanguageModel.load(tmp_path)
    for seed, name in enumerate(["last.safetensors", "best.safetensors"]):
        build(seed=seed).save(tmp_path / name)
        assert LanguageModel.load(tmp_path).config.seed == seed


def rewrite(path, tensors=None, **metadata):
    """Change tensors or metadata of a checkpoint and keep its checksum valid."""
    file = read_tensors(path)
    arrays = {name: array.copy() for name, array in file.tensors.items()}
    arrays = {name: a for name, a in (arrays | (tensors or {})).items() if a is not None}
    values = {name: v for name, v in (file.metadata | metadata).items() if v is not None}
    values.pop("sha256")
    write_tensors(path, arrays, values)


def config(**changes):
    return json.dumps(json.loads(build().config.to_json()) | changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format: expected"),
        ({"format": None}, "format: expected"),
        ({"model": None}, "model is missing"),
        ({"vocabulary": None}, "vocabulary is missing"),
        ({"model": "[]"}, "expected a JSON object"),
        ({"model": "[" * 100_000}, "ModelConfig"),
        ({"model": config(hidden_size=float("nan"))}, "hidden_size"),
        ({"model": config(pickle="x")}, "unknown keys: pickle"),
        ({"model": config(hidden_size=10**3)}, "head.weight: expected float32 of shape"),
        ({"model": config(hidden_size=10**12)}, "hidden_size, .*: expected at most"),
        ({"model": config(num_layers=10**12)}, "num_layers"),
        ({"model": config(dtype="float64")}, "head.bias: expected float64"),
        ({"vocabulary": "{}"}, "vocabulary"),
        ({"vocabulary": Vocabulary.characters("ab").to_json()}, r"head.bias: .*shape \(3,\)"),
        ({"tensors": {"head.bias": None}}, "head.bias: missing"),
        ({"tensors": {"head.extra": np.ones(2)}}, "head.extra: unexpected"),
        ({"tensors": {"start.h": np.ones((1, 1, 3), np.float32)}}, "start.c: missing"),
        ({"tensors": {"start.h": np.ones((1, 3), np.float32)}}, "start.h: expected float32"),
        ({"tensors": {"start.x": np.ones(2)}}, "start.x: unexpected"),
        (
            {"tensors": {"head.extra": np.ones(2), "head.bias": np.ones(2)}},
            "head.bias: expected.*; head.extra: unexpected",
        ),
    ],
)
def test_files_that_do_not_make_a_model(path, change, message):
    rewrite(path, **change)
    with pytest.raises(CheckpointError, match=f"model.safetensors: .*{message}"):
        LanguageModel.load(path)


@pytest.mark.parametrize("about", ["", "[1]", "{}{}", '{"documents": "pages"}', '{"encoding": 1}'])
def test_a_damaged_record_of_the_reading(path, about):
    rewrite(path, reading=about)
    with pytest.raises(CheckpointError, match="not a usable checkpoint"):
        LanguageModel.load(path)


def test_the_reading_of_a_model_that_records_none(path, tmp_path):
    assert open_checkpoint(path).reading == Reading()
    LanguageModel(CHARACTERS.with_documents(), hidden_size=2).save(tmp_path / "documents")
    assert open_checkpoint(tmp_path / "documents").reading == Reading("files")


def test_saving_where_nothing_can_be_written(tmp_path):
    with pytest.raises(FileNotFoundError):
        build().save(tmp_path / "missing" / "model")
    with pytest.raises(FileNotFoundError):
        LanguageModel.load(tmp_path / "missing")
