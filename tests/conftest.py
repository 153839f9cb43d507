"""Common fixtures: a build of the kernels, a dtype, random numbers."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from fastseq import _kernels

# No deadline, so that a busy machine does not fail a test.
hypothesis.settings.register_profile("fastseq", deadline=None)
hypothesis.settings.load_profile("fastseq")

# `benchmarks` is not part of the package. The path comes last, so that the sources do not hide
# an installed fastseq.
sys.path.append(str(Path(__file__).parents[1]))


def _builds() -> list[str]:
    """Every build that this machine must be able to run.

    The oracle alone as long as nothing is compiled. After that, a build that the processor
    supports and that cannot be imported makes its tests fail.
    """
    modules = [f"fastseq._kernels.{n}_{d}" for n in _kernels.COMPILED for d in _kernels.DTYPES]
    if not any(importlib.util.find_spec(module) for module in modules):
        return ["oracle"]
    importlib.import_module("fastseq._kernels._cpu")  # without it, only generic would be expected
    return [name for name in _kernels.NAMES if _kernels.supported(name)]


BUILDS = _builds()
if BUILDS == ["oracle"]:
    os.environ.setdefault("FASTSEQ_BACKEND", "oracle")  # "auto" warns that nothing is compiled
backend = importlib.import_module("fastseq.backend")


def pytest_collection_finish():
    """Use threads of our own: tests that import `fastseq.torch` have chosen PyTorch's."""
    if BUILDS != ["oracle"]:
        importlib.import_module("fastseq._kernels._team").use_openmp(0, 0)


@pytest.fixture(params=BUILDS)
def build(request):
    """Name of a build, which is the active backend during the test."""
    with backend.use_backend(request.param):
        yield request.param


@pytest.fixture(params=[name for name in BUILDS if name != "oracle"])
def compiled_build(request):
    """The same for compiled builds only, for work that would take the oracle minutes."""
    with backend.use_backend(request.param):
        yield request.param


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """A dtype of arrays that kernels take."""
    return np.dtype(request.param)


@pytest.fixture
def rng():
    """A generator with a fixed seed."""
    return np.random.default_rng(20)
