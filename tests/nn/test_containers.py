"""Sequential, ModuleList, and what comes after a recurrent layer."""

import numpy as np
import pytest

from fastseq import nn, no_grad


def test_sequential(rng):
    layers = [nn.Linear(3, 4, seed=0), nn.Dropout(0.0), nn.Linear(4, 2, seed=1)]
    stack, x = nn.Sequential(*layers), rng.normal(size=(5, 3)).astype(np.float32)
    assert len(stack) == 3
    assert list(stack) == layers
    assert stack[-1] is layers[2]
    y = stack(x)
    np.testing.assert_array_equal(y, layers[2](layers[1](layers[0](x))))
    dx = stack.backward(y)
    np.testing.assert_allclose(dx, y @ layers[2].weight.data @ layers[0].weight.data, rtol=1e-4)


def inputs(layout, rng):
    """Ids of 3 sequences, and their lengths."""
    ids = rng.integers(0, 7, (5, 3))
    return (ids.T if layout == "batch_first" else ids), [5, 2, 4]


CELLS = {
    "RNN": (nn.RNN, {}),
    "GRU": (nn.GRU, {"num_layers": 2}),
    "LSTM": (nn.LSTM, {"bidirectional": True}),
    "projected": (nn.LSTM, {"proj_size": 3, "num_layers": 2, "bidirectional": True}),
}
HEADS = {
    "outputs": lambda first, both: [nn.Select(0)],
    "last step": lambda first, both: [nn.LastStep(first)],
    "last step of output": lambda first, both: [nn.Select(0), nn.LastStep(first)],
    "state": lambda first, both: [nn.FinalState(both)],
}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("layout", ["time_first", "batch_first"])
@pytest.mark.parametrize("padded", [False, True])
def test_sequential_with_a_recurrent_layer(build, cell, head, layout, padded, rng):
    """All gradients against central differences."""
    kind, options = CELLS[cell]
    first, both = layout == "batch_first", options.get("bidirectional", False)
    rnn = kind(4, 5, batch_first=first, dtype="float64", seed=1, **options)
    width = (options.get("proj_size") or 5) * (1 + both)
    model = nn.Sequential(
        nn.Embedding(7, 4, dtype="float64", seed=0),
        rnn,
        *HEADS[head](first, both),
        nn.LayerNorm(width, dtype="float64"),
        nn.Tanh(),
        nn.Linear(width, 2, dtype="float64", seed=2),
    )
    ids, lengths = inputs(layout, rng)
    lengths = lengths if padded else None
    dy = rng.normal(size=model(ids, lengths).shape)
    model.forget_calls()
    assert model(ids, lengths).shape == ((*ids.shape, 2) if head == "outputs" else (3, 2))
    assert model.backward(dy) is None
    with no_grad():
        for name, p in [("0.weight", model[0].weight), ("1.weight_hh_l0", rnn.weight_hh_l0)]:
            index = (ids[0, 0], 1) if name == "0.weight" else (2, 1)
            expected = slope(lambda: np.sum(model(ids, lengths) * dy), p.data, index)
            assert p.grad[index] == pytest.approx(expected, abs=1e-7), name


