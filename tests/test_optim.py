"""Optimizers and schedules, compared with PyTorch and with themselves."""

import copy
import json
import math
import pickle

import numpy as np
import pytest

from fastseq import nn, optim

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "initial_accumulator_value": 0.3}),
    ("Adagrad", {"weight_decay": 0.1, "eps": 1e-3}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True, "momentum": 0.9, "alpha": 0.9}),
    ("RMSprop", {"weight_decay": 0.1, "eps": 1e-3}),
    ("Adam", {}),
    ("Adam", {"betas": (0.8, 0.9), "weight_decay": 0.1, "eps": 1e-3}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.5}),
]
V, E, H, C = 9, 4, 5, 3
CLIPPING = ["none", "norm", "value", "norm inside", "value inside", "scale inside"]


@pytest.fixture
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)  # its threads wait for each other on a busy machine
    return module


class Classifier(nn.Module):
    """Embedding → LSTM → linear, on the last step's output."""

    def __init__(self, dtype="float64", seed=0):
        self.embedding = nn.Embedding(V, E, dtype=dtype, seed=seed)
        self.rnn = nn.LSTM(E, H, dtype=dtype, seed=seed)
        self.head = nn.Linear(H, C, dtype=dtype, seed=seed)
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, ids, targets):
        y, _ = self.rnn(self.embedding(ids))
        self.steps = y.shape
        return self.criterion(self.head(y[-1]), targets)

    def backward(self):
        dy = np.zeros(self.steps, self.rnn.dtype)
        dy[-1] = self.head.backward(self.criterion.backward())
        self.embedding.backward(self.rnn.backward(dy)[0])


def torch_classifier(torch, ours):
    layers = [torch.nn.Embedding(V, E), torch.nn.LSTM(E, H), torch.nn.Linear(H, C)]
    model = torch.nn.ModuleDict(dict(zip(("embedding", "rnn", "head"), layers, strict=True)))
    model = model.to(getattr(torch, ours.rnn.dtype.name))
    model.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    return model


def batches(count):
    rng = np.random.default_rng(1)
    return [(rng.integers(0, V - 2, (4, 3)), rng.integers(0, C, 3)) for _ in range(count)]


def ours_step(model, optimizer, batch, clipping="none"):
    optimizer.zero_grad()
    model(*batch)
    model.backward()
    if clipping == "norm":
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    if clipping == "value":
        nn.utils.clip_grad_value_(model.parameters(), 0.01)
    norm = optimizer.grad_norm()
    options = {
        "norm inside": {"scale": nn.utils.clip_coefficient(norm, 0.1)},
        "value inside": {"limit": 0.01},
        "scale inside": {"scale": 0.5, "limit": 0.01},
    }
    optimizer.step(**options.get(clipping, {}))


def torch_step(torch, model, optimizer, batch, clipping):
    ids, targets = map(torch.from_numpy, batch)
    optimizer.zero_grad()
    y, _ = model["rnn"](model["embedding"](ids))
    torch.nn.functional.cross_entropy(model["head"](y[-1]), targets).backward()
    if "norm" in clipping:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    if "scale" in clipping:
        for parameter in model.parameters():
            parameter.grad *= 0.5
    if "value" in clipping or "scale" in clipping:
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.01)
    optimizer.step()


def assert_close(ours, theirs, atol):
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("flatten", [False, True], ids=["parts", "flat"])
@pytest.mark.parametrize("clipping", CLIPPING)
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
def test_five_steps_as_pytorch(torch, name, options, clipping, flatten):
    for dtype, atol in (("float32", 1e-5), ("float64", 1e-10)):
        ours = Classifier(dtype)
        theirs = torch_classifier(torch, ours)
        if flatten:
            ours.flatten_parameters()
        first = getattr(optim, name)(ours.parameters(), **options)
        second = getattr(torch.optim, name)(theirs.parameters(), **options)
        for batch in batches(5):
            ours_step(ours, first, batch, clipping)
            torch_step(torch, theirs, second, batch, clipping)
        assert_close(ours, theirs, atol)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
def test_every_build(torch, build, name, options):
    ours = Classifier()
    theirs = torch_classifier(torch, ours)
    first = getattr(optim, name)(ours.parameters(), **options)
    second = getattr(torch.optim, name)(theirs.parameters(), **options)
    for batch in batches(3):
        ours_step(ours, first, batch)
        torch_step(torch, theirs, second, batch, "none")
    assert_close(ours, theirs, 1e-10)


def test_defaults_are_pytorchs(torch):
    p, q = nn.Parameter(np.zeros(1)), torch.zeros(1, requires_grad=True)
    for name in ("SGD", "Adagrad", "RMSprop", "Adam", "AdamW"):
        ours, theirs = getattr(optim, name)([p]), getattr(torch.optim, name)([q])
        for option, value in ours.defaults.items():
            if option != "eps_inside_sqrt":
                assert theirs.defaults[option] == value, (name, option)


