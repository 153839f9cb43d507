"""The four published experiments: their texts, their arithmetic, their settings."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastseq import get_backend, use_backend
from fastseq.lm import LanguageModel
from fastseq.nn import init
from fastseq.reproduce.experiments import (
    EXPERIMENTS,
    ExperimentRun,
    PublishedModel,
    Settings,
    choose,
    prepare,
    set_published_weights,
    train,
    visible,
)
from fastseq.text import Dataset, TextError, Vocabulary, datasets

TEXT = "The quick brown fox jumps over the lazy dog, and THE dog sleeps. " * 20
SMALL = Settings(updates=10, hidden_size=8, seq_length=6, sample_length=7)
EMBEDDED = Dataset("some text", "a text for tests", embedded=TEXT)

each_experiment = pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)


def folder_of(tmp_path, **texts):
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    return datasets.find(tmp_path)


# -- choosing and settings -------------------------------------------------------------------


def test_choose_keeps_order_and_drops_repeats():
    names = ["word-rnn", "char-rnn", "word-rnn"]
    assert [experiment.name for experiment in choose(names)] == ["word-rnn", "char-rnn"]


@pytest.mark.parametrize("names", [[], ["char-rnn", "char-gru"]])
def test_choose_refuses(names):
    with pytest.raises(ValueError, match="experiments: expected some of char-rnn, char-lstm"):
        choose(names)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("updates", 0), ("hidden_size", -1), ("seq_length", 0), ("sample_length", 0),
        ("seed", -1), ("learning_rate", 0.0), ("learning_rate", math.nan),
    ],
)  # fmt: skip
def test_settings_refuse(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        replace(SMALL, **{name: value})


def test_published_settings_sample_at_the_published_updates():
    assert Settings().sample_updates == [20, 40, 60, 80, 100]


@given(st.integers(1, 10_000))
def test_samples_end_with_the_last_update(updates):
    drawn = Settings(updates=updates).sample_updates
    assert len(drawn) == min(5, updates)
    assert drawn[-1] == updates
    assert drawn[0] >= 1


# -- texts -----------------------------------------------------------------------------------


def test_characters_are_codes_of_the_lowered_text():
    task = prepare(EXPERIMENTS["char-rnn"], Dataset("t", "", embedded="ABCé€" * 4), SMALL)
    inputs, targets = task.batches.window(0)
    assert inputs[:, 0].tolist() == [97, 98, 99, 233, 0, 97]  # € is beyond the 256 codes
    assert targets[:, 0].tolist() == [98, 99, 233, 0, 97, 98]
    assert len(task.vocabulary) == 256


def test_words_are_numbered_by_falling_frequency():
    text = "b a A c B a b c c d " * 3  # after lowering a, b and c tie, in the order b, a, c
    task = prepare(EXPERIMENTS["word-rnn"], Dataset("t", "", embedded=text), SMALL)
    assert task.vocabulary.tokens == ("b", "a", "c", "d")
    assert task.batches.window(0)[0][:, 0].tolist() == [0, 1, 1, 2, 0, 1]


def test_only_the_most_frequent_words_have_a_number():
    words = [f"w{n}" for n in range(6000)]
    text = " ".join([*words, *words[:4000], "w0"])
    task = prepare(EXPERIMENTS["word-rnn"], Dataset("t", "", embedded=text), SMALL)
    assert len(task.vocabulary) == 5000
    assert task.vocabulary.encode("w0 w4999 w5000").tolist() == [0, 4999, 0]


@each_experiment
def test_the_novel_with_the_title_is_taken(experiment, tmp_path):
    titles = {x.title.lower(): TEXT for x in EXPERIMENTS.values()}
    dataset = folder_of(tmp_path, **titles, another=TEXT)
    task = prepare(experiment, dataset, SMALL)
    assert task.source == str(tmp_path / f"{experiment.title.lower()}.txt")


def test_other_files_are_dealt_out_in_turn(tmp_path):
    dataset = folder_of(tmp_path, a=TEXT, b=TEXT, c=TEXT)
    sources = [prepare(x, dataset, SMALL).source for x in EXPERIMENTS.values()]
    assert sources == [str(tmp_path / f"{name}.txt") for name in "abca"]


@pytest.mark.parametrize("strip", [False, True])
def test_the_licence_is_read_unless_stripped(strip, tmp_path):
    start = "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n"
    end = "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n"
    dataset = folder_of(tmp_path, a=f"LICENCE\n{start}{TEXT}\n{end} MORE")
    task = prepare(EXPERIMENTS["word-lstm"], dataset, replace(SMALL, strip_licence=strip))
    assert ("licence" in task.vocabulary.tokens) is not strip


def test_losses_are_only_comparable_with_the_published_text_and_settings(tmp_path):
    experiment = EXPERIMENTS["char-rnn"]
    novel = folder_of(tmp_path, **{experiment.title: TEXT})
    assert prepare(experiment, novel, Settings()).comparable
    assert prepare(experiment, novel, Settings(seed=3, updates=7)).comparable
    assert not prepare(experiment, novel, Settings(strip_licence=True)).comparable
    assert not prepare(experiment, novel, Settings(hidden_size=64)).comparable
    assert not prepare(experiment, EMBEDDED, Settings()).comparable


@each_experiment
def test_one_window_is_enough_and_less_is_refused(experiment):
    symbols = "abcdefg" if experiment.level == "char" else "a b c d e f g"
    task = prepare(experiment, Dataset("short", "", embedded=symbols), SMALL)
    assert len(task.batches) == 1
    with pytest.raises(TextError, match=r"^short: "):
        prepare(experiment, Dataset("short", "", embedded=symbols[:-1]), SMALL)
    with pytest.raises(TextError, match=r"^short: "):
        prepare(experiment, Dataset("short", "", embedded=""), SMALL)


# -- arithmetic ------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "bounds"), [
    ("rnn", {"rnn.weight_ih_l0": 1 / 16, "rnn.weight_hh_l0": 1 / 10, "head.weight": 1 / 10}),
    ("lstm", dict.fromkeys(["rnn.weight_ih_l0", "rnn.weight_hh_l0", "head.weight"], 0.05)),
])  # fmt: skip
def test_published_weights(cell, bounds):
    lm = LanguageModel(Vocabulary.codes(256), cell, hidden_size=100, forget_bias=0.0)
    set_published_weights(lm)
    for name, values in lm.state_dict().items():
        if "bias" in name:
            assert not values.any()
        else:
            bound = bounds[name]
            assert 0.99 * bound < np.abs(values).max() <= bound * (1 + 1e-6)
            assert abs(values.mean()) < 0.05 * bound


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_published_model_draws_its_weights_once(monkeypatch, cell):
    """Its numbers are those of a usual model whose weights are drawn again."""
    vocabulary = Vocabulary.codes(50)
    usual = LanguageModel(vocabulary, cell, 7, forget_bias=0.0, seed=3)
    set_published_weights(usual)
    drawn = []
    uniform = init.uniform_
    monkeypatch.setattr(init, "uniform_", lambda *a: drawn.append(a[0].size) or uniform(*a))
    model = PublishedModel(vocabulary, cell, 7, forget_bias=0.0, seed=3)
    weights = [p.size for name, p in model.named_parameters() if "bias" not in name]
    assert drawn == weights
    for name, array in usual.state_dict().items():
        assert array.tobytes() == model.state_dict()[name].tobytes(), name
    assert usual.random.random() == model.random.random()


@each_experiment
def test_updates_are_those_of_a_plain_implementation(experiment):
    """Losses through the text and beyond its end, against PyTorch's autograd."""
    torch = pytest.importorskip("torch")
    task = prepare(experiment, Dataset("t", "", embedded=TEXT[:130]), SMALL)
    training = ExperimentRun(task, SMALL)
    cell = PlainCell(torch, training.lm.state_dict(), experiment.cell)
    for update in range(25):
        window = update % len(task.batches)
        inputs, targets = (torch.tensor(ids[:, 0]) for ids in task.batches.window(window))
        expected = cell.update(inputs, targets, fresh=window == 0)
        assert training.update() == pytest.approx(expected, rel=2e-4)
    assert not training.lm.state_dict()["rnn.bias_hh_l0"].any()


