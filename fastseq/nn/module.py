"""Parameters and modules: what a layer owns, by name, and how it is loaded and stored."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from ..backend import kernels
from ..checks import check_mapping, physical_memory
from .buffers import aligned_zeros

NO_ROWS = np.empty(0, np.int64)

_grad_enabled: ContextVar[bool] = ContextVar("grad_enabled", default=True)


@contextmanager
def no_grad() -> Iterator[None]:
    """Save nothing for `backward` in forward calls of this block (of this thread)."""
    token = _grad_enabled.set(False)
    try:
        yield
    finally:
        _grad_enabled.reset(token)


def is_grad_enabled() -> bool:
    """Whether forward calls of modules in training mode save what `backward` needs."""
    return _grad_enabled.get()


class Parameter:
    """A trainable array with its gradient.

    Parameters
    ----------
    data : array of float32 or float64
    row_sparse : bool
        The gradient is non-zero in few rows (axis 0), as that of an embedding table is.
    transposed : bool
        Stored as the transpose of what `Module.state_dict` shows.

    Attributes
    ----------
    data, grad : ndarray
        C-contiguous views, into the arenas of the module once it is flattened. Assigning to
        them copies values in; it never rebinds the view.
    rows : ndarray of int64 or None
        None: the gradient is dense. Otherwise the distinct rows in which it may be non-zero.
    requires_grad : bool
        Whether recurrent layers compute the gradient; True by default.
    """

    __slots__ = ("_data", "_grad", "requires_grad", "rows", "transposed")

    storage_version: ClassVar[int] = 0  # counts the changes of any parameter's storage

    def __init__(
        self, data: npt.ArrayLike, *, row_sparse: bool = False, transposed: bool = False
    ) -> None:
        self._data = np.array(data, order="C")
        if self._data.dtype.name not in ("float32", "float64"):
            raise TypeError(f"data: expected float32 or float64, got {self._data.dtype}")
        self._grad = np.zeros(self._data.shape, self._data.dtype)
        self.rows: np.ndarray | None = NO_ROWS if row_sparse else None
        self.transposed = transposed
        self.requires_grad = True

    @property
    def data(self) -> np.ndarray:
        return self._data

    @data.setter
    def data(self, values: npt.ArrayLike) -> None:
        self._assign("data", self._data, values)

    @property
    def grad(self) -> np.ndarray:
        return self._grad

    @grad.setter
    def grad(self, values: npt.ArrayLike) -> None:
        self._assign("grad", self._grad, values)
        if self.rows is not None and values is not self._grad:
            self.rows = np.arange(len(self._grad), dtype=np.int64)

    @staticmethod
    def _assign(name: str, target: np.ndarray, values: npt.ArrayLike) -> None:
        if values is target:  # what `parameter.data -= step` ends with
            return
        values = np.asarray(values)
        if values.shape != target.shape:
            raise ValueError(f"{name}: expected shape {target.shape}, got {values.shape}")
        target[...] = values

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    def mark_rows(self, rows: np.ndarray) -> None:
        """Record rows (int64, repeats allowed) to which a gradient is about to be added."""
        if self.rows is not None:
            rows = np.unique(rows)
            self.rows = np.union1d(self.rows, rows) if self.rows.size else rows

    def zero_grad(self) -> None:
        """Set the gradient to zero, where it may be other than zero."""
        if self.rows is None:
            self._grad.fill(0)
        elif self.rows.size:
            table = self._grad.reshape(len(self._grad), -1)
            kernels(self.dtype).clear_rows(table, self.rows)
            self.rows = NO_ROWS

    def rebind(self, data: np.ndarray, grad: np.ndarray) -> None:
        """Move into other storage of the same shape, values included."""
        data[...], grad[...] = self._data, self._grad
        self._data, self._grad = data, grad
        Parameter.storage_version += 1

    def public_view(self) -> np.ndarray:
        """The view of `data` that `Module.state_dict` copies."""
        return self._data.T if self.transposed else self._data

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.dtype})"


class PendingCalls:
    """Forward calls of one module that wait for `backward`, which takes the last one first.

    All of them together keep no more than a quarter of the machine's memory, though always the
    last one: the oldest are dropped, so that forward calls without `backward` cannot fill it.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[Any, int]] = deque()
        self._nbytes = 0

    def push(self, call: Any, nbytes: int) -> None:
        """Add a call that keeps so many bytes."""
        self._calls.append((call, nbytes))
        self._nbytes += nbytes
        while len(self._calls) > 1 and self._nbytes > physical_memory() // 4:
            self._nbytes -= self._calls.popleft()[1]

    def pop(self) -> Any:
        """Remove and return the last call.

        Raises
        ------
        RuntimeError
            There is none.
        """
        call = self.last()
        self._nbytes -= self._calls.pop()[1]
        return call

    def last(self) -> Any:
        """The last call; RuntimeError where there is none."""
        if not self._calls:
            raise RuntimeError("backward: no forward call in training mode is left to go through")
        return self._calls[-1][0]

    def __reduce__(self) -> tuple[Any, ...]:
        return PendingCalls, ()  # a copy of a module starts without calls


