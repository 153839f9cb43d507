"""The pool of threads: several callers at once, forked children, more threads than processors."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastseq
from fastseq import backend, nn

# A recurrent weight that a team divides by columns, which takes barriers at every step; and a
# batch that it divides by rows.
SHAPES = {"columns": (600, 12, 3), "rows": (96, 30, 64)}


@pytest.fixture(autouse=True)
def threads():
    before = backend.get_num_threads()
    yield backend.set_num_threads
    backend.set_num_threads(before)


def gradients(shape):
    """All results of an LSTM's forward and backward pass."""
    H, T, B = SHAPES[shape]
    rng = np.random.default_rng(7)
    layer = nn.LSTM(H, H)
    for parameter in layer.parameters():
        parameter.data[...] = rng.uniform(-0.1, 0.1, parameter.shape)
    y, _ = layer(rng.standard_normal((T, B, H), np.float32))
    dx, _ = layer.backward(rng.standard_normal(y.shape, np.float32))
    return [a.tobytes() for a in (y, dx, *(p.grad for p in layer.parameters()))]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("compiled_build")
def test_callers_on_several_threads(shape, threads):
    threads(1)
    want = gradients(shape)
    threads(3)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(gradients, [shape] * 12):
            assert got == want


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_threads_of_its_own():
    code = """if True:
        import os, test_team
        from fastseq import backend
        backend.set_num_threads(2)
        want = test_team.gradients("columns")
        child = os.fork()
        if not child:
            same = test_team.gradients("columns") == want
            threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 2
            os._exit(0 if same and threads == 2 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert test_team.gradients("columns") == want
    """
    folders = [str(Path(fastseq.__file__).parents[1]), str(Path(__file__).parent)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(folders),
        "OPENBLAS_NUM_THREADS": "1",
    }
    if "oracle" in (backend.get_backend(), os.environ.get("FASTSEQ_BACKEND")):
        pytest.skip("the oracle has no threads")
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, timeout=60,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_oracle_counts_one_thread(threads):
    threads(3)
    assert backend.get_num_threads() == (1 if backend.get_backend() == "oracle" else 3)
    with backend.use_backend("oracle"):
        assert backend.get_num_threads() == 1
