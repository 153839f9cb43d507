"""The command line from outside: exit status, one-line errors, output."""

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from small import TINY

from fastseq import get_num_threads
from fastseq.cli import make_parser
from fastseq.commands import COMMANDS
from fastseq.lm import LanguageModel, ModelConfig, checkpoint
from fastseq.storage.tensorfile import read_tensors
from fastseq.text import Vocabulary
from fastseq.training.state import TrainingState

# -- help ------------------------------------------------------------------------------------


def subparsers():
    (action,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for parser in action.choices.values():
        parser.load()
    return action.choices


@pytest.mark.parametrize("command", subparsers())
def test_help_shows_every_default(command, fastseq):
    status, out, err = fastseq(command, "--help")
    assert (status, err) == (0, "")
    for action in subparsers()[command]._actions:
        assert action.help, action
        takes_value = action.option_strings and action.nargs in (None, "?")
        if (takes_value and action.dest not in ("stop", "seed")) or action.dest == "threads":
            assert "(default: " in action.help, action.dest
    assert re.search(r"^usage: fastseq ", out)
    assert re.search(rf"^examples:\n  fastseq {command}\b", out, re.MULTILINE)


def test_every_example_of_the_help_can_be_parsed(fastseq):
    for command in ("", *subparsers()):
        out = fastseq(*command.split(), "--help")[1]
        lines = re.findall(r"^  (fastseq .*?)(?:   .*)?$", out.partition("examples:")[2], re.M)
        assert lines
        for line in lines:
            if not line.endswith("--help"):
                make_parser().parse_args(shlex.split(line)[1:])


def test_the_help_names_all_commands_and_imports_none():
    code = (
        "import sys; from fastseq.__main__ import main; sys.argv[1:] = ['--help']\n"
        "try: main()\n"
        "finally: print([m for m in ('numpy', 'tqdm', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )  # fmt: skip
    *_, modules = done.stdout.splitlines()
    assert modules == "[]"
    for name, text in COMMANDS.items():
        assert re.search(rf"^    {name} +{text[:30]}", done.stdout, re.MULTILINE)


def test_files_may_stand_before_and_after_options():
    args = make_parser().parse_args(["train", "a.txt", "--steps", "5", "b.txt"])
    assert (args.paths, args.steps) == (["a.txt", "b.txt"], 5)


@pytest.mark.parametrize(("arguments", "hint"), [
    (["sampel"], "did you mean sample?"),
    (["sample", "run", "--temprature", "0.5"], "did you mean --temperature?"),
    (["train", "a.txt", "--hiden-size=5"], "did you mean --hidden-size?"),
    (["train", "a.txt", "--cell", "lsmt"], "did you mean lstm?"),
    (["train", "a.txt", "--xyzzy"], "unrecognized arguments: --xyzzy (see fastseq train --help)"),
])  # fmt: skip
def test_misspelt_words_get_a_suggestion(arguments, hint, refused):
    assert hint in refused(*arguments)


def test_reproduce_defaults_to_the_published_numbers(fastseq):
    _, out, _ = fastseq("reproduce", "--help")
    shown = {
        "--updates": "100", "--hidden-size": "128", "--seq-length": "50",
        "--learning-rate": "0.01", "--sample-length": "40", "--seed": "0",
        "--backend": "auto", "--out": "reproduction",
    }  # fmt: skip
    flat = " ".join(out.split()).partition("texts and experiments")[2]  # without the usage
    for option, default in shown.items():
        described = re.search(rf"{option} (.*?)\(default: (.*?)\)", flat)
        assert described, option
        assert " --" not in described[1]
        assert described[2] == default


def test_version(fastseq):
    assert re.fullmatch(r"fastseq \d+\.\d+\.\d+\n", fastseq("--version")[1])


# -- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "required: COMMAND"),
    (["nonsense"], "invalid choice: 'nonsense'"),
    (["reproduce", "--corpus", "nowhere"], "got 'nowhere'"),
    (["reproduce", "--corpus", "empty"], "empty: expected files"),
    (["reproduce", "--corpus", "short.txt"], "short.txt: text: expected at least 51 tokens"),
    (["reproduce", "--corpus", "wrong.txt"], "wrong.txt: invalid UTF-8 at byte 3"),
    (["reproduce", "--experiments", "char-rnn,char-gru"], "got 'char-gru'"),
    (["reproduce", "--experiments", ","], "got none"),
    (["reproduce", "--updates", "-1"], "updates: expected at least 1, got -1"),
    (["reproduce", "--hidden-size", "-128"], "hidden_size: expected at least 1, got -128"),
    (["reproduce", "--seq-length", "0"], "seq_length: expected at least 1, got 0"),
    (["reproduce", "--seed", "-1"], "seed: expected at least 0"),
    (["reproduce", "--learning-rate", "nan"], "learning_rate: expected a finite number"),
    (["reproduce", "--updates", "many"], "invalid int value: 'many'"),
    (["reproduce", "--out", "short.txt"], "out: cannot write to short.txt"),
    (["reproduce", "--backend", "sse"], "invalid choice: 'sse'"),
    (["train", "nowhere.txt"], "nowhere.txt: no such file"),
    (["train", "short.txt"], "expected at least 2049 tokens"),
    (["train", "wrong.txt"], "wrong.txt: invalid UTF-8 at byte 3"),
    (["train", "short.txt", "--hidden-size", "0"], "hidden_size: expected at least 1"),
    (["train", "short.txt", "--valid", "1.5"], "valid: expected a fraction"),
    (["train", "short.txt", "--learning-rate", "nan"], "learning_rate: expected a finite"),
    (["train", "short.txt", "--steps", "1", "--epochs", "1"], "not allowed with argument"),
    (["train", "short.txt", "--vocabulary-size", "-1"], "only for words, got -1 for 'char'"),
    (["train", "short.txt", "--vocabulary-size", "-1", "--level", "word"], "least 0, got -1"),
    (["train", "short.txt", "--threads", "0"], "threads: expected 1 to 4096, got 0"),
    (["train", "short.txt", "--threads", "99999999999"], "threads: expected 1 to 4096, got 9999"),
    (["train", "short.txt", "--resume", "--out", "empty"], "empty/last.safetensors: No such"),
    (["train", "short.txt", "--num-layers", "1000000000"], "num_layers: expected at most 10000"),
    (["train", "short.txt", "--hidden-size", "1" + "0" * 100], "hidden_size, num_layers"),
    (["reproduce", "--sample-length", "10000000000"], "sample_length: expected at most 100000"),
    (["sample", "nowhere"], "nowhere: No such file"),
    (["sample", "short.txt"], "short.txt: not a usable checkpoint"),
    (["train", ""], "argument PATH: expected a name, got an empty string"),
    (["train", "short.txt", "--valid", ""], "--valid: expected a name, got an empty string"),
    (["evaluate", "short.txt", ""], "argument FILE: expected a name, got an empty string"),
    (["sample", "empty", "--novelty", ""], "--novelty: expected a name, got an empty string"),
    (["sample", "empty"], "empty: no best.safetensors or last.safetensors"),
    (["evaluate", "short.txt", "short.txt"], "short.txt: not a usable checkpoint"),
    (["info", "short.txt"], "short.txt: not a usable checkpoint"),
    (["bench", "--rounds", "0"], "rounds: expected at least 1, got 0"),
    (["bench", "--experiments", "x"], "got 'x'"),
])  # fmt: skip
def test_bad_input_gets_one_line_and_status_2(arguments, message, refused, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "wrong.txt").write_bytes(b"abc\xffdef" * 100)
    before = sorted(tmp_path.rglob("*"))
    assert message in refused(*arguments)
    assert sorted(tmp_path.rglob("*")) == before


