"""The workloads that are timed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from fastseq._kernels.cells import BY_NAME


@dataclass(frozen=True)
class TrainingWorkload:
    """A whole update of a language model: forward, loss, backward, clipping, optimizer.

    Attributes
    ----------
    vocabulary : int
        V, number of distinct tokens.
    embedding : int or None
        E; None feeds one-hot vectors.
    clip : str
        ``"value"``: every element of the gradient to ±`limit`; ``"norm"``: the norm of the
        whole gradient to `limit`.
    goals : mapping of str to float
        Required ratio of PyTorch's time to ours, by the form of PyTorch's input (``"one-hot"``
        or ``"embedding"``).
    """

    name: str
    cell: str
    vocabulary: int
    embedding: int | None
    H: int
    layers: int
    B: int
    T: int
    optimizer: str
    clip: str
    limit: float
    lr: float
    goals: Mapping[str, float] = field(hash=False)

    @property
    def tokens(self) -> int:
        """Tokens in one update."""
        return self.T * self.B

    @property
    def operations(self) -> int:
        """Floating-point operations of one update: 6 per weight and token.

        The input weights of the first layer do not count, because a table look-up replaces
        their product.
        """
        recurrent = self.layers * len(BY_NAME[self.cell].gates) * self.H**2
        between = (self.layers - 1) * len(BY_NAME[self.cell].gates) * self.H**2
        return 6 * self.tokens * (recurrent + between + self.H * self.vocabulary)

    @property
    def speed_goal(self) -> float | None:
        """Required fraction of the speed of NumPy's large product, on one thread.

        None for small batches, whose products are memory-bound.
        """
        if self.B < 32 or self.H < 128:
            return None
        return 0.9 if self.H >= 256 else 0.8


def _published(name: str, cell: str, V: int, **goals: float) -> TrainingWorkload:
    """One of the four published experiments."""
    forms = MappingProxyType({name.replace("_", "-"): goal for name, goal in goals.items()})
    return TrainingWorkload(
        name, cell, V, None, 128, 1, 1, 50, "adagrad", "value", 5.0, 0.01, forms
    )


def _modern(
    name: str, cell: str, V: int, E: int, H: int, layers: int, B: int, T: int, goal: float
) -> TrainingWorkload:
    goals = MappingProxyType({"embedding": goal})
    return TrainingWorkload(name, cell, V, E, H, layers, B, T, "adam", "norm", 5.0, 1e-3, goals)


TRAINING = (
    _published("char-rnn", "rnn_tanh", 256, one_hot=11),
    _published("char-lstm", "lstm", 256, one_hot=5.5, embedding=4.2),
    _published("word-rnn", "rnn_tanh", 5000, one_hot=4.8),
    _published("word-lstm", "lstm", 5000, one_hot=11, embedding=3.7),
    _modern("lstm-128", "lstm", 96, 64, 128, 1, 32, 64, 1.75),
    _modern("gru-128", "gru", 96, 64, 128, 1, 32, 64, 2.8),
    _modern("rnn-128", "rnn_tanh", 96, 64, 128, 1, 32, 64, 3),
    _modern("lstm-2x256", "lstm", 96, 128, 256, 2, 64, 100, 1.4),
    _modern("lstm-2x512", "lstm", 96, 128, 512, 2, 64, 100, 1.25),
    _modern("lstm-1024", "lstm", 96, 256, 1024, 1, 64, 64, 1.2),
    _modern("words-2x256", "lstm", 10_000, 256, 256, 2, 32, 35, 1.6),
    _modern("words-2x650", "lstm", 10_000, 650, 650, 2, 20, 35, 1.3),
)


@dataclass(frozen=True)
class InferenceWorkload:
    """The forward pass of one layer.

    Attributes
    ----------
    cell : str
        Name of a cell.
    I, H, B, T : int
        Input size, hidden size, batch rows, time steps.
    goal : float or None
        Required ratio of onnxruntime's time to ours.
    stepper : bool
        Take a single step with `layer.stepper(B)` instead of calling the layer.
    """

    cell: str
    I: int  # noqa: E741
    H: int
    B: int
    T: int
    goal: float | None
    stepper: bool = False


INFERENCE = (
    InferenceWorkload("lstm", 128, 128, 1, 50, 1.0),
    InferenceWorkload("gru", 128, 128, 1, 50, 1.05),
    InferenceWorkload("rnn_tanh", 128, 128, 1, 50, 1.5),
    InferenceWorkload("lstm", 64, 128, 32, 64, 1.08),
    InferenceWorkload("gru", 64, 128, 32, 64, 1.15),
    InferenceWorkload("lstm", 256, 512, 64, 100, 1.05),
    InferenceWorkload("gru", 256, 512, 64, 100, 1.05),
    InferenceWorkload("lstm", 128, 128, 1, 1, None),
    InferenceWorkload("lstm", 128, 128, 1, 1, 1.3, stepper=True),
    InferenceWorkload("gru", 128, 128, 1, 1, None, stepper=True),
)
