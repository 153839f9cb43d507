"""The table of cells: oracle and compiled builds know every row of it, and no other."""

import numpy as np
import one_layer
import pytest
from cases import CELLS as CASES
from cases import Cell
from compare import same_bits

from fastseq._kernels.cells import BY_NAME, CELLS
from fastseq._kernels.oracle.recurrence import POINTWISE

every_cell = pytest.mark.parametrize("row", CELLS, ids=lambda row: row.name)


def test_ids_are_places_and_names_are_distinct():
    assert [row.id for row in CELLS] == list(range(len(CELLS)))
    assert list(BY_NAME.values()) == list(CELLS)


@every_cell
def test_a_row_fits_the_drivers(row):
    assert 1 <= len(row.gates) <= 8
    assert 0 <= row.inner_gates < len(row.gates)
    assert row.states in (("h",), ("h", "c"))
    assert row.has_c == (len(row.states) == 2)


def test_the_oracle_has_two_pages_for_each_cell_and_no_more():
    assert POINTWISE.keys() == BY_NAME.keys()
    assert all(callable(page) for pages in POINTWISE.values() for page in pages)


@every_cell
def test_every_build_has_two_pages_for_each_cell(k, dtype, row):
    """A cell of the table without pages is refused; pages that do nothing leave NaN."""
    case = Cell(row.name, 2, 2, 3, 4)
    a = case.arrays(dtype)
    states = one_layer.forward(k, case, a)
    assert np.isfinite(states.y).all()
    assert states.y.any()
    gradients = one_layer.backward(k, case, a, states)
    for name in ("x", "w_ih", "w_hh", "b_ih", "b_hh", "h0"):
        assert np.isfinite(gradients[name]).all(), name
        assert gradients[name].any(), name
        assert not same_bits(gradients["h0"], a.dh)


@every_cell
@pytest.mark.parametrize("bias", [True, False])
def test_parameters_of_a_cell_are_those_that_kernels_take(row, bias):
    for P in (0, 2) if row.can_project else (0,):
        case = Cell(row.name, 1, 1, 3, 5, P or None, bias=bias)
        arrays = vars(case.arrays("float32"))
        shapes = dict(row.parameter_shapes(3, 5, bias, P))
        short = {n.replace("weight_", "w_").replace("bias_", "b_"): s for n, s in shapes.items()}
        for name in ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr"):
            assert short.get(name) == (None if arrays[name] is None else arrays[name].shape)


@every_cell
def test_every_cell_is_among_the_cases(row):
    of_cell = [case for case in CASES if case.cell == row.name]
    assert any(case.lengths for case in of_cell)
    assert any(case.reverse for case in of_cell)
    assert any(case.resets for case in of_cell)
    assert row.can_project == any(case.projection for case in of_cell)
