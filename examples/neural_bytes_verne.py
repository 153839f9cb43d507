"""A training script for the original neural_bytes, with only its two imports changed.

usage: python examples/neural_bytes_verne.py [TEXT] [char|word] [rnn|lstm]

TEXT is a file in UTF-8, such as a novel by Jules Verne. The default is the part of the Python
manual that every Python includes.
"""

import random
import sys

from fastseq.neural_bytes import LSTM, RNN, plot_loss
from fastseq.neural_bytes.utils import (
    build_ascii_vocab,
    build_word_vocab,
    initialize_empty_matrix,
    text_to_indices,
    text_to_word_indices,
)

HIDDEN_SIZE = 128
SEQ_LENGTH = 50
LEARNING_RATE = 0.01
EPOCHS = 100
SAMPLE_EPOCHS = (20, 40, 60, 80, 100)
SAMPLE_LENGTH = 40
DEFAULTS = (None, "char", "rnn")


def read_text(path):
    if path is None:
        from pydoc_data.topics import topics

        return "\n".join(topics.values()).lower()
    with open(path, encoding="utf-8") as file:
        return file.read().lower()


def encode(text, level):
    """Indices of the text's tokens, the token of every index, and the separator of tokens."""
    if level == "char":
        char_to_ix, ix_to_char = build_ascii_vocab()
        return text_to_indices(text, char_to_ix), ix_to_char, ""
    word_to_ix, ix_to_word = build_word_vocab(text, max_words=5000)
    return text_to_word_indices(text, word_to_ix), ix_to_word, " "


def train(model, data, names, between):
    is_lstm = isinstance(model, LSTM)
    hprev = initialize_empty_matrix(HIDDEN_SIZE, 1)
    cprev = initialize_empty_matrix(HIDDEN_SIZE, 1)
    loss_history = []
    position = 0
    for epoch in range(1, EPOCHS + 1):
        if position + SEQ_LENGTH + 1 > len(data):
            position = 0
            hprev = initialize_empty_matrix(HIDDEN_SIZE, 1)
            cprev = initialize_empty_matrix(HIDDEN_SIZE, 1)
        inputs = data[position : position + SEQ_LENGTH]
        targets = data[position + 1 : position + SEQ_LENGTH + 1]

        if is_lstm:
            loss, cache, hprev, cprev = model.forward(inputs, targets, hprev, cprev)
        else:
            loss, cache, hprev = model.forward(inputs, targets, hprev)
        grads = model.backward(cache)
        model.update(grads)
        loss_history.append(loss)

        if epoch % 10 == 0:
            print(f"epoch {epoch}, loss {loss:.4f}")
        if epoch in SAMPLE_EPOCHS:
            state = (hprev, cprev) if is_lstm else (hprev,)
            indices = model.sample(inputs[0], SAMPLE_LENGTH, *state)
            print("----\n" + between.join(names[i] for i in indices) + "\n----")
        position += SEQ_LENGTH
    return loss_history


def main():
    if "--help" in sys.argv:
        sys.exit(print(__doc__[__doc__.index("usage") :]))
    path, level, cell = [*sys.argv[1:], *DEFAULTS[len(sys.argv) - 1 :]]
    data, names, between = encode(read_text(path), level)
    if len(data) <= SEQ_LENGTH:
        sys.exit(f"{path}: expected more than {SEQ_LENGTH} tokens, got {len(data)}")
    random.seed(7)
    network = LSTM if cell == "lstm" else RNN
    model = network(len(names), HIDDEN_SIZE, SEQ_LENGTH, LEARNING_RATE)
    plot_loss(train(model, data, names, between))


if __name__ == "__main__":
    main()
