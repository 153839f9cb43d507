"""Promises of `layer_forward` and `layer_backward` beside right numbers."""

import itertools
from dataclasses import replace

import numpy as np
import one_layer
import pytest
from cases import Cell
from compare import assert_close, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from test_builds import assert_same_layer

from fastseq import _kernels, backend
from fastseq._kernels import oracle
from fastseq._kernels.cells import CELLS
from fastseq._kernels.records import Saved, Weights

# Every cell, and once more with a projection where it can have one: name and P of H = 5.
KINDS = [(row.name, P) for row in CELLS for P in (None, 3) if P is None or row.can_project]
every_kind = pytest.mark.parametrize(("cell", "P"), KINDS)
every_order = pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
LENGTHS = (2, 0, 4, 1)


def case_of(cell, P, ragged=False, T=4, **options):
    lengths = LENGTHS if ragged else None
    usual = {"lengths": lengths, "reverse": ragged, "resets": ragged}
    return Cell(cell, T, 4, 3, 5, P, **(usual | options))


def arrays_of(record):
    """Every array of a call or of gradients, by name, nested ones included."""
    found = {}
    for name, value in record._asdict().items():
        if isinstance(value, np.ndarray):
            found[name] = value
        elif isinstance(value, tuple):
            found |= {f"{name}.{n}": a for n, a in arrays_of(value).items()}
    return found


def run(k, case, a, change_call=None, change_gradients=None):
    """A forward and a backward pass on packed rows; both records."""
    call = one_layer.new_call(case, a)
    call = change_call(call) if change_call else call
    k.layer_forward(call)
    gradients = one_layer.new_gradients(case, a, call)
    gradients = change_gradients(gradients) if change_gradients else gradients
    k.layer_backward(call, gradients)
    return call, gradients


def assert_same(got, want, but=()):
    for name in got.keys() - set(but):
        assert same_bits(got[name], want[name]), name


# -- weights in place ----------------------------------------------------------------------


@every_kind
def test_weights_read_in_place_give_the_bits_of_packed_ones(compiled, dtype, cell, P):
    """One step of few rows reads weights in place: T = 1 against the first step of T = 3."""
    sizes = [*itertools.product((1, 2), (1, 15, 33, 64, 70)), (3, 33), (6, 15), (7, 64), (55, 33)]
    for B, H in [*sizes, (56, 17), (57, 17)]:
        assert_same_in_place(compiled, dtype, Cell(cell, 3, B, 4, H + bool(P), H if P else None))


def assert_same_in_place(compiled, dtype, long):
    short = replace(long, T=1)
    a = long.arrays(dtype)
    one = one_layer.each_array(one_layer.as_is, a)
    one.x, one.dy = a.x[:1].copy(), a.dy[:1].copy()
    want, got = one_layer.forward(compiled, long, a), one_layer.forward(compiled, short, one)
    for name in ("y", *Saved._fields):
        if getattr(want, name) is not None:
            assert same_bits(getattr(got, name), getattr(want, name)[:1]), name
    rest = one_layer.each_array(one_layer.as_is, a)
    rest.x, rest.dy = a.x[1:].copy(), a.dy[1:].copy()
    rest.h0, rest.c0 = got.h_n, got.c_n
    rest_case = replace(long, T=2)
    rest_states = one_layer.forward(compiled, rest_case, rest)
    assert same_bits(rest_states.y, want.y[1:])
    back = one_layer.backward(compiled, rest_case, rest, rest_states)
    one.dh, one.dc = back["h0"], back.get("c0")
    first = one_layer.backward(compiled, short, one, got)
    whole = one_layer.backward(compiled, long, a, want)
    for name in {"h0", "c0"} & whole.keys():
        assert same_bits(first[name], whole[name]), name
    for name in {"gates", "inner", "x"} & whole.keys():
        assert same_bits(np.concatenate([first[name], back[name]]), whole[name]), name


# -- gradients -----------------------------------------------------------------------------

