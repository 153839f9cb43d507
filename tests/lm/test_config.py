"""The configuration of a model: its defaults, and three ways to pass it."""

from dataclasses import asdict, fields

import pytest

from fastseq.lm import LanguageModel, ModelConfig, Sampling
from fastseq.lm.config import ModelOptions
from fastseq.lm.sampling import SamplingOptions
from fastseq.text import Vocabulary

CHARACTERS = Vocabulary.characters("abc \n")


@pytest.mark.parametrize(
    ("options", "cls"), [(ModelOptions, ModelConfig), (SamplingOptions, Sampling)]
)
def test_typed_options_are_the_fields(options, cls):
    assert list(options.__annotations__) == [field.name for field in fields(cls)]


def test_positions_keywords_and_a_configuration_are_equivalent():
    config = ModelConfig("gru", 6, 2, embedding_size=4, dropout=0.25, seed=3)
    for lm in (
        LanguageModel(CHARACTERS, "gru", 6, 2, 4, 0.25, seed=3),
        LanguageModel(CHARACTERS, **asdict(config)),
        LanguageModel(CHARACTERS, config),
    ):
        assert lm.config == config


def test_defaults_are_those_of_the_configuration():
    assert LanguageModel(CHARACTERS).config == ModelConfig()


def test_a_configuration_excludes_other_arguments():
    for more, options in (((8,), {}), ((), {"hidden_size": 8})):
        with pytest.raises(TypeError, match="config: expected no further arguments"):
            LanguageModel(CHARACTERS, ModelConfig(), *more, **options)
    with pytest.raises(TypeError, match="hidden"):
        LanguageModel(CHARACTERS, hidden=8)


@pytest.mark.parametrize("name", ["hidden_size", "num_layers", "embedding_size", "seed"])
def test_a_bool_is_not_an_integer(name):
    with pytest.raises(TypeError, match=f"{name}: expected an integer, got True"):
        LanguageModel(CHARACTERS, **{name: True})
