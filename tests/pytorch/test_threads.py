"""Kernels on the threads of PyTorch's OpenMP runtime."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")

import fastseq.torch  # noqa: E402
from fastseq.torch.threads import share_pool  # noqa: E402

# A recurrent weight that a team divides by columns, which takes barriers at every step; and a
# batch that it divides by rows.
SHAPES = {"columns": (600, 12, 3), "rows": (96, 30, 64)}
needs_openmp = pytest.mark.skipif(not share_pool(), reason="PyTorch has no OpenMP runtime here")


def gradients(shape):
    """All results of an LSTM's forward and backward pass, between products of PyTorch."""
    H, T, B = SHAPES[shape]
    random = torch.Generator().manual_seed(7)
    layer, square = fastseq.torch.LSTM(H, H), torch.ones(300, 300)
    with torch.no_grad():
        for p in layer.parameters():
            p.uniform_(-0.1, 0.1, generator=random)
    x = torch.randn(T, B, H, generator=random, requires_grad=True)
    square @ square
    y, _ = layer(x)
    square @ square
    dy = torch.randn(y.shape, generator=random)
    grads = torch.autograd.grad(y, [x, *layer.parameters()], dy)
    return [a.detach().numpy().tobytes() for a in (y, *grads)]


@needs_openmp
@pytest.mark.parametrize("shape", SHAPES)
def test_bits_do_not_depend_on_the_number_of_threads(shape):
    torch.set_num_threads(1)
    want = gradients(shape)
    try:
        for count in (2, 3, 2, 4):
            torch.set_num_threads(count)
            assert gradients(shape) == want
            with ThreadPoolExecutor(3) as pool:
                for got in pool.map(gradients, [shape] * 6):
                    assert got == want
    finally:
        torch.set_num_threads(1)
        gradients("rows")


@needs_openmp
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")
def test_no_threads_beside_those_of_pytorch():
    code = """if True:
        import os, torch
        import fastseq.torch
        torch.set_num_threads(3)
        torch.randn(500, 500) @ torch.randn(500, 500)
        before = len(os.listdir("/proc/self/task"))
        with torch.no_grad():
            fastseq.torch.LSTM(96, 96)(torch.randn(30, 64, 96))
        print(len(os.listdir("/proc/self/task")) - before)
        """
    assert run(code) == "0"


@needs_openmp
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own():
    code = """if True:
        import os, torch
        import numpy as np
        import fastseq.torch
        torch.set_num_threads(2)
        layer, x = fastseq.torch.LSTM(96, 96), torch.randn(30, 64, 96)
        with torch.no_grad():
            want = layer(x)[0].numpy()
            child = os.fork()
            if not child:
                os._exit(0 if np.array_equal(layer(x)[0].numpy(), want) else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    assert run(code) == "0"


def run(code):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout.strip()