class PlainCell:
    """The published model in double precision, one bias, Adagrad with clipped elements."""

    def __init__(self, torch, state, cell):
        names = "rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0"
        names += "head.weight", "head.bias"
        self.torch, self.cell = torch, cell
        self.weights = [torch.tensor(state[n]).double().requires_grad_() for n in names]
        self.memory = [torch.zeros_like(w) for w in self.weights]

    def step(self, token, h, c):
        w_ih, w_hh, b, *_ = self.weights
        a = w_ih[:, token] + w_hh @ h + b
        if self.cell == "rnn":
            return a.tanh(), c
        i, f, g, o = a.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def update(self, inputs, targets, fresh):
        if fresh:
            self.h = self.c = self.torch.zeros(SMALL.hidden_size).double()
        h, c, loss = self.h, self.c, 0.0
        for token, target in zip(inputs, targets, strict=True):
            h, c = self.step(token, h, c)
            logits = self.weights[3] @ h + self.weights[4]
            loss = loss + self.torch.nn.functional.cross_entropy(logits[None], target[None])
        self.h, self.c = h.detach(), c.detach()
        grads = self.torch.autograd.grad(loss, self.weights)
        with self.torch.no_grad():
            for w, m, g in zip(self.weights, self.memory, grads, strict=True):
                g = g.clamp(-5, 5)
                m += g * g
                w -= SMALL.learning_rate * g / (m + 1e-8).sqrt()
        return loss.item()


