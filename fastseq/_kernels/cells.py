"""The one table of cells.

Compiled kernels, oracle, layers, language models, benchmarks and tests read a cell's row instead
of knowing the cell.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Cell:
    """One recurrent cell.

    A step adds the input projection x[t] @ w_ihᵀ + b to the recurrent product h[t−1] @ w_hhᵀ and
    turns the sum, row by row, into the new state.

    Attributes
    ----------
    name : str
        Family and variant, such as ``rnn_tanh``.
    id : int
        Place in the table.
    gates : tuple of str
        Blocks of H rows in every weight, in order.
    states : tuple of str
        ``("h",)``, or ``("h", "c")`` where a cell state stays beside the output.
    inner_gates : int
        Number of trailing gates whose recurrent product is scaled by another gate (the GRU's n).
        If there are any, the recurrent product, with the bias of these gates, is kept apart from
        the input projection.
    can_project : bool
        Whether the output may be projected, h = w_hr @ o · tanh(c).
    """

    name: str
    id: int
    gates: tuple[str, ...]
    states: tuple[str, ...] = ("h",)
    inner_gates: int = 0
    can_project: bool = False

    @property
    def family(self) -> str:
        """The first part of the name: cells of one family share the pages of their formulas."""
        return self.name.split("_")[0]

    @cached_property  # every call of a layer asks
    def has_c(self) -> bool:
        """Whether a cell state stays beside the output."""
        return "c" in self.states

    def parameter_shapes(
        self, inputs: int, H: int, bias: bool = True, P: int = 0
    ) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Names and shapes of one layer's parameters, in PyTorch's order.

        Parameters
        ----------
        inputs, H : int
            Sizes of input and state.
        bias : bool
        P : int
            Size of the projected state; 0 for no projection.
        """
        rows = len(self.gates) * H
        yield "weight_ih", (rows, inputs)
        yield "weight_hh", (rows, P or H)
        if bias:
            yield "bias_ih", (rows,)
            yield "bias_hh", (rows,)
        if P:
            yield "weight_hr", (P, H)


CELLS = (
    Cell("lstm", 0, ("i", "f", "g", "o"), ("h", "c"), can_project=True),
    Cell("gru", 1, ("r", "z", "n"), inner_gates=1),
    Cell("rnn_tanh", 2, ("h",)),
    Cell("rnn_relu", 3, ("h",)),
)
BY_NAME = {cell.name: cell for cell in CELLS}
# The name of a family selects its first cell.
BY_FAMILY: dict[str, Cell] = {}
for _cell in CELLS:
    BY_FAMILY.setdefault(_cell.family, _cell)