class IncompatibleKeys(NamedTuple):
    """Keys that `Module.load_state_dict` has not found in the module or in the mapping."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A layer or a stack of layers: parameters and sub-modules are its attributes.

    A subclass defines ``forward`` and, to be trained, ``backward``, which returns the gradient of
    the last forward call's input and adds to the parameters' ``grad``. Several forward calls may
    come before as many ``backward`` calls, which take them in reverse order.
    """

    training = True
    _flat = False

    forward: Callable[..., Any]
    backward: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # -- contents -------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, "Module"]]:
        """Direct sub-modules, in the order in which they were assigned."""
        return ((n, v) for n, v in list(vars(self).items()) if isinstance(v, Module))

    def modules(self) -> Iterator["Module"]:
        """This module and all modules below it."""
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
        """Distinct parameters with their names, own ones first, then each sub-module's."""
        seen: set[int] = set()
        for name, parameter in self._walk():
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def parameters(self) -> Iterator[Parameter]:
        """Distinct parameters in the order of `named_parameters`."""
        return (parameter for _, parameter in self.named_parameters())

    def flatten_parameters(self) -> None:
        """Move all parameters into one arena, all gradients into another (one per dtype).

        Neighbours in an arena are updated, cleared and measured in one pass.
        """
        everything = list(self.parameters())
        for dtype in {parameter.dtype for parameter in everything}:
            _flatten([p for p in everything if p.dtype == dtype], dtype)
        self._flat = True

    # -- modes -----------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Training mode: dropout drops, and forward saves what backward needs."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode: no dropout, nothing saved."""
        return self.train(False)

    def saves_for_backward(self) -> bool:
        """Whether a forward call now must save what backward needs."""
        return self.training and _grad_enabled.get()

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for parameter in self.parameters():
            parameter.zero_grad()

    # -- loading and storing ---------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """C-contiguous copies of all parameters by name."""
        return {name: np.array(p.public_view(), order="C") for name, p in self._walk()}

    def load_state_dict(
        self, state: Mapping[str, npt.ArrayLike], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy arrays (any memory order, any real dtype) into the parameters of these names.

        Parameters
        ----------
        state : mapping of name to array
        strict : bool
            Missing and unexpected names are errors too.

        Raises
        ------
        TypeError
            Not a mapping.
        RuntimeError
            Lists every name that is wrong.

        Whatever is raised, the module is as it was.
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
        vars(self).update(state)
        if self._flat:  # a copy's parameters come back as separate arrays
            self.flatten_parameters()

    # -- printing --------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """The text between the brackets of the repr of a module without sub-modules."""
        return ""

    def __repr__(self) -> str:
        name = type(self).__name__
        children = [f"({key}): {child!r}" for key, child in self.named_children()]
        if not children:
            return f"{name}({self.extra_repr()})"
        body = "\n".join(children).replace("\n", "\n  ")
        return f"{name}(\n  {body}\n)"


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
