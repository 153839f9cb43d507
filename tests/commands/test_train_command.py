"""`fastseq train`: what it says at the end, and how it finds its texts again."""

import itertools
import json
import os
import re
import shlex

import pytest
from small import TEXT, TINY

from fastseq.lm import LanguageModel
from fastseq.training import Trainer


def commands(out):
    """The commands that are printed for copying, by what they are for, without `fastseq`."""
    lines = re.findall(r"^  (\S.*?)  +fastseq (.*)$", out, re.MULTILINE)
    return {purpose: shlex.split(line) for purpose, line in lines}


def steps_of(run):
    return Trainer.resume(run, console=False).progress.step


# -- the end of a run ------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["char", "word", "byte"])
@pytest.mark.parametrize("valid", ["0.1", "0"])
def test_a_finished_run_says_what_it_left(level, valid, fastseq, text):
    options = ["--level", level, "--valid", valid, "--out", "a run", *TINY]
    status, out, err = fastseq("train", text, *options)
    assert status == 0, err
    end = out.partition("Finished: 20 steps in ")[2]
    losses = dict(re.findall(r"^  (training|validation) loss: (\d\.\d{4}) nats per", end, re.M))
    history = json.loads(fastseq("info", "a run", "--json")[1])["history"]
    assert losses.pop("training") == f"{history[-1]['train_loss']:.4f}"
    best = [f"{r['valid_loss']:.4f}" for r in history if "valid_loss" in r]
    assert losses == ({"validation": min(best)} if best else {})
    name = "best" if best else "last"
    assert f"  model: a run/{name}.safetensors\n" in end
    assert "  loss curve: a run/loss.png\n" in end
    again = fastseq(*commands(end)["this sample again"])[1]
    assert f"Sample at temperature 0.8:\n{again}" in end


def test_the_commands_that_are_suggested_work(fastseq, text):
    out = fastseq("train", text, "--out", "run", *TINY)[1]
    suggested = commands(out)
    assert len(suggested) == 4
    for words in suggested.values():
        status, _, err = fastseq(*[str(text) if w == "OTHER.txt" else w for w in words])
        assert status == 0, err
    assert steps_of("run") == 40  # by the one that trains on


def test_the_sample_is_of_the_best_model(fastseq, text, monkeypatch):
    losses = itertools.count(1)
    monkeypatch.setattr("fastseq.training.trainer.mean_loss", lambda *_: float(next(losses)))
    out = fastseq("train", text, "--out", "run", *TINY, "--validate-every", "5")[1]
    assert "validation loss: 1.0000 nats per character (1.443 bits per character), best at" in out
    best, last = (
        LanguageModel.load(f"run/{name}.safetensors").sample("", 200, temperature=0.8, seed=0)
        for name in ("best", "last")
    )
    assert best != last
    assert f"Sample at temperature 0.8:\n{best}\n" in out


def test_early_stopping_is_named(fastseq, text):
    options = ["--learning-rate", "1e-9", "--optimizer", "sgd", "--validate-every", "1"]
    out = fastseq("train", text, *TINY, *options, "--steps", "1000", "--early-stopping", "3")[1]
    assert "Finished early, after 3 validations without improvement: " in out


def test_resume_says_that_the_budget_was_used_up(fastseq, model):
    status, out, _ = fastseq("train", "--out", model, "--resume")
    assert status == 0
    assert "Nothing to do: its budget of 20 steps was used up at step 20" in out
    assert fastseq(*commands(out)["train on"])[0] == 0
    assert steps_of(model) == 40


# -- texts of a resumed run ------------------------------------------------------------------


def test_texts_are_found_again_from_any_folder(fastseq, tmp_path, monkeypatch):
    (tmp_path / "texts").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "texts" / name).write_text(TEXT)
    (tmp_path / "valid.md").write_text(TEXT[:100])
    options = ["texts", "--valid", "valid.md", "--level", "word", "--documents", "--out", "run"]
    assert fastseq("train", *options, *TINY)[0] == 0
    (tmp_path / "texts/new.txt").write_text("This text came later.")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    status, out, err = fastseq("train", "--resume", "--out", "../run", "--steps", "25")
    assert status == 0, err
    assert f"Text   2 files, a.txt to b.txt, {2 * len(TEXT) / 1000:.1f} kB\n" in out
    assert steps_of("../run") == 25


@pytest.mark.parametrize(("old", "new", "message"), [
    ("cat", "fox", "text.txt: this text has changed since training began (as many bytes"),
    ("cat", "lion", "text.txt: this text has changed since training began (1,920 bytes then, 1,9"),
])  # fmt: skip
def test_a_text_that_has_changed_is_named(old, new, message, refused, model, text):
    text.write_text(TEXT.replace(old, new))
    assert message in refused("train", "--resume", "--out", model)
    began = "the corpus is not the one that training began with (text.txt, "
    assert began in refused("train", text, "--resume", "--out", model)


def test_texts_that_have_been_moved_are_named(fastseq, refused, text, tmp_path):
    valid = tmp_path / "valid.txt"
    valid.write_text(TEXT[:100])
    assert fastseq("train", text, "--valid", valid, "--out", "run", *TINY)[0] == 0
    os.rename(text, "moved.txt")
    resume = ["--resume", "--out", "run", "--steps"]
    message = refused("train", *resume, "22")
    assert f"{text}: missing since training began with it" in message
    assert "fastseq train NEW_PATH --resume --out run\n" in message
    assert fastseq("train", "moved.txt", *resume, "22")[0] == 0
    assert fastseq("train", *resume, "24")[0] == 0  # the new place is remembered
    os.rename(valid, "also-moved.txt")
    assert f"{valid}: missing" in refused("train", *resume, "26")
    assert fastseq("train", "--valid", "also-moved.txt", *resume, "26")[0] == 0
    assert steps_of("run") == 26


def test_the_fraction_for_validation_is_remembered(fastseq, text):
    assert fastseq("train", text, "--valid", "0.2", "--out", "run", *TINY)[0] == 0
    assert fastseq("train", text, "--resume", "--out", "run", "--steps", "22")[0] == 0


def test_a_run_that_does_not_record_its_texts(fastseq, refused, model, text, tmp_path):
    record = tmp_path / model / "texts.json"
    record.write_text('{"files": 3}')
    assert "texts.json: not a record of texts" in refused("train", "--resume", "--out", model)
    record.unlink()
    message = f"paths: {model} does not record its texts, expected those it began with"
    assert message in refused("train", "--resume", "--out", model)
    assert fastseq("train", text, "--resume", "--out", model, "--steps", "22")[0] == 0
    assert record.exists()


def test_a_shared_model_does_not_tell_where_its_texts_lay(fastseq, model, text, tmp_path):
    content = (tmp_path / model / "best.safetensors").read_bytes()
    assert text.name.encode() in content
    assert os.fspath(tmp_path).encode() not in content


# -- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "message"), [
    (["run"], "run: is a training run and no text; to continue it: fastseq train --resume --out"),
    (["run", "--resume"], "run: is a training run and no text; to continue it: fastseq train"),
    ([], "paths: expected a text, as in: fastseq train my-novel.txt"),
    (["--resume"], "out: expected the run's folder, as in: fastseq train --resume --out RUN_DIR"),
    (["text.txt", "--out", "run"], "continue it (fastseq train --resume --out run) or choose"),
])  # fmt: skip
def test_mistakes_get_the_right_command(arguments, message, refused, model):
    assert message in refused("train", *arguments)