OPTIONAL = ("x", *(f"weights.{name}" for name in Weights._fields))


def without(gradients, names):
    for name in names:
        outer, _, inner = name.partition(".")
        if inner:
            gradients = gradients._replace(weights=gradients.weights._replace(**{inner: None}))
        else:
            gradients = gradients._replace(**{outer: None})
    return gradients


@every_kind
@every_order
def test_a_gradient_left_out_changes_no_bit_of_the_others(k, dtype, cell, P, ragged):
    case = case_of(cell, P, ragged)
    a = case.arrays(dtype)
    call, whole = run(k, case, a)
    for left_out in (*((name,) for name in OPTIONAL), OPTIONAL):
        other, part = run(k, case, a, None, lambda g, names=left_out: without(g, names))
        assert not arrays_of(part).keys() & set(left_out)
        assert_same(arrays_of(part), arrays_of(whole))
        assert_same(arrays_of(other), arrays_of(call))


@every_kind
@every_order
@pytest.mark.parametrize(("accumulate", "add_to_x"), [(False, True), (True, False)])
def test_gradients_overwrite_or_add(k, dtype, cell, P, ragged, accumulate, add_to_x):
    case = case_of(cell, P, ragged)
    a = case.arrays(dtype)
    _, fresh = run(k, case, a)

    def start(gradients):
        for name in OPTIONAL:
            if name in arrays_of(gradients):
                arrays_of(gradients)[name][...] = 3
        return gradients._replace(accumulate=accumulate, add_to_x=add_to_x)

    _, got = run(k, case, a, change_gradients=start)
    for name, want in arrays_of(fresh).items():
        adds = add_to_x if name == "x" else accumulate
        if name in OPTIONAL and adds:
            # A sum that starts at 3 rounds at each of its terms.
            assert_close(arrays_of(got)[name], want + dtype.type(3), name)
        else:
            assert same_bits(arrays_of(got)[name], want), name


@every_kind
@every_order
def test_no_gradient_of_the_output_equals_zeros(k, dtype, cell, P, ragged):
    case = case_of(cell, P, ragged)
    a = case.arrays(dtype)
    a.dy[...] = 0
    call, want = run(k, case, a)
    other, got = run(k, case, a, change_gradients=lambda g: g._replace(y=None))
    # Zeros differ in their sign only.
    for first, second in ((arrays_of(got), arrays_of(want)), (arrays_of(other), arrays_of(call))):
        for name in first:
            assert np.array_equal(first[name], second[name], equal_nan=True), name


@every_kind
@every_order
def test_no_initial_state_equals_zeros(k, dtype, cell, P, ragged):
    case = case_of(cell, P, ragged)
    a = case.arrays(dtype)
    for zeros in (a.h0, a.c0):
        if zeros is not None:
            zeros[...] = 0
    want = [arrays_of(record) for record in run(k, case, a)]
    got = run(k, case, a, change_call=lambda call: call._replace(h0=None, c0=None))
    for one, other in zip(got, want, strict=True):
        assert_same(arrays_of(one), other)


@every_kind
@every_order
def test_outputs_of_two_directions_stand_side_by_side(k, dtype, cell, P, ragged):
    """y and dy may be columns of wider arrays; what lies between their rows is not touched."""
    case, side = case_of(cell, P, ragged), int(ragged)
    a = case.arrays(dtype)
    want = [arrays_of(record) for record in run(k, case, a)]
    columns = np.s_[:, side * case.P : (side + 1) * case.P]
    N = int(case.active().sum())
    wide, wide_dy = (np.full((N, 2 * case.P), np.nan, dtype) for _ in range(2))

    def spread(gradients):
        wide_dy[columns] = gradients.y
        return gradients._replace(y=one_layer.frozen_here(wide_dy)[columns])

    got = run(k, case, a, lambda call: call._replace(y=wide[columns]), spread)
    for one, other in zip(got, want, strict=True):
        assert_same({n: np.ascontiguousarray(v) for n, v in arrays_of(one).items()}, other)
    other_side = np.s_[:, (1 - side) * case.P : (2 - side) * case.P]
    assert np.isnan(wide[other_side]).all()
    assert np.isnan(wide_dy[other_side]).all()


