"""PyTorch's recurrent layers on fastseq's kernels, inside of programs that stay as they are."""

from .modules import (
    GRU,
    LSTM,
    RNN,
    GRUCell,
    LSTMCell,
    RNNCell,
    disable,
    enable,
    enabled,
    is_enabled,
    patch,
    unpatch,
)
from .report import Explanation, Row, explain

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Explanation",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Row",
    "disable",
    "enable",
    "enabled",
    "explain",
    "is_enabled",
    "patch",
    "unpatch",
]
