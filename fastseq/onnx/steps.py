"""The steps of a loaded graph: operators on arrays, layers with parameters, branches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..nn.module import Module
from . import elementwise, products, structure  # noqa: F401  # they fill the table
from .structure import flip
from .table import OPERATORS

Array = np.ndarray
Values = dict[int, Array]  # by slot; a slot is the number of one value of a graph
NONE = -1  # the slot of an input or output that is left out


@dataclass
class Step:
    """A node of a graph.

    Attributes
    ----------
    label : str
        The node in words, for messages.
    inputs, outputs : tuple of int
        Slots.
    """

    label: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def run(self, module: Module, inputs: Sequence[Array | None]) -> Sequence[Array]:
        """Compute the outputs; `module` holds the layers."""
        raise NotImplementedError

    def backward(
        self,
        module: Module,
        grads: Sequence[Array | None],
        outputs: Sequence[Array],
        inputs: Sequence[Array | None],
    ) -> Sequence[Array | None]:
        """Gradients of the inputs, from those of the outputs, None for zeros."""
        raise NotImplementedError

    @property
    def has_gradient(self) -> bool:
        """Whether `backward` is there."""
        return True


@dataclass
class Call(Step):
    """An operator of the table.

    Attributes
    ----------
    name : str
    attributes : dict
    """

    name: str
    attributes: dict[str, Any] = field(default_factory=dict)

    def run(self, module: Module, inputs: Sequence[Array | None]) -> Sequence[Array]:
        result = OPERATORS[self.name].run(*inputs, **self.attributes)
        return result if isinstance(result, tuple) else (result,)

    def backward(
        self,
        module: Module,
        grads: Sequence[Array | None],
        outputs: Sequence[Array],
        inputs: Sequence[Array | None],
    ) -> Sequence[Array | None]:
        filled = [
            np.zeros_like(y) if dy is None else dy for dy, y in zip(grads, outputs, strict=True)
        ]
        gradient = OPERATORS[self.name].gradient
        assert gradient is not None
        kept = {k: v for k, v in self.attributes.items() if k != "output_count"}
        several = len(filled) > 1
        dy, y = (tuple(filled), tuple(outputs)) if several else (filled[0], outputs[0])
        result: Sequence[Array | None] = gradient(dy, y, *inputs, **kept)
        return result

    @property
    def has_gradient(self) -> bool:
        return OPERATORS[self.name].gradient is not None


@dataclass
class LayerStep(Step):
    """A layer of `fastseq.nn` with one input.

    Attributes
    ----------
    child : str
        Its name in the module.
    """

    child: str

    def layer(self, module: Module) -> Any:
        return getattr(module, self.child)

    def run(self, module: Module, inputs: Sequence[Array | None]) -> Sequence[Array]:
        return (self.layer(module)(inputs[0]),)

    def backward(
        self,
        module: Module,
        grads: Sequence[Array | None],
        outputs: Sequence[Array],
        inputs: Sequence[Array | None],
    ) -> Sequence[Array | None]:
        dy = np.zeros_like(outputs[0]) if grads[0] is None else grads[0]
        return (self.layer(module).backward(dy),)

    def forget(self, module: Module) -> None:
        """Drop the layer's last forward call, if it waits for `backward`."""
        if self.layer(module).saves_for_backward():
            self.layer(module)._pending.pop()


@dataclass
class EmbeddingStep(LayerStep):
    """An embedding; ids below 0 count from the end of the table."""

    def run(self, module: Module, inputs: Sequence[Array | None]) -> Sequence[Array]:
        layer, (ids,) = self.layer(module), inputs
        assert ids is not None
        return (layer(np.where(ids < 0, ids + layer.num_embeddings, ids)),)


@dataclass
class RecurrentStep(LayerStep):
    """A recurrent layer, with the inputs X, sequence_lens, initial_h, initial_c.

    Attributes
    ----------
    reverse : bool
        Whether its one direction runs from the last step to the first.
    batch_first : bool
        The node's ``layout``: sequences come first in X, Y and the states.
    """

    reverse: bool = False
    batch_first: bool = False

    def run(self, module: Module, inputs: Sequence[Array | None]) -> Sequence[Array]:
        layer, has_c = self.layer(module), self._has_c(module)
        x, lengths, *states = inputs
        assert x is not None
        steps = self._turned(self._swapped(x), lengths)
        given = [None if s is None else self._swapped(s) for s in states[: 1 + has_c]]
        y, state = layer(steps, self._pair(layer, given, steps.shape[1]), lengths)
        T, B, _ = y.shape
        y = self._turned(y, lengths).reshape(T, B, -1, layer.hidden_size)
        finals = state if has_c else (state,)
        Y = y.swapaxes(0, 1) if self.batch_first else y.swapaxes(1, 2)
        return Y, *map(self._swapped, finals)

    def backward(
        self,
        module: Module,
        grads: Sequence[Array | None],
        outputs: Sequence[Array],
        inputs: Sequence[Array | None],
    ) -> Sequence[Array | None]:
        layer, has_c, lengths = self.layer(module), self._has_c(module), inputs[1]
        dY, *finals = grads
        dy = None
        if dY is not None:
            split = dY.swapaxes(0, 1) if self.batch_first else dY.swapaxes(1, 2)
            dy = self._turned(split.reshape(*split.shape[:2], -1), lengths)
        given = [None if d is None else self._swapped(d) for d in finals[: 1 + has_c]]
        dx, dstates = layer.backward(dy, tuple(given) if has_c else given[0])
        dx = self._swapped(self._turned(dx, lengths))
        return dx, None, *map(self._swapped, dstates if has_c else (dstates,))

    @staticmethod
    def _pair(layer: Any, given: list[Array | None], B: int) -> Any:
        """The initial state as the layer takes it; one of h and c may be zeros."""
        if all(state is None for state in given):
            return None
        zeros = np.zeros((1 + layer.bidirectional, B, layer.hidden_size), layer.dtype)
        filled = [zeros if state is None else state for state in given]
        return tuple(filled) if len(filled) > 1 else filled[0]

    def _has_c(self, module: Module) -> bool:
        return len(self.outputs) > 2

    def _swapped(self, x: Array) -> Array:
        return x.swapaxes(0, 1) if self.batch_first else x

    def _turned(self, x: Array, lengths: Array | None) -> Array:
        return flip(x, lengths) if self.reverse else x


@dataclass
class Branch(Step):
    """An ``If`` that depends on the inputs: its input chooses one of two lists of steps.

    Attributes
    ----------
    bodies : tuple of list of Step
        What runs for False and for True; the last steps of both fill the outputs.
    """

    bodies: tuple[list[Step], list[Step]]


def walk(steps: Sequence[Step]) -> Iterator[Step]:
    """All steps, with those in branches."""
    for step in steps:
        yield step
        if isinstance(step, Branch):
            for body in step.bodies:
                yield from walk(body)
