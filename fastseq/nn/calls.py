"""Forward calls that wait for `backward`, and the call that a gradient belongs to."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ..checks import physical_memory


class CallToken:
    """Stands for one forward call of one module.

    Parameters
    ----------
    owner : object
        The same for all calls of the module.
    """

    __slots__ = ("owner",)

    def __init__(self, owner: object) -> None:
        self.owner = owner


class _Call(NamedTuple):
    record: Any
    nbytes: int
    token: CallToken
    number: int


class _Tokens:
    """A token for each of some arrays, as long as the array lives."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[np.ndarray], CallToken]] = {}

    def mark(self, array: np.ndarray, token: CallToken) -> None:
        if isinstance(array, np.ndarray):  # NumPy's scalars have no weak references
            key, entries = id(array), self._entries
            entries[key] = weakref.ref(array, lambda _: entries.pop(key, None)), token

    def of(self, array: Any) -> CallToken | None:
        reference, token = self._entries.get(id(array), (None, None))
        return token if reference is not None and reference() is array else None


_outputs, _gradients = _Tokens(), _Tokens()


def mark_gradient(grad: np.ndarray, output: np.ndarray) -> None:
    """Record that `grad` is the gradient of `output`, where a module has returned that array.

    `output` may be another such gradient, of which `grad` is made.
    """
    token = _outputs.of(output) or _gradients.of(output)
    if token is not None:
        _gradients.mark(grad, token)


class PendingCalls:
    """Forward calls of one module that wait for `backward`, which takes the last one first.

    All of them together keep no more than a quarter of the machine's memory, though always the
    last one: the oldest are dropped, so that forward calls without `backward` cannot fill it.
    """

    made = 0  # calls of any module that have been pushed so far

    def __init__(self) -> None:
        self._calls: deque[_Call] = deque()
        self._nbytes = 0
        self._owner = object()
        self.module: Callable[[], Any] = lambda: None  # a weak reference, once it has one
        self._last_saved = True
        self._passed_over = False  # whether `backward` has taken a later call than those left

    def push(self, call: Any, nbytes: int, output: np.ndarray | None = None) -> None:
        """Add a call that keeps so many bytes and has returned `output`."""
        PendingCalls.made += 1
        token = CallToken(self._owner)
        self._calls.append(_Call(call, nbytes, token, PendingCalls.made))
        self._nbytes += nbytes
        self._last_saved = True
        if output is not None:
            _outputs.mark(output, token)
        while len(self._calls) > 1 and self._nbytes > physical_memory() // 4:
            self._nbytes -= self._calls.popleft().nbytes

    def note_unsaved(self, output: np.ndarray | None = None) -> None:
        """Record a call that keeps nothing, in eval mode or under `no_grad`."""
        self._last_saved = False
        if output is not None:
            _outputs.mark(output, CallToken(self._owner))

    def pop(self) -> Any:
        """Remove and return the last call; RuntimeError where there is none."""
        record = self.last()
        self._nbytes -= self._calls.pop().nbytes
        self._set_passed_over(bool(self._calls))
        return record

    def last(self, grad: Any = None, saving: bool = True) -> Any:
        """The last call, which `backward` goes through.

        Parameters
        ----------
        grad : ndarray or None
            The gradient of the output that `backward` was given.
        saving : bool
            Whether a forward call now would be saved.

        Raises
        ------
        RuntimeError
            There is none; a later call has saved nothing, and none would now; or `grad` comes from
            a loss of another call's output.
        """
        if not self._calls:
            raise RuntimeError("backward: no forward call in training mode is left to go through")
        if not (saving or self._last_saved):
            raise RuntimeError(
                "backward: the last forward call was made in eval mode or under no_grad and has "
                "saved nothing; an earlier one in training mode is pending"
            )
        call, token = self._calls[-1], _gradients.of(grad)
        if token is not None and token.owner is self._owner and token is not call.token:
            raise RuntimeError(
                "backward: grad_output is the gradient of another forward call's output than the "
                "last one's that is pending; calls are gone through in reverse order"
            )
        return call.record

    def drop(self, since: int = 0) -> None:
        """Forget all calls, or those after the first `since` calls of all modules."""
        while self._calls and self._calls[-1].number > since:
            self._nbytes -= self._calls.pop().nbytes
        if not self._calls:
            self._set_passed_over(False)

    def _set_passed_over(self, passed_over: bool) -> None:
        if passed_over != self._passed_over:
            self._passed_over = passed_over
            (_of_thread.passed_over.add if passed_over else _of_thread.passed_over.discard)(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return PendingCalls, ()  # a copy of a module starts without calls


class _OfThread(threading.local):
    """The modules of which `backward` has, in this thread, left out an earlier call."""

    def __init__(self) -> None:
        self.passed_over: weakref.WeakSet[PendingCalls] = weakref.WeakSet()


_of_thread = _OfThread()


def check_none_passed_over(parameters: Iterable[Any]) -> None:
    """Refuse gradients of which it is not clear that they are those of the intended calls.

    Parameters
    ----------
    parameters : iterable of Parameter
        Which are about to be updated.

    Raises
    ------
    RuntimeError
        In this thread `backward` of a module with one of them has gone through a later forward
        call and not through an earlier one. All such calls are forgotten.
    """
    if not _of_thread.passed_over:
        return
    ids = {id(parameter) for parameter in parameters}
    found = set()
    for calls in list(_of_thread.passed_over):
        module = calls.module()
        if module is not None and any(id(p) in ids for p in module.parameters()):
            found.add(type(module).__name__)
            calls.drop()
    if found:
        raise RuntimeError(
            f"step: backward of {', '.join(sorted(found))} has gone through a later forward call "
            "and left an earlier one pending, so that the gradients may be of another call than "
            "the one that was meant. Make calls that no backward follows in eval mode or under "
            "fastseq.no_grad(). The pending calls are forgotten now, the gradients are not: call "
            "zero_grad()"
        )