def test_options_of_the_model_are_checked_by_the_model(refused, model, text):
    assert "temperature" in refused("sample", model, "--temperature", "-1")
    assert "top_p" in refused("sample", model, "--top-p", "nan")
    assert "length" in refused("sample", model, "--length", "-1")
    assert "stream: expected neither" in refused("sample", model, "--stream", "--json")
    assert "hidden_size: the training run has 8, got 9" in refused(
        "train", text, "--out", model, "--resume", "--hidden-size", "9"
    )
    assert "exists already" in refused("train", text, "--out", model, *TINY)


def test_a_failure_while_running_has_status_1(refused, text, monkeypatch):
    options = ["--hidden-size", "4", "--experiments", "char-rnn", "--corpus", text]
    message = "char-rnn: the loss is nan at update 3"

    def fail(*_):
        raise ArithmeticError(message)

    monkeypatch.setattr("fastseq.reproduce.experiments.ExperimentRun.update", fail)
    assert refused("reproduce", *options, status=1).endswith(f"error: {message}\n")


def test_a_full_disk_has_status_1():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fastseq", "info"], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left" in done.stderr


def test_a_file_that_cannot_grow_is_named(text):
    """A limit on the size of files simulates a full disk, whose error names no file either."""
    resource = pytest.importorskip("resource")
    command = [sys.executable, "-m", "fastseq", "train", str(text), "--out", "run", *TINY]
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        timeout=30, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip
    expected = "fastseq train: error: run/last.safetensors: File too large\n"
    assert (done.returncode, done.stderr) == (1, expected)


