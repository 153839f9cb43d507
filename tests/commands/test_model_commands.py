"""`fastseq sample`, `evaluate` and `info` print what the library returns."""

import io
import json
import os
import re

import pytest
from small import TEXT, TINY

from fastseq.commands.evaluate import OVERLAP, STREAMS
from fastseq.commands.options import progress_bar
from fastseq.commands.wording import duration, model_in_words
from fastseq.lm import LanguageModel, ModelConfig
from fastseq.text.sources import readable_size

# -- sample ----------------------------------------------------------------------------------


def test_sample_is_what_the_model_gives(fastseq, model):
    lm = LanguageModel.load(model)
    options = ["--prime", "The ", "--length", "30", "--seed", "5", "--temperature", "0.5"]
    expected = lm.sample("The ", 30, seed=5, temperature=0.5)
    assert fastseq("sample", model, *options)[1] == expected + "\n"
    assert fastseq("sample", model, *options, "--stream")[1] == expected + "\n"
    several = json.loads(fastseq("sample", model, *options, "--count", 3, "--json")[1])
    assert several["samples"] == lm.samples(3, "The ", 30, seed=5, temperature=0.5)


def test_sample_reports_copied_text(fastseq, model, text):
    options = ["--prime", "The cat sat", "--length", "0", "--novelty", text, "--json"]
    (copied,) = json.loads(fastseq("sample", model, *options)[1])["copied"]
    assert copied == {"tokens": 11, "text": "The cat sat"}
    _, out, _ = fastseq("sample", model, *options[:-1])
    assert out.endswith("longest copied run, 11 tokens: 'The cat sat'\n")


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_several_temperatures(options, fastseq, model):
    lm, prime = LanguageModel.load(model), ["--prime", "The ", "--length", "30", "--seed", "5"]
    out = fastseq("sample", model, *prime, "--temperature", "0.3,1,2", *options)[1]
    texts = [lm.sample("The ", 30, seed=5, temperature=t) for t in (0.3, 1, 2)]
    headings = [f"=== temperature {t}\n" for t in ("0.3", "1", "2")]
    parts = [heading + text for heading, text in zip(headings, texts, strict=True)]
    assert out == "\n\n".join([*parts, "=== each with seed 5\n"])


def test_several_temperatures_in_json(fastseq, model, text):
    options = ["--length", "30", "--temperature", "0.5,1.5", "--count", "2", "--json"]
    result = json.loads(fastseq("sample", model, *options, "--novelty", text)[1])
    lm = LanguageModel.load(model)  # the seed is chosen once for all
    assert [row["temperature"] for row in result["temperatures"]] == [0.5, 1.5]
    for row in result["temperatures"]:
        options = {"temperature": row["temperature"], "seed": result["seed"]}
        assert row["samples"] == lm.samples(2, "", 30, **options)
        assert len(row["copied"]) == 2


@pytest.mark.parametrize(("value", "message"), [
    ("0.5,x", "--temperature: expected numbers with commas between them, got '0.5,x'"),
    ("0.5,", "--temperature: expected numbers with commas between them, got '0.5,'"),
    ("0.5,-1", "temperature: expected a finite number of at least 0.0, got -1.0"),
])  # fmt: skip
def test_a_wrong_temperature_is_refused_before_any_sample(value, message, refused, model):
    assert message in refused("sample", model, "--temperature", value)


# -- evaluate --------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "arguments"), [
    ([], {"batch_size": STREAMS, "overlap": OVERLAP}),
    (["--batch-size", "1"], {}),
    (["--batch-size", "3"], {"batch_size": 3, "overlap": OVERLAP}),
])  # fmt: skip
def test_evaluate_is_what_the_model_gives(options, arguments, fastseq, model, tmp_path):
    long = tmp_path / "long.txt"
    long.write_text(TEXT * 3)
    expected = LanguageModel.load(model).evaluate(TEXT * 3, **arguments)
    scores = json.loads(fastseq("evaluate", model, long, "--json", *options)[1])
    assert scores[str(long)]["nats_per_token"] == expected.nats_per_token
    out = fastseq("evaluate", model, long, *options)[1]
    assert f"{expected.nats_per_token:.4f} nats per token" in out


