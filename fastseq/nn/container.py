"""Modules made of modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self, overload

import numpy as np
import numpy.typing as npt

from .module import Module
from .rnn_base import Recurrent
from .select import LastStep


class _Numbered(Module):
    """A list of modules, whose names are their numbers.

    ``len``, iteration, ``in``, ``del``, indices and slices are those of a list; a slice is of the
    same class and shares its modules.
    """

    def __init__(self, modules: Iterable[Module]) -> None:
        self._replace(modules)

    def _list(self) -> list[Module]:
        return [module for _, module in self.named_children()]

    def _replace(self, modules: Iterable[Module]) -> None:
        """Contain these modules and no others."""
        chosen = list(modules)
        for index, module in enumerate(chosen):
            if not isinstance(module, Module):
                raise TypeError(f"modules[{index}]: {type(module).__name__} is not a Module")
        for name, _ in list(self.named_children()):
            delattr(self, name)
        for index, module in enumerate(chosen):
            setattr(self, str(index), module)

    def __len__(self) -> int:
        return len(self._list())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._list())

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Self: ...

    def __getitem__(self, index: int | slice) -> Module | Self:
        chosen = self._list()[index]
        if isinstance(chosen, Module):
            return chosen
        part = type(self).__new__(type(self))
        _Numbered.__init__(part, chosen)
        part.training = self.training
        return part

    def __setitem__(self, index: int, module: Module) -> None:
        modules = self._list()
        modules[index] = module
        self._replace(modules)

    def __delitem__(self, index: int | slice) -> None:
        modules = self._list()
        del modules[index]
        self._replace(modules)

    def append(self, module: Module) -> Self:
        """Add a module at the end.

        Parameters
        ----------
        module : Module

        Returns
        -------
        Module
            This module.

        Raises
        ------
        TypeError
            Not a `Module`.
        """
        return self.extend([module])

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end.

        Parameters
        ----------
        modules : iterable of Module

        Returns
        -------
        Module
            This module.

        Raises
        ------
        TypeError
            Something other than a `Module`; nothing is added.
        """
        self._replace([*self._list(), *modules])
        return self

    def insert(self, index: int, module: Module) -> None:
        """Add a module before the one with this index.

        Parameters
        ----------
        index : int
            As of ``list.insert``.
        module : Module

        Raises
        ------
        TypeError
            Not a `Module`.
        """
        modules = self._list()
        modules.insert(index, module)
        self._replace(modules)

    def pop(self, index: int = -1) -> Module:
        """Remove a module, and return it.

        Parameters
        ----------
        index : int

        Returns
        -------
        Module

        Raises
        ------
        IndexError
            There is none.
        """
        module = self[index]
        del self[index]
        return module


class ModuleList(_Numbered):
    """A list of modules whose parameters belong to the module that it is an attribute of.

    A plain list would hide them from ``parameters()`` and ``state_dict()``. It has no ``forward``:
    the module that it is in calls its elements, and their ``backward`` in reverse order. ``len``,
    iteration, ``in``, ``del``, indices and slices are those of a list; a slice shares its modules.

    Parameters
    ----------
    modules : iterable of Module
        Their parameters are named ``0.weight``, ``1.weight``, ….

    Raises
    ------
    TypeError
        An element that is not a `Module`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> class Deep(nn.Module):
    ...     def __init__(self, depth):
    ...         self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(depth))
    ...     def forward(self, x):
    ...         for layer in self.layers:
    ...             x = layer(x)
    ...         return x
    ...     def backward(self, grad):
    ...         for layer in reversed(self.layers):
    ...             grad = layer.backward(grad)
    ...         return grad
    >>> model = Deep(depth=2)
    >>> list(model.state_dict())
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    >>> model.backward(model(np.ones((5, 4), np.float32))).shape
    (5, 4)
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__(modules)


class Sequential(_Numbered):
    """Modules one after the other, each reading the output of the one before.

    After a recurrent layer, whose output is a pair (output, state), comes a module that makes one
    array of it: `Select` takes one of them, `LastStep` the output at the end of each sequence,
    `FinalState` the state there. ``len``, iteration, ``del``, indices and slices are those of a
    list of the modules.

    Parameters
    ----------
    *modules : Module
        Their parameters are named ``0.weight``, ``1.weight``, ….

    Raises
    ------
    TypeError
        An argument that is not a `Module`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> model = nn.Sequential(
    ...     nn.Embedding(20, 8), nn.LSTM(8, 16), nn.Select(0), nn.Dropout(0.1), nn.Linear(16, 5)
    ... )
    >>> ids = np.zeros((7, 3), int)  # 7 steps of 3 sequences
    >>> y = model(ids, lengths=[7, 2, 4])
    >>> y.shape
    (7, 3, 5)
    >>> model.backward(np.ones_like(y))
    >>> [name for name, _ in model.named_parameters()][-2:]
    ['4.weight', '4.bias']
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any, lengths: npt.ArrayLike | None = None) -> Any:
        """Run all modules.

        Parameters
        ----------
        x : ndarray
            Input of the first module.
        lengths : array_like of B integers, or None
            Steps of each sequence: handed to the recurrent layers and `LastStep`, also in a
            `Sequential` within this one.

        Returns
        -------
        ndarray
            Output of the last module, of a recurrent layer a pair.
        """
        for module in self._list():
            if lengths is not None and isinstance(module, Recurrent | LastStep | Sequential):
                x = module(x, lengths=lengths)
            else:
                x = module(x)
        return x

    def backward(self, grad_output: Any) -> Any:
        """Run all modules backwards, the last one first.

        Where one raises after others have gone through, those that are left forget their forward
        calls, so that no later `backward` mixes two calls.

        Parameters
        ----------
        grad_output : ndarray
            Gradient of the loss with respect to the output. Where a recurrent layer is the last
            module, a pair with the gradient of the state is possible, too.

        Returns
        -------
        ndarray
            Gradient with respect to the input; None after an `Embedding`, whose input has none.
        """
        grad, modules = grad_output, self._list()
        for index in reversed(range(len(modules))):
            try:
                grad = _backward(modules[index], grad)
            except BaseException:
                if index < len(modules) - 1:
                    self.forget_calls()
                raise
        return grad


def _backward(module: Module, grad: Any) -> np.ndarray | None:
    """The gradient of a module's only input: of a recurrent layer without that of its state."""
    if isinstance(module, Recurrent):
        grad_x, _ = module.backward(*(grad if isinstance(grad, tuple) else (grad,)))
        return grad_x
    result: np.ndarray | None = module.backward(grad)
    return result
