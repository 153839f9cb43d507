"""PyTorch's recurrent layers on fastseq's kernels, inside of programs that stay as they are.

- `patch` and `unpatch` change one model, `enable`, `disable` and `enabled` the whole process
- `explain` tells which calls of a model run on the kernels, and why others do not
- `LSTM`, `GRU`, `RNN` and their cells are PyTorch's classes, on the kernels
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "fastseq.torch needs PyTorch: pip install 'fastseq-rnn[torch]'", name="torch"
    ) from None

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
