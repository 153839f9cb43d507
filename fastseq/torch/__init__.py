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

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "disable",
    "enable",
    "enabled",
    "is_enabled",
    "patch",
    "unpatch",
]
