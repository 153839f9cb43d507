"""The module that computes a loaded ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..nn.module import Module, PendingCalls
from .package import OnnxError
from .steps import NONE, Branch, LayerStep, Step, Values

Array = np.ndarray


class Port(NamedTuple):
    """An input or output of a graph.

    Attributes
    ----------
    name : str
    dtype : numpy.dtype
    shape : tuple of (int, str or None), or None
        Sizes, or their names; None where even their number is open.

    Examples
    --------
    >>> import fastseq.onnx
    >>> from fastseq import nn
    >>> fastseq.onnx.export(nn.Linear(3, 2), "linear.onnx")
    >>> fastseq.onnx.load("linear.onnx").inputs
    (Port(name='x', dtype=dtype('float32'), shape=('batch', 3)),)
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...] | None

    def check(self, array: Any) -> None:
        """Refuse an array of another type or shape.

        Parameters
        ----------
        array : ndarray

        Raises
        ------
        TypeError, ValueError
            Not an array of this dtype; another shape.
        """
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{self.name}: expected a NumPy array, got {type(array).__name__}")
        if array.dtype != self.dtype:
            raise TypeError(f"{self.name}: expected {self.dtype}, got {array.dtype}")
        if self.shape is None:
            return
        same = len(self.shape) == array.ndim and all(
            size == wanted
            for size, wanted in zip(array.shape, self.shape, strict=True)
            if isinstance(wanted, int)
        )
        if not same:
            sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
            raise ValueError(f"{self.name}: expected shape ({sizes}), got {array.shape}")


@dataclass(frozen=True)
class Graph:
    """What a `GraphModule` runs.

    Attributes
    ----------
    steps : list of Step
    constants : dict of int to ndarray
        By slot.
    inputs, outputs : tuple of int
        Slots.
    opset : int
        Version of the operators.
    """

    steps: list[Step]
    constants: Values
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    opset: int


class _Call(NamedTuple):
    """A forward call that waits for `backward`: the steps that ran, and all values."""

    tape: list[Step]
    values: Values