def rows_apart(array):
    """The same matrix in the middle of a wider one, which is NaN elsewhere."""
    if array is None or array.ndim == 1 or array.dtype.kind != "f":
        return array
    wide = np.full((len(array) + 2, array.shape[1] + 3), np.nan, array.dtype)
    inside = wide[1:-1, 1:-2]
    inside[...] = array
    return inside


def around(view):
    """The elements of `rows_apart` that are not in the matrix."""
    outside = np.ones(view.base.shape, bool)
    outside[1:-1, 1:-2] = False
    return view.base[outside]


def every_array(record, change):
    fields = {}
    for name, value in record._asdict().items():
        if isinstance(value, tuple):
            fields[name] = every_array(value, change)
        else:
            fields[name] = change(value) if isinstance(value, np.ndarray) else value
    return type(record)(**fields)


@every_kind
@every_order
def test_rows_of_every_array_may_lie_apart(k, dtype, cell, P, ragged):
    """The same bits, and no element between the rows is read or written."""
    case = case_of(cell, P, ragged)
    a = case.arrays(dtype)
    want = [arrays_of(record) for record in run(k, case, a)]
    got = run(
        k, case, a, lambda call: every_array(call, rows_apart),
        lambda gradients: every_array(gradients, rows_apart),
    )  # fmt: skip
    for record, other in zip(got, want, strict=True):
        arrays = arrays_of(record)
        assert_same({n: np.ascontiguousarray(v) for n, v in arrays.items()}, other)
        views = [v for v in arrays.values() if v.ndim == 2 and v.base is not None]
        assert all(np.isnan(around(v)).all() for v in views if v.base.shape != v.shape)


@every_kind
@every_order
def test_a_backward_pass_leaves_outputs_and_inputs_alone(k, dtype, cell, P, ragged):
    case = case_of(cell, P, ragged)
    a = case.arrays(dtype)
    call = one_layer.new_call(case, a)
    k.layer_forward(call)
    before = {name: array.copy() for name, array in arrays_of(call).items()}
    gradients = one_layer.new_gradients(case, a, call)
    dy = gradients.y.copy()
    k.layer_backward(call, gradients)
    changed = {"saved.gates", "saved.inner"}
    assert_same(arrays_of(call), before, but=changed)
    assert same_bits(gradients.y, dy)


# -- resets --------------------------------------------------------------------------------


@every_kind
@every_order
def test_resets_at_no_step_change_no_bit(k, dtype, cell, P, ragged):
    case = case_of(cell, P, ragged, resets=False)
    a = case.arrays(dtype)
    want = run(k, case, a)
    none = np.zeros(len(want[0].y), np.uint8)
    got = run(k, case, a, lambda call: call._replace(resets=none))
    for one, other in zip(got, want, strict=True):
        arrays = arrays_of(one)
        assert arrays.pop("resets", none) is none
        assert_same(arrays, arrays_of(other))


def segments(case, resets, b):
    """Slices of sequence b's steps, in the order of computation, that resets part."""
    length = case.T if case.lengths is None else case.lengths[b]
    steps = range(length)[:: -1 if case.reverse else 1]
    starts = [n for n in range(length) if n == 0 or resets[steps[n], b]]
    for start, end in itertools.pairwise([*starts, length] if starts else []):
        part = steps[start:end]
        yield slice(min(part), max(part) + 1)


def one_segment(case, a, b, steps, is_first, is_last):
    """The arrays of a segment as a sequence of its own."""
    one = one_layer.each_array(one_layer.as_is, a)
    one.x, one.dy = a.x[steps, b : b + 1].copy(), a.dy[steps, b : b + 1].copy()
    one.lengths = one.resets = None
    start = steps.stop - 1 if case.reverse else steps.start
    for name, keeps in [("h0", is_first and not a.resets[start, b]), ("dh", is_last)]:
        for state in (name, name.replace("h", "c")):
            if getattr(a, state) is not None:
                rows = getattr(a, state)[b : b + 1]
                setattr(one, state, rows.copy() if keeps else np.zeros_like(rows))
    return one


