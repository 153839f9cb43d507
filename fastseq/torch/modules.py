"""PyTorch's recurrent modules on fastseq's kernels, in one model or in the whole process."""

from __future__ import annotations

import copy
import copyreg
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.jit import _builtins

from .._kernels.cells import CELLS, Cell
from . import functions
from .replay import NATIVE


def _replacement(name: str, run: Callable[..., Any], cell: Cell) -> Callable[..., Any]:
    def function(*args: Any, **keywords: Any) -> Any:
        return run(cell, *args, **keywords)

    function.__name__ = function.__qualname__ = name
    return function


# The functions that replace those of torch._VF, by their names there.
FUNCTIONS: dict[str, Callable[..., Any]] = {}
for _cell in CELLS:
    for _name, _run in (
        (_cell.name, functions.layers),
        (f"{_cell.name}_cell", functions.single_step),
    ):
        FUNCTIONS[_name] = _replacement(_name, _run, _cell)


class _Functions(types.ModuleType):
    """What the ``forward`` of our modules finds under the name ``_VF``."""

    def __getattr__(self, name: str) -> Any:
        return getattr(NATIVE, name)


_VF = _Functions("torch._VF")
vars(_VF).update(FUNCTIONS)
for _name, _function in FUNCTIONS.items():
    # torch.jit.script takes PyTorch's own function for ours.
    _builtins._register_builtin(_function, f"aten::{_name}")


def _on_kernels(forward: Any) -> types.FunctionType:
    """A copy of PyTorch's ``forward`` that finds our functions under the name ``_VF``."""
    names = {**forward.__globals__, "_VF": _VF}
    del names["__name__"]  # torch.compile would look for _VF in the module of this name
    code, defaults, closure = forward.__code__, forward.__defaults__, forward.__closure__
    twin = types.FunctionType(code, names, forward.__name__, defaults, closure)
    # So that torch.jit.script finds the overloads, which it keeps by name.
    twin.__module__, twin.__qualname__ = forward.__module__, forward.__qualname__
    twin.__kwdefaults__, twin.__doc__ = forward.__kwdefaults__, forward.__doc__
    return twin


class _EqualToTorch(type):
    """The type of classes that compare equal to the class of PyTorch that they extend.

    So ``type(layer) == nn.LSTM`` and look-ups by type, with which programs choose what to
    initialise and PyTorch what to quantise, find our layers, too.
    """

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is vars(cls).get("torch_class")

    def __hash__(cls) -> int:
        return type.__hash__(vars(cls).get("torch_class", cls))


class _OnKernels(nn.Module):
    """What our modules change beside the computation: copies stay ours, pickles do not."""

    torch_class: Any

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Pickles name PyTorch's class, so that they load where fastseq is missing.
        reduced: Any = super().__reduce_ex__(max(protocol, 2))
        _, (cls, *_), *state = reduced
        # Pickle allows another class than the object's only with the function of protocols 0 and
        # 1, which type stubs leave out.
        make: Any = vars(copyreg)["_reconstructor"]
        return make, (vars(cls).get("torch_class", cls), object, None), *state

    def __copy__(self) -> Any:
        twin = type(self).__new__(type(self))
        twin.__setstate__(self.__getstate__())
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        twin = memo[id(self)] = type(self).__new__(type(self))
        if "torch_class" in vars(type(self)):
            state = self.torch_class.__getstate__(self)
            twin.__setstate__(copy.deepcopy(state, memo))
        else:  # a parametrized module, which refuses to be pickled
            twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin


DOCUMENTATION = """A `torch.nn.{name}` that runs on fastseq's kernels.

Everything but the computation is PyTorch's: arguments, methods, parameters, state dicts, errors.

Examples
--------
>>> import torch
>>> import fastseq.torch
>>> module = fastseq.torch.{name}(3, 4)
>>> isinstance(module, torch.nn.{name})
True
>>> list(module.state_dict()) == list(torch.nn.{name}(3, 4).state_dict())
True
"""


def _class_on_kernels(torch_class: type[nn.Module]) -> Any:
    """A subclass of a module of PyTorch that differs in nothing but the computation.

    It has PyTorch's names, since programs and PyTorch itself tell by the name of its module
    whether a class is one of PyTorch's layers.
    """
    contents = {
        "torch_class": torch_class,
        "forward": _on_kernels(torch_class.forward),
        "__module__": torch_class.__module__,
        "__qualname__": torch_class.__qualname__,
        "__doc__": DOCUMENTATION.format(name=torch_class.__name__),
    }
    return _EqualToTorch(torch_class.__name__, (_OnKernels, torch_class), contents)


