"""Commands that a signal or a closed pipe ends."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
from small import TINY


def test_a_closed_pipe_is_silent(text):
    command = [sys.executable, "-m", "fastseq", "reproduce", "--corpus", str(text)]
    command += ["--updates", "2000", "--hidden-size", "4", "--seq-length", "5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_a_closed_pipe_does_not_disturb_the_help():
    command = [sys.executable, "-m", "fastseq", "--help"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("number", "word", "status"), [
    (signal.SIGINT, "Interrupted", 130), (signal.SIGTERM, "Terminated", 143),
    (signal.SIGHUP, "Terminated", 129),
])  # fmt: skip
def test_a_stopped_training_run_says_how_to_go_on(number, word, status, text, fastseq):
    command = [sys.executable, "-m", "fastseq", "train", str(text), "--out", "a run", *TINY]
    command += ["--steps", "1000000", "--log-every", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert any("step 2" in line for line in process.stderr)
        process.send_signal(number)
        *_, what, how = process.stderr.read().splitlines()
        assert process.wait() == status
    saved = "everything is saved in a run/last.safetensors"
    step = re.fullmatch(rf"{word} at step ([\d,]+), 0% of the budget: {saved}", what)[1]
    done = int(step.replace(",", ""))
    assert json.loads(fastseq("info", "a run", "--json")[1])["progress"]["step"] == done > 0
    assert how == "To go on: fastseq train --resume --out 'a run'"
    assert fastseq(*shlex.split(how)[4:], "--steps", done + 5)[0] == 0
    facts = json.loads(fastseq("info", "a run/last.safetensors", "--json")[1])
    assert facts["progress"]["step"] == done + 5


def test_an_impatient_second_ctrl_c_says_what_is_lost(text, fastseq, monkeypatch):
    def impatient(trainer):
        if trainer.progress.step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr("fastseq.training.trainer.Trainer._after_step", impatient)
    status, _, err = fastseq("train", text, "--out", "run", *TINY)
    what = "Interrupted at step 5, 25% of the budget: saved up to step 0 in run/last.safetensors"
    assert (status, err.splitlines()[-2]) == (130, what)
    facts = json.loads(fastseq("info", "run", "--json")[1])
    assert facts["progress"]["step"] == 0


def test_ctrl_c_in_a_reproduction(text):
    command = [sys.executable, "-m", "fastseq", "reproduce", "--corpus", str(text)]
    command += ["--updates", "1000000", "--hidden-size", "4", "--seq-length", "5"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert any("update" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read() == "fastseq reproduce: error: interrupted\n"
        assert process.wait() == 130
    assert not os.path.exists("reproduction/results.json")
