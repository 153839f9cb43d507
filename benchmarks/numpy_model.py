"""A language model in the style of short NumPy programs: one-hot vectors, loops, Adagrad.

It follows A. Karpathy's min-char-rnn (2015), with an LSTM in addition to the RNN: everything is
computed for one token at a time, and every gradient is dense.
"""

from collections.abc import Callable, Mapping
from itertools import cycle

import numpy as np

from benchmarks.updates import windows
from benchmarks.workloads import TrainingWorkload

Arrays = dict[str, np.ndarray]
EPSILON = 1e-10


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


class NumpyModel:
    """One recurrent layer, with the parameter names of fastseq.

    Parameters
    ----------
    weights : mapping of str to ndarray
        Parameters of a `LanguageModel`; they are copied.
    """

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = {name: array.copy() for name, array in weights.items()}
        self.w_ih, self.w_hh, self.b_ih, self.b_hh = (
            self.weights[f"rnn.{name}_l0"]
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        self.head, self.head_bias = self.weights["head.weight"], self.weights["head.bias"]
        self.lstm = len(self.w_hh) == 4 * self.w_hh.shape[1]

    def one_hot(self, token: int) -> np.ndarray:
        x = np.zeros(len(self.head), self.head.dtype)
        x[token] = 1
        return x

    def zero_state(self) -> tuple[np.ndarray, np.ndarray]:
        zeros = np.zeros(self.w_hh.shape[1], self.w_hh.dtype)
        return zeros, zeros

    # -- one step --------------------------------------------------------------------------

    def step(self, x, h, c):
        """New h and c, and the activated gates."""
        a = self.w_ih @ x + self.b_ih + self.w_hh @ h + self.b_hh
        if not self.lstm:
            return np.tanh(a), c, ()
        a_i, a_f, a_g, a_o = np.split(a, 4)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c = f * c + i * g
        return o * np.tanh(c), c, (i, f, g, o)

    def step_back(self, dh, dc, h, c, c_before, gates):
        """Gradients of the gates before activation and of the previous c."""
        if not self.lstm:
            return dh * (1 - h * h), dc
        i, f, g, o = gates
        tanh_c = np.tanh(c)
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        da = [
            dc * g * i * (1 - i),
            dc * c_before * f * (1 - f),
            dc * i * (1 - g * g),
            dh * tanh_c * o * (1 - o),
        ]
        return np.concatenate(da), dc * f

    # -- one window ------------------------------------------------------------------------

    def loss_and_gradients(self, inputs, targets, state):
        """Mean loss of a window, its gradients by name, and the state after it."""
        xs, hs, cs, gates, probs, loss = [], [state[0]], [state[1]], [], [], 0.0
        for token, target in zip(inputs, targets, strict=True):
            xs.append(self.one_hot(token))
            h, c, activated = self.step(xs[-1], hs[-1], cs[-1])
            z = self.head @ h + self.head_bias
            e = np.exp(z - z.max())
            hs.append(h)
            cs.append(c)
            gates.append(activated)
            probs.append(e / e.sum())
            loss -= np.log(probs[-1][target])
        T = len(inputs)
        gradients = {name: np.zeros_like(array) for name, array in self.weights.items()}
        dh, dc = self.zero_state()
        for t in reversed(range(T)):
            dz = probs[t] / T
            dz[targets[t]] -= 1 / T
            gradients["head.weight"] += np.outer(dz, hs[t + 1])
            gradients["head.bias"] += dz
            dh = dh + self.head.T @ dz
            da, dc = self.step_back(dh, dc, hs[t + 1], cs[t + 1], cs[t], gates[t])
            gradients["rnn.weight_ih_l0"] += np.outer(da, xs[t])
            gradients["rnn.weight_hh_l0"] += np.outer(da, hs[t])
            gradients["rnn.bias_ih_l0"] += da
            gradients["rnn.bias_hh_l0"] += da
            dh = self.w_hh.T @ da
        return loss / T, gradients, (hs[-1], cs[-1])


def numpy_update(case: TrainingWorkload, weights: Mapping[str, np.ndarray]) -> Callable[[], float]:
    """Build a call that trains on the next window and returns its mean loss before the update."""
    model = NumpyModel(weights)
    memory = {name: np.zeros_like(array) for name, array in model.weights.items()}
    feed, state = cycle(windows(case)), model.zero_state()

    def update() -> float:
        nonlocal state
        inputs, targets = next(feed)
        loss, gradients, state = model.loss_and_gradients(inputs[:, 0], targets[:, 0], state)
        for name, weight in model.weights.items():
            gradient = np.clip(gradients[name], -case.limit, case.limit)
            memory[name] += gradient * gradient
            weight -= case.lr * gradient / (np.sqrt(memory[name]) + EPSILON)
        return loss

    return update