LSTM = _class_on_kernels(nn.LSTM)
GRU = _class_on_kernels(nn.GRU)
RNN = _class_on_kernels(nn.RNN)
LSTMCell = _class_on_kernels(nn.LSTMCell)
GRUCell = _class_on_kernels(nn.GRUCell)
RNNCell = _class_on_kernels(nn.RNNCell)
CLASSES = LSTM, GRU, RNN, LSTMCell, GRUCell, RNNCell
_OURS = {id(cls.torch_class): cls for cls in CLASSES}


def _modules(model: object) -> Iterator[nn.Module]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {model!r:.80}")
    return model.modules()


def patch(model: nn.Module) -> int:
    """Run the recurrent layers and cells of a model on fastseq's kernels.

    Parameters, hooks and everything else stay as they are. A layer of a class of its own, even one
    derived from PyTorch's, is left alone: see `enable`.

    Parameters
    ----------
    model : torch.nn.Module
        It is changed in place.

    Returns
    -------
    int
        How many modules have changed; 0 where none was left to change.

    Raises
    ------
    TypeError
        `model` is not a `torch.nn.Module`, but for instance its class.

    Examples
    --------
    >>> import torch
    >>> import fastseq.torch
    >>> model = torch.nn.Sequential(torch.nn.GRU(3, 4), torch.nn.Identity())
    >>> fastseq.torch.patch(model)
    1
    """
    found = [m for m in _modules(model) if id(type(m)) in _OURS]
    for module in found:
        module.__class__ = _OURS[id(type(module))]
    return len(found)


def unpatch(model: nn.Module) -> int:
    """Undo `patch`.

    Parameters
    ----------
    model : torch.nn.Module
        It is changed in place.

    Returns
    -------
    int
        How many modules have changed.

    Examples
    --------
    >>> import fastseq.torch
    >>> layer = fastseq.torch.GRU(3, 4)
    >>> fastseq.torch.unpatch(layer)
    1
    >>> fastseq.torch.unpatch(layer)
    0
    """
    found = [m for m in _modules(model) if "torch_class" in vars(type(m))]
    for module in found:
        module.__class__ = type(module).torch_class
    return len(found)


# -- the whole process --------------------------------------------------------------------------

# What programs call: PyTorch's modules use torch._VF, some programs torch itself.
_PLACES = (torch._VF, torch)


def enable() -> None:
    """Run all recurrent layers and cells of the process on fastseq's kernels.

    It replaces PyTorch's functions, so that it also acts on modules of derived classes and on code
    that hands weights to these functions by itself.

    Examples
    --------
    >>> import fastseq.torch
    >>> fastseq.torch.enable()
    >>> fastseq.torch.is_enabled()
    True
    >>> fastseq.torch.disable()
    """
    for place in _PLACES:
        for name, function in FUNCTIONS.items():
            setattr(place, name, function)


def disable() -> None:
    """Undo `enable`; models that are patched stay so.

    Examples
    --------
    >>> import fastseq.torch
    >>> fastseq.torch.disable()
    >>> fastseq.torch.is_enabled()
    False
    """
    for place in _PLACES:
        for name in FUNCTIONS:
            setattr(place, name, getattr(NATIVE, name))


def is_enabled() -> bool:
    """Return whether `enable` is in force.

    Returns
    -------
    bool

    Examples
    --------
    >>> import fastseq.torch
    >>> fastseq.torch.is_enabled()
    False
    """
    return torch.lstm is FUNCTIONS["lstm"]


@contextmanager
def enabled() -> Iterator[None]:
    """Enable for the duration of a block.

    It acts on all threads of the process, as `enable` does.

    Examples
    --------
    >>> import torch
    >>> import fastseq.torch
    >>> gru = torch.nn.GRU(3, 4)
    >>> with fastseq.torch.enabled():
    ...     y, h_n = gru(torch.ones(5, 2, 3))
    """
    before = is_enabled()
    enable()
    try:
        yield
    finally:
        if not before:
            disable()