@each_experiment
def test_an_experiment_is_a_function_of_its_seed(experiment):
    def run(seed):
        task = prepare(experiment, EMBEDDED, SMALL)
        *_, result = train(task, replace(SMALL, seed=seed))
        return result

    first, again, other = run(1), run(1), run(2)
    assert first.losses == again.losses
    assert first.samples == again.samples
    assert first.losses != other.losses
    assert list(first.samples) == SMALL.sample_updates
    assert first.level == pytest.approx(np.mean(first.losses[-20:]))
    assert first.seconds > 0


def test_samples_have_their_length():
    task = prepare(EXPERIMENTS["char-rnn"], EMBEDDED, SMALL)
    *_, result = train(task, SMALL)
    assert {len(sample) for sample in result.samples.values()} == {SMALL.sample_length}


@pytest.mark.parametrize("name", ["char-rnn", "word-lstm"])
def test_samples_consist_of_tokens_of_the_text(name):
    task = prepare(EXPERIMENTS[name], EMBEDDED, replace(SMALL, sample_length=300))
    *_, result = train(task, replace(SMALL, sample_length=300, updates=5))
    drawn = task.vocabulary.encode("".join(result.samples.values()))
    text = task.vocabulary.encode(EMBEDDED.text().lower())
    assert set(drawn.tolist()) <= set(text.tolist())
    assert task.occurring.sum() == len(set(text.tolist()))


def test_sampling_leaves_training_as_it_is():
    task = prepare(EXPERIMENTS["char-lstm"], EMBEDDED, SMALL)
    apart, beside = ExperimentRun(task, SMALL), ExperimentRun(task, SMALL)
    for _ in range(4):
        beside.sample() if beside.updates else None
        assert apart.update() == beside.update()


def test_training_starts_from_guessing_and_learns():
    settings = replace(SMALL, updates=40, learning_rate=0.05)
    *_, result = train(prepare(EXPERIMENTS["char-rnn"], EMBEDDED, settings), settings)
    assert result.losses[0] == pytest.approx(settings.seq_length * math.log(256), rel=0.02)
    assert result.level < 0.75 * result.losses[0]


def test_a_loss_that_is_not_finite_ends_the_experiment():
    settings = replace(SMALL, learning_rate=1e38)
    with (
        pytest.raises(ArithmeticError, match=r"^char-lstm: the loss is (nan|inf) at update \d"),
        np.errstate(all="ignore"),
    ):
        list(train(prepare(EXPERIMENTS["char-lstm"], EMBEDDED, settings), settings))


def test_ratio_requires_the_published_amount_of_work():
    task = prepare(EXPERIMENTS["char-rnn"], EMBEDDED, SMALL)
    *_, result = train(task, SMALL)
    assert result.ratio(SMALL) is None
    assert result.ratio(Settings(seed=7)) == pytest.approx(139.0 / result.seconds)


def test_visible_text_takes_one_line():
    assert visible("a\tb\n\x00é “q”") == "“a\\tb\\n\\x00é “q””"


# -- the published figures -------------------------------------------------------------------

LEVELS = {"char-rnn": 156, "char-lstm": 156, "word-rnn": 358, "word-lstm": 318}


@pytest.mark.parametrize("seed", [0, 1, 2])
@each_experiment
def test_published_losses(experiment, seed):
    """Other random weights give about the published losses."""
    dataset = datasets.find()
    if dataset.name != "verne":
        pytest.skip("needs FASTSEQ_DATA with the novels of Jules Verne")
    if get_backend() == "oracle":
        pytest.skip("takes the oracle an hour")
    settings = Settings(seed=seed)
    *_, result = train(prepare(experiment, dataset, settings), settings)
    for update, loss in experiment.published_losses.items():
        assert result.losses[update - 1] == pytest.approx(loss, rel=0.1)
    assert result.level <= LEVELS[experiment.name]


def test_all_kernels_agree(compiled_build):
    """The first losses of a real experiment, at its real size, by every build."""
    settings = Settings(updates=5)
    task = prepare(EXPERIMENTS["char-lstm"], datasets.find("python-manual"), settings)
    *_, result = train(task, settings)
    with use_backend("generic"):
        *_, expected = train(task, settings)
    assert result.losses == pytest.approx(expected.losses, rel=1e-5)
