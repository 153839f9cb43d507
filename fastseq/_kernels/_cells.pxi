# Cells: what a driver knows of one, and what a cell's page implements.
#
# A cell's page has two pointwise functions, forward and backward, and registers them under the
# name of the cell's row in cells.py. The specification is the page of the same name in oracle/;
# a comment beside a line gives the number of the oracle's formula.
#
# A pointwise loop has no branches and calls only functions of _vmath.h: the compiler turns it
# into vector code.

from .cells import BY_NAME

cdef enum:
    MAX_CELLS = 32
    MAX_GATES = 8

# RowView that lie `stride` apart, from their first column on.
cdef struct RowView:
    real *data
    Py_ssize_t stride

# One step of some rows and columns. Gate g of a row begins at g * H of its gates, product and
# inner products; the other rows begin at the first column.
cdef struct Pointwise:
    Py_ssize_t rows, columns, H
    RowView gates  # forward: pre-activations IN, activated OUT; backward: d pre-activations OUT
    RowView product  # of cells with inner gates: forward the recurrent product, backward d OUT
    RowView inner  # the inner gates' share of it, bias included; forward OUT, backward d OUT
    const real *inner_bias  # or NULL
    RowView h_prev, h, c_prev, c  # forward: h and c OUT; backward: h is the output y
    RowView dh  # backward: d h IN; OUT the part of d h_prev that skips the product
    RowView dc  # backward: d c IN, d c_prev OUT

ctypedef void (*PointwiseFunction)(const Pointwise *) noexcept nogil

cdef struct Cell:
    Py_ssize_t gates, inner_gates
    bint has_c
    PointwiseFunction forward, backward

cdef Cell CELLS[MAX_CELLS]


cdef int register(str name, PointwiseFunction forward, PointwiseFunction backward) except -1:
    row = BY_NAME[name]
    if not 0 <= row.id < MAX_CELLS or not 0 < len(row.gates) <= MAX_GATES:
        raise ValueError(f"{name}: expected an id below {MAX_CELLS} and 1 to {MAX_GATES} gates")
    CELLS[row.id] = Cell(len(row.gates), row.inner_gates, row.has_c, forward, backward)
    return 0


cdef const Cell *cell_of(int id) except NULL:
    if not 0 <= id < MAX_CELLS or CELLS[id].forward == NULL:
        raise ValueError(f"cell: expected the id of a cell, got {id}")
    return &CELLS[id]


cdef inline real *row(const RowView *a, Py_ssize_t m) noexcept nogil:
    return a.data + m * a.stride


cdef inline RowView rows_from(const Matrix *a, Py_ssize_t row, Py_ssize_t column) noexcept nogil:
    """RowView of a matrix from an element on; of an absent matrix nobody reads them."""
    return RowView(a.data + row * a.row_stride + column, a.row_stride)