def test_groups(torch):
    ours = Classifier()
    theirs = torch_classifier(torch, ours)

    def groups(parts):
        return [{"params": list(parts[0].parameters())},
                {"params": parts[1].parameters(), "lr": 0.5, "betas": (0.5, 0.6)}]  # fmt: skip

    first = optim.Adam(groups([ours.rnn, ours.head]), lr=0.1)
    second = torch.optim.Adam(groups([theirs["rnn"], theirs["head"]]), lr=0.1)
    for batch in batches(2):
        ours_step(ours, first, batch)
        torch_step(torch, theirs, second, batch, "none")
    first.add_param_group({"params": ours.embedding.weight, "lr": 0.2})
    second.add_param_group({"params": theirs["embedding"].weight, "lr": 0.2})
    first.param_groups[0]["lr"] = second.param_groups[0]["lr"] = 0.01
    for batch in batches(3):
        ours_step(ours, first, batch)
        torch_step(torch, theirs, second, batch, "none")
    assert_close(ours, theirs, 1e-10)


def test_adagrad_with_eps_inside_the_root():
    p = nn.Parameter(np.array([1.0, -2.0]))
    p.grad = [0.5, -0.25]
    optim.Adagrad([p], lr=0.1, eps=0.01, eps_inside_sqrt=True).step()
    g = np.array([0.5, -0.25])
    np.testing.assert_allclose(p.data, [1.0, -2.0] - 0.1 * g / np.sqrt(g * g + 0.01), rtol=1e-15)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
def test_row_sparse_gradients_change_nothing_but_the_work(name, options):
    results = []
    for sparse in (True, False):
        p = nn.Parameter(np.linspace(-1, 1, 12).reshape(6, 2), row_sparse=sparse)
        optimizer = getattr(optim, name)([p], **options)
        for rows in ([1, 4], [4, 5], []):
            optimizer.zero_grad()
            p.mark_rows(np.array(rows, np.int64))
            p.grad[rows] += 0.3
            norm = optimizer.grad_norm()
            assert norm == pytest.approx(0.3 * math.sqrt(2 * len(rows)))
            optimizer.step()
        results.append(p.data.tobytes())
    assert results[0] == results[1]


def test_parameters_that_move_are_followed():
    expected, moved = Classifier(), Classifier()
    first, second = (optim.Adam(m.parameters(), lr=0.1) for m in (expected, moved))
    for number, batch in enumerate(batches(4)):
        if number == 2:
            moved.flatten_parameters()
        ours_step(expected, first, batch)
        ours_step(moved, second, batch)
    for p, q in zip(expected.parameters(), moved.parameters(), strict=True):
        assert p.data.tobytes() == q.data.tobytes()
    assert len(second._current()[0]) < len(first._current()[0])


def through_json(state):
    return {**state, "param_groups": json.loads(json.dumps(state["param_groups"]))}


@pytest.mark.parametrize("moved", [copy.deepcopy, through_json], ids=["copy", "json"])
@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
def test_state_dict_resumes_exactly(name, options, moved):
    straight, data = Classifier(), batches(6)
    optimizer = getattr(optim, name)(straight.parameters(), **options)
    for batch in data[:3]:
        ours_step(straight, optimizer, batch)
    state, weights = moved(optimizer.state_dict()), straight.state_dict()
    for batch in data[3:]:
        ours_step(straight, optimizer, batch)
    resumed = Classifier(seed=7)
    resumed.load_state_dict(weights)
    again = getattr(optim, name)(resumed.parameters(), lr=123.0)
    if again.state_dict()["state"].keys() != state["state"].keys():  # other options, other arrays
        again = getattr(optim, name)(resumed.parameters(), **options)
    again.load_state_dict(state)
    for batch in data[3:]:
        ours_step(resumed, again, batch)
    for p, q in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert p.data.tobytes() == q.data.tobytes()
    assert all(isinstance(value, np.ndarray) for value in state["state"].values())


