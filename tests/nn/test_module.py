"""Parameters, modules, state dictionaries."""

import copy
import pickle

import numpy as np
import pytest

from fastseq import nn, optim
from fastseq.optim.segments import segments


class Tagger(nn.Module):
    """Embedding, LSTM, linear: a module with sub-modules and a parameter of its own."""

    def __init__(self, seed=0):
        self.embedding = nn.Embedding(7, 3, seed=seed)
        self.rnn = nn.LSTM(3, 4, num_layers=2, bidirectional=True, seed=seed)
        self.head = nn.Sequential(nn.Dropout(0.2, seed=seed), nn.Linear(8, 5, seed=seed))
        self.scale = nn.Parameter(np.ones(2, np.float32))

    def forward(self, ids):
        return self.head(self.rnn(self.embedding(ids))[0])

    def backward(self, grad):
        self.embedding.backward(self.rnn.backward(self.head.backward(grad))[0])


IDS = np.array([[0, 3], [2, 6], [1, 1]])


def train_once(module):
    y = module(IDS)
    module.backward(np.ones_like(y))
    return y


def test_names_and_order():
    module = Tagger()
    names = [name for name, _ in module.named_parameters()]
    assert names[:2] == ["scale", "embedding.weight"]
    assert names[2:7] == [
        "rnn.weight_ih_l0",
        "rnn.weight_hh_l0",
        "rnn.bias_ih_l0",
        "rnn.bias_hh_l0",
        "rnn.weight_ih_l0_reverse",
    ]
    assert names[-2:] == ["head.1.weight", "head.1.bias"]
    assert list(module.state_dict()) == names
    for p, (_, q) in zip(module.parameters(), module.named_parameters(), strict=True):
        assert p is q


def test_a_shared_parameter_counts_once_and_is_stored_under_both_names():
    module = nn.Sequential(nn.Linear(3, 3, seed=0), nn.Linear(3, 3, seed=1))
    first, second = module
    second.weight = first.weight
    assert len(list(module.parameters())) == 3
    assert {"0.weight", "1.weight"} <= module.state_dict().keys()
    module.flatten_parameters()
    assert second.weight is first.weight


def test_train_and_eval_reach_every_module():
    module = Tagger()
    assert module.training
    assert module.eval() is module
    assert not any(m.training for m in module.modules())
    assert module.head[0].training is False
    module.train()
    assert all(m.training for m in module.modules())


@pytest.mark.parametrize("flatten", [False, True])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(flatten, copied):
    module = Tagger()
    if flatten:
        module.flatten_parameters()
    train_once(module)
    twin = copied(module)
    for p, q in zip(module.parameters(), twin.parameters(), strict=True):
        assert p.data.tobytes() == q.data.tobytes()
        assert p.grad.tobytes() == q.grad.tobytes()
        assert not np.shares_memory(p.data, q.data)
    assert len(list(segments(twin.parameters()))) == len(list(segments(module.parameters())))
    assert train_once(twin).tobytes() == train_once(module).tobytes()


def test_flattening_keeps_values_and_makes_neighbours():
    module = Tagger()
    before = module.state_dict()
    train_once(module)
    gradients = [p.grad.copy() for p in module.parameters()]
    assert len(list(segments(module.parameters()))) == 4
    module.flatten_parameters()
    assert len(list(segments(module.parameters()))) == 3  # the embedding stands apart
    for name, value in module.state_dict().items():
        assert value.tobytes() == before[name].tobytes()
    for p, gradient in zip(module.parameters(), gradients, strict=True):
        assert p.grad.tobytes() == gradient.tobytes()
    assert next(module.parameters()).data.ctypes.data % 64 == 0


def test_zero_grad_clears_every_gradient():
    module = Tagger()
    for _ in range(2):
        train_once(module)
        assert module.embedding.weight.rows.tolist() == [0, 1, 2, 3, 6]
        assert all(p.grad.any() for name, p in module.named_parameters() if name != "scale")
        module.zero_grad()
        assert not any(p.grad.any() for p in module.parameters())


def test_assigning_to_data_and_grad_copies():
    layer = nn.Linear(2, 2)
    view, table = layer.weight.data, nn.Embedding(3, 2).weight
    layer.weight.data = [[1, 2], [3, 4]]
    layer.weight.data += 1
    assert view.tolist() == [[2, 3], [4, 5]]
    with pytest.raises(ValueError, match=r"data: expected shape \(2, 2\), got \(2,\)"):
        layer.weight.data = [1, 2]
    table.grad = np.ones((3, 2))
    assert table.rows.tolist() == [0, 1, 2]
    table.zero_grad()
    assert not table.grad.any()


def test_a_scalar_parameter():
    p = nn.Parameter(np.float32(2))
    p.grad = 3
    assert p.shape == ()
    assert nn.utils.clip_grad_norm_(p, 1.0) == 3
    optim.SGD([p], lr=1.0).step()
    assert p.data == pytest.approx(1, abs=1e-5)


# -- state dictionaries ------------------------------------------------------------------------


