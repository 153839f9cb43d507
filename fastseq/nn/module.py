"""Modules: parameters by name, modes, loading and storing."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ..checks import check_mapping
from .buffers import aligned_zeros
from .calls import PendingCalls as PendingCalls
from .parameter import Parameter

_grad_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Save nothing for `backward` in the forward calls of a block, as in eval mode.

    It holds for the thread (or asynchronous task) that runs the block. Dropout still acts in
    training mode.

    Examples
    --------
    >>> import numpy as np
    >>> import fastseq
    >>> from fastseq import nn
    >>> linear = nn.Linear(3, 2)
    >>> with fastseq.no_grad():
    ...     y = linear(np.ones((4, 3), np.float32))
    >>> linear.backward(np.ones_like(y))
    Traceback (most recent call last):
    RuntimeError: backward: no forward call in training mode is left to go through
    """
    token = _grad_enabled.set(False)
    try:
        yield
    finally:
        _grad_enabled.reset(token)


def is_grad_enabled() -> bool:
    """Whether forward calls of modules in training mode save what `backward` needs."""
    return _grad_enabled.get()


class IncompatibleKeys(NamedTuple):
    """Keys that `Module.load_state_dict` has not found in the module or in the mapping."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A layer or a model: its parameters and sub-modules are its attributes.

    A subclass assigns `Parameter` and `Module` objects to attributes and defines ``forward`` and,
    to be trained, ``backward``. That returns the gradient of the last forward call's input and
    adds to the parameters' ``grad``. Several forward calls may come before as many ``backward``
    calls, which take them in reverse order. ``module(x)`` calls ``module.forward(x)``; where that
    raises, the calls of sub-modules that it has made so far are forgotten.

    Attributes
    ----------
    training : bool
        Whether the module is in training mode, as it is at first; see `train` and `eval`.

    Raises
    ------
    TypeError
        Something other than a `Parameter`, a `Module` or None is assigned to the name of a
        parameter or sub-module, which would silently remove it: ``layer.weight = array``. Values
        are assigned to ``layer.weight.data``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self, size):
    ...         self.factor = nn.Parameter(np.ones(size, np.float32))
    ...     def forward(self, x):
    ...         return x * self.factor.data
    >>> model = nn.Sequential(nn.Linear(3, 2), Scale(2))
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias', '1.factor']
    """

    training = True
    _flat = False

    forward: Callable[..., Any]
    backward: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        before = PendingCalls.made
        try:
            return self.forward(*args, **kwargs)
        except BaseException:
            self._drop_calls(before)  # those of some layers, which no `backward` will follow
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        if before is not None and not (value is None or isinstance(value, (Parameter, Module))):
            _check_replaceable(name, before, value)
        super().__setattr__(name, value)
        if isinstance(value, PendingCalls):
            value.module = weakref.ref(self)

    # -- contents -------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Iterate over the direct sub-modules, in the order in which they were assigned.

        Returns
        -------
        iterator of (str, Module)
            Names of attributes, and modules.
        """
        return ((n, v) for n, v in list(vars(self).items()) if isinstance(v, Module))

    def modules(self) -> Iterator[Module]:
        """Iterate over this module and all modules below it.

        Yields
        ------
        Module
            A module before its sub-modules.
        """
        yield self
        for _, child in self.named_children():
            yield from child.modules()

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every name of every parameter: one that is shared comes once for each name."""
        for name, value in list(vars(self).items()):
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}{name}.")

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Iterate over the distinct parameters, own ones first, then each sub-module's.

        Yields
        ------
        name : str
            Path from this module, such as ``0.weight``. A parameter that is shared comes once,
            under its first name.
        parameter : Parameter
        """
        seen: set[int] = set()
        for name, parameter in self._walk():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> Iterator[Parameter]:
        """Iterate over the distinct parameters, in the order of `named_parameters`.

        Returns
        -------
        iterator of Parameter
        """
        return (parameter for _, parameter in self.named_parameters())

    def flatten_parameters(self) -> None:
        """Move all parameters into one array, and all gradients into another (one pair per dtype).

        Optimizers update, clear and measure neighbours in such an array in one pass. The layers do
        it for their own parameters; for a model made of several layers it saves time where they
        are small.
        """
        everything = list(self.parameters())
        for dtype in {parameter.dtype for parameter in everything}:
            _flatten([p for p in everything if p.dtype == dtype], dtype)
        self._flat = True

    # -- modes -----------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Enter training mode: dropout drops, and forward calls save what `backward` needs.

        Parameters
        ----------
        mode : bool
            False enters eval mode.

        Returns
        -------
        Module
            This module.
        """
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Enter eval mode: no dropout, and nothing is saved for `backward`.

        Returns
        -------
        Module
            This module.
        """
        return self.train(False)

    def saves_for_backward(self) -> bool:
        """Return whether a forward call now must save what `backward` needs.

        Returns
        -------
        bool
            True in training mode outside of `no_grad`.
        """
        return self.training and _grad_enabled.get()

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def forget_calls(self) -> None:
        """Forget all forward calls that wait for `backward`, here and in sub-modules.

        For a batch that is given up between forward and backward, such as one whose loss is not
        finite.

        Examples
        --------
        >>> import numpy as np
        >>> from fastseq import nn
        >>> linear = nn.Linear(3, 2)
        >>> y = linear(np.ones((4, 3), np.float32))
        >>> linear.forget_calls()
        >>> linear.backward(y)
        Traceback (most recent call last):
        RuntimeError: backward: no forward call in training mode is left to go through
        """
        self._drop_calls(0)

    def _drop_calls(self, since: int) -> None:
        for module in self.modules():
            for calls in vars(module).values():
                if isinstance(calls, PendingCalls):
                    calls.drop(since)

    # -- loading and storing ---------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copy all parameters.

        Returns
        -------
        dict of str to ndarray
            C-contiguous copies by name, in the shapes that PyTorch gives them. A parameter that is
            shared comes once for each of its names.

        Examples
        --------
        >>> from fastseq import nn
        >>> {name: array.shape for name, array in nn.GRU(3, 4, bias=False).state_dict().items()}
        {'weight_ih_l0': (12, 3), 'weight_hh_l0': (12, 4)}
        """
        return {name: np.array(p.public_view(), order="C") for name, p in self._walk()}

    def load_state_dict(
        self, state: Mapping[str, npt.ArrayLike], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy arrays into the parameters of these names.

        Parameters
        ----------
        state : mapping of str to array_like
            Arrays of real numbers, in any memory layout, such as `state_dict` returns; they are
            converted to the parameters' dtype.
        strict : bool
            Whether missing and unexpected names are errors. Otherwise these are left out.

        Returns
        -------
        IncompatibleKeys
            A pair (missing_keys, unexpected_keys) of lists of names.

        Raises
        ------
        TypeError
            `state` is not a mapping.
        RuntimeError
            Wrong names, shapes or kinds of numbers; the message lists all. The module is as it
            was.

        Examples
        --------
        >>> from fastseq import nn
        >>> one, two = nn.GRU(3, 4, seed=0), nn.GRU(3, 4, seed=1)
        >>> two.load_state_dict(one.state_dict())
        IncompatibleKeys(missing_keys=[], unexpected_keys=[])
        >>> bool((one.weight_hh_l0.data == two.weight_hh_l0.data).all())
        True
        """
        check_mapping("state", state)
        own = dict(self._walk())
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        arrays = {name: np.asarray(state[name]) for name in own if name in state}
        problems = list(_mismatches(own, arrays))
        if strict and unexpected:
            problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}.")
        if strict and missing:
            problems.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}.")
        if problems:
            title = f"Error(s) in loading state_dict for {type(self).__name__}:"
            raise RuntimeError("\n\t".join([title, *problems]))
        # All are converted first: that may fail, as where an overflow is made an error.
        converted = {n: a.astype(own[n].dtype, copy=False) for n, a in arrays.items()}
        for name, array in converted.items():
            own[name].public_view()[...] = array
        return IncompatibleKeys(missing, unexpected)

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            Module.__setattr__(self, name, value)
        if self._flat:  # a copy's parameters come back as separate arrays
            self.flatten_parameters()

    # -- printing --------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return the text between the brackets of the repr of a module without sub-modules.

        Returns
        -------
        str
            Empty unless a subclass overrides it.
        """
        return ""

    def __repr__(self) -> str:
        name = type(self).__name__
        children = [f"({key}): {child!r}" for key, child in self.named_children()]
        if not children:
            return f"{name}({self.extra_repr()})"
        body = "\n".join(children).replace("\n", "\n  ")
        return f"{name}(\n  {body}\n)"


def _check_replaceable(name: str, before: Any, value: Any) -> None:
    """TypeError where `value` would silently remove a parameter or a sub-module."""
    kind = type(value).__name__
    if isinstance(before, Parameter):
        raise TypeError(
            f"cannot assign {kind} as parameter {name!r} (Parameter or None expected); to change "
            f"its values, assign to {name}.data"
        )
    if isinstance(before, Module):
        raise TypeError(f"cannot assign {kind} as child module {name!r} (Module or None expected)")


def _flatten(parameters: list[Parameter], dtype: np.dtype) -> None:
    total = sum(parameter.size for parameter in parameters)
    data, grad = aligned_zeros(total, dtype), aligned_zeros(total, dtype)
    start = 0
    for parameter in parameters:
        part = slice(start, start + parameter.size)
        parameter.rebind(data[part].reshape(parameter.shape), grad[part].reshape(parameter.shape))
        start += parameter.size


def _mismatches(own: dict[str, Parameter], arrays: dict[str, np.ndarray]) -> Iterator[str]:
    for name, array in arrays.items():
        expected = own[name].public_view().shape
        if array.shape != expected:
            yield f"size mismatch for {name}: expected shape {expected}, got {array.shape}."
        elif array.dtype.kind not in "fiu":
            yield f"wrong dtype for {name}: expected real numbers, got {array.dtype}."


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