EARLIER_NAMES = {
    "SGD": {"momentum_buffer": "velocity"},
    "Adagrad": {"sum_of_squares": "memory"},
    "RMSprop": {"square_avg": "square", "grad_avg": "mean", "momentum_buffer": "velocity"},
    "Adam": {"exp_avg": "mean", "exp_avg_sq": "square"},
    "AdamW": {"exp_avg": "mean", "exp_avg_sq": "square"},
}


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
def test_state_dict_of_earlier_versions_loads(name, options):
    p = nn.Parameter(np.linspace(-1, 1, 12).reshape(6, 2))
    optimizer = getattr(optim, name)([p], **options)
    p.grad = np.linspace(-0.3, 0.5, 12).reshape(6, 2)
    optimizer.step()
    state = optimizer.state_dict()
    want = {key: array.tobytes() for key, array in state["state"].items()}
    earlier = {f"0.{new}": f"0.{old}" for new, old in EARLIER_NAMES[name].items()}
    state["state"] = {earlier[key]: array for key, array in state["state"].items()}
    again = getattr(optim, name)([nn.Parameter(p.data.copy())], **options)
    again.load_state_dict(state)
    loaded = again.state_dict()
    assert {key: array.tobytes() for key, array in loaded["state"].items()} == want
    assert loaded["param_groups"] == optimizer.state_dict()["param_groups"]


def test_state_has_pytorchs_names(torch):
    for name, options in (
        ("SGD", {"momentum": 0.9}),
        ("RMSprop", {"centered": True, "momentum": 0.9}),
        ("Adam", {}),
        ("AdamW", {}),
    ):
        p, q = nn.Parameter(np.ones(1)), torch.ones(1, requires_grad=True)
        p.grad, q.grad = np.ones(1), torch.ones(1)
        ours = getattr(optim, name)([p], lr=0.1, **options)
        theirs = getattr(torch.optim, name)([q], lr=0.1, **options)
        ours.step()
        theirs.step()
        names = {key.partition(".")[2] for key in ours.state_dict()["state"]}
        assert names == theirs.state[q].keys() - {"step"}


@pytest.mark.parametrize("state", [None, 3, [("state", {})], {}, {"state": {}}])
def test_load_state_dict_refuses_what_is_none(state):
    module = nn.Linear(2, 3)
    optimizer = optim.Adam(module.parameters())
    loaders = [optimizer, optim.StepLR(optimizer, 1), optim.ReduceLROnPlateau(optimizer)]
    for loader in loaders if isinstance(state, dict) else [module, *loaders]:
        with pytest.raises((TypeError, ValueError), match=r"^state(_dict)?: expected "):
            loader.load_state_dict(state)


def test_load_state_dict_changes_nothing_where_a_value_cannot_be_converted():
    optimizer = optim.Adam(nn.Linear(2, 3).parameters())
    state = optimizer.state_dict()
    *_, last = (name for name, array in state["state"].items() if array.size)
    for name, array in state["state"].items():
        state["state"][name] = np.full(array.shape, 1e300 if name == last else 1.0)
    with pytest.raises(RuntimeWarning, match="overflow"):
        optimizer.load_state_dict(state)
    assert not any(array.any() for array in optimizer.state_dict()["state"].values())


def test_load_state_dict_refuses_what_does_not_fit():
    p, q = nn.Parameter(np.ones(3)), nn.Parameter(np.ones((2, 2)))
    optimizer = optim.Adam([p, q])
    before = optimizer.state_dict()
    for other in (
        optim.Adam([p]),
        optim.Adam([{"params": [p]}, {"params": [q]}]),
        optim.Adagrad([p, q]),
        optim.Adam([q, p]),
    ):
        with pytest.raises(ValueError, match="state"):
            optimizer.load_state_dict(other.state_dict())
    assert optimizer.state_dict()["param_groups"] == before["param_groups"]


def test_pickle_with_the_model():
    model = Classifier()
    optimizer = optim.Adam(model.parameters())
    ours_step(model, optimizer, batches(1)[0])
    twin, copied = pickle.loads(pickle.dumps((model, optimizer)))
    for batch in batches(2):
        ours_step(model, optimizer, batch)
        ours_step(twin, copied, batch)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert p.data.tobytes() == q.data.tobytes()


P = nn.Parameter(np.zeros(2))


@pytest.mark.parametrize(
    ("name", "params", "options", "expected"),
    [
        ("SGD", [], {}, ValueError),
        ("SGD", P, {}, TypeError),
        ("SGD", [np.zeros(2)], {}, TypeError),
        ("SGD", [P, P], {}, ValueError),
        ("SGD", [{"params": [P]}, {"params": [P]}], {}, ValueError),
        ("SGD", [P, nn.Parameter(np.zeros(2, np.float32))], {}, ValueError),
        ("SGD", [P], {"lr": -1.0}, ValueError),
        ("SGD", [P], {"lr": float("nan")}, ValueError),
        ("SGD", [P], {"momentum": -1.0}, ValueError),
        ("SGD", [P], {"nesterov": True}, ValueError),
        ("SGD", [{"params": [P], "lr": -1.0}], {}, ValueError),
        ("Adagrad", [P], {"lr_decay": -1.0}, ValueError),
        ("Adagrad", [P], {"initial_accumulator_value": -1.0}, ValueError),
        ("RMSprop", [P], {"alpha": -1.0}, ValueError),
        ("Adam", [P], {"betas": (1.0, 0.9)}, ValueError),
        ("Adam", [P], {"betas": (0.9, -0.1)}, ValueError),
        ("AdamW", [P], {"eps": -1.0}, ValueError),
        ("AdamW", [P], {"weight_decay": -1.0}, ValueError),
    ],
)
def test_refused(name, params, options, expected):
    with pytest.raises(expected):
        getattr(optim, name)(params, **options)


