"""The contents of the page: what it says, and its arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import backend
from ..lm import LanguageModel
from .page import signed_bytes, unsigned_bytes
from .ranking import FeatureRanking
from .recording import Recording
from .tokens import TokenText, label

# Name and range of each state and gate: -1 to 1, 0 to 1, or as far as the unit goes.
QUANTITIES = {
    "h": ("hidden state", "signed"),
    "c": ("cell state", "scaled"),
    "i": ("input gate", "unsigned"),
    "f": ("forget gate", "unsigned"),
    "g": ("candidate", "signed"),
    "o": ("output gate", "unsigned"),
    "r": ("reset gate", "unsigned"),
    "z": ("update gate", "unsigned"),
    "n": ("candidate", "signed"),
}

UNSIGNED_GATE_STEP, SIGNED_GATE_STEP = 5, 3  # gates to the nearest 0.02, and to 0.024


def page_facts(
    lm: LanguageModel,
    tokens: TokenText,
    recording: Recording,
    rankings: Sequence[FeatureRanking],
) -> dict[str, Any]:
    """Everything on the page that is not an array."""
    config, vocabulary = lm.config, lm.vocabulary
    gaps, pieces = tokens.gaps_and_pieces()
    bits = recording.bits[: len(tokens)]
    return {
        "version": backend.show_config()["fastseq"],
        "cell": config.cell.upper(),
        "layers": config.num_layers,
        "units": config.hidden_size,
        "token": {"char": "character"}.get(vocabulary.level, vocabulary.level),
        "bits": round(float(bits.mean()), 4),
        "quantities": [[name, *QUANTITIES[name]] for name in recording.names],
        "pieces": pieces,
        "gaps": gaps if any(gaps) else [],
        "ids": tokens.ids.tolist(),
        "unknown": vocabulary.unk_id,
        "labels": _labels(lm, tokens.ids.tolist(), recording.next_ids.reshape(-1).tolist()),
        "k": recording.next_ids.shape[1],
        "rankings": [ranking.as_json() for ranking in rankings],
    }


def _labels(lm: LanguageModel, *ids: Iterable[int]) -> dict[int, str]:
    """How each of the tokens is written alone."""
    used = sorted(set().union(*ids))
    return {n: label(lm.vocabulary.tokens[n]) for n in used}


def page_arrays(recording: Recording, shown: int) -> dict[str, NDArray[Any]]:
    """The arrays of the page, by the id of their element.

    ``q-l`` holds quantity q of layer l as bytes of shape (H, n), ``q-l-scale`` each unit's
    largest absolute value.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for name, layers in (recording.states | recording.gates).items():
        fine = name in recording.states
        for number, layer in enumerate(layers):
            values, kind = layer[:shown].T.astype(np.float64), QUANTITIES[name][1]
            if kind == "scaled":
                scale = np.abs(values).max(axis=1, keepdims=True)
                arrays[f"{name}-{number}-scale"] = scale[:, 0].astype(np.float32)
                values = values / np.where(scale > 0, scale, 1.0)
            if kind == "unsigned":
                array = unsigned_bytes(values, 1 if fine else UNSIGNED_GATE_STEP)
            else:
                array = signed_bytes(values, 1 if fine else SIGNED_GATE_STEP)
            arrays[f"{name}-{number}"] = array
    arrays["bits"] = recording.bits[:shown].astype(np.float32)
    arrays["next-ids"] = recording.next_ids.astype(np.uint32)
    arrays["next-probabilities"] = recording.next_probabilities.astype(np.float32)
    return arrays
