"""Words for figures: models, losses, durations, and commands to copy."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..lm import ModelConfig
from ..lm.evaluation import in_usual_unit
from ..text import Vocabulary

TOKENS = {"char": "character", "word": "word", "byte": "byte"}  # by level


def model_in_words(config: ModelConfig) -> str:
    """Cell, layers and sizes, such as "LSTM, 2 layers of 256 units, embedding of 128"."""
    layers = "1 layer" if config.num_layers == 1 else f"{config.num_layers} layers"
    parts = [config.cell.upper(), f"{layers} of {config.hidden_size:,} units"]
    if config.embedding_size is None:
        parts.append("one-hot tokens")
    else:
        tied = "tied embedding" if config.tie_weights else "embedding"
        parts.append(f"{tied} of {config.embedding_size:,}")
    if config.dropout:
        parts.append(f"dropout {config.dropout:g}")
    return ", ".join(parts)


def vocabulary_in_words(vocabulary: Vocabulary) -> str:
    text = f"{len(vocabulary):,} {TOKENS[vocabulary.level]}s"
    return text if vocabulary.eod_id is None else f"{text}, with ends of documents"


def loss_in_words(nats: float, vocabulary: Vocabulary, unknown_rate: float | None) -> str:
    """A loss in nats and, where `in_usual_unit` has one, in the level's usual unit."""
    usual = {
        name.removeprefix("_").replace("_", " "): value
        for name, value in in_usual_unit(vocabulary, "", nats, unknown_rate).items()
    }
    other = ", ".join(f"{_figure(value)} {name}" for name, value in usual.items())
    text = f"{nats:.4f} nats per {TOKENS[vocabulary.level]}"
    return f"{text} ({other})" if other else text


def _figure(value: float) -> str:
    return f"{value:.3f}" if value < 100 else f"{value:,.1f}"


def duration(seconds: float) -> str:
    """Such as "1 h 5 min", "3 min 20 s" or "1.5 s"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def command(*words: str | Path) -> str:
    """A command of fastseq as one types it in a shell."""
    return shlex.join(["fastseq", *map(str, words)])


def next_commands(*lines: tuple[str, str]) -> str:
    """A heading, and commands behind what they are for."""
    width = max(len(purpose) for purpose, _ in lines)
    return "\n".join(["Next:", *(f"  {purpose:<{width}}  {line}" for purpose, line in lines)])