# -- schedules ---------------------------------------------------------------------------------

SCHEDULES = {
    "step": lambda m, o: m.StepLR(o, 3, 0.5),
    "exponential": lambda m, o: m.ExponentialLR(o, 0.9),
    "cosine": lambda m, o: m.CosineAnnealingLR(o, 7, 0.01),
    "linear": lambda m, o: m.LinearLR(o),
    "linear down": lambda m, o: m.LinearLR(o, 1.0, 0.1, 4),
    "warm-up and cosine": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=4), m.CosineAnnealingLR(o, 10)], [4]
    ),
    "three": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.5), m.ExponentialLR(o, 0.8), m.StepLR(o, 2)], [3, 9]
    ),
}


def two_groups(module, make):
    return module.SGD([{"params": [make()], "lr": 0.3}, {"params": [make()]}], lr=0.1)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_as_pytorch(torch, name):
    first = two_groups(optim, lambda: nn.Parameter(np.zeros(1)))
    second = two_groups(torch.optim, lambda: torch.zeros(1, requires_grad=True))
    ours, theirs = SCHEDULES[name](optim, first), SCHEDULES[name](torch.optim.lr_scheduler, second)
    for _ in range(20):
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-9, abs=1e-15)
        first.step()
        second.step()
        ours.step()
        theirs.step()


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_resume_exactly(name):
    first, second = (two_groups(optim, lambda: nn.Parameter(np.zeros(1))) for _ in range(2))
    ours, again = SCHEDULES[name](optim, first), SCHEDULES[name](optim, second)
    for _ in range(5):
        ours.step()
    second.load_state_dict(first.state_dict())
    again.load_state_dict(json.loads(json.dumps(ours.state_dict())))
    for _ in range(8):
        assert again.get_last_lr() == ours.get_last_lr()
        ours.step()
        again.step()


PLATEAUS = [
    {"patience": 1},
    {"mode": "max", "patience": 2, "factor": 0.5, "cooldown": 2},
    {"threshold_mode": "abs", "threshold": 0.2, "patience": 0, "min_lr": 0.01},
    {"mode": "max", "threshold_mode": "abs", "threshold": 0.1, "patience": 0, "min_lr": [0.1, 0]},
    {"patience": 0, "eps": 0.05},
]


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_plateau_as_pytorch(torch, options, rng):
    first = two_groups(optim, lambda: nn.Parameter(np.zeros(1)))
    second = two_groups(torch.optim, lambda: torch.zeros(1, requires_grad=True))
    ours = optim.ReduceLROnPlateau(first, **options)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(second, **options)
    for number, metric in enumerate(rng.normal(size=30) ** 2):
        ours.step(metric)
        theirs.step(metric)
        assert ours.get_last_lr() == pytest.approx([g["lr"] for g in second.param_groups])
        if number == 12:
            state = ours.state_dict()
            ours = optim.ReduceLROnPlateau(first, **options)
            ours.load_state_dict(state)


def test_schedules_refuse():
    optimizer, other = (two_groups(optim, lambda: nn.Parameter(np.zeros(1))) for _ in range(2))
    with pytest.raises(TypeError, match="optimizer"):
        optim.StepLR(P, 3)
    for build in (
        lambda: optim.LinearLR(optimizer, 0.0),
        lambda: optim.LinearLR(optimizer, 0.5, 1.5),
        lambda: optim.SequentialLR(optimizer, [], []),
        lambda: optim.SequentialLR(optimizer, [optim.StepLR(optimizer, 1)], [3]),
        lambda: optim.SequentialLR(optimizer, [optim.StepLR(other, 1)], []),
        lambda: optim.SequentialLR(optimizer, [optim.ReduceLROnPlateau(optimizer)], []),
        lambda: optim.ReduceLROnPlateau(optimizer, factor=1.0),
        lambda: optim.ReduceLROnPlateau(optimizer, mode="mean"),
        lambda: optim.ReduceLROnPlateau(optimizer, threshold_mode="x"),
        lambda: optim.ReduceLROnPlateau(optimizer, min_lr=[0.0]),
        lambda: optim.StepLR(optimizer, 1).load_state_dict({"last_epoch": 1, "base_lrs": [1]}),
    ):
        with pytest.raises(ValueError):  # noqa: PT011  # each names its own argument
            build()
