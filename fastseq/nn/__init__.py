"""Recurrent layers and what it takes to train them, on NumPy arrays.

Names, arguments, parameter names and shapes are those of ``torch.nn``; gradients come from
explicit ``backward`` calls, in the reverse order of the forward calls.
"""

from . import init, utils
from .cells import GRUCell, LSTMCell, RNNCell
from .container import Sequential
from .dropout import Dropout
from .embedding import Embedding
from .linear import Linear
from .loss import CrossEntropyLoss, MSELoss, cross_entropy, mse_loss
from .module import Module
from .parameter import Parameter
from .recurrent import GRU, LSTM, RNN
from .stepper import Stepper

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "Linear",
    "MSELoss",
    "Module",
    "Parameter",
    "RNNCell",
    "Sequential",
    "Stepper",
    "cross_entropy",
    "init",
    "mse_loss",
    "utils",
]