@every_kind
@every_order
@pytest.mark.parametrize("reverse", [False, True])
def test_resets_part_a_sequence_into_segments(k, dtype, cell, P, ragged, reverse):
    """The bits of segments that run one by one, and the sum of their weights' gradients."""
    case = case_of(cell, P, ragged, reverse=reverse, resets=True, T=6)
    a = case.arrays(dtype)
    whole = one_layer.forward(k, case, a)
    back = one_layer.backward(k, case, a, whole)
    sums = {name: np.zeros_like(back[name]) for name in Weights._fields if name in back}
    for b in range(case.B):
        parts = list(segments(case, a.resets, b))
        for n, steps in enumerate(parts):
            alone = replace(case, T=steps.stop - steps.start, B=1, lengths=None, resets=False)
            one = one_segment(case, a, b, steps, n == 0, n == len(parts) - 1)
            states = one_layer.forward(k, alone, one)
            gradients = one_layer.backward(k, alone, one, states)
            assert same_bits(whole.y[steps, b], states.y[:, 0])
            for name in {"gates", "inner", "x"} & back.keys():
                assert same_bits(back[name][steps, b], gradients[name][:, 0]), name
            for name in sums:
                sums[name] += gradients[name]
            start = steps.stop - 1 if reverse else steps.start
            for name in {"h0", "c0"} & back.keys() if n == 0 else ():
                zeros = np.zeros_like(back[name][b])
                want = zeros if a.resets[start, b] else gradients[name][0]
                assert same_bits(back[name][b], want), name
        if parts:
            assert same_bits(whole.h_n[b], states.h_n[0])
            assert case.row.has_c is False or same_bits(whole.c_n[b], states.c_n[0])
    for name, total in sums.items():
        assert_close(back[name], total, name, 64)


@every_kind
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_does_not_pass_a_reset(k, dtype, cell, P, value):
    case = case_of(cell, P, resets=True, reverse=False)
    a = case.arrays(dtype)
    a.resets[...] = 0
    a.resets[2] = 1
    want = one_layer.forward(k, case, a)
    a.x[0, 1] = a.h0[2] = value
    got = one_layer.forward(k, case, a)
    assert same_bits(got.y[2:], want.y[2:])
    assert same_bits(got.h_n, want.h_n)
    back = one_layer.backward(k, case, a, got)
    assert np.isfinite(back["gates"][2:]).all()


@every_kind
def test_wrong_resets_are_refused(compiled, dtype, cell, P):
    call = one_layer.new_call(case_of(cell, P), case_of(cell, P).arrays(dtype))
    for wrong, message in [
        (np.zeros(15, np.uint8), "resets: length: expected 16, got 15"),
        (np.zeros(16, np.int64), "Buffer dtype mismatch"),
        (np.zeros((4, 4), np.uint8), "wrong number of dimensions"),
    ]:
        bad = call._replace(resets=wrong)
        assert_refused(lambda bad=bad: compiled.layer_forward(bad), bad, ValueError, message)


# -- input projection from elsewhere -------------------------------------------------------