# -- commands --------------------------------------------------------------------------------


def test_reproduce_passes_its_options_on(fastseq, text):
    options = {
        "updates": 3, "hidden_size": 4, "seq_length": 5, "learning_rate": 0.05,
        "sample_length": 6, "seed": 7,
    }  # fmt: skip
    flags = [x for k, v in options.items() for x in (f"--{k.replace('_', '-')}", v)]
    status, out, err = fastseq(
        "reproduce", "--corpus", text, "--experiments", "word-rnn, char-rnn", *flags,
        "--strip-licence", "--backend", "generic", "--out", "here",
    )  # fmt: skip
    assert (status, err) == (0, "")
    with open("here/results.json", encoding="utf-8") as file:
        stored = json.load(file)
    assert stored["settings"] == options | {"strip_licence": True}
    assert [e["name"] for e in stored["experiments"]] == ["word-rnn", "char-rnn"]
    assert stored["config"]["backend"] == "generic"
    assert "word-rnn" in out


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_train_with_few_options_leaves_a_run(level, fastseq, text, tmp_path):
    status, _, err = fastseq("train", text, "--level", level, *TINY)
    assert status == 0, err
    run = tmp_path / "runs/text"
    assert {"best.safetensors", "last.safetensors", "metrics.jsonl"} <= {
        path.name for path in run.iterdir()
    }
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert LanguageModel.load(run).vocabulary.level == level


@pytest.mark.parametrize(("options", "size"), [
    ([], 128), (["--embedding-size", "3"], 3), (["--embedding-size", "none"], None),
    (["--tie-weights", "--hidden-size", "6"], 6),
])  # fmt: skip
def test_train_embeds_by_default(options, size, fastseq, text):
    status, _, err = fastseq("train", text, "--out", "run", *TINY, *options)
    assert status == 0, err
    assert json.loads(fastseq("info", "run", "--json")[1])["model"]["embedding_size"] == size


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_the_end_of_documents_is_learnt(level, fastseq, tmp_path):
    texts = ["One fish.\n", "Red fox, blue sea!\n"]
    for n, content in enumerate(texts):
        (tmp_path / f"{n}.txt").write_text(content, encoding="utf-8")
    options = ["0.txt", "1.txt", "--out", "run", "--level", level, "--valid", "0"]
    if level == "word":
        options += ["--vocabulary-size", "8"]  # the end of a document is not a word
    tiny = ["--hidden-size", "32", "--batch-size", "1", "--seq-length", "6"]
    status, _, err = fastseq("train", *options, *tiny, "--steps", "5", "--documents")
    assert status == 0, err
    learn = ["--resume", "--steps", "300", "--learning-rate", "0.01"]
    status, _, err = fastseq("train", *options, *learn)
    assert status == 0, err
    assert json.loads(fastseq("info", "run", "--json")[1])["vocabulary"]["documents"] is True
    for content in texts:
        prime = content[:3]
        sampled = fastseq("sample", "run", "--temperature", "0", "--prime", prime)[1]
        assert sampled == content + "\n"
    lm = LanguageModel.load("run")
    scores = json.loads(fastseq("evaluate", "run", "1.txt", "--json")[1])
    assert scores["1.txt"]["tokens"] == len(lm.vocabulary.encode(texts[1])) + 1  # its end
    assert scores["1.txt"]["unknown_rate"] == 0


def test_bytes_that_are_no_text_are_trained_on(fastseq, refused, tmp_path):
    data = "Où est la mer ? ".encode("latin-1") * 100 + bytes(range(256))
    (tmp_path / "latin.txt").write_bytes(data)
    status, _, err = fastseq("train", "latin.txt", "--level", "byte", *TINY)
    assert status == 0, err
    run = "runs/latin"
    assert fastseq("train", "latin.txt", "--out", run, "--resume", "--steps", "25")[0] == 0
    score = json.loads(fastseq("evaluate", run, "latin.txt", "--json")[1])["latin.txt"]
    assert score["tokens"] == len(data)
    options = ["--prime", "est la mer", "--length", "0", "--novelty", "latin.txt", "--json"]
    (copied,) = json.loads(fastseq("sample", run, *options)[1])["copied"]
    assert copied == {"tokens": 10, "text": "est la mer"}
    assert "invalid UTF-8 at byte 1" in refused("train", "latin.txt", "--out", "new", *TINY)


