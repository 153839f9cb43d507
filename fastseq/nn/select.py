"""What a model goes on with after a recurrent layer, which returns a pair (output, state)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..checks import is_integer
from .checks import check_array, check_bool, check_floats, check_lengths
from .module import Module, PendingCalls

SMALL = 256  # bytes, about, of a call that keeps no array


class Select(Module):
    """One element of a tuple, such as the output alone of a recurrent layer's (output, state).

    ``Select(0)`` after a recurrent layer takes its output at all steps. ``Select(1)`` takes the
    state, which of an LSTM is a pair again.

    Parameters
    ----------
    index : int
        Number of the element; a negative one counts from the end.

    Raises
    ------
    TypeError
        `index` is not an integer.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> tagger = nn.Sequential(nn.GRU(3, 4), nn.Select(0), nn.Linear(4, 2))
    >>> x = np.ones((7, 5, 3), np.float32)  # 7 steps of 5 sequences
    >>> y = tagger(x)
    >>> y.shape, tagger.backward(y).shape
    ((7, 5, 2), (7, 5, 3))
    """

    def __init__(self, index: int) -> None:
        if not is_integer(index):
            raise TypeError(f"index: expected an integer, got {index!r}")
        self.index = index
        self._pending = PendingCalls()

    def forward(self, values: tuple[Any, ...]) -> Any:
        """Take the element.

        Parameters
        ----------
        values : tuple

        Returns
        -------
        Any
            The element itself, not a copy.

        Raises
        ------
        TypeError, IndexError
            Not a tuple, or too short a one.
        """
        if not isinstance(values, (tuple, list)):
            raise TypeError(f"values: expected a tuple, got {type(values).__name__}")
        if not -len(values) <= self.index < len(values):
            raise IndexError(f"values: expected an element {self.index}, got {len(values)}")
        if self.saves_for_backward():
            self._pending.push(len(values), SMALL)
        else:
            self._pending.note_unsaved()
        return values[self.index]

    def backward(self, grad_output: Any) -> tuple[Any, ...]:
        """Return the gradient of the tuple: None, which stands for zeros, for all other elements.

        Parameters
        ----------
        grad_output : ndarray
            Gradient with respect to the element; a tuple where that is one.

        Returns
        -------
        tuple

        Raises
        ------
        RuntimeError
            No forward call in training mode is pending.
        """
        size = self._pending.last(grad_output, self.saves_for_backward())
        self._pending.pop()
        return tuple(grad_output if n == self.index % size else None for n in range(size))

    def extra_repr(self) -> str:
        """The index, for the repr.

        Returns
        -------
        str
        """
        return str(self.index)


class _Steps(NamedTuple):
    """A call of `LastStep`: shape of the output, which steps were taken, whether from a tuple."""

    shape: tuple[int, ...]
    dtype: np.dtype
    where: tuple[Any, ...]
    in_tuple: bool


class LastStep(Module):
    """A recurrent layer's output at the last step of each sequence.

    Of a bidirectional layer, the second direction has seen only that one step there; use
    `FinalState` for the ends of both directions.

    Parameters
    ----------
    batch_first : bool
        Whether the layer's output is (B, T, ·) instead of (T, B, ·).

    Raises
    ------
    TypeError
        `batch_first` is not a bool.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> classifier = nn.Sequential(nn.GRU(3, 4), nn.LastStep(), nn.Linear(4, 2))
    >>> x = np.ones((7, 5, 3), np.float32)  # 7 steps of 5 sequences
    >>> y = classifier(x, lengths=[7, 3, 4, 4, 1])
    >>> y.shape, classifier.backward(y).shape
    ((5, 2), (7, 5, 3))
    """

    def __init__(self, batch_first: bool = False) -> None:
        check_bool("batch_first", batch_first)
        self.batch_first = batch_first
        self._pending = PendingCalls()

    def forward(
        self, output: np.ndarray | tuple[np.ndarray, Any], lengths: npt.ArrayLike | None = None
    ) -> np.ndarray:
        """Take the last step.

        Parameters
        ----------
        output : ndarray of shape (T, B, H), (B, T, H) with batch_first, or (T, H)
            What a recurrent layer returns; of its pair (output, state) the state is not read.
        lengths : array_like of B integers from 1 to T, or None
            Steps of each sequence; None for T.

        Returns
        -------
        ndarray of shape (B, H), or (H,) of one sequence

        Raises
        ------
        TypeError, ValueError
            Not a NumPy array, or one with neither 2 nor 3 axes; `lengths` that do not fit.
        """
        y = output[0] if isinstance(output, tuple) else output
        check_array("output", y)
        if y.ndim not in (2, 3):
            raise ValueError(f"output: expected 2 or 3 axes, got shape {y.shape}")
        where = self._where(y, lengths)
        last: np.ndarray = y[where].copy()
        if self.saves_for_backward():
            call = _Steps(y.shape, y.dtype, where, isinstance(output, tuple))
            self._pending.push(call, SMALL + 16 * len(last), last)
        else:
            self._pending.note_unsaved(last)
        return last

    def _where(self, y: np.ndarray, lengths: npt.ArrayLike | None) -> tuple[Any, ...]:
        """The index of the last steps."""
        batch_first = self.batch_first and y.ndim == 3
        T, B = (y.shape[1], y.shape[0]) if batch_first else (y.shape[0], y.shape[1])
        if T == 0:
            raise ValueError(f"output: expected at least one step, got shape {y.shape}")
        if y.ndim == 2:
            return (T - 1 if lengths is None else int(check_lengths(lengths, T, 1)[0]) - 1,)
        steps: Any = T - 1 if lengths is None else check_lengths(lengths, T, B) - 1
        sequences = np.arange(B)
        return (sequences, steps) if batch_first else (steps, sequences)

    def backward(self, grad_output: np.ndarray) -> Any:
        """Return the gradient of the output: zero at all other steps.

        Parameters
        ----------
        grad_output : ndarray of shape (B, H), or (H,) of one sequence

        Returns
        -------
        ndarray of the shape of `output`
            Where `forward` was given a pair, the pair of it and None.

        Raises
        ------
        RuntimeError
            No forward call in training mode is pending, or a wrong shape.
        TypeError, ValueError
            Not a NumPy array, or of another dtype.
        """
        call: _Steps = self._pending.last(grad_output, self.saves_for_backward())
        expected = (*call.shape[:-2], call.shape[-1])
        if len(call.shape) == 3:
            B = call.shape[0] if self.batch_first else call.shape[1]
            expected = (B, call.shape[2])
        check_floats("grad_output", grad_output, call.dtype, expected)
        self._pending.pop()
        grad = np.zeros(call.shape, call.dtype)
        grad[call.where] = grad_output
        return (grad, None) if call.in_tuple else grad

    def extra_repr(self) -> str:
        """The layout, for the repr.

        Returns
        -------
        str
        """
        return "batch_first=True" if self.batch_first else ""

    if TYPE_CHECKING:
        __call__ = forward


class FinalState(Module):
    """A recurrent layer's last state: of its topmost layer, both directions side by side.

    Of each sequence it is the hidden state after the last step, and of a second direction the one
    after the first step, which is the last that this direction reads. Of an LSTM it is h, not c.

    Parameters
    ----------
    bidirectional : bool
        Whether the layer has two directions.

    Raises
    ------
    TypeError
        `bidirectional` is not a bool.

    Examples
    --------
    >>> import numpy as np
    >>> from fastseq import nn
    >>> rnn = nn.LSTM(3, 4, bidirectional=True)
    >>> classifier = nn.Sequential(rnn, nn.FinalState(bidirectional=True), nn.Linear(8, 2))
    >>> x = np.ones((7, 5, 3), np.float32)  # 7 steps of 5 sequences
    >>> y = classifier(x, lengths=[7, 3, 4, 4, 1])
    >>> y.shape, classifier.backward(y).shape
    ((5, 2), (7, 5, 3))
    """

    def __init__(self, bidirectional: bool = False) -> None:
        check_bool("bidirectional", bidirectional)
        self.bidirectional = bidirectional
        self._pending = PendingCalls()

    def forward(self, values: tuple[np.ndarray, Any]) -> np.ndarray:
        """Take the state.

        Parameters
        ----------
        values : pair (output, state)
            What a recurrent layer returns; `state` is h_n of shape (K, B, H) or (K, H), or the
            pair of it and c_n.

        Returns
        -------
        ndarray of shape (B, D·H), or (D·H,) of one sequence

        Raises
        ------
        TypeError, ValueError
            Not a pair with a state, or fewer states than directions.
        """
        if not isinstance(values, tuple) or len(values) != 2:
            raise TypeError(
                f"values: expected the pair (output, state), got {type(values).__name__}"
            )
        has_c = isinstance(values[1], tuple)
        h = values[1][0] if has_c else values[1]
        check_array("values[1]", h)
        D = 1 + self.bidirectional
        if h.ndim not in (2, 3) or len(h) % D or not len(h):
            raise ValueError(f"values[1]: expected a multiple of {D} states, got shape {h.shape}")
        final = np.concatenate(h[len(h) - D :], axis=-1)
        if self.saves_for_backward():
            self._pending.push((h.shape, h.dtype, has_c), SMALL, final)
        else:
            self._pending.note_unsaved(final)
        return final

    def backward(self, grad_output: np.ndarray) -> tuple[None, Any]:
        """Return the gradient of the pair: of the state, None for the output.

        Parameters
        ----------
        grad_output : ndarray of shape (B, D·H), or (D·H,) of one sequence

        Returns
        -------
        tuple
            None, and the gradient of the state in its form.

        Raises
        ------
        RuntimeError
            No forward call in training mode is pending, or a wrong shape.
        TypeError, ValueError
            Not a NumPy array, or of another dtype.
        """
        shape, dtype, has_c = self._pending.last(grad_output, self.saves_for_backward())
        D = 1 + self.bidirectional
        check_floats("grad_output", grad_output, dtype, (*shape[1:-1], D * shape[-1]))
        self._pending.pop()
        grad = np.zeros(shape, dtype)
        grad[shape[0] - D :] = np.split(grad_output, D, axis=-1)
        return None, ((grad, None) if has_c else grad)

    def extra_repr(self) -> str:
        """The directions, for the repr.

        Returns
        -------
        str
        """
        return "bidirectional=True" if self.bidirectional else ""

    if TYPE_CHECKING:
        __call__ = forward
