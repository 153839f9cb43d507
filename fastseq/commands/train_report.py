"""What `fastseq train` says before, after and instead of the end of a training run."""

from __future__ import annotations

import signal
from pathlib import Path

from ..lm import LanguageModel
from ..lm.checkpoint import LAST, find_checkpoint
from ..plots import mean_losses
from ..training import Trainer, TrainingConfig
from .wording import TOKENS, command, duration, loss_in_words, model_in_words, next_commands

PICTURE = "loss.png"
_SAMPLE_SEED = 0


def opening(trainer: Trainer, out: Path) -> str:
    """What is trained on what, and where."""
    corpus, step = trainer.corpus, trainer.progress.step
    unit = f"{TOKENS[corpus.vocabulary.level]}s"
    sizes = {name: f"{len(stream):,}" for name, stream in corpus.splits.items()}
    unknown = f", {corpus.unknown_rate:.2%} unknown" if corpus.unknown_rate else ""
    return "\n".join([
        f"Text   {corpus.sources}",
        f"       {sizes['train']} {unit} to train on, {sizes.get('valid', 'none')} to validate, "
        f"{len(corpus.vocabulary):,} different{unknown}",
        f"Model  {model_in_words(trainer.lm.config)}, {_parameters(trainer.lm):,} parameters",
        f"Run    {out}, {_budget(trainer.config)}" + (f", from step {step:,}" if step else ""),
    ])  # fmt: skip


def _parameters(lm: LanguageModel) -> int:
    return sum(parameter.size for parameter in lm.parameters())


def _budget(config: TrainingConfig) -> str:
    name, amount = _amount(config)
    return f"{amount:,} {name.removesuffix('s') if amount == 1 else name}"


def _amount(config: TrainingConfig) -> tuple[str, float]:
    """Name and amount of the budget."""
    amounts = {name: getattr(config, name) for name in ("epochs", "steps", "minutes")}
    name, amount = next((name, n) for name, n in amounts.items() if n is not None)
    return name, int(amount) if amount == int(amount) else amount


def nothing_to_do(trainer: Trainer, out: Path) -> str:
    return (
        f"Nothing to do: its budget of {_budget(trainer.config)} was used up at step "
        f"{trainer.progress.step:,}.\n{next_commands(_train_longer(trainer, out))}"
    )


def _train_longer(trainer: Trainer, out: Path) -> tuple[str, str]:
    name, amount = _amount(trainer.config)
    return "train on", command("train", "--resume", "--out", out, f"--{name}", str(2 * amount))


def finished(trainer: Trainer, out: Path) -> str:
    """Loss, files, a sample and the commands that come next, after a run that has ended."""
    config, progress, path = trainer.config, trainer.progress, find_checkpoint(out)
    lines = [f"\nFinished{_why(trainer)}: {progress.step:,} steps in {duration(progress.seconds)}"]
    lines += [f"  {line}" for line in _losses(trainer)]
    lines.append(f"  model: {path}")
    if (out / PICTURE).exists():
        lines.append(f"  loss curve: {out / PICTURE}")
    options: dict[str, str] = {
        "--prime": config.sample_prime,
        "--temperature": f"{config.sample_temperature:g}",
        "--length": str(config.sample_length),
        "--seed": str(_SAMPLE_SEED),
    }
    given = [word for option in options.items() if option[1] for word in option]
    is_best = path.name == LAST or progress.best_step == progress.step
    lm = trainer.lm if is_best else LanguageModel.load(path)
    sample = lm.sample(
        config.sample_prime, config.sample_length,
        temperature=config.sample_temperature, seed=_SAMPLE_SEED,
    )  # fmt: skip
    lines += ["", f"Sample at temperature {config.sample_temperature:g}:", sample, ""]
    lines.append(
        next_commands(
            ("this sample again", command("sample", out, *given)),
            ("the loss on another text", command("evaluate", out, "OTHER.txt")),
            ("model and training", command("info", out)),
            _train_longer(trainer, out),
        )
    )
    return "\n".join(lines)


def _why(trainer: Trainer) -> str:
    """Why the run ended, unless its budget was used up."""
    if trainer.budget_used() >= 1.0:
        return ""
    count = trainer.progress.validations_without_improvement
    return f" early, after {count} validations without improvement" if count else " early"


def _losses(trainer: Trainer) -> list[str]:
    """The last training loss, the best validation loss."""
    progress = trainer.progress
    *_, trained = mean_losses(trainer.history)
    lines = [f"training loss: {_loss(trainer, 'train', trained[-1])}"] if len(trained) else []
    if progress.best_loss is not None:
        loss = _loss(trainer, "valid", progress.best_loss)
        at = f", best at step {progress.best_step:,}"
        lines.append(f"validation loss: {loss}{at if progress.best_step < progress.step else ''}")
    return lines


def _loss(trainer: Trainer, split: str, nats: float) -> str:
    corpus = trainer.corpus
    return loss_in_words(nats, corpus.vocabulary, corpus.unknown_token_rate(split))


def interrupted(trainer: Trainer, out: Path, number: int) -> str:
    """What was saved and how to go on, after a signal."""
    how = "Interrupted" if number == signal.SIGINT else "Terminated"
    step, saved = trainer.progress.step, trainer.saved_step
    if saved is None:
        return f"{how} before the first step: nothing was saved"
    kept = "everything is saved" if saved == step else f"saved up to step {saved:,}"
    done = min(1.0, trainer.budget_used())
    return (
        f"{how} at step {step:,}, {done:.0%} of the budget: {kept} in {out / LAST}\n"
        f"To go on: {command('train', '--resume', '--out', out)}"
    )
