"""One layer in one direction over any build: every output and every gradient of a case."""

from types import SimpleNamespace

import numpy as np
from compare import frozen

from fastseq._kernels.records import Gradients, LayerCall, Saved, Weights


def each_array(function, arrays):
    """The arrays of a case, each replaced by function(array)."""
    return SimpleNamespace(**{name: function(a) for name, a in vars(arrays).items()})


class Rows:
    """Where the packed rows of a case stand in its padded arrays.

    Attributes
    ----------
    order : ndarray of int64 of shape (B,)
        Sequences by falling length.
    batch_sizes : ndarray of int64 of shape (T,), or None without lengths
    step, sequence : ndarray of int64 of shape (N,)
    """

    def __init__(self, case):
        lengths = np.array(case.lengths or [case.T] * case.B, np.int64)
        self.case, self.order = case, np.argsort(-lengths, kind="stable")
        steps = [[b for b in self.order if lengths[b] > t] for t in range(case.T)]
        self.batch_sizes = None
        if case.lengths is not None:
            self.batch_sizes = np.array([len(step) for step in steps], np.int64)
        self.step = np.array([t for t in range(case.T) for _ in steps[t]], np.int64)
        self.sequence = np.array([b for step in steps for b in step], np.int64)

    def __len__(self):
        return len(self.step)

    def pack(self, padded):
        """(T, B, ·) as (N, ·)."""
        return padded[self.step, self.sequence]

    def unpack(self, packed):
        """(N, ·) as (T, B, ·); the padding is NaN."""
        if packed is None:
            return None
        padded = np.full((self.case.T, self.case.B, packed.shape[1]), np.nan, packed.dtype)
        padded[self.step, self.sequence] = packed
        return padded

    def sort(self, states):
        """(B, ·) in the order of the packed sequences."""
        return None if states is None else states[self.order]

    def unsort(self, states):
        """The inverse of `sort`."""
        if states is None:
            return None
        out = np.empty_like(states)
        out[self.order] = states
        return out


def as_is(a):
    return a


def new_call(case, a, saves=True, place=as_is):
    """A call of `layer_forward` for the arrays of a case; what it writes is NaN.

    place : function
        Lays out the packed arrays and those that are written.
    """
    rows, dtype, row = Rows(case), a.x.dtype, case.row

    def nan(*shape):
        return place(np.full(shape, np.nan, dtype))

    n, H = len(rows), case.H
    saved = None
    if saves:
        saved = Saved(
            nan(n, case.width),
            nan(n, H) if row.has_c else None,
            nan(n, row.inner_gates * H) if row.inner_gates else None,
            None if a.w_hr is None else nan(n, H),
        )
    return LayerCall(
        row.id, _input(place, rows.pack(a.x)), Weights(*map(frozen_here, _weights(a))),
        _input(place, rows.sort(a.h0)), _input(place, rows.sort(a.c0)), frozen(rows.batch_sizes),
        case.reverse, nan(n, case.P), nan(case.B, case.P), nan(case.B, H) if row.has_c else None,
        saved, None if a.resets is None else frozen(rows.pack(a.resets)),
    )  # fmt: skip


def frozen_here(a):
    """A view of the same memory that cannot be written; None stays None."""
    if a is None:
        return None
    view = a.view()
    view.flags.writeable = False
    return view


def _input(place, a):
    return None if a is None else frozen_here(place(a))


def _weights(a):
    return a.w_ih, a.w_hh, a.b_ih, a.b_hh, a.w_hr


def forward(k, case, a, saves=True, place=as_is):
    """Run the layer; padding, and what no kernel has written, is NaN.

    Returns
    -------
    SimpleNamespace
        y (T, B, P), h_n, c_n, and unless `saves` is False gates (T, B, G·H) and, where the cell
        has them, c, inner and unprojected, else None; call, the packed one.
    """
    rows, call = Rows(case), new_call(case, a, saves, place)
    k.layer_forward(call)
    saved = {} if call.saved is None else call.saved._asdict()
    states = {name: rows.unpack(array) for name, array in saved.items()}
    return SimpleNamespace(
        y=rows.unpack(call.y), h_n=rows.unsort(call.h_n), c_n=rows.unsort(call.c_n), call=call,
        **states,
    )  # fmt: skip


def outputs(case, states):
    """(T, B, P): the states after each step; NaN in the padding."""
    return states.y


def final(case, states):
    """h and c after the last step of each sequence; c is None unless the cell has it."""
    return states.h_n, states.c_n


def before(case, a, states, t, b):
    """h and c of sequence b before its step t; c is None unless the cell has it."""
    length = case.T if case.lengths is None else case.lengths[b]
    if a.resets is not None and a.resets[t, b]:
        return np.zeros_like(a.h0[b]), None if a.c0 is None else np.zeros_like(a.c0[b])
    prev = t + 1 if case.reverse else t - 1
    if 0 <= prev < length:
        return states.y[prev, b], None if states.c is None else states.c[prev, b]
    return a.h0[b], None if a.c0 is None else a.c0[b]


def new_gradients(case, a, call, place=as_is):
    """Gradients for `layer_backward` of a case; what it writes is NaN."""
    rows = Rows(case)

    def like(array):
        return None if array is None else place(np.full(array.shape, np.nan, array.dtype))

    dstates = (None if d is None else place(rows.sort(d).copy()) for d in (a.dh, a.dc))
    dy = _input(place, rows.pack(a.dy))
    return Gradients(dy, *dstates, like(call.x), False, Weights(*map(like, call.weights)), False)


def backward(k, case, a, states, place=as_is):
    """Gradients of Σ dy·y (no padding) + Σ dh·h_n + Σ dc·c_n.

    Returns
    -------
    dict of str to ndarray
        "gates", where the cell has it "inner", and every input of the case by its name; NaN in
        the padding of "gates" and "inner", 0 in that of "x".
    """
    rows, call = Rows(case), states.call
    saved = Saved(*(None if s is None else place(s.copy()) for s in call.saved))
    call = call._replace(saved=saved)
    gradients = new_gradients(case, a, call, place)
    k.layer_backward(call, gradients)
    dx = np.zeros_like(a.x)
    dx[rows.step, rows.sequence] = gradients.x
    d = {"gates": rows.unpack(saved.gates), "inner": rows.unpack(saved.inner), "x": dx}
    d |= {"h0": rows.unsort(gradients.h), "c0": rows.unsort(gradients.c)}
    d |= gradients.weights._asdict()
    return {name: array for name, array in d.items() if array is not None}