@every_kind
@every_order
@pytest.mark.parametrize("has_weight", [False, True])
def test_the_input_projection_may_come_from_elsewhere(k, dtype, cell, P, ragged, has_weight):
    case = case_of(cell, P, ragged)
    a = case.arrays("float64")
    want = one_layer.forward(oracle, case, a)
    want_back = one_layer.backward(oracle, case, a, want)
    b = a.b_ih.copy()
    outer = case.width - case.row.inner_gates * case.H
    b[:outer] += a.b_hh[:outer]
    rows, a = one_layer.Rows(case), case.arrays(dtype)
    call = one_layer.new_call(case, a)
    call.saved.gates[...] = rows.pack(case.arrays("float64").x) @ case.arrays("float64").w_ih.T + b
    call = call._replace(x=None)
    if not has_weight:
        call = call._replace(weights=call.weights._replace(w_ih=None))
    k.layer_forward(call)
    assert_close(call.y, rows.pack(want.y), "y")
    gradients = without(one_layer.new_gradients(case, a, call), ["weights.w_ih"])
    k.layer_backward(call, gradients)
    assert_close(call.saved.gates, rows.pack(want_back["gates"]), "d gates", 32)
    for name in ("w_hh", "b_ih", "b_hh"):
        assert_close(getattr(gradients.weights, name), want_back[name], name, 32)


# -- errors --------------------------------------------------------------------------------


def narrower(array):
    return np.ascontiguousarray(array[..., :-1])


def shorter(array):
    return np.ascontiguousarray(array[:-1])


def other_dtype(array):
    return array.astype("float32" if array.dtype == "float64" else "float64")


