"""Classify whole sequences: is every bracket of a string closed in the right order?

A GRU reads each string; a linear layer classifies its last state. The strings of a batch differ in
length, so the layer is given their lengths and does no work for the padding.
"""

import argparse

import numpy as np

from fastseq import nn, optim

PAIRS, LONGEST = ("()", "[]"), 12


def is_balanced(text):
    while (shorter := text.replace("()", "").replace("[]", "")) != text:
        text = shorter
    return not text


def draw_string(rng):
    """Pairs put into each other at random; in half of the strings two brackets change places."""
    text = ""
    for pair in rng.choice(PAIRS, rng.integers(1, LONGEST // 2 + 1)):
        at = rng.integers(len(text) + 1)
        text = text[:at] + pair + text[at:]
    brackets = list(text)
    i, j = rng.integers(len(text), size=2) if rng.random() < 0.5 else (0, 0)
    brackets[i], brackets[j] = brackets[j], brackets[i]
    return "".join(brackets)


def draw_batch(rng, size=64):
    """Padded ids of shape (T, B), lengths and classes of shape (B,)."""
    texts = [draw_string(rng) for _ in range(size)]
    ids = np.zeros((LONGEST, size), np.int64)
    for column, text in enumerate(texts):
        ids[: len(text), column] = ["()[]".index(bracket) for bracket in text]
    return ids, [len(text) for text in texts], np.array([int(is_balanced(t)) for t in texts])


class Classifier(nn.Module):
    def __init__(self):
        self.embedding = nn.Embedding(4, 8, seed=1)
        self.rnn = nn.GRU(8, 64, seed=2)
        self.head = nn.Linear(64, 2, seed=3)

    def forward(self, ids, lengths):
        _, h = self.rnn(self.embedding(ids), lengths=lengths)
        return self.head(h[-1])

    def backward(self, grad):
        grad_x, _ = self.rnn.backward(None, self.head.backward(grad)[None])
        self.embedding.backward(grad_x)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300, help="batches (default: %(default)s)")
    steps = parser.parse_args().steps

    rng, model, criterion = np.random.default_rng(0), Classifier(), nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.003)
    for step in range(1, steps + 1):
        ids, lengths, classes = draw_batch(rng)
        optimizer.zero_grad()
        loss = criterion(model(ids, lengths), classes)
        model.backward(criterion.backward())
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}, loss {loss:.3f}")

    model.eval()
    ids, lengths, classes = draw_batch(np.random.default_rng(1), 1000)
    right = model(ids, lengths).argmax(axis=1) == classes
    print(f"accuracy {right.mean():.3f} on new strings")


if __name__ == "__main__":
    main()
