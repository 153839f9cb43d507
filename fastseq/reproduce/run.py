"""`fastseq reproduce`: train the experiments, print their progress, write the results."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .. import backend, plots
from ..storage.files import atomic_file
from ..text import Dataset, datasets
from .curves import experiment_curves
from .experiments import (
    DEFECTS,
    EXPERIMENTS,
    TAIL,
    Experiment,
    Result,
    Settings,
    Task,
    choose,
    visible,
)
from .experiments import prepare as prepare_task
from .experiments import train as train_task
from .report import report_page

__all__ = ["reproduce"]

PROGRESS_EVERY = 10  # updates


class Transcript:
    """Prints lines and keeps a copy of them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str = "") -> None:
        self.lines.append(line)
        tqdm.write(line, file=sys.stdout)  # does not garble a progress bar
        sys.stdout.flush()

    @property
    def text(self) -> str:
        return "\n".join([*self.lines, ""])


def reproduce(
    corpus: str | os.PathLike[str] | None = None,
    experiments: Sequence[str] = tuple(EXPERIMENTS),
    settings: Settings | None = None,
    kernels: str = "auto",
    out: str | os.PathLike[str] = "reproduction",
) -> list[Result]:
    """Run the published experiments and write curves, losses, samples and a report.

    They run on one thread, like the published program, and print their progress. All arguments
    are checked before any training, and no file changes until the last experiment is done.

    Parameters
    ----------
    corpus : str or path-like, optional
        See `fastseq.text.datasets.find`.
    experiments : sequence of str
        Names from `EXPERIMENTS`: char-rnn, char-lstm, word-rnn, word-lstm.
    settings : Settings, optional
        Hyperparameters; the published ones by default.
    kernels : str
        See `fastseq.set_backend`.
    out : path-like
        Folder for the results; created if it does not exist.

    Returns
    -------
    list of Result
        One for each experiment: ``losses`` (in nats per window) and ``seconds`` of training.

    Raises
    ------
    ValueError, OSError
        Bad arguments, unusable texts, a folder that cannot be written.
    PlotError
        matplotlib is not installed.

    Examples
    --------
    >>> import contextlib, io
    >>> from fastseq.reproduce.experiments import Settings
    >>> from fastseq.reproduce.run import reproduce
    >>> settings = Settings(updates=20, hidden_size=4, seq_length=10)
    >>> with contextlib.redirect_stdout(io.StringIO()):  # the progress
    ...     (result,) = reproduce("python-manual", ["char-rnn"], settings, out="results")
    >>> len(result.losses), round(result.losses[0] / 10, 1)  # at first log 256 = 5.5
    (20, 5.5)
    """
    settings = Settings() if settings is None else settings
    chosen = choose(experiments)
    plots.require()
    with backend.one_thread(kernels):
        dataset = datasets.find(corpus)
        tasks = [prepare_task(experiment, dataset, settings) for experiment in chosen]
        folder = Path(out)
        check_writable([folder / name for name in output_names(chosen)])
        transcript = Transcript()
        _introduce(transcript, dataset, settings)
        results = [_run(task, settings, transcript) for task in tasks]
        _conclude(transcript, results, settings)
        transcript.say(f"Results in {folder}: {', '.join(output_names(chosen))}")
        _write(folder, results, settings, dataset, transcript)
    return results


# -- files ---------------------------------------------------------------------------------


def curve_name(experiment: Experiment) -> str:
    return f"plots_{experiment.cell}/{experiment.cell}_{experiment.level}.png"


def output_names(experiments: Sequence[Experiment]) -> list[str]:
    """Files that `reproduce` writes, relative to its folder."""
    curves = [curve_name(experiment) for experiment in experiments]
    return ["rnn_lstm_output.txt", *curves, "results.json", "report.html"]


