"""The whole run: its output, the files it writes, and those it does not touch."""

import base64
import io
import json
import re
import xml.etree.ElementTree as ET
from contextlib import redirect_stdout
from html.parser import HTMLParser

import pytest

from fastseq import get_backend, get_num_threads, plots
from fastseq.reproduce.experiments import EXPERIMENTS, Settings, visible
from fastseq.reproduce.run import Transcript, check_writable, reproduce

pytest.importorskip("matplotlib")

SETTINGS = Settings(updates=20, hidden_size=4, seq_length=5, sample_length=6)
TEXT = "<b>Some</b> words & some more words, said once and said again.\n" * 12
FILES = {
    "rnn_lstm_output.txt",
    "plots_rnn/rnn_char.png",
    "plots_rnn/rnn_word.png",
    "plots_lstm/lstm_char.png",
    "plots_lstm/lstm_word.png",
    "results.json",
    "report.html",
}


def files_below(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Results, printed text and folder of one run."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    with redirect_stdout(io.StringIO()) as printed:
        results = reproduce(folder / "text.txt", settings=SETTINGS, out=folder / "new/out")
    return results, printed.getvalue(), folder / "new/out"


def test_all_files_are_written(run):
    _, _, out = run
    assert set(files_below(out)) == FILES


def test_the_transcript_is_all_that_was_printed(run):
    _, printed, out = run
    assert (out / "rnn_lstm_output.txt").read_text(encoding="utf-8") == printed


def test_losses_samples_and_table_are_printed(run):
    results, printed, _ = run
    lines = printed.splitlines()
    assert sum(line.startswith("  update ") for line in lines) == 4 * 2
    assert sum(line.startswith("  sample ") for line in lines) == 4 * 5
    table = lines[lines.index("", lines.index("") + 1) :]
    for result in results:
        name = result.task.experiment.name
        row = next(line.split() for line in table if re.match(rf"{name} +\d", line))
        assert float(row[1]) == pytest.approx(result.losses[0], abs=0.06)
        assert float(row[2]) == pytest.approx(result.level, abs=0.06)
        assert row[4:] == ["-", "-"]  # not the published amount of work


def test_results_hold_every_loss(run):
    results, _, out = run
    stored = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert [e["name"] for e in stored["experiments"]] == list(EXPERIMENTS)
    for record, result in zip(stored["experiments"], results, strict=True):
        assert record["losses"] == result.losses
        assert len(record["losses"]) == SETTINGS.updates
        assert record["mean_of_last_20"] == result.level
        assert {int(u): text for u, text in record["samples"].items()} == result.samples


class Page(HTMLParser):
    """Collects what the report shows, and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.references, self.texts, self.depth = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.references += [v for k, v in attrs if k in ("src", "href", "srcset", "action")]
        if tag not in ("meta", "link", "img", "source", "br"):
            self.depth.append(tag)

    def handle_endtag(self, tag):
        assert self.depth.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_report_is_whole_and_self_contained(run):
    results, _, out = run
    source = (out / "report.html").read_text(encoding="utf-8")
    page = Page(source)
    assert not page.depth
    assert all(reference.startswith("data:") for reference in page.references)
    assert "url(" not in source
    assert "@import" not in source
    pictures = [r for r in page.references if r.startswith("data:image/svg+xml;base64,")]
    assert len(set(pictures)) == 2 * len(results) == 8  # for a light and a dark page
    text = "".join(page.texts)
    for picture in pictures:
        content = base64.b64decode(picture.partition(",")[2])
        assert ET.fromstring(content).tag.endswith("svg")
        assert b"Char RNN" not in content
    assert text.count("Char RNN") == 1
    assert "Why the samples are gibberish" in text
    for result in results:
        assert all(visible(sample) in text for sample in result.samples.values())
        assert f"{result.level:.1f}" in text


def test_the_table_has_the_published_times(corpus, tmp_path, capsys):
    settings = Settings(seq_length=50, hidden_size=128, sample_length=1)
    (result,) = reproduce(corpus, ["char-rnn"], settings, out=tmp_path / "out")
    ratio = f"{139.0 / result.seconds:,.0f}×"
    assert re.search(rf"^char-rnn .* 139\.0 +{ratio}$", capsys.readouterr().out, re.MULTILINE)
    assert ratio in (tmp_path / "out/report.html").read_text(encoding="utf-8")


def test_some_experiments_write_only_their_files(corpus, tmp_path):
    reproduce(corpus, ["word-lstm"], SETTINGS, out=tmp_path / "out")
    expected = {"rnn_lstm_output.txt", "plots_lstm/lstm_word.png", "results.json", "report.html"}
    assert set(files_below(tmp_path / "out")) == expected


@pytest.mark.parametrize(("corpus_name", "other"), [
    ("python-manual", "--corpus verne"),
    (None, "--corpus"),
])  # fmt: skip
def test_the_corpus_is_named_with_an_alternative(corpus_name, other, tmp_path, capsys):
    reproduce(corpus_name, ["char-rnn"], SETTINGS, out=tmp_path / "out")
    first = capsys.readouterr().out.split("Kernels")[0]
    assert first.startswith("Corpus: ")
    assert other in first


def test_backend_and_threads_are_as_before(corpus, tmp_path):
    before = get_backend(), get_num_threads()
    reproduce(corpus, ["char-rnn"], SETTINGS, "oracle", tmp_path / "out")
    assert (get_backend(), get_num_threads()) == before
    stored = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))
    assert stored["config"]["backend"] == "oracle"


@pytest.mark.parametrize("broken", ["experiment", "corpus", "settings", "backend", "text"])
def test_bad_input_leaves_the_disk_alone(broken, corpus, tmp_path):
    arguments = {"corpus": corpus, "experiments": ["char-rnn"], "settings": SETTINGS}
    if broken == "text":
        corpus.write_bytes(b"not \xff UTF-8 " * 20)
    else:
        arguments |= {
            "experiment": {"experiments": ["char-rnn", "nonsense"]},
            "corpus": {"corpus": tmp_path / "nowhere"},
            "settings": {"settings": Settings(seq_length=10_000)},
            "backend": {"kernels": "nonsense"},
        }[broken]
    before = files_below(tmp_path)
    with pytest.raises(ValueError, match=r"expected|invalid UTF-8 at byte 4"):
        reproduce(**arguments, out=tmp_path / "out")
    assert files_below(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_a_failure_half_way_keeps_the_earlier_results(corpus, tmp_path, monkeypatch):
    out = tmp_path / "out"
    reproduce(corpus, ["char-rnn"], SETTINGS, out=out)
    before = files_below(out)

    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("fastseq.reproduce.run.report_page", fail)
    with pytest.raises(MemoryError):
        reproduce(corpus, ["char-rnn"], Settings(updates=2, hidden_size=3), out=out)
    assert files_below(out) == before


def test_nothing_is_trained_without_matplotlib(corpus, tmp_path, monkeypatch):
    def refuse():
        raise plots.PlotError("no matplotlib")

    monkeypatch.setattr(plots, "require", refuse)
    with pytest.raises(plots.PlotError):
        reproduce(corpus, settings=SETTINGS, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder/report.html").mkdir(parents=True)
    for path in "file/report.html", "file/sub/report.html":
        with pytest.raises(ValueError, match="out: cannot write to"):
            check_writable([tmp_path / path])
    with pytest.raises(ValueError, match=r"out: expected to write .*, which is a folder"):
        check_writable([tmp_path / "folder/report.html"])


def test_checking_leaves_files_as_they_are(tmp_path):
    (tmp_path / "report.html").write_text("old")
    check_writable([tmp_path / "report.html", tmp_path / "plots/a.png"])
    assert files_below(tmp_path) == {"report.html": b"old"}


def test_a_transcript_ends_its_lines(capsys):
    transcript = Transcript()
    transcript.say("one")
    transcript.say()
    assert transcript.text == capsys.readouterr().out == "one\n\n"
