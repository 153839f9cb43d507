"""Predict the next value of a noisy time series, and compare with repeating the last one.

The model reads windows of the series and predicts, at every step, the value of the next step.
The end of the series is held out.
"""

import argparse

import numpy as np

from fastseq import nn, optim

WINDOW, BATCH, TEST = 100, 32, 1000


def make_series(length, rng):
    """Two waves and noise, of shape (length, 1), float32."""
    t = np.arange(length)
    waves = np.sin(t / 5) + 0.5 * np.sin(t / 13)
    return (waves + 0.1 * rng.standard_normal(length)).astype(np.float32)[:, None]


class Forecaster(nn.Module):
    def __init__(self):
        self.rnn = nn.GRU(1, 32, seed=1)
        self.head = nn.Linear(32, 1, seed=2)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.head(y)

    def backward(self, grad):
        self.rnn.backward(self.head.backward(grad), needs_input_grad=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300, help="batches (default: %(default)s)")
    steps = parser.parse_args().steps

    rng, model, criterion = np.random.default_rng(0), Forecaster(), nn.MSELoss()
    series = make_series(5000, rng)
    train, test = series[:-TEST], series[-TEST:]
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    schedule = optim.CosineAnnealingLR(optimizer, steps)
    for step in range(1, steps + 1):
        starts = rng.integers(0, len(train) - WINDOW, BATCH)
        window = np.stack([train[s : s + WINDOW + 1] for s in starts], axis=1)  # (T + 1, B, 1)
        optimizer.zero_grad()
        loss = criterion(model(window[:-1]), window[1:])
        model.backward(criterion.backward())
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}, mean squared error {loss:.4f}")

    model.eval()
    error = np.mean((model(test[:-1]) - test[1:]) ** 2)  # a 2-D array is one sequence
    repeated = np.mean((test[:-1] - test[1:]) ** 2)
    print(f"held out: {error:.4f}, repeating the last value: {repeated:.4f}, noise: 0.0100")


if __name__ == "__main__":
    main()