def test_progress_shows_on_a_terminal_alone(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, shown in (Terminal(), True), (io.StringIO(), False):
        monkeypatch.setattr("sys.stderr", stream)
        with progress_bar("novel.txt", delay=0.0) as progress:
            for done in range(0, 1001, 250):
                progress(done, 1000)
        assert ("novel.txt" in stream.getvalue()) == shown
        assert ("1.00k/1.00k" in stream.getvalue()) == shown


# -- info ------------------------------------------------------------------------------------


def test_info_of_the_machine(fastseq, refused):
    machine = json.loads(fastseq("info", "--json")[1])
    assert machine["backend"] in machine["available"]
    assert re.search(rf"^backend +{machine['backend']}$", fastseq("info")[1], re.MULTILINE)
    assert "metrics: expected a MODEL beside it" in refused("info", "--metrics")


def test_info_of_a_model_as_values(fastseq, model):
    facts = json.loads(fastseq("info", model, "--json")[1])
    assert facts["model"]["hidden_size"] == 8
    assert facts["parameters"] == sum(p.size for p in LanguageModel.load(model).parameters())
    assert facts["history"][-1]["step"] == 20
    assert facts["progress"]["finished"]
    assert facts["trained on"] == "text.txt, 1.9 kB"
    assert facts["bytes"] == os.path.getsize(facts["file"])


def test_info_of_a_model_in_words(fastseq, text):
    options = ["--num-layers", "2", "--cell", "gru", "--validate-every", "10", "--documents"]
    assert fastseq("train", text, "--out", "run", *TINY, *options)[0] == 0
    out = fastseq("info", "run")[1]
    facts = dict(re.findall(r"^(\w[\w ]*?)  +(.*)$", out, re.MULTILINE))
    progress = json.loads(fastseq("info", "run", "--json")[1])["progress"]
    assert facts["model"] == "GRU, 2 layers of 8 units, embedding of 128"
    assert facts["vocabulary"] == "18 characters, with ends of documents"
    assert facts["trained on"] == "text.txt, 1.9 kB"
    assert facts["training"].startswith("20 steps, 320 tokens in ")
    assert facts["training"].endswith(" s, finished")
    assert facts["validation"].startswith(f"{progress['best_loss']:.4f} nats per character (")
    assert facts["validation"].endswith(f"the best, at step {progress['best_step']}")
    for internal in ("rate_factor", "gradient_norm", "step 10 "):
        assert internal not in out
    lines = fastseq("info", "run", "--metrics")[1]
    assert "step 10 " in lines
    assert "step 20 " in lines


def test_info_of_a_saved_model(fastseq, model):
    """A model file tells what it was trained on, also far from its run."""
    os.rename(f"{model}/best.safetensors", "shared.safetensors")
    out = fastseq("info", "shared.safetensors")[1]
    assert "until this model was saved" in out
    assert "text.txt, 1.9 kB" in out
    assert "--resume" not in out
    lm = LanguageModel.load("shared.safetensors")
    lm.save("plain.safetensors")
    out = fastseq("info", "plain.safetensors")[1]
    assert "training " not in out
    assert "fastseq evaluate plain.safetensors TEXT.txt" in out


def test_info_says_how_an_unfinished_run_goes_on(fastseq, text, monkeypatch):
    monkeypatch.setattr("fastseq.training.trainer.Trainer._after_step", interrupt)
    assert fastseq("train", text, "--out", "run", *TINY)[0] == 130
    out = fastseq("info", "run")[1]
    assert "not finished" in out
    assert "fastseq train --resume --out run\n" in out


def interrupt(trainer):
    raise KeyboardInterrupt


# -- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("config", "words"), [
    (ModelConfig(hidden_size=1500), "LSTM, 1 layer of 1,500 units, one-hot tokens"),
    (
        ModelConfig("rnn", 64, 3, 64, 0.25, tie_weights=True),
        "RNN, 3 layers of 64 units, tied embedding of 64, dropout 0.25",
    ),
])  # fmt: skip
def test_models_in_words(config, words):
    assert model_in_words(config) == words


@pytest.mark.parametrize(("seconds", "words"), [
    (0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (61, "1 min 1 s"),
    (3599.6, "1 h 0 min"), (7261, "2 h 1 min"), (360000, "100 h 0 min"),
])  # fmt: skip
def test_durations(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("size", "words"), [
    (0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (99_400, "99.4 kB"), (99_600, "100 kB"),
    (999_600, "1.0 MB"), (5 * 10**12, "5.0 TB"), (10**18, "1000000 TB"),
])  # fmt: skip
def test_sizes(size, words):
    assert readable_size(size) == words
