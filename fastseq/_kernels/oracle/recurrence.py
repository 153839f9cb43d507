"""One layer in one direction through time, over any cell (see the package for the notation).

A backward line carries the number of the forward line that it inverts.
"""

from importlib import import_module

from ..cells import CELLS
from ._math import mat_vec, vec_mat

# The two pointwise functions of each cell, for one row of one step, from the page of its family.
#
# forward(a, product, h_prev, c_prev, H) -> gates, output, c, inner
#     a: pre-activations (G·H,), which include the recurrent product unless the cell has inner
#     gates; then that is in `product`, the inner gates' bias included.
#     gates: activated; inner: the inner gates' part of `product`; c and inner may be None.
# backward(gates, output, h_prev, c_prev, c, inner, d_output, dc)
#         -> da, dproduct, dinner, dh_prev, dc_prev
#     dproduct: the gradient of the recurrent product; without inner gates that is da.
#     dh_prev: the gradient that reaches h_prev, but not through the recurrent product.
POINTWISE = {
    cell.name: tuple(
        getattr(import_module(f"{__package__}.{cell.family}"), f"{cell.name}_{direction}")
        for direction in ("forward", "backward")
    )
    for cell in CELLS
}


def layer_forward(call):
    """Run a layer over packed sequences: fill y, h_n, c_n and `saved`.

    Parameters
    ----------
    call : LayerCall
    """
    cell, w = CELLS[call.cell], _lists(call.weights)
    B, H = call.h_n.shape[0], call.weights.w_hh.shape[0] // len(cell.gates)
    x = _projected_input(call, w) if call.saved is None or call.x is not None else None
    gates = call.saved.gates.tolist() if x is None else x
    h = _initial(call.h0, B, call.h_n.shape[1])
    c = _initial(call.c0, B, H) if cell.has_c else [None] * B
    y, cs, inner, unprojected = ([None] * len(gates) for _ in range(4))
    resets = _resets(call)
    for row, b in _rows(call):
        h[b], c[b] = _kept(resets[row], h[b]), _kept(resets[row], c[b])  # (0)
        a, product = _pre_activations(cell, gates[row], h[b], w, H)
        gates[row], out, c[b], inner[row] = POINTWISE[cell.name][0](a, product, h[b], c[b], H)
        unprojected[row] = out
        h[b] = out if w.w_hr is None else mat_vec(w.w_hr, out)  # (8)
        y[row], cs[row] = h[b], c[b]
    _write((call.y, y), (call.h_n, h), (call.c_n, c))
    if call.saved is not None:
        saved = call.saved
        _write((saved.gates, gates), (saved.c, cs), (saved.inner, inner))
        _write((saved.unprojected, unprojected))


def layer_backward(call, gradients):
    """Gradients of `layer_forward` [6]_; ``call.saved`` is overwritten with gradients.

    Parameters
    ----------
    call : LayerCall
        After `layer_forward`, with `saved`.
    gradients : Gradients
    """
    cell, w, saved = CELLS[call.cell], _lists(call.weights), _lists(call.saved)
    y, dh = call.y.tolist(), gradients.h.tolist()
    dc = gradients.c.tolist() if cell.has_c else [None] * len(dh)
    dy = None if gradients.y is None else gradients.y.tolist()
    h_prev, c_prev = _previous(call, y, call.h0, gradients.h), [None] * len(y)
    if cell.has_c:
        c_prev = _previous(call, saved.c, call.c0, gradients.c)
    dgates, dinner, dproduct, totals = ([None] * len(y) for _ in range(4))
    resets = _resets(call)
    for row, b in reversed(list(_rows(call))):
        total = dh[b] if dy is None else _add(dy[row], dh[b])
        out = total if w.w_hr is None else vec_mat(total, w.w_hr)  # inverts (8)
        inner = None if saved.inner is None else saved.inner[row]
        c = None if saved.c is None else saved.c[row]
        dgates[row], dproduct[row], dinner[row], direct, dc[b] = POINTWISE[cell.name][1](
            saved.gates[row], y[row], h_prev[row], c_prev[row], c, inner, out, dc[b]
        )
        dh[b] = vec_mat(dproduct[row], w.w_hh)  # inverts (1)
        if w.w_hr is None:
            dh[b] = _add(dh[b], direct)
        dh[b], dc[b] = _kept(resets[row], dh[b]), _kept(resets[row], dc[b])  # inverts (0)
        totals[row] = total
    _write((call.saved.gates, dgates), (call.saved.inner, dinner))
    _write((gradients.h, dh), (gradients.c, dc))
    wanted = gradients.weights
    _accumulate(wanted.w_hh, _outer_sum(dproduct, h_prev, wanted.w_hh), gradients.accumulate)
    _accumulate(wanted.b_ih, _sum(dgates, wanted.b_ih), gradients.accumulate)
    _accumulate(wanted.b_hh, _sum(dproduct, wanted.b_hh), gradients.accumulate)
    if wanted.w_hr is not None:
        dw_hr = _outer_sum(totals, saved.unprojected, wanted.w_hr)
        _accumulate(wanted.w_hr, dw_hr, gradients.accumulate)
    if wanted.w_ih is not None:
        dw_ih = _outer_sum(dgates, call.x.tolist(), wanted.w_ih)
        _accumulate(wanted.w_ih, dw_ih, gradients.accumulate)
    if gradients.x is not None:
        _accumulate(gradients.x, [vec_mat(d, w.w_ih) for d in dgates], gradients.add_to_x)


