"""Training runs that are killed, interrupted or fail, and how they are resumed."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastseq.lm import CheckpointError, LanguageModel
from fastseq.storage.tensorfile import read_tensors, write_tensors
from fastseq.text import Corpus, Vocabulary
from fastseq.training import (
    Callback,
    RunInUseError,
    Trainer,
    TrainingConfig,
    TrainingDivergedError,
)
from fastseq.training.run_directory import RunDirectory
from fastseq.training.signals import stop_on_signals

TEXT = "the quick brown fox jumps over the lazy dog. " * 8
CORPUS = Corpus.from_text(TEXT, Vocabulary.characters, valid=0.25)
UNTIMED = ("tokens_per_second", "seconds")
STEPS = 23

CASES = {
    "adam, dropout": ({"dropout": 0.4, "embedding_size": 4}, {}),
    "plateau": (
        {"cell": "gru"},
        {"optimizer": "sgd", "schedule": "plateau", "learning_rate": 9.0},
    ),
    "accumulate": ({"num_layers": 2}, {"accumulate": 3, "optimizer": "adagrad"}),
    "tied": (
        {"embedding_size": 6, "tie_weights": True},
        {"optimizer": "sgd", "optimizer_options": {"momentum": 0.9}},
    ),
    "centred": (
        {"cell": "rnn"},
        {"optimizer": "rmsprop", "optimizer_options": {"centered": True}, "carry_state": False},
    ),
}


class Killed(BaseException):
    """Like kill -9: the trainer does not catch it."""


class At(Callback):
    """Do something after one step, or in the middle of a validation."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def stepped(self, trainer):
        if trainer.progress.step == self.step:
            self.action()


def kill():
    raise Killed


def start(out, case="adam, dropout", callbacks=(), **changes):
    model, config = CASES[case]
    lm = LanguageModel(CORPUS.vocabulary, **{"hidden_size": 6} | model)
    config = {
        "steps": STEPS, "batch_size": 2, "seq_length": 7, "validate_every": 4, "log_every": 3,
        "save_minutes": 0.0,
    } | config | changes  # fmt: skip
    return Trainer(lm, CORPUS, TrainingConfig(**config), out, callbacks, console=False)


def resume(out, callbacks=(), **changes):
    return Trainer.resume(out, CORPUS, callbacks, console=False, **changes)


def without_times(history):
    return [{k: v for k, v in record.items() if k not in UNTIMED} for record in history]


