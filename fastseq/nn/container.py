"""Modules made of modules."""

from collections.abc import Iterator
from typing import Any

from .module import Module


class Sequential(Module):
    """Modules one after the other, each reading the output of the one before.

    Parameters
    ----------
    *modules : Module
        With one input and one output each; parameters are named ``0.weight``, ``1.weight``, ….
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
        """The last module's output."""
        for module in self._list():
            x = module(x)
        return x

    def backward(self, grad_output: Any) -> Any:
        """The gradient of the first module's input."""
        for module in reversed(self._list()):
            grad_output = module.backward(grad_output)
        return grad_output
