"""The training loop: its arithmetic, its end, and its files."""

import io
import json
import math

import numpy as np
import pytest

import fastseq.training.trainer
from fastseq.lm import LanguageModel
from fastseq.text import Corpus, TextError, Vocabulary
from fastseq.training import Callback, Console, Trainer, TrainingConfig

TEXT = "the quick brown fox jumps over the lazy dog. " * 12


def make_corpus(valid=0.25):
    return Corpus.from_text(TEXT, Vocabulary.characters, valid=valid)


def make_trainer(out=None, corpus=None, callbacks=(), model=None, **config):
    corpus = corpus or make_corpus()
    lm = LanguageModel(corpus.vocabulary, **{"hidden_size": 8, "seed": 1} | (model or {}))
    config = {"steps": 12, "batch_size": 2, "seq_length": 6} | config
    return Trainer(lm, corpus, TrainingConfig(**config), out, callbacks, console=False)


class Watch(Callback):
    """Records all events."""

    def __init__(self):
        self.events, self.samples, self.rates = [], [], []

    def started(self, trainer):
        self.events.append("started")

    def stepped(self, trainer):
        self.rates.append(trainer.optimizer.param_groups[0]["lr"])

    def recorded(self, trainer, record):
        self.events.append(record["step"])

    def sampled(self, trainer, text):
        self.samples.append((trainer.progress.step, text))

    def ended(self, trainer):
        self.events.append("ended")


def test_it_learns():
    trainer = make_trainer(steps=400, learning_rate=0.03, model={"hidden_size": 16})
    trainer.fit()
    assert trainer.history[0]["valid_loss"] > 1.0
    assert trainer.progress.best_loss < 0.1
    assert "the quick brown fox" in trainer.lm.sample("the ", 80, temperature=0)


def test_one_step_is_what_the_model_and_the_optimizer_say():
    trainer = make_trainer(steps=1, optimizer="sgd", learning_rate=0.5, clip_norm=None)
    twin = make_trainer().lm
    inputs, targets = trainer.corpus.batches("train", 2, 6).window(0)
    loss, _ = twin.forward_backward(inputs, targets)
    trainer.fit()
    for own, other in zip(trainer.lm.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(own.data, other.data - 0.5 * other.grad, atol=1e-6)
    assert trainer.history[-1]["train_loss"] == pytest.approx(loss / 12)


def test_clipping():
    twin = make_trainer().lm
    twin.forward_backward(*make_corpus().batches("train", 2, 6).window(0))
    gradients = np.concatenate([p.grad.ravel() for p in twin.parameters()])
    norm = float(np.linalg.norm(gradients))
    for clip_norm, clip_value in [
        (norm / 2, None),
        (norm * 2, None),
        (None, 1e-3),
        (norm / 2, 1e-3),
    ]:
        trainer = make_trainer(
            steps=1, optimizer="sgd", learning_rate=1.0, clip_norm=clip_norm, clip_value=clip_value
        )
        before = np.concatenate([p.data.ravel() for p in trainer.lm.parameters()])
        trainer.fit()
        after = np.concatenate([p.data.ravel() for p in trainer.lm.parameters()])
        expected = gradients * min(1.0, (clip_norm or math.inf) / norm)
        expected = np.clip(expected, -(clip_value or math.inf), clip_value or math.inf)
        np.testing.assert_allclose(before - after, expected, atol=1e-6)
        assert trainer.history[-1]["gradient_norm"] == pytest.approx(norm, rel=1e-5)


def test_accumulated_windows_make_one_step():
    """One stream and two windows, or two windows added up without carried state."""
    trainer = make_trainer(
        steps=1, accumulate=2, carry_state=False, optimizer="sgd", learning_rate=1.0
    )
    twin = make_trainer().lm
    batches = trainer.corpus.batches("train", 2, 6)
    for n in range(2):
        twin.forward_backward(*batches.window(n), scale=1 / 24, accumulate=n > 0)
    trainer.fit()
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in twin.parameters()))
    for own, other in zip(trainer.lm.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(own.data, other.data - other.grad / max(1, norm), atol=1e-5)
    assert trainer.progress.tokens == 24


@pytest.mark.parametrize("carry_state", [True, False])
def test_the_state_is_carried_until_the_epoch_ends(carry_state):
    """With a tiny learning rate, the training loss is that of the initial model."""
    trainer = make_trainer(
        epochs=2, steps=None, learning_rate=1e-12, carry_state=carry_state, log_every=1
    )
    trainer.fit()
    batches, state, losses = trainer.corpus.batches("train", 2, 6), None, []
    for inputs, targets in batches:
        loss, end = trainer.lm.loss(inputs, targets, state)
        state = end if carry_state else None
        losses.append(loss / inputs.size)
    found = [record["train_loss"] for record in trainer.history]
    np.testing.assert_allclose(found, losses * 2, rtol=1e-5)
    assert trainer.progress.tokens == 2 * batches.token_count


@pytest.mark.parametrize(
    ("budget", "steps"),
    [({"steps": 7}, 7), ({"epochs": 2}, 68), ({"epochs": 0.5}, 17), ({"epochs": 1e-6}, 1)],
)
def test_budgets(budget, steps):
    trainer = make_trainer(**{"steps": None} | budget)
    assert len(trainer.corpus.batches("train", 2, 6)) == 34
    trainer.fit()
    assert trainer.progress.step == steps
    assert trainer.progress.finished
    assert trainer.budget_used() >= 1


class Clock:
    """Replaces the module `time`: each call advances it by a millisecond."""

    now = 0.0

    def monotonic(self):
        self.now += 0.001
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("fastseq.training.trainer.time", Clock())
    return fastseq.training.trainer.time


def test_a_budget_of_minutes(clock):
    watch = Watch()
    trainer = make_trainer(steps=None, minutes=0.3 / 60, callbacks=[watch])
    trainer.fit()
    assert 0.3 <= trainer.progress.seconds < 0.31
    assert trainer.history[-1]["seconds"] == pytest.approx(trainer.progress.seconds, abs=0.01)
    assert watch.rates == sorted(watch.rates, reverse=True)
    assert watch.rates[-1] < 0.2 * watch.rates[0]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "exponential", "constant", "plateau"])
