"""Fingerprints of what a build computes, to be compared with those of another processor.

    python tests/emulated/bits.py BUILD [small|large] > FILE

One line for each array: its number type, the piece of work, its name and the SHA-256 of its bits.
Builds with fused multiply-adds (avx2, avx512, neon) print the same.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))
from test_bits import LARGE, SMALL

from fastseq import backend
from fastseq._kernels import DTYPES


def fingerprints(name, work, dtype):
    """A line for each array of a piece of work."""
    for key, array in work(backend.kernels(dtype), dtype).items():
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        yield f"{dtype.name} {name} {key} {digest}"


def main(build, size="small"):
    with backend.use_backend(build):
        for dtype in map(np.dtype, DTYPES):
            for name, work in {"small": SMALL, "large": LARGE}[size].items():
                print(*fingerprints(name, work, dtype), sep="\n", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