def assert_same_end(out, other):
    first, second = (read_tensors(path / "last.safetensors").tensors for path in (out, other))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    best = [read_tensors(path / "best.safetensors").tensors for path in (out, other)]
    for name in best[0]:
        np.testing.assert_array_equal(best[0][name], best[1][name], err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_equals_uninterrupted(tmp_path, case):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = start(whole, case).fit()
    stops = [1, 2, 5, 6, 8, 9, 16, STEPS]
    with pytest.raises(Killed):
        start(broken, case, [At(stops[0], kill)]).fit()
    for step in stops[1:]:
        with pytest.raises(Killed):
            resume(broken, [At(step, kill)]).fit()
    found = resume(broken).fit()
    assert without_times(found) == without_times(expected)
    assert_same_end(whole, broken)


def test_a_checkpoint_older_than_the_metrics(tmp_path):
    """Lines that were written after the last checkpoint are written again, not twice."""
    expected = start(tmp_path / "whole").fit()
    out = tmp_path / "broken"
    with pytest.raises(Killed):
        start(out, callbacks=[At(15, kill)], save_minutes=1e9).fit()
    with open(out / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 16, "half a li')
    (out / ".last.safetensors.123.tmp").write_bytes(b"half a checkpoint")
    (out / ".report.tmp").write_bytes(b"somebody else's")
    assert without_times(resume(out).fit()) == without_times(expected)
    assert_same_end(tmp_path / "whole", out)
    assert [path.name for path in out.glob(".*")] == [".report.tmp"]


def test_a_checkpoint_of_the_first_versions(tmp_path):
    """Their progress has `failures` where it is now `validations_without_improvement`."""
    with pytest.raises(Killed):
        start(tmp_path, callbacks=[At(6, kill)]).fit()
    path = tmp_path / "last.safetensors"
    file = read_tensors(path)
    progress = json.loads(file.metadata["progress"])
    del progress["validations_without_improvement"]
    metadata = file.metadata | {"progress": json.dumps(progress | {"failures": 3})}
    del metadata["sha256"]
    write_tensors(path, file.tensors, metadata)
    trainer = resume(tmp_path)
    assert trainer.progress.validations_without_improvement == 3
    assert trainer.fit()[-1]["step"] == STEPS


PROGRAM = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from fastseq.training import Callback, TensorBoard
from test_resume import resume, start

class Slow(Callback):
    def stepped(self, trainer):
        time.sleep(0.005)

TensorBoard.available = staticmethod(lambda: False)  # it takes seconds to import
out = Path(sys.argv[1])
begun = (out / "last.safetensors").exists()
config = {"steps": int(sys.argv[3]), "save_minutes": 1e-5}
(resume(out, [Slow()]) if begun else start(out, callbacks=[Slow()], **config)).fit()
"""


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9_of_a_process(tmp_path, kills):
    """SIGKILL at random times always leaves a checkpoint that loads."""
    out = tmp_path / "broken"
    last, rng = out / "last.safetensors", np.random.default_rng(0)
    steps = 40 + 30 * kills
    command = [sys.executable, "-c", PROGRAM, str(out), os.path.dirname(__file__), str(steps)]
    for _ in range(kills):
        process = subprocess.Popen(command)
        before = changed(last)
        while process.poll() is None and changed(last) == before:
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.05))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        LanguageModel.load(last)
    subprocess.run(command, check=True)
    start(tmp_path / "whole", steps=steps, save_minutes=1e9).fit()
    assert_same_end(tmp_path / "whole", out)


def changed(path):
    """Time at which a file was last replaced."""
    return path.stat().st_mtime_ns if path.exists() else None


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
@pytest.mark.parametrize("step", [5, 8, STEPS])
def test_signals_save_and_end(tmp_path, number, error, step):
    expected = start(tmp_path / "whole").fit()
    out, handlers = tmp_path / "broken", [signal.getsignal(s) for s in (2, 15)]
    trainer = start(
        out, callbacks=[At(step, lambda: os.kill(os.getpid(), number))], save_minutes=1e9
    )
    with pytest.raises(error) as raised:
        trainer.fit()
    assert error is KeyboardInterrupt or raised.value.code == 143
    assert [signal.getsignal(s) for s in (2, 15)] == handlers
    again = resume(out)
    assert again.progress.step == step
    assert without_times(again.fit()) == without_times(expected)
    assert_same_end(tmp_path / "whole", out)


@pytest.mark.parametrize("case", ["adam, dropout", "accumulate"])
@pytest.mark.parametrize(
    ("method", "calls", "step", "validated"),
    [("loss", 1, 4, 0), ("forward_backward", 1, 0, 0), ("forward_backward", 20, None, None)],
)
def test_a_signal_in_the_middle(tmp_path, case, method, calls, step, validated):
    """An interrupted step or validation leaves no trace."""
    expected = start(tmp_path / "whole", case).fit()
    out = tmp_path / "broken"
    trainer = start(out, case, save_minutes=1e9)
    whole, counter = getattr(trainer.lm, method), itertools.count(1)

    def signal_after(*arguments):
        result = whole(*arguments)
        if next(counter) == calls:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    setattr(trainer.lm, method, signal_after)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert next(counter) == calls + 1
    again = resume(out)
    if step is not None:
        assert (again.progress.step, again.progress.validated) == (step, validated)
    assert without_times(again.fit()) == without_times(expected)
    assert_same_end(tmp_path / "whole", out)


def test_the_second_signal_does_not_wait():
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT


def test_a_finished_run_stays_finished_or_continues(tmp_path):
    start(tmp_path).fit()
    before = (tmp_path / "last.safetensors").read_bytes()
    again = resume(tmp_path)
    assert again.fit()[-1]["step"] == STEPS
    assert (tmp_path / "last.safetensors").read_bytes() == before
    further = resume(tmp_path, steps=STEPS + 5)
    assert further.fit()[-1]["step"] == STEPS + 5
    assert further.config.batch_size == 2


@pytest.mark.parametrize("what", ["gradient", "loss", "weights"])
def test_divergence_names_the_step_and_keeps_the_checkpoint(tmp_path, what):
    def spoil():
        if what == "weights":
            trainer.lm.head["bias"].data[0] = np.nan
        elif what == "loss":
            trainer.lm.head["weight"].data *= 1e4
        else:
            trainer.optimizer.grad_norm = lambda: float("inf")

    trainer = start(tmp_path, callbacks=[At(6, spoil)])
    with pytest.raises(TrainingDivergedError, match=r"step 7: .*last.safetensors"):
        trainer.fit()
    weights = LanguageModel.load(tmp_path / "last.safetensors").state_dict()
    assert all(np.isfinite(array).all() for array in weights.values())
    # Finite but implausible weights only show in the next loss.
    assert resume(tmp_path).progress.step == (5 if what == "weights" else 6)


def test_a_learning_rate_that_explodes(tmp_path):
    trainer = start(tmp_path, optimizer="sgd", learning_rate=1e30, clip_norm=None)
    with pytest.raises(TrainingDivergedError, match="step 2: loss is"):
        trainer.fit()


def test_disk_full(tmp_path, monkeypatch):
    fsync, failing = os.fsync, []

    def full(handle):
        if failing:
            raise OSError(28, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        start(tmp_path, callbacks=[At(6, lambda: failing.append(1))]).fit()
    failing.clear()
    again = resume(tmp_path)
    assert again.progress.step == 5
    again.fit()


def test_one_run_at_a_time(tmp_path):
    with RunDirectory(tmp_path):
        with pytest.raises(RunInUseError, match="in use by another run"):
            start(tmp_path).fit()
        assert os.listdir(tmp_path) == ["lock"]
    start(tmp_path).fit()  # the file of the lock still exists, the lock does not


def test_a_new_run_does_not_overwrite_an_old_one(tmp_path):
    start(tmp_path).fit()
    before = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    with pytest.raises(FileExistsError, match="exists already"):
        start(tmp_path).fit()
    assert {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before


def test_out_is_a_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        start(path).fit()
    assert path.read_text() == "precious"


def test_resuming_what_does_not_fit(tmp_path):
    with pytest.raises(FileNotFoundError):
        resume(tmp_path)
    start(tmp_path).fit()
    other = Corpus.from_text(TEXT + "the", CORPUS.vocabulary, valid=0.25)
    with pytest.raises(CheckpointError, match=r"last.safetensors: the corpus is not the one"):
        Trainer.resume(tmp_path, other)
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        resume(tmp_path, batch_size=0)
    with pytest.raises(ValueError, match="seq_length: cannot change"):
        resume(tmp_path, seq_length=3)
    LanguageModel.load(tmp_path / "best.safetensors").save(tmp_path / "last.safetensors")
    with pytest.raises(CheckpointError, match=r"last.safetensors: "):
        resume(tmp_path)
