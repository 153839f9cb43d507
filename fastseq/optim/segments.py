"""Runs of parameters that lie side by side in memory and are updated in one pass."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..nn import Parameter


@dataclass
class Segment:
    """One row-sparse parameter, or dense ones that are neighbours in their arena.

    Attributes
    ----------
    data, grad : ndarray of shape (R, C)
        Views; (1, C) where the segment is dense.
    state : dict of str to ndarray of shape (R, C)
        The optimizer's arrays beside them.
    start, stop : int
        Place among all values of the group.
    """

    parameters: list[Parameter]
    data: np.ndarray
    grad: np.ndarray
    start: int
    stop: int
    state: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def rows(self) -> np.ndarray | None:
        """Rows that hold a gradient, None for all."""
        return self.parameters[0].rows

    def zero_grad(self) -> None:
        if self.rows is None:
            self.grad.fill(0)
        else:
            self.parameters[0].zero_grad()


def segments(parameters: Iterable[Parameter]) -> Iterator[Segment]:
    """Cut a sequence of parameters into the fewest segments, in order."""
    start = 0
    for run in _runs(parameters):
        stop = start + sum(parameter.size for parameter in run)
        shape = run[0].shape if run[0].rows is not None else (1, stop - start)
        data = _spanning([p.data for p in run]).reshape(shape[0], -1)
        grad = _spanning([p.grad for p in run]).reshape(shape[0], -1)
        yield Segment(run, data, grad, start, stop)
        start = stop


def _runs(parameters: Iterable[Parameter]) -> Iterator[list[Parameter]]:
    run: list[Parameter] = []
    for parameter in parameters:
        if run and not _merge(run[-1], parameter):
            yield run
            run = []
        run.append(parameter)
    if run:
        yield run


def _merge(first: Parameter, second: Parameter) -> bool:
    dense = first.rows is None and second.rows is None
    return dense and _adjacent(first.data, second.data) and _adjacent(first.grad, second.grad)


def _adjacent(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two views of one arena follow each other."""
    same = first.base is not None and first.base is second.base
    return same and _address(first) + first.nbytes == _address(second)


def _spanning(views: list[np.ndarray]) -> np.ndarray:
    """One flat view over adjacent views."""
    first = views[0]
    if len(views) == 1:
        return first.reshape(-1)
    size = sum(view.size for view in views)
    arena = first.base
    assert arena is not None
    return np.ndarray((size,), first.dtype, arena, _address(first) - _address(arena))


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]
