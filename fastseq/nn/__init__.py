"""Recurrent layers and what it takes to train them, on NumPy arrays."""

from .module import Module, Parameter

__all__ = ["Module", "Parameter"]
