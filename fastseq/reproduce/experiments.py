"""The four published experiments: language models trained in pure Python on Jules Verne.

Each trains on a hundred windows of fifty tokens, in order. Initial weights, Adagrad, clipping
and the text follow the published program. Two of its defects are not repeated: it rounds every
sigmoid and tanh to 4 decimals, and it takes its forget gate's gradient at the pre-activation
instead of the activation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..checks import check_int, check_positive
from ..lm import LanguageModel, State
from ..lm.network import initial_values
from ..lm.sampling import MAX_SAMPLE_LENGTH
from ..nn import init
from ..optim import Adagrad
from ..text import Batches, Dataset, TextError, Vocabulary, read_text

CHARACTERS, WORDS = 256, 5000
CLIP_VALUE = 5.0
EPSILON = 1e-8
SAMPLES = 5  # per experiment, at equal distances
TAIL = 20  # updates whose mean loss is the level reached
DEFECTS = (
    "The published program rounds every sigmoid and tanh to 4 decimals and takes its forget "
    "gate's gradient at the pre-activation; neither is repeated here."
)


@dataclass(frozen=True)
class Experiment:
    """One of the published experiments, with its published figures.

    Attributes
    ----------
    name : str
    level : {"char", "word"}
    cell : {"rnn", "lstm"}
    title : str
        The novel that it trains on.
    published_seconds : float
        Time of the pure-Python program.
    published_losses : mapping of int to float
        Published losses by update.
    """

    name: str
    level: Literal["char", "word"]
    cell: Literal["rnn", "lstm"]
    title: str
    published_seconds: float
    published_losses: Mapping[int, float]


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "char-rnn", "char", "rnn", "Around the World in Eighty Days", 139.0,
            {10: 145.8, 20: 153.3},
        ),
        Experiment(
            "char-lstm", "char", "lstm", "The Mysterious Island", 407.2,
            {10: 156.2, 20: 178.6},
        ),
        Experiment(
            "word-rnn", "word", "rnn", "The Master of the World", 2457.4,
            {10: 359.9, 20: 370.1},
        ),
        Experiment(
            "word-lstm", "word", "lstm", "From the Earth to the Moon", 5776.5,
            {10: 309.6, 20: 320.0},
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Hyperparameters of an experiment; the defaults are the published ones.

    Attributes
    ----------
    updates, hidden_size, seq_length : int
    learning_rate : float
    sample_length : int
        Tokens of each sample, at most 100,000.
    seed : int
    strip_licence : bool
        Leave out Project Gutenberg's header and footer, which the published program reads.
    """

    updates: int = 100
    hidden_size: int = 128
    seq_length: int = 50
    learning_rate: float = 0.01
    sample_length: int = 40
    seed: int = 0
    strip_licence: bool = False

    def __post_init__(self) -> None:
        for name in ("updates", "hidden_size", "seq_length"):
            check_int(name, getattr(self, name), 1)
        check_int("sample_length", self.sample_length, 1, MAX_SAMPLE_LENGTH)
        check_int("seed", self.seed, 0)
        check_positive("learning_rate", self.learning_rate)

    @property
    def same_work(self) -> bool:
        """Whether size and number of updates, and so the work, are the published ones."""
        return (self.updates, self.hidden_size, self.seq_length) == (100, 128, 50)

    @property
    def sample_updates(self) -> list[int]:
        """The updates after which a sample is drawn."""
        return sorted({self.updates * n // SAMPLES for n in range(1, SAMPLES + 1)} - {0})


@dataclass(frozen=True)
class Task:
    """An experiment with the text that it trains on.

    Attributes
    ----------
    experiment : Experiment
    source : str
        The text's name, for people.
    vocabulary : Vocabulary
    batches : Batches
        One stream in windows of equal length.
    occurring : ndarray of shape (V,), bool
        Tokens that occur in the text.
    comparable : bool
        Whether text and settings, and therefore the losses, match the published run.
    """

    experiment: Experiment
    source: str
    vocabulary: Vocabulary
    batches: Batches
    occurring: NDArray[np.bool_]
    comparable: bool

    @property
    def published_losses(self) -> Mapping[int, float]:
        """Published losses to compare with; empty unless `comparable`."""
        return self.experiment.published_losses if self.comparable else {}


@dataclass
class Result:
    """Result of one experiment.

    Attributes
    ----------
    task : Task
    losses : list of float
        Loss of every update in nats, summed over the window.
    samples : dict of int to str
        Text by the update after which it was drawn.
    seconds : float
        Time of training and sampling, without reading the text.
    """

    task: Task
    losses: list[float] = field(default_factory=list)
    samples: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def level(self) -> float:
        """Mean loss of the last `TAIL` updates."""
        return float(np.mean(self.losses[-TAIL:]))

    def ratio(self, settings: Settings) -> float | None:
        """Published time divided by this one; None unless the work is the same."""
        if not settings.same_work:
            return None
        return self.task.experiment.published_seconds / self.seconds


def choose(names: Sequence[str]) -> list[Experiment]:
    """Look up experiments by name, each once.

    Raises
    ------
    ValueError
        An unknown name, or no name.
    """
    known = ", ".join(EXPERIMENTS)
    for name in names:
        if name not in EXPERIMENTS:
            raise ValueError(f"experiments: expected some of {known}, got {name!r}")
    if not names:
        raise ValueError(f"experiments: expected some of {known}, got none")
    return [EXPERIMENTS[name] for name in dict.fromkeys(names)]


def prepare(experiment: Experiment, dataset: Dataset, settings: Settings) -> Task:
    """Read and encode the text of an experiment.

    The text is the file with the novel's title, or else the file at the experiment's position
    among the four.

    Raises
    ------
    TextError, OSError
        The text cannot be read, or is shorter than one window.
    """
    source, text = _text(experiment, dataset, settings.strip_licence)
    try:
        vocabulary = _vocabulary(experiment, text)
        ids = vocabulary.encode(text)
        batches = Batches(ids, 1, settings.seq_length, drop_last=True)
    except TextError as error:
        raise TextError(f"{source}: {error}") from None
    published = dataset.path(experiment.title) is not None and not settings.strip_licence
    numbers = settings.hidden_size, settings.seq_length, settings.learning_rate
    comparable = published and numbers == (128, 50, 0.01)
    occurring = np.bincount(ids, minlength=len(vocabulary)) > 0
    return Task(experiment, source, vocabulary, batches, occurring, comparable)


def _text(experiment: Experiment, dataset: Dataset, strip_licence: bool) -> tuple[str, str]:
    """Name and lower-cased text."""
    if not dataset.files:
        return dataset.name, dataset.text().lower()
    place = list(EXPERIMENTS).index(experiment.name)
    path = dataset.path(experiment.title) or dataset.files[place % len(dataset.files)]
    return str(path), read_text(path, strip_licence).replace("\r\n", "\n").lower()


def _vocabulary(experiment: Experiment, text: str) -> Vocabulary:
    if experiment.level == "char":
        return Vocabulary.codes(CHARACTERS)
    return Vocabulary.words(text, WORDS, unk=False)


class ExperimentRun:
    """Trains an experiment's model, one update at a time.

    Parameters
    ----------
    task : Task
    settings : Settings
    """

    def __init__(self, task: Task, settings: Settings) -> None:
        self.task, self.settings = task, settings
        self.updates = 0
        cell, seed = task.experiment.cell, settings.seed
        self.lm = PublishedModel(
            task.vocabulary, cell, settings.hidden_size, forget_bias=0.0, seed=seed
        )
        # The published cells have one bias. Training the second one too would double its rate.
        trained = [p for name, p in self.lm.named_parameters() if name != "rnn.bias_hh_l0"]
        self._optimizer = Adagrad(
            trained, settings.learning_rate, eps=EPSILON, eps_inside_sqrt=True
        )
        self._state: State | None = None
        self._first = 0

    def update(self) -> float:
        """Train on the next window and return its loss before the update, in nats.

        Raises
        ------
        ArithmeticError
            The loss is not finite.
        """
        window = self.updates % len(self.task.batches)
        state = self._state if window else None  # zero at the start of the text
        inputs, targets = self.task.batches.window(window)
        loss, self._state = self.lm.forward_backward(inputs, targets, state, scale=1.0)
        self._optimizer.step(limit=CLIP_VALUE)
        self._first = int(inputs[0, 0])
        self.updates += 1
        if not math.isfinite(loss):
            name = self.task.experiment.name
            raise ArithmeticError(f"{name}: the loss is {loss} at update {self.updates}")
        return loss

    def sample(self) -> str:
        """Sample from the last window's first token and the current state.

        Only tokens of the text are drawn. The vocabulary of characters has 256 codes, and many
        occur nowhere.
        """
        seed = int(self.lm.random.integers(1 << 32))
        drawn = self.lm.sample_tokens(
            [self._first], self.settings.sample_length,
            state=self._state, allowed=self.task.occurring, seed=seed,
        )  # fmt: skip
        return self.lm.vocabulary.decode(drawn.ids)


class PublishedModel(LanguageModel):
    """A model that draws its weights as the published program does."""

    def reset_parameters(self) -> None:
        """Draw the published weights; biases have their usual values.

        The random numbers are those that follow a usual model's initial weights.
        """
        names = dict(self.named_parameters())
        weights = sum(p.size for name, p in names.items() if "bias" not in name)
        generator = self.random.bit_generator
        assert isinstance(generator, np.random.PCG64)
        generator.advance(weights)
        for name, parameter in names.items():
            if "bias" in name:
                parameter.data = initial_values(name, parameter.shape, self.config, self.random)
        set_published_weights(self)


def set_published_weights(lm: LanguageModel) -> None:
    """Draw the weights as the published program does; biases keep their values.

    Weights of the RNN are uniform in ±√(1/V) (input) and ±√(1/H), those of the LSTM in ±0.05.
    """
    bounds = {
        "rnn.weight_ih_l0": math.sqrt(1 / lm.vocabulary_size),
        "rnn.weight_hh_l0": math.sqrt(1 / lm.config.hidden_size),
        "head.weight": math.sqrt(1 / lm.config.hidden_size),
    }
    for name, parameter in lm.named_parameters():
        if name in bounds:
            bound = 0.05 if lm.config.cell == "lstm" else bounds[name]
            init.uniform_(parameter.data, -bound, bound, lm.random)


def train(task: Task, settings: Settings) -> Iterator[Result]:
    """Run an experiment; yield its growing result after every update."""
    result = Result(task)
    start = perf_counter()
    run = ExperimentRun(task, settings)
    for update in range(1, settings.updates + 1):
        result.losses.append(run.update())
        if update in settings.sample_updates:
            result.samples[update] = run.sample()
        result.seconds += perf_counter() - start
        yield result
        start = perf_counter()  # exclude the caller's time


def visible(text: str) -> str:
    """Quote a text on one line, with control characters escaped."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f"“{''.join(shown)}”"
