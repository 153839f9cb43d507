"""Where the recurrent calls of a model run, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from .functions import watch

RECURRENT = (nn.RNNBase, nn.RNNCellBase)
NOT_PATCHED = "the model is not patched, nor is fastseq.torch enabled"
DERIVED = "a derived class, which `patch` leaves alone: use `enable`"


class Row(NamedTuple):
    """Calls of one module that have run in one place for one reason.

    Attributes
    ----------
    module : str
        Path of the module in the model, empty for the model itself.
    function : str
        Function of PyTorch that is called, such as ``lstm`` or ``gru_cell``; the module's class
        where none that fastseq replaces is called.
    where : {"fastseq", "torch"}
    why : str
        What has kept the call from the kernels, empty for fastseq.
    calls : int

    Examples
    --------
    >>> import torch
    >>> import fastseq.torch
    >>> found = fastseq.torch.explain(torch.nn.GRU(3, 4), torch.ones(5, 2, 3))
    >>> found[0].why
    'the model is not patched, nor is fastseq.torch enabled'
    """

    module: str
    function: str
    where: str
    why: str
    calls: int


class Explanation(list[Row]):
    """Where each recurrent call of a model has run: a list of `Row` that prints as a table.

    Parameters
    ----------
    iterable : iterable of Row

    Examples
    --------
    >>> import torch
    >>> import fastseq.torch
    >>> found = fastseq.torch.explain(torch.nn.GRU(3, 4), torch.ones(5, 2, 3))
    >>> found[0].where
    'torch'
    """

    def __str__(self) -> str:
        if not self:
            return "no recurrent layer has run"
        lines = [("module", "function", "where", "calls", "why")]
        lines += [(r.module or "(model)", r.function, r.where, str(r.calls), r.why) for r in self]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(n) for cell, n in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    __repr__ = __str__


def explain(model: nn.Module, *args: Any, **keywords: Any) -> Explanation:
    """Call a model once and tell which of its recurrent calls run on fastseq's kernels.

    Buffers, such as running means, and the state of the random numbers are put back afterwards.

    Parameters
    ----------
    model : torch.nn.Module
        Patched or not; in training or eval mode, with or without gradients, as it will be used.
    *args, **keywords
        What the model is called with.

    Returns
    -------
    Explanation
        A list of rows (module, function, where, why, calls), which prints as a table.

    Examples
    --------
    >>> import torch
    >>> import fastseq.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LSTM(4, 32, num_layers=2))
    >>> fastseq.torch.patch(model)
    1
    >>> fastseq.torch.explain(model, torch.ones(5, 2, 3))
    module  function  where    calls  why
    1       lstm      fastseq  1
    """
    recorder = _Recorder()
    with _hooks(model, recorder), watch(recorder.observe), _unchanged(model):
        model(*args, **keywords)
    return Explanation(Row(*key, count) for key, count in recorder.calls.items())


class _Recorder:
    """Counts calls by the module in which they happen."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str, str, str]] = Counter()
        self._path: list[str] = []
        self._seen: list[bool] = []

    def enter(self, name: str) -> None:
        self._path.append(name)
        self._seen.append(False)

    def observe(self, function: str, obstacle: str | None) -> None:
        self._seen[-1] = True
        where = "torch" if obstacle else "fastseq"
        self.calls[self._path[-1], function, where, obstacle or ""] += 1

    def leave(self, module: nn.Module) -> None:
        name = self._path.pop()
        if not self._seen.pop() and isinstance(module, RECURRENT):
            native = type(module).__module__.startswith("torch.")
            function = type(module).__name__
            self.calls[name, function, "torch", NOT_PATCHED if native else DERIVED] += 1


@contextmanager
def _hooks(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Tell the recorder which module is running."""
    with ExitStack() as stack:
        for name, module in model.named_modules():
            before = module.register_forward_pre_hook(
                lambda *_, name=name: recorder.enter(name), prepend=True
            )
            after = module.register_forward_hook(
                lambda module, *_: recorder.leave(module), always_call=True
            )
            stack.callback(before.remove)
            stack.callback(after.remove)
        yield


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Put back buffers and random numbers."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[]):
        yield
    with torch.no_grad():
        for buffer, values in buffers:
            buffer.copy_(values)