class GraphModule(Module):
    """A graph of ONNX as a module: what `load` returns.

    Its recurrent layers, embeddings, matrix products with constant weights, layer normalizations
    and dropout are layers of `fastseq.nn`, attributes of the module under the names of their
    nodes, with parameters that can be trained. All else runs on NumPy. Make one by `load`.

    Parameters
    ----------
    graph : Graph
        The steps.
    layers : dict of str to Module
        By the names of the attributes.
    inputs, outputs : tuple of Port
        What goes in and what comes out, in order.
    metadata : dict of str to str
        The model's ``metadata_props``.

    Attributes
    ----------
    inputs, outputs : tuple of Port
        Names, types and shapes.
    metadata : dict of str to str
    graph : Graph
        What it runs.

    Examples
    --------
    >>> import numpy as np
    >>> import fastseq.onnx
    >>> from fastseq import nn
    >>> fastseq.onnx.export(nn.LSTM(3, 4, seed=0), "lstm.onnx")
    >>> model = fastseq.onnx.load("lstm.onnx")
    >>> model
    GraphModule(
      (lstm): LSTM(3, 4)
    )
    >>> output, h_n, c_n = model(np.ones((5, 2, 3), np.float32))
    >>> output.shape, [port.name for port in model.outputs]
    ((5, 2, 4), ['output', 'h_n', 'c_n'])
    """

    def __init__(
        self,
        graph: Graph,
        layers: dict[str, Module],
        inputs: tuple[Port, ...],
        outputs: tuple[Port, ...],
        metadata: dict[str, str],
    ) -> None:
        self.inputs, self.outputs, self.metadata = inputs, outputs, metadata
        self.graph = graph
        self._pending = PendingCalls()
        for name, layer in layers.items():
            setattr(self, name, layer)

    # -- forward ---------------------------------------------------------------------------

    def forward(self, *args: Array, **kwargs: Array) -> Any:
        """Compute the outputs.

        In training mode the call waits for `backward`.

        Parameters
        ----------
        *args : ndarray
            Inputs, in the order of `inputs`.
        **kwargs : ndarray
            Further inputs by name.

        Returns
        -------
        ndarray or tuple of ndarray
            The output, or all of them in the order of `outputs`.

        Raises
        ------
        TypeError, ValueError
            Missing or unknown inputs; another type or shape than the graph declares.
        OnnxError
            A node that fails with these inputs, by name.
        """
        arrays = self._bind(args, kwargs)
        save = self.saves_for_backward()
        if save:  # the caller may overwrite its own
            arrays = [array.copy() for array in arrays]
        values = self.graph.constants | dict(zip(self.graph.inputs, arrays, strict=True))
        tape: list[Step] = []
        try:
            with np.errstate(all="ignore"):
                self._execute(self.graph.steps, values, tape)
        except Exception:  # raised again: no backward follows, whatever has failed
            for step in reversed(tape):
                if isinstance(step, LayerStep):
                    step.forget(self)
            raise
        results = [values[slot] for slot in self.graph.outputs]
        if save:
            results = [array.copy() for array in results]
            own = sum(array.nbytes for array in values.values())
            self._pending.push(_Call(tape, values), own, results[0])
        else:
            self._pending.note_unsaved(results[0])
        return results[0] if len(results) == 1 else tuple(results)

    def _bind(self, args: Sequence[Array], kwargs: dict[str, Array]) -> list[Array]:
        names = [port.name for port in self.inputs]
        if len(args) > len(names):
            raise TypeError(f"expected at most {len(names)} inputs, got {len(args)}")
        given = dict(zip(names, args, strict=False))
        if twice := set(given) & set(kwargs):
            raise TypeError(f"{', '.join(sorted(twice))}: given twice")
        given |= kwargs
        if unknown := set(given) - set(names):
            raise TypeError(f"{', '.join(sorted(unknown))}: no input; expected {', '.join(names)}")
        if missing := [name for name in names if name not in given]:
            raise TypeError(f"{', '.join(missing)}: input is missing")
        for port in self.inputs:
            port.check(given[port.name])
        return [given[name] for name in names]

    def _execute(self, steps: Sequence[Step], values: Values, tape: list[Step]) -> None:
        for step in steps:
            inputs = [None if slot == NONE else values[slot] for slot in step.inputs]
            if isinstance(step, Branch):
                (condition,) = inputs
                assert condition is not None
                self._execute(step.bodies[bool(condition.reshape(()))], values, tape)
                continue
            results = run_step(step, self, inputs)
            tape.append(step)
            for slot, array in zip(step.outputs, results, strict=False):
                if slot != NONE:
                    values[slot] = array

    # -- backward --------------------------------------------------------------------------

    def backward(self, *grad_outputs: Array | None, needs_input_grad: bool = True) -> Any:
        """Go back through the last forward call that is still pending.

        The gradients of the layers' parameters are added to their ``grad``.

        Parameters
        ----------
        *grad_outputs : ndarray or None
            Gradients of the loss with respect to the outputs, in their order; None for zeros.
        needs_input_grad : bool
            Whether to compute the gradients of the inputs. Without them, operators below the
            first layer need no gradient.

        Returns
        -------
        ndarray, None, or tuple of them
            Gradients of the inputs, in their order; None for integers, for an input without
            influence, and without needs_input_grad.

        Raises
        ------
        RuntimeError
            No forward call in training mode is pending, or a wrong number or shape of gradients.
        OnnxError
            A node on the way that has no gradient, by name.

        Examples
        --------
        >>> import numpy as np
        >>> import fastseq.onnx
        >>> from fastseq import nn
        >>> fastseq.onnx.export(nn.Linear(3, 2, seed=0), "linear.onnx")
        >>> model = fastseq.onnx.load("linear.onnx").train()
        >>> y = model(np.ones((5, 3), np.float32))
        >>> dx = model.backward(np.ones_like(y))
        >>> dx.shape, model.linear.bias.grad.tolist()
        ((5, 3), [5.0, 5.0])
        """
        first = grad_outputs[0] if grad_outputs else None
        call: _Call = self._pending.last(first, self.saves_for_backward())
        grads = self._output_gradients(grad_outputs, call.values)
        wanted = self._differentiated(call, set(grads), needs_input_grad)
        self._pending.pop()
        with np.errstate(all="ignore"):
            for index in reversed(range(len(call.tape))):
                if index in wanted or isinstance(call.tape[index], LayerStep):
                    self._step_back(call.tape[index], grads, call.values)
        result = [grads.get(slot) if needs_input_grad else None for slot in self.graph.inputs]
        return result[0] if len(result) == 1 else tuple(result)

    def _output_gradients(
        self, given: tuple[Array | None, ...], values: Values
    ) -> dict[int, Array]:
        if len(given) != len(self.outputs):
            raise RuntimeError(
                f"grad_outputs: expected {len(self.outputs)} gradients, got {len(given)}"
            )
        grads: dict[int, Array] = {}
        for port, slot, grad in zip(self.outputs, self.graph.outputs, given, strict=True):
            if grad is None:
                continue
            shape = values[slot].shape
            if not isinstance(grad, np.ndarray) or grad.dtype != values[slot].dtype:
                kind = grad.dtype if isinstance(grad, np.ndarray) else type(grad).__name__
                raise TypeError(
                    f"gradient of {port.name}: expected {values[slot].dtype}, got {kind}"
                )
            if grad.shape != shape:
                raise RuntimeError(
                    f"gradient of {port.name}: expected shape {shape}, got {grad.shape}"
                )
            _add(grads, slot, grad)
        return grads

    def _differentiated(self, call: _Call, reached: set[int], inputs: bool) -> set[int]:
        """Places on the tape through which gradients flow: to a parameter, or to an input."""
        live = {s for s in self.graph.inputs if inputs and _is_real(call.values[s])}
        sources: list[bool] = []
        for step in call.tape:
            sources.append(isinstance(step, LayerStep) or not live.isdisjoint(step.inputs))
            if sources[-1]:
                live.update(s for s in step.outputs if s != NONE and _is_real(call.values[s]))
        wanted, reached = set(), set(reached)
        for index in reversed(range(len(call.tape))):
            step = call.tape[index]
            if sources[index] and not live.isdisjoint(reached & set(step.outputs)):
                if not step.has_gradient:
                    raise OnnxError(
                        f"{step.label}: has no gradient, which what lies below it needs"
                        + (" (needs_input_grad=False asks for less)" if inputs else "")
                    )
                wanted.add(index)
                reached.update(slot for slot in step.inputs if slot in live)
        return wanted

    def _step_back(self, step: Step, grads: dict[int, Array], values: Values) -> None:
        own = [None if slot == NONE else grads.get(slot) for slot in step.outputs]
        outputs = [None if slot == NONE else values[slot] for slot in step.outputs]
        inputs = [None if slot == NONE else values[slot] for slot in step.inputs]
        if isinstance(step, LayerStep) and all(grad is None for grad in own):
            return step.forget(self)
        for slot, grad in zip(
            step.inputs,
            # An optional input or output is None; steps without optional ones do not expect it.
            step.backward(self, own, outputs, inputs),  # type: ignore[arg-type]
            strict=False,
        ):
            if slot != NONE and grad is not None:
                _add(grads, slot, grad)
        return None


def _is_real(array: Array) -> bool:
    return array.dtype.kind == "f"


def _add(grads: dict[int, Array], slot: int, grad: Array) -> None:
    grads[slot] = grads[slot] + grad if slot in grads else grad


def run_step(step: Step, module: Module, inputs: Sequence[Array | None]) -> Sequence[Array]:
    """Run one step; an OnnxError names the node that fails."""
    try:
        return step.run(module, inputs)
    except OnnxError:
        raise
    except (TypeError, ValueError, RuntimeError, IndexError, ArithmeticError) as error:
        raise OnnxError(f"{step.label}: {error}") from None