@pytest.mark.parametrize("warmup", [0.0, 0.25, 1.0])
def test_schedules_follow_the_budget(schedule, warmup):
    config = TrainingConfig(schedule=schedule, warmup=warmup, final_rate=0.1, learning_rate=0.5)
    rates = [config.rate(done) for done in np.linspace(0, 1, 101)]
    top = rates.index(max(rates))
    assert min(rates) > 0
    assert max(rates) == pytest.approx(0.5)
    assert top == pytest.approx(100 * warmup, abs=1)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    last = 0.5 if schedule in ("constant", "plateau") or warmup == 1.0 else 0.05
    assert rates[-1] == pytest.approx(last)


def test_plateau_and_early_stopping():
    watch = Watch()
    trainer = make_trainer(
        steps=40, schedule="plateau", plateau_factor=0.5, validate_every=3, early_stopping=4,
        learning_rate=1e-12, callbacks=[watch],
    )  # fmt: skip
    trainer.fit()
    # The first validation is the best; four more do not improve on it.
    assert trainer.progress.step == 15
    assert trainer.progress.best_step == 3
    rates = np.repeat([1, 1, 0.5, 0.25, 0.125], 3) * 1e-12
    np.testing.assert_allclose(watch.rates, rates)


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_metrics(tmp_path, level):
    makers = {
        "char": Vocabulary.characters, "word": Vocabulary.words, "byte": Vocabulary.bytes()
    }  # fmt: skip
    corpus = Corpus.from_text(TEXT, makers[level], valid=0.3)
    trainer = make_trainer(tmp_path / "run", corpus, steps=25, log_every=5, validate_every=10)
    history = trainer.fit()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history
    assert [record["step"] for record in history] == [5, 10, 15, 20, 25]
    assert [r["step"] for r in history if "valid_loss" in r] == [10, 20, 25]
    assert [record["tokens"] for record in history] == sorted(r["tokens"] for r in history)
    unit = {"char": "bits_per_character", "word": "perplexity", "byte": "bits_per_byte"}[level]
    for record in history:
        loss = record["train_loss"]
        readable = math.exp(loss) if level == "word" else loss / math.log(2)
        assert record[f"train_{unit}"] == pytest.approx(readable)
        assert ("valid_loss" in record) == (f"valid_{unit}" in record)
        assert record["tokens_per_second"] > 0
        assert record["learning_rate"] > 0
        assert record["epoch"] > 0
    valid = trainer.lm.evaluate(corpus.tokens("valid"))
    assert history[-1]["valid_loss"] == pytest.approx(valid.nats_per_token, rel=1e-5)


