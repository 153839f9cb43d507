"""Modules made of modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .module import Module


class Sequential(Module):
    """Modules one after the other, each reading the output of the one before.

    ``len``, iteration and an index, such as ``model[0]``, give the modules.

    Parameters
    ----------
    *modules : Module
        With one input and one output each, so recurrent layers do not fit. Their parameters are
        named ``0.weight``, ``1.weight``, ….

    Raises
    ------
    TypeError
        An argument that is not a `Module`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> model = nn.Sequential(nn.Linear(3, 8, seed=0), nn.Dropout(0.1), nn.Linear(8, 2, seed=1))
    >>> model(np.ones((5, 3), np.float32)).shape
    (5, 2)
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, *modules: Module) -> None:
        for index, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"modules[{index}]: {type(module).__name__} is not a Module")
            setattr(self, str(index), module)

    def _list(self) -> list[Module]:
        return [module for _, module in self.named_children()]

    def __len__(self) -> int:
        return len(self._list())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._list())

    def __getitem__(self, index: int) -> Module:
        return self._list()[index]

    def forward(self, x: Any) -> Any:
        """Run all modules.

        Parameters
        ----------
        x : ndarray
            Input of the first module.

        Returns
        -------
        ndarray
            Output of the last module.
        """
        for module in self._list():
            x = module(x)
        return x

    def backward(self, grad_output: Any) -> Any:
        """Run all modules backwards, the last one first.

        Parameters
        ----------
        grad_output : ndarray
            Gradient of the loss with respect to the output.

        Returns
        -------
        ndarray
            Gradient with respect to the input; None after an `Embedding`, whose input has none.
        """
        for module in reversed(self._list()):
            grad_output = module.backward(grad_output)
        return grad_output
