"""The table of sizes that kernel tests share.

`CELLS`, `PRODUCTS` and `HEADS` are small and awkward on purpose: each size is next to the edge of
a tile, block or vector. The `LARGE_` ones have enough work for several threads.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace

import numpy as np

from fastseq._kernels import cells
from fastseq._kernels.cells import BY_NAME

# -- one layer in one direction ------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One layer in one direction.

    Attributes
    ----------
    cell : str
        A name in the table of cells.
    T, B, I, H : int
        Time steps, batch rows, input size, hidden size.
    projection : int or None
        Size of the projected state, of cells that can project.
    bias, reverse : bool
    lengths : tuple of B ints, or None
    resets : bool
        Whether some states are set to zero before a step.
    """

    cell: str
    T: int
    B: int
    I: int  # noqa: E741  the notation of the kernels
    H: int
    projection: int | None = None
    bias: bool = True
    reverse: bool = False
    lengths: tuple[int, ...] | None = None
    resets: bool = False

    @property
    def row(self) -> cells.Cell:
        """The cell's row in the table of cells."""
        return BY_NAME[self.cell]

    @property
    def width(self) -> int:
        """G·H, the size of one row of gates."""
        return len(self.row.gates) * self.H

    @property
    def P(self) -> int:
        """Size of the state that is fed back."""
        return self.projection or self.H

    def __str__(self) -> str:
        marks = [f"P{self.projection}"] if self.projection else []
        marks += [] if self.bias else ["nobias"]
        marks += ["reverse"] if self.reverse else []
        marks += ["lengths"] if self.lengths else []
        marks += ["resets"] if self.resets else []
        return "-".join([self.cell, f"T{self.T}B{self.B}I{self.I}H{self.H}", *marks])

    def active(self) -> np.ndarray:
        """Mask of shape (T, B): the steps at which each row takes part."""
        limits = [self.T] * self.B if self.lengths is None else self.lengths
        return np.arange(self.T)[:, None] < np.array(limits, np.int64)[None, :]

    def arrays(self, dtype: np.dtype | str, seed: int = 0) -> SimpleNamespace:
        """Draw inputs, parameters, initial state and incoming gradients.

        Every value fits float32, so that the same case in float64 is the same problem.

        Returns
        -------
        SimpleNamespace
            x (T, B, I); w_ih (G·H, I); b_ih, b_hh (G·H,) or None; w_hh (G·H, P); w_hr (P, H) or
            None; h0 (B, P); c0 (B, H), or None unless the cell has a cell state; dy (T, B, P);
            dh (B, P); dc as c0; lengths (B,) int64 or None; resets (T, B) uint8 or None.
        """
        numbers = _numbers(self, seed)
        arrays = {n: None if a is None else a.astype(dtype) for n, a in numbers.items()}
        lengths = None if self.lengths is None else np.array(self.lengths, np.int64)
        return SimpleNamespace(**arrays, lengths=lengths, resets=self._drawn_resets(seed))

    def _drawn_resets(self, seed: int) -> np.ndarray | None:
        """A third of all steps, and no step of every fourth."""
        if not self.resets:
            return None
        marks = np.random.default_rng([seed, self.T, self.B]).random((self.T, self.B)) < 1 / 3
        marks[2::4] = False
        return marks.astype(np.uint8)


@cache
def _numbers(case: Cell, seed: int) -> dict[str, np.ndarray | None]:
    """The values of a case, to be copied."""
    T, B, I, H, P = case.T, case.B, case.I, case.H, case.P  # noqa: E741
    rng = np.random.default_rng([seed, T, B, I, H])
    has_c = case.row.has_c

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return rng.standard_normal(shape, np.float32) * np.float32(scale)

    return {
        "x": normal(T, B, I),
        "w_ih": normal(case.width, I, scale=I**-0.5),
        "b_ih": normal(case.width) if case.bias else None,
        "b_hh": normal(case.width) if case.bias else None,
        "w_hh": normal(case.width, P, scale=P**-0.5),
        "w_hr": normal(P, H, scale=H**-0.5) if case.projection else None,
        "h0": normal(B, P),
        "c0": normal(B, H) if has_c else None,
        "dy": normal(T, B, P),
        "dh": normal(B, P),
        "dc": normal(B, H) if has_c else None,
    }


# (T, B, I, H): around the rows of a micro-tile (4, 6), its columns (8, 16, 32, 64), and vectors.
_SIZES = (
    (1, 1, 1, 1), (1, 1, 5, 3), (3, 1, 3, 7), (3, 2, 4, 8), (2, 3, 1, 9), (2, 5, 6, 13),
    (2, 13, 3, 14), (2, 14, 2, 15), (2, 15, 3, 16), (3, 4, 5, 17), (2, 6, 4, 31), (3, 3, 7, 32),
    (2, 7, 3, 33), (2, 2, 9, 63), (1, 3, 4, 64), (2, 1, 3, 65), (1, 29, 33, 2), (9, 1, 2, 5),
)  # fmt: skip