def apart(array):
    """The same matrix with a gap between neighbours of a row."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def set_field(record, name, change):
    outer, _, inner = name.partition(".")
    value = getattr(record, outer)
    value = set_field(value, inner, change) if inner else change(value)
    return record._replace(**{outer: value})


CHANGES = {
    narrower: (ValueError, "expected"),
    shorter: (ValueError, "expected"),
    other_dtype: (TypeError, "expected numbers of"),
    apart: (ValueError, "expected contiguous columns"),
}


def assert_refused(call, record, error, message):
    """The call raises and has written nothing."""
    before = {name: array.copy() for name, array in arrays_of(record).items()}
    with pytest.raises(error, match=message):
        call()
    assert_same(arrays_of(record), before)


def wrong_arrays(record, change):
    """The record once for each of its arrays, which has been changed."""
    for name in arrays_of(record):
        is_vector = name.rpartition(".")[2] in ("b_ih", "b_hh", "batch_sizes", "resets")
        if not is_vector or (change is not shorter and name.startswith("weights.b")):
            yield set_field(record, name, change)


@every_kind
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_wrong_array_is_refused(compiled, dtype, cell, P, change):
    """Any array of a call, forward and backward, and of gradients."""
    case = case_of(cell, P, ragged=True)
    a = case.arrays(dtype)
    for bad in wrong_arrays(one_layer.new_call(case, a), change):
        assert_refused(lambda bad=bad: compiled.layer_forward(bad), bad, *CHANGES[change])
    call = one_layer.new_call(case, a)
    compiled.layer_forward(call)
    gradients = one_layer.new_gradients(case, a, call)
    before = [{n: v.copy() for n, v in arrays_of(r).items()} for r in (call, gradients)]
    for bad in wrong_arrays(call, change):
        assert_refused(
            lambda bad=bad: compiled.layer_backward(bad, gradients), bad, *CHANGES[change]
        )
    for bad in wrong_arrays(gradients, change):
        assert_refused(lambda bad=bad: compiled.layer_backward(call, bad), bad, *CHANGES[change])
    assert_same(arrays_of(call), before[0])
    assert_same(arrays_of(gradients), before[1])


MAY_BE_MISSING = ("x", "h0", "c0", "batch_sizes", "weights.w_hr", "resets")


@every_kind
def test_a_missing_array_is_refused(compiled, dtype, cell, P):
    case = case_of(cell, P, ragged=True)
    call = one_layer.new_call(case, case.arrays(dtype))
    for name in arrays_of(call).keys() - set(MAY_BE_MISSING):
        bad = set_field(call, name, lambda array: None)
        assert_refused(lambda bad=bad: compiled.layer_forward(bad), bad, ValueError, "expected")


@every_kind
def test_calls_that_make_no_sense_are_refused(compiled, dtype, cell, P):
    case = case_of(cell, P, ragged=True)
    a = case.arrays(dtype)
    call = one_layer.new_call(case, a)
    for changes, message in [
        ({"cell": -1}, "cell: expected the id of a cell, got -1"),
        ({"cell": len(CELLS)}, f"cell: expected the id of a cell, got {len(CELLS)}"),
        ({"cell": 32}, "cell: expected the id of a cell, got 32"),
        ({"x": None, "saved": None}, "x: expected an array, since nothing is saved"),
    ]:
        bad = call._replace(**changes)
        assert_refused(lambda bad=bad: compiled.layer_forward(bad), bad, ValueError, message)
    compiled.layer_forward(call)
    gradients = one_layer.new_gradients(case, a, call)
    for changes, message in [
        ({"saved": None}, "saved: expected arrays, got None"),
        ({"x": None}, "x: expected an array, got None"),
    ]:
        bad = call._replace(**changes)
        assert_refused(
            lambda bad=bad: compiled.layer_backward(bad, gradients), gradients, ValueError, message
        )
    for name, value in [("h", None), ("c", None), ("weights.w_hr", np.empty((P or 5, 5), dtype))]:
        if (name == "c" and not case.row.has_c) or (name == "weights.w_hr" and P):
            continue
        bad = set_field(gradients, name, lambda _, value=value: value)
        assert_refused(
            lambda bad=bad: compiled.layer_backward(call, bad), bad, ValueError, "got None"
        )


@every_kind
def test_wrong_batch_sizes_are_refused(compiled, dtype, cell, P):
    case = case_of(cell, P, ragged=True)
    a = case.arrays(dtype)
    call = one_layer.new_call(case, a)
    compiled.layer_forward(call)
    gradients = one_layer.new_gradients(case, a, call)
    for batch_sizes, message in [
        ([3, 2, 1, 2], "batch_sizes: expected falling numbers up to 4, got 2 at step 3"),
        ([5, 2], "batch_sizes: expected falling numbers up to 4, got 5 at step 0"),
        ([4, 4, -1], "batch_sizes: expected falling numbers up to 4, got -1 at step 2"),
        ([3, 2, 1], "batch_sizes: sum: expected 7, got 6"),
        ([], "batch_sizes: sum: expected 7, got 0"),
    ]:
        bad = call._replace(batch_sizes=np.array(batch_sizes, np.int64))
        assert_refused(lambda bad=bad: compiled.layer_forward(bad), bad, ValueError, message)
        assert_refused(
            lambda bad=bad: compiled.layer_backward(bad, gradients), gradients, ValueError, message
        )


def test_rows_that_make_no_whole_steps_are_refused(compiled, dtype):
    case = case_of("gru", None, ragged=True)  # 7 rows of 4 sequences
    bad = one_layer.new_call(case, case.arrays(dtype))._replace(batch_sizes=None)
    assert_refused(lambda: compiled.layer_forward(bad), bad, ValueError, "y: rows: expected 4")


# -- random cases --------------------------------------------------------------------------


@st.composite
def cases(draw):
    cell, P = draw(st.sampled_from(KINDS))
    T, B, I, H = (draw(st.integers(1, most)) for most in (6, 9, 5, 40))  # noqa: E741
    lengths = draw(st.none() | st.tuples(*[st.integers(0, T)] * B))
    if P:
        H += 1
        P = draw(st.integers(1, H - 1))
    flags = {name: draw(st.booleans()) for name in ("bias", "reverse", "resets")}
    return Cell(cell, T, B, I, H, P, lengths=lengths, **flags)


@settings(max_examples=60)
@given(case=cases())
def test_random_cases_agree_with_the_oracle(case):
    """Forward and every gradient, in every build and both dtypes."""
    a = case.arrays("float64")
    states = one_layer.forward(oracle, case, a)
    reference = states, one_layer.backward(oracle, case, a, states)
    for name in backend.available_backends():
        if name != "oracle":
            for dtype in _kernels.DTYPES:
                assert_same_layer(_kernels.load(name, dtype), case, np.dtype(dtype), reference)
