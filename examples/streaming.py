"""Follow a stream with a stepper: one value at a time, and a warning where it surprises.

A model learns a machine's regular vibration. Then values arrive one by one; the stepper predicts
each before it comes, and a value far from its prediction is reported.
"""

import argparse
from time import perf_counter

import numpy as np

from fastseq import nn, optim

NOISE, WINDOW = 0.05, 64


def vibration(length, rng):
    """A regular vibration with noise, of shape (length, 1), float32."""
    t = np.arange(length)
    waves = np.sin(t / 3) * (1 + 0.3 * np.sin(t / 40))
    return (waves + NOISE * rng.standard_normal(length)).astype(np.float32)[:, None]


def train(rnn, head, series, steps, rng):
    """Learn to predict the next value, from windows of the series."""
    optimizer = optim.Adam([*rnn.parameters(), *head.parameters()], lr=0.01)
    for _ in range(steps):
        starts = rng.integers(0, len(series) - WINDOW, 32)
        window = np.stack([series[s : s + WINDOW + 1] for s in starts], axis=1)
        optimizer.zero_grad()
        y, _ = rnn(window[:-1])
        _, grad = nn.mse_loss(head(y), window[1:])
        rnn.backward(head.backward(grad), needs_input_grad=False)
        optimizer.step()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=300, help="batches (default: %(default)s)")
    steps = parser.parse_args().steps

    rng, rnn, head = np.random.default_rng(0), nn.LSTM(1, 32, seed=1), nn.Linear(32, 1, seed=2)
    train(rnn, head, vibration(4000, rng), steps, rng)
    rnn.eval()
    head.eval()

    stream = vibration(1000, rng)
    stream[700] += 1.0  # a knock
    stepper, prediction, times = rnn.stepper(), stream[:1], []
    for t, value in enumerate(stream):
        error = float(abs(value - prediction[0])[0])
        if t > 100 and error > 8 * NOISE:  # the first steps only fill the state
            print(f"step {t}: {value[0]:+.2f} where {prediction[0, 0]:+.2f} was expected")
        start = perf_counter()
        prediction = head(stepper(value)[None])
        times.append(perf_counter() - start)
    print(f"{1e6 * np.median(times):.0f} microseconds for a step")


if __name__ == "__main__":
    main()
