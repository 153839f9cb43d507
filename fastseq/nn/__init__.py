"""Recurrent layers and what it takes to train them, on NumPy arrays."""

from .module import Module, Parameter
from .recurrent import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "Module", "Parameter"]
