"""RNN, LSTM and GRU against PyTorch: outputs, states and every gradient."""

import random

import pytest
from torch_twins import Case, assert_same, run_ours, run_torch

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


def draw(seed):
    """A random configuration."""
    r = random.Random(seed)
    cell, H = r.choice(["RNN", "GRU", "LSTM"]), r.randint(2, 5)
    unbatched = r.random() < 0.2
    return Case(
        cell,
        T=r.randint(1, 5),
        B=r.randint(1, 4),
        I=r.randint(1, 5),
        H=H,
        layers=r.randint(1, 3),
        bidirectional=r.random() < 0.5,
        proj_size=r.randint(0, H - 1) if cell == "LSTM" else 0,
        nonlinearity=r.choice(["tanh", "relu"]),
        bias=r.random() < 0.7,
        batch_first=r.random() < 0.5,
        unbatched=unbatched,
        lengths=not unbatched and r.random() < 0.5,
        state=r.random() < 0.7,
        grad_state=r.random() < 0.7,
        dtype=r.choice(["float32", "float64"]),
        seed=seed,
        resets=r.random() < 0.3,
    )


def check(case):
    ours, theirs = case.build()
    arrays = case.arrays()
    assert_same(run_ours(case, ours, arrays), run_torch(case, theirs, arrays), case.dtype)


@pytest.mark.parametrize("seed", range(300))
def test_random_configurations(seed):
    check(draw(seed))


@pytest.mark.parametrize("seed", range(1000, 1012))
def test_every_build(build, seed):
    check(draw(seed))


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("options", [{}, {"batch_first": True, "lengths": True}], ids=str)
def test_resets(build, cell, bidirectional, options):
    case = Case(cell, T=6, B=4, layers=2, bidirectional=bidirectional, resets=True, **options)
    assert case.marks().any()
    check(case)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("size", [(9, 7, 17, 33), (2, 33, 40, 16), (30, 1, 5, 64)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes_beyond_one_vector(compiled_build, cell, size, dtype):
    T, B, I, H = size  # noqa: E741
    check(Case(cell, T, B, I, H, layers=2, bidirectional=True, lengths=True, dtype=dtype))


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_gradients_accumulate_until_cleared(cell):
    case = Case(cell, layers=2, bidirectional=True)
    ours, theirs = case.build()
    for _ in range(2):  # PyTorch's gradients accumulate, too
        expected = run_torch(case, theirs, case.arrays())
        got = run_ours(case, ours, case.arrays())
    assert_same(got, expected, case.dtype)
    ours.zero_grad()
    assert not any(p.grad.any() for p in ours.parameters())


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_shapes_that_change_from_call_to_call(cell):
    ours, theirs = Case(cell, layers=2, bidirectional=True).build()
    for T, B in [(4, 3), (2, 5), (6, 1), (4, 3), (1, 1)]:
        case = Case(cell, T, B, layers=2, bidirectional=True, lengths=B > 1)
        ours.zero_grad()
        theirs.zero_grad()
        got, expected = (
            run_ours(case, ours, case.arrays()),
            run_torch(case, theirs, case.arrays()),
        )
        assert_same(got, expected, case.dtype)


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_no_rows(cell):
    case = Case(cell, B=0, layers=2, bidirectional=True)
    ours, _ = case.build()
    out = run_ours(case, ours, case.arrays())
    assert out["output"].shape == (case.T, 0, 2 * case.H)
    assert out["h_n"].shape == (4, 0, case.H)
    assert out["dx"].shape == (case.T, 0, case.I)
    assert not any(p.grad.any() for p in ours.parameters())