def check_writable(paths: Sequence[Path]) -> None:
    """Create the folders of these files and check that all can be written.

    Raises
    ------
    ValueError
        One cannot. Existing files are not touched.
    """
    for path in paths:
        if path.is_dir():
            raise ValueError(f"out: expected to write {path}, which is a folder")
    for folder in sorted({path.parent for path in paths}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise ValueError(f"out: cannot write to {folder}: {error.strerror}") from None


def _write(
    folder: Path,
    results: list[Result],
    settings: Settings,
    dataset: Dataset,
    transcript: Transcript,
) -> None:
    summary = _summary(results, settings, dataset)
    files = {curve_name(r.task.experiment): experiment_curves([r]) for r in results}
    files["rnn_lstm_output.txt"] = transcript.text.encode()
    files["results.json"] = json.dumps(summary, indent=1, ensure_ascii=False).encode()
    files["report.html"] = report_page(results, settings, dataset.description).encode()
    # All files are written before the first replaces an old one, so that runs do not mix.
    with ExitStack() as stack:
        for name, content in files.items():
            file = stack.enter_context(atomic_file(folder / name))
            file.write(content)
            file.flush()


def _summary(results: list[Result], settings: Settings, dataset: Dataset) -> dict[str, Any]:
    return {
        "corpus": dataset.description,
        "settings": asdict(settings),
        "config": backend.show_config(),
        "experiments": [_record(result, settings) for result in results],
    }


def _record(result: Result, settings: Settings) -> dict[str, Any]:
    experiment = result.task.experiment
    return {
        "name": experiment.name,
        "text": result.task.source,
        "vocabulary_size": len(result.task.vocabulary),
        "seconds": result.seconds,
        "published_seconds": experiment.published_seconds,
        "ratio": result.ratio(settings),
        "first_loss": result.losses[0],
        f"mean_of_last_{TAIL}": result.level,
        "losses": result.losses,
        "published_losses": experiment.published_losses,
        "samples": result.samples,
    }


# -- output --------------------------------------------------------------------------------


def _introduce(transcript: Transcript, dataset: Dataset, settings: Settings) -> None:
    config = backend.show_config()
    transcript.say(f"Corpus: {dataset.description}.")
    if dataset.name == "verne":
        transcript.say("  (--corpus python-manual uses the manual that Python includes.)")
    elif dataset.embedded is not None:
        transcript.say("  (--corpus verne uses the novels of the published runs, from")
        transcript.say("  $FASTSEQ_DATA/verne or downloaded with pip install 'fastseq-rnn[data]';")
        transcript.say("  --corpus FOLDER uses your own texts.)")
    transcript.say(f"Kernels: {config['backend']}, one thread, {config['cpu']}.")
    transcript.say(
        f"{settings.updates} updates on windows of {settings.seq_length} tokens, "
        f"hidden size {settings.hidden_size}, seed {settings.seed}."
    )


def _run(task: Task, settings: Settings, transcript: Transcript) -> Result:
    name = task.experiment.name
    transcript.say()
    transcript.say(f"{name}: {task.source}, {len(task.vocabulary):,} distinct tokens")
    # Only on a terminal (`disable=None`); elsewhere the lines below show the progress.
    with tqdm(total=settings.updates, desc=name, unit="update", leave=False, disable=None) as bar:
        for result in train_task(task, settings):
            bar.update()
            update = len(result.losses)
            if update % PROGRESS_EVERY == 0:
                transcript.say(f"  update {update:5d}  loss {result.losses[-1]:8.2f}")
            if update in result.samples:
                transcript.say(f"  sample {update:5d}  {visible(result.samples[update])}")
    return result


def _conclude(transcript: Transcript, results: list[Result], settings: Settings) -> None:
    transcript.say()
    tail = f"last {TAIL}"
    transcript.say(
        f"{'experiment':<11} {'loss first':>10} {tail:>8} {'seconds':>9} "
        f"{'published':>10} {'ratio':>8}"
    )
    for result in results:
        experiment, ratio = result.task.experiment, result.ratio(settings)
        published = "-" if ratio is None else f"{experiment.published_seconds:,.1f}"
        times = "-" if ratio is None else f"{ratio:,.0f}×"
        transcript.say(
            f"{experiment.name:<11} {result.losses[0]:10.1f} {result.level:8.1f} "
            f"{result.seconds:9.3f} {published:>10} {times:>8}"
        )
    transcript.say()
    transcript.say("published: seconds of the pure-Python program, on its author's machine.")
    transcript.say(DEFECTS)