def _rows(call):
    """Yield (row, b): packed rows in the order of computation, each with its sequence."""
    B, sizes = call.h_n.shape[0], call.batch_sizes
    if sizes is None:
        sizes = [B] * (call.y.shape[0] // B if B else 0)
    steps, start = [], 0
    for size in map(int, sizes):
        steps.append([(start + b, b) for b in range(size)])
        start += size
    for step in reversed(steps) if call.reverse else steps:
        yield from step


def _projected_input(call, w):
    """x @ w_ihᵀ + b_ih + b_hh for all rows; inner gates' b_hh stands in their product."""
    bias = [0.0] * len(w.w_hh) if w.b_ih is None else w.b_ih
    if w.b_hh is not None:
        inner = CELLS[call.cell].inner_gates * len(bias) // len(CELLS[call.cell].gates)
        outer = len(bias) - inner
        bias = _add(bias, w.b_hh[:outer] + [0.0] * inner)
    return [_add(mat_vec(w.w_ih, row), bias) for row in call.x.tolist()]


def _pre_activations(cell, a, h_prev, w, H):
    """(1): the recurrent product, added to the input projection or kept beside it."""
    product = mat_vec(w.w_hh, h_prev)
    if not cell.inner_gates:
        return _add(a, product), None
    if w.b_hh is not None:
        outer = len(product) - cell.inner_gates * H
        product = product[:outer] + _add(product[outer:], w.b_hh[outer:])  # (4)
    return a, product


def _previous(call, states, initial, like):
    """The state before each row's step."""
    current, before = _initial(initial, *like.shape), [None] * len(states)
    resets = _resets(call)
    for row, b in _rows(call):
        before[row], current[b] = _kept(resets[row], current[b]), states[row]
    return before


def _resets(call):
    return [0] * len(call.y) if call.resets is None else call.resets.tolist()


def _kept(reset, state):
    """The state as it is, or zeros where it is reset; None where the cell has none."""
    return [0.0] * len(state) if reset and state is not None else state


def _initial(state, B, size):
    return [[0.0] * size for _ in range(B)] if state is None else state.tolist()


def _lists(arrays):
    return type(arrays)(*(None if a is None else a.tolist() for a in arrays))


def _write(*pairs):
    """Write nested lists into those arrays that exist and are not empty."""
    for array, values in pairs:
        if array is not None and array.size:
            array[...] = values


def _add(u, v):
    return [a + b for a, b in zip(u, v, strict=True)]


def _outer_sum(left, right, like):
    """Σ over rows of leftᵀ @ right."""
    if like is None:
        return None
    out = [[0.0] * like.shape[1] for _ in range(like.shape[0])]
    for u, v in zip(left, right, strict=True):
        for m, scale in enumerate(u):
            row = out[m]
            for n, value in enumerate(v):
                row[n] += scale * value
    return out


def _sum(rows, like):
    if like is None:
        return None
    total = [0.0] * like.shape[0]
    for row in rows:
        total = _add(total, row)
    return total


def _accumulate(target, values, accumulate):
    """target (+)= values, where the gradient is wanted."""
    if target is None or not target.size:
        return
    if accumulate:
        old = target.tolist()
        matrix = target.ndim == 2
        values = (
            [_add(u, v) for u, v in zip(old, values, strict=True)] if matrix else _add(old, values)
        )
    target[...] = values
