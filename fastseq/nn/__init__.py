"""Recurrent layers and what it takes to train them, on NumPy arrays.

Names, arguments, parameter names and shapes are those of ``torch.nn``; gradients come from
explicit ``backward`` calls, in the reverse order of the forward calls.
"""

from . import init, utils
from .activation import LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .binary_loss import BCEWithLogitsLoss, binary_cross_entropy_with_logits
from .cells import GRUCell, LSTMCell, RNNCell
from .class_loss import CrossEntropyLoss, NLLLoss, cross_entropy, nll_loss
from .container import ModuleList, Sequential
from .dropout import Dropout
from .embedding import Embedding
from .linear import Linear
from .module import Module
from .normalization import LayerNorm
from .parameter import Parameter
from .recurrent import GRU, LSTM, RNN
from .select import FinalState, LastStep, Select
from .stepper import Stepper
from .value_loss import (
    HuberLoss,
    L1Loss,
    MSELoss,
    SmoothL1Loss,
    huber_loss,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "FinalState",
    "GRUCell",
    "HuberLoss",
    "L1Loss",
    "LSTMCell",
    "LastStep",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "RNNCell",
    "ReLU",
    "Select",
    "Sequential",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Stepper",
    "Tanh",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "huber_loss",
    "init",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
    "utils",
]
