"""The kernels of the build and dtype under test, and of the oracle in double precision."""

import pytest

from fastseq import backend
from fastseq._kernels import oracle


@pytest.fixture
def k(build, dtype):
    """Kernels of every build."""
    return backend.kernels(dtype)


@pytest.fixture
def compiled(compiled_build, dtype):
    """Kernels of every compiled build."""
    return backend.kernels(dtype)


@pytest.fixture(scope="session")
def truth():
    """The oracle's kernels, which compute in double precision."""
    return oracle