def _lengths(T: int, B: int) -> tuple[int, ...]:
    """1, 0, T, T − 1, …: unsorted, with every possible length."""
    return tuple((1 - b) % (T + 1) for b in range(B))


def _cells(cell: str) -> Iterator[Cell]:
    for n, (T, B, I, H) in enumerate(_SIZES):  # noqa: E741
        yield Cell(cell, T, B, I, H, bias=n % 3 != 1, reverse=n % 2 == 1)
    for T, B, H in ((4, 3, 5), (3, 15, 16), (3, 7, 33)):
        case = Cell(cell, T, B, 3, H, lengths=_lengths(T, B))
        yield from (case, replace(case, reverse=True))
    for T, B, H in ((1, 1, 4), (4, 3, 5), (5, 15, 16), (1, 2, 33)):
        case = Cell(cell, T, B, 3, H, resets=True)
        yield from (case, replace(case, reverse=True))
        yield replace(case, reverse=H == 5, lengths=_lengths(T, B))


def _projected(cell: str) -> Iterator[Cell]:
    sizes = ((1, 1, 2, 1), (3, 2, 5, 3), (2, 14, 16, 15), (3, 3, 33, 17), (2, 5, 40, 33))
    for T, B, H, P in sizes:
        for reverse in (False, True):
            yield Cell(cell, T, B, 3, H, projection=P, reverse=reverse, bias=H != 5)
    for reverse in (False, True):
        case = Cell(cell, 4, 5, 3, 9, projection=4, reverse=reverse, lengths=_lengths(4, 5))
        yield from (case, replace(case, resets=True), replace(case, lengths=None, resets=True))


PROJECTING = tuple(row.name for row in cells.CELLS if row.can_project)
CELLS = (
    *(case for row in cells.CELLS for case in _cells(row.name)),
    *(case for cell in PROJECTING for case in _projected(cell)),
)

# Small enough for central differences on every element. With I = G·H the gradient of x
# determines that of every gate.
GRADIENT_CELLS = tuple(
    Cell(
        cell, 3, 3, len(BY_NAME[cell].gates) * H, H, P, reverse=reverse, lengths=lengths,
        resets=resets,
    )
    for cell, H, P in (
        *((row.name, 2, None) for row in cells.CELLS),
        *((cell, 3, 2) for cell in PROJECTING),
    )
    for lengths in (None, (2, 0, 3))
    for reverse in (False, True)
    for resets in (False, True)
)  # fmt: skip

# Enough work for several threads; too much for the oracle.
LARGE_CELLS = tuple(
    Cell(cell, T, B, 20, H, P, reverse=B in (11, 47), lengths=lengths, resets=B == 9)
    for cell, P in (
        *((row.name, None) for row in cells.CELLS), *((cell, 50) for cell in PROJECTING)
    )
    for T, B, H, lengths in (
        (6, 47, 150, None), (3, 2, 387, None), (5, 33, 96, _lengths(5, 33)), (6, 11, 320, None),
        (5, 9, 260, None),
    )
)  # fmt: skip

# -- products and heads --------------------------------------------------------------------

# (M, N, K) of a matrix product.
PRODUCTS = (
    (1, 1, 1), (1, 33, 65), (2, 31, 7), (3, 64, 257), (4, 16, 2), (5, 17, 31), (6, 8, 513),
    (7, 15, 3), (13, 32, 5), (14, 33, 16), (15, 31, 17), (28, 65, 9), (29, 63, 4), (65, 13, 33),
    (1, 1, 1025), (33, 1, 14), (1, 130, 3), (2, 129, 5), (12, 127, 2), (3, 65, 300),
    (0, 5, 3), (4, 0, 3), (4, 5, 0), (0, 0, 0),
)  # fmt: skip
LARGE_PRODUCTS = (
    (97, 613, 701), (1, 2100, 1030), (430, 35, 2050), (33, 5003, 40), (64, 512, 128),
    (2, 300, 520), (56, 201, 300), (57, 200, 301), (290, 770, 257),
)  # fmt: skip

# (N, V, H) of a head: rows, vocabulary, hidden size.
HEADS = (
    (1, 1, 1), (1, 2, 3), (2, 31, 5), (13, 33, 8), (14, 7, 17), (15, 65, 4), (33, 16, 31),
    (5, 129, 2), (0, 4, 3),
)  # fmt: skip
LARGE_HEADS = (
    (300, 1501, 70), (65, 4099, 33), (256, 97, 33), (257, 2600, 50), (2100, 40, 20),
    (600, 2100, 65),
)  # fmt: skip
