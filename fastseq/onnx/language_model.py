"""One step of a language model as a graph."""

from __future__ import annotations

import json

import numpy as np

from ..lm import LanguageModel
from ..lm.sampling import start_token
from .builder import Builder, Value
from .rnn_export import Rnn, export_rnn


def language_model(lm: LanguageModel) -> tuple[Builder, dict[str, str]]:
    """The graph of one step, and what the model's metadata say.

    Parameters
    ----------
    lm : LanguageModel

    Returns
    -------
    Builder
        Inputs ids (B,), h and c (L, B, H); outputs log_probs (B, V), h_n, c_n.
    dict of str to str
        Vocabulary, configuration, the token and the state before a text.
    """
    b, config, weights = Builder(lm.dtype), lm.config, lm.state_dict()
    ids = b.input("ids", ("batch",), np.dtype(np.int64))
    rnn = Rnn(
        config.kernel_cell.name,
        {k.removeprefix("rnn."): a for k, a in weights.items() if k.startswith("rnn.")},
        config.num_layers, config.hidden_size, False, 0.0, "rnn",
    )  # fmt: skip
    shape = config.num_layers, "batch", config.hidden_size
    states = [b.input(name, shape) for name in ("h", "c")[: 1 + config.kernel_cell.has_c]]
    steps = b.node("Unsqueeze", [_vectors(b, lm, weights, ids), b.integers(0)])[0]
    y, finals = export_rnn(b, rnn, steps, "", states)
    (top,) = b.node("Squeeze", [y, b.integers(0)])
    b.output(Value(_log_probs(b, lm, weights, top), ("batch", lm.vocabulary_size)), "log_probs")
    for name, final in zip("hc", finals, strict=False):
        b.output(Value(final, shape), f"{name}_n")
    return b, _facts(lm)


def _vectors(b: Builder, lm: LanguageModel, weights: dict[str, np.ndarray], ids: Value) -> str:
    """What the first layer reads: the tokens' embeddings, or one-hot vectors."""
    if lm.config.embedding_size is None:
        depth = b.weight("vocabulary_size", np.array(lm.vocabulary_size, np.int64))
        off_on = b.weight("off_on", np.array([0, 1], lm.dtype))
        return b.node("OneHot", [ids.name, depth, off_on])[0]
    table = b.weight("embedding.weight", weights["embedding.weight"])
    return b.node("Gather", [table, ids.name], "embedding")[0]


def _log_probs(b: Builder, lm: LanguageModel, weights: dict[str, np.ndarray], top: str) -> str:
    name = "embedding.weight" if lm.config.tie_weights else "head.weight"
    inputs = [top, b.weight(name, weights[name]), b.weight("head.bias", weights["head.bias"])]
    return b.node("LogSoftmax", b.node("Gemm", inputs, "head", transB=1), axis=-1)[0]


def _facts(lm: LanguageModel) -> dict[str, str]:
    facts = {
        "vocabulary": lm.vocabulary.to_json(),
        "model": lm.config.to_json(),
        "start_token": str(start_token(lm.vocabulary)),
    }
    if lm.start is not None:
        state = {k: a.tolist() for k, a in lm.start._asdict().items() if a is not None}
        facts["start"] = json.dumps(state)
    return facts