def test_state_dict_is_a_copy():
    module = Tagger()
    state = module.state_dict()
    state["rnn.weight_hh_l1"][...] = 9
    assert not (module.rnn.weight_hh_l1.data == 9).any()
    assert all(value.flags.c_contiguous for value in state.values())


@pytest.mark.parametrize(
    "layout", [np.asfortranarray, lambda a: a[::-1].copy()[::-1], lambda a: a.astype(">f8")]
)
def test_load_state_dict_takes_any_memory_order(layout):
    source, target = Tagger(0), Tagger(1)
    keys = target.load_state_dict({k: layout(v) for k, v in source.state_dict().items()})
    assert keys == ([], [])
    for name, value in target.state_dict().items():
        assert value.tobytes() == source.state_dict()[name].tobytes()


def test_transposed_parameters_travel_as_they_are_shown():
    class Table(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.arange(6.0).reshape(2, 3), transposed=True)

    module = Table()
    state = module.state_dict()
    assert state["weight"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert state["weight"].flags.c_contiguous
    module.load_state_dict({"weight": state["weight"] * 2})
    assert module.weight.data.tolist() == [[0, 2, 4], [6, 8, 10]]


def test_load_state_dict_lists_everything_that_is_wrong_and_changes_nothing():
    module = Tagger()
    before, state = module.state_dict(), Tagger(1).state_dict()
    del state["rnn.bias_hh_l0"], state["scale"]
    state |= {"more": np.zeros(1), "other.weight": np.zeros(1)}
    state["head.1.bias"] = np.zeros((5, 1))
    state["rnn.weight_hh_l0"] = np.zeros((16, 4), object)
    with pytest.raises(RuntimeError) as caught:
        module.load_state_dict(state)
    message = str(caught.value)
    assert message.startswith("Error(s) in loading state_dict for Tagger:")
    for part in ("scale", "rnn.bias_hh_l0", "more", "other.weight", "head.1.bias", "(5, 1)",
                 "rnn.weight_hh_l0"):  # fmt: skip
        assert part in message
    for name, value in module.state_dict().items():
        assert value.tobytes() == before[name].tobytes()


@pytest.mark.filterwarnings("error")
def test_load_state_dict_changes_nothing_where_a_value_cannot_be_converted():
    module = Tagger()
    before, state = module.state_dict(), Tagger(1).state_dict()
    last = list(state)[-1]
    state[last] = np.full(state[last].shape, 1e300)
    with pytest.raises(RuntimeWarning, match="overflow"):
        module.load_state_dict(state)
    for name, value in module.state_dict().items():
        assert value.tobytes() == before[name].tobytes()


def test_load_state_dict_without_strict():
    module, other = Tagger(0), Tagger(1)
    state = {"scale": np.array([5, 6]), "more": np.zeros(1)}
    keys = module.load_state_dict(state, strict=False)
    assert keys.unexpected_keys == ["more"]
    assert len(keys.missing_keys) == len(other.state_dict()) - 1
    assert module.scale.data.tolist() == [5, 6]
    with pytest.raises(RuntimeError, match="size mismatch for scale"):
        module.load_state_dict({"scale": np.zeros(3)}, strict=False)


def test_state_dict_to_and_from_pytorch():
    torch = pytest.importorskip("torch")
    for options in ({"num_layers": 2}, {"bidirectional": True, "bias": False}, {"proj_size": 2}):
        ours, theirs = nn.LSTM(3, 4, **options), torch.nn.LSTM(3, 4, **options)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        ours.load_state_dict(theirs.state_dict())
        for name, value in ours.state_dict().items():
            np.testing.assert_array_equal(value, theirs.state_dict()[name].numpy())
        ours.reset_parameters()
        theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
        np.testing.assert_array_equal(ours.weight_hh_l0.data, theirs.weight_hh_l0.detach().numpy())


# -- repr --------------------------------------------------------------------------------------

LAYERS = [
    ("LSTM", (3, 4), {"num_layers": 2, "dropout": 0.5, "proj_size": 2, "bias": False}),
    ("GRU", (3, 4), {"batch_first": True, "bidirectional": True}),
    ("RNN", (3, 4), {}),
    ("Linear", (3, 4), {"bias": False}),
    ("Embedding", (3, 4), {"padding_idx": -1}),
    ("Dropout", (0.5,), {}),
    ("CrossEntropyLoss", (), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), LAYERS, ids=str)
def test_repr_is_pytorchs(name, args, options):
    torch = pytest.importorskip("torch")
    assert repr(getattr(nn, name)(*args, **options)) == (
        repr(getattr(torch.nn, name)(*args, **options)).replace(", inplace=False", "")
    )


def test_repr_of_nested_modules():
    torch = pytest.importorskip("torch")
    ours, theirs = (
        m.Sequential(m.Linear(1, 2), m.Sequential(m.LSTM(2, 3), m.Linear(3, 1)))
        for m in (nn, torch.nn)
    )
    assert repr(ours) == repr(theirs)
    assert repr(ours[0].weight) == "Parameter(shape=(2, 1), dtype=float32)"