def slope(loss, array, index, step=1e-6):
    before, values = array[index], []
    for sign in (1, -1):
        array[index] = before + sign * step
        values.append(loss())
    array[index] = before
    return (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize("lengths", [None, [5, 2, 4]])
def test_last_step_and_final_state_take_what_a_user_would(lengths, rng):
    x, last = rng.normal(size=(5, 3, 4)), np.array(lengths or [5, 5, 5]) - 1
    lstm = nn.LSTM(4, 6, num_layers=2, bidirectional=True, dtype="float64")
    y, (h, _) = result = lstm(x, lengths=lengths)
    np.testing.assert_array_equal(nn.LastStep()(result, lengths), y[last, np.arange(3)])
    np.testing.assert_array_equal(nn.LastStep(True)(y.swapaxes(0, 1), lengths)[1], y[last[1], 1])
    np.testing.assert_array_equal(nn.FinalState(True)(result), np.concatenate(h[2:], axis=1))
    np.testing.assert_array_equal(nn.FinalState()(result), h[3])
    one, alone = lstm(x[:, 0]), nn.LastStep(True)
    np.testing.assert_array_equal(alone(one), one[0][-1])
    grad, rest = alone.backward(np.ones(12))
    assert rest is None
    assert grad[-1].all()
    assert not grad[:-1].any()
    assert nn.FinalState(True)(one).shape == (12,)


def test_select_gives_its_gradient_and_none_to_the_others():
    select, x = nn.Select(-2), (np.ones(2), np.zeros(3), np.ones(1))
    assert select(x) is x[1]
    grad = select.backward(np.arange(3.0))
    assert [None if g is None else g.tolist() for g in grad] == [None, [0, 1, 2], None]
    lstm = nn.LSTM(3, 4, seed=0)
    model = nn.Sequential(lstm, nn.Select(1), nn.Select(0))
    h = model(np.ones((5, 2, 3), np.float32))
    assert h.shape == (1, 2, 4)
    assert model.backward(np.ones_like(h)).shape == (5, 2, 3)
    got = lstm.weight_hh_l0.grad.copy()
    lstm.zero_grad()
    lstm(np.ones((5, 2, 3), np.float32))
    lstm.backward(None, (np.ones_like(h), None))
    np.testing.assert_array_equal(got, lstm.weight_hh_l0.grad)


def test_a_recurrent_layer_at_the_end_takes_the_gradient_of_its_state(rng):
    linear, gru = nn.Linear(3, 3, seed=1), nn.GRU(3, 4, seed=0)
    model, x = nn.Sequential(linear, gru), rng.normal(size=(5, 2, 3)).astype(np.float32)
    y, h = gru(linear(x))
    want = linear.backward(gru.backward(y, h)[0])
    model(x)
    np.testing.assert_array_equal(model.backward((y, h)), want)


def test_a_missing_select_is_named():
    model = nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2))
    with pytest.raises(TypeError, match=r"got tuple; nn\.Select"):
        model(np.ones((5, 2, 3), np.float32))


@pytest.mark.parametrize("kind", [nn.ModuleList, lambda modules: nn.Sequential(*modules)])
def test_lists_of_modules_have_pytorchs_interface(kind):
    torch = pytest.importorskip("torch")
    theirs_kind = (
        torch.nn.ModuleList if kind is nn.ModuleList else lambda m: torch.nn.Sequential(*m)
    )
    ours, theirs = (
        make(m.Linear(n + 1, n + 2) for n in range(3)) for make, m in
        ((kind, nn), (theirs_kind, torch.nn))
    )  # fmt: skip

    def sizes(modules):
        return [m.in_features for m in modules]

    for step in (
        lambda m, new: m.append(new),
        lambda m, new: m.extend([new, new]),
        lambda m, new: m.insert(1, new),
        lambda m, new: m.insert(2, new),
        lambda m, new: m.__setitem__(-1, new),
        lambda m, new: m.__delitem__(0),
        lambda m, new: m.__delitem__(slice(1, 3)),
        lambda m, new: m.pop(1),
    ):
        step(ours, nn.Linear(9, 9))
        step(theirs, torch.nn.Linear(9, 9))
        assert sizes(ours) == sizes(theirs)
        assert list(ours.state_dict()) == list(theirs.state_dict())
    assert len(ours) == len(theirs)
    assert type(ours[1:]) is type(ours)
    assert sizes(ours[::-1]) == sizes(theirs[::-1])
    assert list(ours[1:].state_dict()) == list(ours.state_dict())[:-2]  # numbered from 0
    assert ours[1:][0] is ours[1]
    assert ours[0] in ours
    for index in (len(ours), -len(ours) - 1):
        with pytest.raises(IndexError):
            ours[index]
    before = list(ours)
    with pytest.raises(TypeError, match=r"modules\[\d\]: str is not a Module"):
        ours.extend([nn.Linear(1, 1), "a"])
    assert list(ours) == before


def test_module_list_inside_a_module_is_part_of_it():
    class Model(nn.Module):
        def __init__(self):
            self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2)])

    model = Model()
    assert list(model.state_dict()) == [
        "layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias",
    ]  # fmt: skip
    assert not model.eval().layers[1].training
    assert len(nn.ModuleList()) == 0
