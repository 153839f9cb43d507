"""A model in which one unit follows quotes, and a text with quotes."""

import numpy as np

from fastseq.lm import LanguageModel
from fastseq.text import Vocabulary

UNIT = 3
WORDS = ["and", "Ned", "said", "the", "boat", "(or", "ship)", "went", "42", "far", "out."]


def quoted_text(words=600, seed=0):
    """Words, some of them in quotation, in lines of different lengths."""
    rng = np.random.default_rng(seed)
    pieces, opened = [], False
    for word in rng.choice(WORDS, words):
        turns = rng.random() < 0.12
        pieces.append(("“" if turns and not opened else "") + word)
        pieces.append("”" if turns and opened else "")
        opened ^= bool(turns)
        pieces.append("\n" if rng.random() < 0.1 else " ")
    return "".join(pieces)


def model_with_a_quote_unit(text, layers=1):
    """A plain RNN; unit 3 of layer 0 is set by an opening quote and cleared by a closing one."""
    vocabulary = Vocabulary.characters(text)
    lm = LanguageModel(vocabulary, cell="rnn", hidden_size=8, num_layers=layers, seed=1)
    weights = {name: array.copy() for name, array in lm.state_dict().items()}
    opening, closing = vocabulary.encode("“”")
    into, back = weights["rnn.weight_ih_l0"], weights["rnn.weight_hh_l0"]
    into[UNIT], back[UNIT] = 0.0, 0.0
    into[UNIT, [opening, closing]] = 8.0, -8.0
    back[UNIT, UNIT] = 3.0
    lm.load_state_dict(weights)
    return lm