def test_speed_is_that_of_training_alone(clock, monkeypatch):
    def slow_loss(*arguments):
        clock.now += 3600
        return 1.0

    monkeypatch.setattr("fastseq.training.trainer.mean_loss", slow_loss)
    (record,) = make_trainer().fit()
    assert record["seconds"] > 3600
    assert 0 < record["tokens"] / record["tokens_per_second"] < 1


def test_best_and_last_model(tmp_path):
    out = tmp_path / "run"
    trainer = make_trainer(out, steps=30, validate_every=5, learning_rate=0.5, schedule="constant")
    history = trainer.fit()
    losses = {r["step"]: r["valid_loss"] for r in history}
    assert trainer.progress.best_step == min(losses, key=losses.get)
    valid = trainer.corpus.tokens("valid")
    best = LanguageModel.load(out).evaluate(valid).nats_per_token
    assert best == pytest.approx(min(losses.values()), rel=1e-5)
    last = LanguageModel.load(out / "last.safetensors").evaluate(valid).nats_per_token
    assert last == pytest.approx(losses[30], rel=1e-5)
    # The last checkpoint has the training state, the best one only the model.
    assert (out / "best.safetensors").stat().st_size < (out / "last.safetensors").stat().st_size


def test_without_validation_the_last_model_counts(tmp_path):
    trainer = make_trainer(tmp_path, make_corpus(valid=0.0))
    (record,) = trainer.fit()
    assert "valid_loss" not in record
    assert not (tmp_path / "best.safetensors").exists()
    assert LanguageModel.load(tmp_path).sample(seed=0) == trainer.lm.sample(seed=0)


def test_watching_changes_nothing():
    """Samples and validations use neither the random numbers nor the state of training."""
    watch = Watch()
    model = {"dropout": 0.5, "embedding_size": 4}
    plain = make_trainer(corpus=make_corpus(0.0), model=model)
    watched = make_trainer(
        corpus=make_corpus(), model=model, validate_every=2, sample_every=3, log_every=1,
        sample_prime="the", sample_length=9, callbacks=[watch],
    )  # fmt: skip
    watched.corpus.splits["train"] = plain.corpus.splits["train"]
    watched = Trainer(watched.lm, watched.corpus, watched.config, None, [watch], console=False)
    plain.fit()
    watched.fit()
    for own, other in zip(plain.lm.parameters(), watched.lm.parameters(), strict=True):
        np.testing.assert_array_equal(own.data, other.data)
    assert [step for step, _ in watch.samples] == [3, 6, 9, 12]
    assert all(text.startswith("the") and len(text) == 12 for _, text in watch.samples)
    assert watch.events == ["started", *range(1, 13), "ended"]


def test_a_callback_can_stop_the_run(tmp_path):
    class Enough(Callback):
        def stepped(self, trainer):
            if trainer.progress.step == 4:
                trainer.stop()

    trainer = make_trainer(tmp_path, callbacks=[Enough()])
    trainer.fit()
    assert trainer.progress.step == 4
    assert trainer.history[-1]["step"] == 4
    assert "valid_loss" in trainer.history[-1]


def test_plain_lines_where_there_is_no_terminal():
    stream = io.StringIO()
    make_trainer(log_every=4, sample_every=6, callbacks=[Console(stream)]).fit()
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines if line.startswith("step")] == [
        "step 4", "step 8", "step 12"
    ]  # fmt: skip
    assert "--- sample at step 6" in lines
    assert "\r" not in stream.getvalue()


def test_progress_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    trainer = make_trainer(callbacks=[Console(stream)])
    monkeypatch.setattr(trainer, "budget_used", lambda: trainer.progress.step / 11.5)
    trainer.fit()  # the last step ends a little after the budget
    assert "100%" in stream.getvalue()
    assert "104%" not in stream.getvalue()
    assert "tokens/s" in stream.getvalue()


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX")
    make_trainer(tmp_path, sample_every=5).fit()
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    for name in (b"train_loss", b"valid_loss", b"gradient_norm", b"sample"):
        assert name in content