@pytest.mark.parametrize(("level", "options", "message"), [
    ("char", ["--level", "word"], "level: the training run has 'char', got 'word'"),
    ("char", ["--vocabulary-size", "9"], "vocabulary_size: expected only for words, got 9"),
    ("char", ["--documents"], "documents: the training run has none"),
    ("word", ["--level", "char", "--vocabulary-size", "-1"], "level: the training run has 'word'"),
    ("word", ["--vocabulary-size", "5"], "vocabulary_size: the training run has 7, got 5"),
    ("word", ["--vocabulary-size", "8"], "vocabulary_size: the training run has 7, got 8"),
    ("word", ["--vocabulary-size", "0"], "vocabulary_size: the training run has 7, got 0"),
])  # fmt: skip
def test_resume_refuses_another_vocabulary(level, options, message, fastseq, refused, text):
    size = ["--vocabulary-size", "7"] if level == "word" else []
    command = ["train", text, "--out", "run", "--level", level, *size]
    assert fastseq(*command, *TINY)[0] == 0
    assert fastseq(*command, "--resume")[0] == 0
    assert message in refused("train", text, "--out", "run", "--resume", *options)


def test_resume_takes_a_bound_that_the_vocabulary_did_not_reach(fastseq, text):
    command = ["train", text, "--out", "run", "--level", "word", "--vocabulary-size", "1000"]
    assert fastseq(*command, *TINY)[0] == 0
    assert fastseq(*command, "--resume")[0] == 0


def test_resume_reads_its_checkpoint_once(fastseq, model, text, monkeypatch):
    calls = Counter()

    def count(owner, name, kind=lambda function: function):
        original = getattr(owner, name)

        def counted(*arguments):
            calls[name] += 1
            return original(*arguments)

        monkeypatch.setattr(owner, name, kind(counted))

    count(checkpoint, "read_tensors")
    count(Vocabulary, "from_json", staticmethod)
    count(ModelConfig, "__post_init__")
    count(TrainingState, "from_checkpoint", staticmethod)
    assert fastseq("train", text, "--out", model, "--resume", "--steps", "22")[0] == 0
    expected = ("read_tensors", "from_json", "__post_init__", "from_checkpoint")
    assert calls == dict.fromkeys(expected, 1)


def test_a_directory_in_use_is_refused_before_the_texts_are_read(refused, model, tmp_path):
    (tmp_path / "no-text.txt").write_bytes(b"\xff\xfe")
    for out, message in ((model, "exists already"), ("nowhere", "no-text.txt")):
        assert message in refused("train", "no-text.txt", "--out", out)
    assert not Path("nowhere").exists()


def test_options_of_the_optimizer_reach_it(fastseq, refused, text):
    command = ["train", text, "--out", "run", *TINY, "--optimizer", "adamw"]
    command += ["--schedule", "plateau", "--plateau-factor", "0.5", "--weight-decay", "0.3"]
    assert fastseq(*command)[0] == 0
    stored = json.loads(read_tensors(Path("run/last.safetensors")).metadata["training"])
    assert stored["optimizer_options"] == {"weight_decay": 0.3}
    assert (stored["plateau_factor"], stored["optimizer"]) == (0.5, "adamw")
    for no_decay in ("-1", "inf", "nan"):
        assert "weight_decay" in refused("train", text, *TINY, "--weight-decay", no_decay)
    assert "plateau_factor" in refused("train", text, *TINY, "--plateau-factor", "2")


def test_threads_are_set(fastseq, model):
    fastseq("sample", model, "--length", "1", "--threads", "1")
    assert get_num_threads() == 1


def test_bench_times_both_sides(fastseq, monkeypatch):
    monkeypatch.setattr("fastseq.reproduce.benchmark.SECONDS", 0.02)
    options = ["--experiments", "char-rnn", "--rounds", "1", "--hidden-size", "8"]
    status, out, err = fastseq("bench", *options, "--seq-length", "5")
    if status == 2:
        assert "no compiled kernels" in err
        pytest.skip("nothing is compiled here")
    assert re.search(r"^char-rnn( +[\d.,]+){4} +[\d,]+×$", out, re.MULTILINE)
    (timing,) = json.loads(fastseq("bench", *options, "--json")[1])["timings"]
    assert timing["ratio"] == timing["oracle_seconds"] / timing["compiled_seconds"] > 1
    assert timing["loss_difference"] < 1e-5
