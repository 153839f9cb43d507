import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Several test processes with many threads each would wait for each other."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def threads_of_pytorch():
    team = pytest.importorskip("fastseq._kernels._team")  # all goes to PyTorch without kernels
    from fastseq.torch.threads import share_pool

    share_pool()
    yield
    team.use_openmp(0, 0)


@pytest.fixture
def every_size(monkeypatch):
    """Run on the kernels even where PyTorch is faster."""
    from fastseq.torch import functions

    monkeypatch.setattr(functions, "is_short_call", lambda cell, args: False)
    monkeypatch.setattr(functions, "is_short_step", lambda cell, args: False)
