"""Tag each position of a sequence: does the same symbol occur again later on?

The answer lies to the right, so the LSTM is bidirectional. Sequences differ in length; positions
beyond a sequence's end have the target IGNORED, which costs nothing and teaches nothing.
"""

import argparse

import numpy as np

from fastseq import nn, optim

SYMBOLS, LONGEST, IGNORED = 10, 12, -100


def draw_batch(rng, size=64):
    """Ids and tags of shape (T, B), lengths of shape (B,)."""
    ids = rng.integers(0, SYMBOLS, (LONGEST, size))
    lengths = rng.integers(1, LONGEST + 1, size)
    tags = np.full(ids.shape, IGNORED)
    for column, length in enumerate(lengths):
        word = ids[:length, column].tolist()
        tags[:length, column] = [word[t] in word[t + 1 :] for t in range(length)]
    return ids, lengths, tags


class Tagger(nn.Module):
    def __init__(self):
        self.embedding = nn.Embedding(SYMBOLS, 16, seed=1)
        self.rnn = nn.LSTM(16, 32, bidirectional=True, seed=2)
        self.head = nn.Linear(64, 2, seed=3)

    def forward(self, ids, lengths):
        y, _ = self.rnn(self.embedding(ids), lengths=lengths)
        return self.head(y)

    def backward(self, grad):
        grad_x, _ = self.rnn.backward(self.head.backward(grad))
        self.embedding.backward(grad_x)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=500, help="batches (default: %(default)s)")
    steps = parser.parse_args().steps

    rng, model = np.random.default_rng(0), Tagger()
    optimizer = optim.Adam(model.parameters(), lr=0.005)
    for step in range(1, steps + 1):
        ids, lengths, tags = draw_batch(rng)
        optimizer.zero_grad()
        logits = model(ids, lengths)
        # cross_entropy takes rows of logits: all positions, one after the other.
        loss, grad = nn.cross_entropy(logits.reshape(-1, 2), tags.ravel(), ignore_index=IGNORED)
        model.backward(grad.reshape(logits.shape))
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}, loss {loss:.3f}")

    model.eval()
    ids, lengths, tags = draw_batch(np.random.default_rng(1), 1000)
    right = (model(ids, lengths).argmax(axis=2) == tags)[tags != IGNORED]
    print(f"accuracy {right.mean():.3f} of {right.size} tags")


if __name__ == "__main__":
    main()