def test_a_full_disk_ends_tensorboard_but_not_the_run(tmp_path, capsys):
    """A limit on the size of files, which only the samples exceed, simulates a full disk."""
    pytest.importorskip("tensorboardX")
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    trainer = make_trainer(tmp_path, sample_every=1, sample_length=5000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        trainer.fit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert trainer.progress.step == 12
    complaint = f"{tmp_path / 'tensorboard'}: File too large: nothing more is logged here\n"
    assert capsys.readouterr().err == complaint


@pytest.mark.parametrize("text", ["abcdefg", "aaaaaaa"])
def test_a_text_of_exactly_one_window_trains(text):
    corpus = Corpus.from_text(text, Vocabulary.characters("".join(set(text))))
    trainer = make_trainer(corpus=corpus, steps=3, batch_size=1, seq_length=6)
    trainer.fit()
    assert trainer.progress.tokens == 18
    with pytest.raises(TextError, match=r"at least 8 tokens.* got 7"):
        make_trainer(corpus=corpus, batch_size=1, seq_length=7)


def test_a_validation_split_too_short_is_named():
    corpus = Corpus.from_text(TEXT, Vocabulary.characters, valid="a")
    with pytest.raises(TextError, match="valid: expected at least 2 tokens, got 1"):
        make_trainer(corpus=corpus)


def test_vocabularies_must_agree():
    lm = LanguageModel(Vocabulary.bytes())
    with pytest.raises(ValueError, match="corpus: expected the model's vocabulary"):
        Trainer(lm, make_corpus())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"learning_rate": float("nan")}, ValueError, "learning_rate"),
        ({"learning_rate": 0}, ValueError, "learning_rate: expected more than 0"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1"),
        ({"seq_length": 2.5}, TypeError, "seq_length"),
        ({"steps": 0}, ValueError, "steps"),
        ({"epochs": float("inf")}, ValueError, "epochs"),
        ({"epochs": 1, "minutes": 2}, ValueError, "epochs, minutes: expected one budget"),
        ({"schedule": "cosinus"}, ValueError, "schedule: expected one of cosine"),
        ({"optimizer": "lion"}, ValueError, "optimizer: expected one of adam"),
        ({"warmup": 2.0}, ValueError, "warmup"),
        ({"clip_norm": -1.0}, ValueError, "clip_norm"),
        ({"carry_state": 1}, TypeError, "carry_state"),
        ({"optimizer_options": 3}, TypeError, "optimizer_options"),
        ({"epochs": 1e308}, ValueError, "epochs: .* at most 1000000000"),
        ({"minutes": 1e308}, ValueError, "minutes: .* at most 1000000000"),
        ({"sample_length": 10**10}, ValueError, "sample_length: expected at most 100000, got"),
        ({"accumulate": 10**400}, ValueError, "accumulate: expected at most 1000000, got"),
    ],
)
def test_configuration_errors_name_the_field(change, error, message):
    with pytest.raises(error, match=message):
        TrainingConfig(**change)


def test_configuration_in_json():
    config = TrainingConfig(minutes=3, optimizer_options={"betas": [0.9, 0.99]})
    assert TrainingConfig.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="unknown keys: sped"):
        TrainingConfig.from_json('{"sped": 1}')
    with pytest.raises(ValueError, match=r"optimizer_options: .*gamma"):
        make_trainer(optimizer_options={"gamma": 1})


def test_unknown_characters_are_no_cheap_hits():
    vocabulary = Vocabulary.characters("ab")
    text = "abcab" * 40
    config = TrainingConfig(steps=2, batch_size=2, seq_length=5)
    for corpus, known in (
        (Corpus.from_text(text, vocabulary, valid=text), True),
        (Corpus.from_text(text, Vocabulary.codes(99), valid=text), False),
    ):
        lm = LanguageModel(corpus.vocabulary, hidden_size=4)
        (record,) = Trainer(lm, corpus, config, console=False).fit()
        for split in ("train", "valid"):
            bits = record.get(f"{split}_bits_per_character")
            if known:
                loss = record[f"{split}_loss"] / math.log(2)
                assert bits == pytest.approx(loss + math.log2(0x110000) / 5)
            else:
                assert bits is None
