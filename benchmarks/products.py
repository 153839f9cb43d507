"""Products: the kernels' `matmul` against `np.matmul`, on the shapes of training.

    python -m benchmarks.products [--only lstm-128] [--threads 1] [--rounds 9] [--json FILE]

The figures are GFLOP/s of out = a @ b + bias (NumPy without the bias). The product of a time step
is a single call here, which packs the weight unless few rows use it; a sequence packs it only
once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.command import Row, chosen, options, save, start
from benchmarks.timing import interleave
from benchmarks.workloads import TRAINING, TrainingWorkload
from fastseq import backend
from fastseq._kernels.cells import BY_NAME


@dataclass(frozen=True)
class Product:
    """out (M, N) = a (M, K) @ b (K, N). A transposed matrix is a view, as in training."""

    name: str
    M: int
    N: int
    K: int
    a_transposed: bool = False
    b_transposed: bool = False

    @property
    def operations(self) -> int:
        return 2 * self.M * self.N * self.K

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """a, b, bias and out."""
        rng = np.random.default_rng(0)

        def matrix(rows: int, columns: int, transposed: bool) -> np.ndarray:
            if transposed:
                return rng.standard_normal((columns, rows), np.float32).T
            return rng.standard_normal((rows, columns), np.float32)

        a = matrix(self.M, self.K, self.a_transposed)
        b = matrix(self.K, self.N, self.b_transposed)
        return a, b, np.zeros(self.N, np.float32), np.empty((self.M, self.N), np.float32)


def main(arguments: Sequence[str] | None = None) -> None:
    args = start(options(__doc__, rounds=5), arguments)
    rows = []
    print(f"{'product':30} {'M':>6} {'N':>6} {'K':>6} {'fastseq':>9} {'NumPy':>9} {'ratio':>7}")
    for product in chosen(products(), args.only, lambda product: product.name):
        rows.append(measure(product, args.rounds))
        print(line(rows[-1]), flush=True)
    save(args.json, rows)


def products() -> list[Product]:
    """Every shape once, named after the first workload with it."""
    shapes = {}
    for case in TRAINING:
        for product in _products(case):
            shapes.setdefault((product.M, product.N, product.K), product)
    return [*shapes.values(), Product("square 2048", 2048, 2048, 2048)]


def _products(case: TrainingWorkload) -> list[Product]:
    name, H, V, rows = case.name, case.H, case.vocabulary, case.tokens
    width = len(BY_NAME[case.cell].gates) * H
    return [
        Product(f"{name} step", case.B, width, H, b_transposed=True),
        Product(f"{name} step backward", case.B, H, width),
        Product(f"{name} dW_hh", width, H, rows, a_transposed=True),
        *([Product(f"{name} layer", rows, width, H, b_transposed=True)] * (case.layers > 1)),
        *([Product(f"{name} layer backward", rows, H, width)] * (case.layers > 1)),
        Product(f"{name} head", rows, V, H, b_transposed=True),
        Product(f"{name} head dh", rows, H, V),
        Product(f"{name} head dW", V, H, rows, a_transposed=True),
    ]


def measure(product: Product, rounds: int) -> Row:
    a, b, bias, out = product.arrays()
    matmul = backend.kernels("float32").matmul
    matmul(a, b, out, bias, False)
    np.testing.assert_allclose(out, a @ b, rtol=0, atol=1e-5 * product.K)
    sides = {
        "fastseq": lambda: matmul(a, b, out, bias, False),
        "numpy": lambda: np.matmul(a, b, out),
    }
    timings = interleave(sides, rounds, seconds=0.03)
    speeds = {name: product.operations / t.seconds / 1e9 for name, t in timings.items()}
    return {
        "row": product.name, "M": product.M, "N": product.N, "K": product.K,
        "fastseq_gflops": speeds["fastseq"], "numpy_gflops": speeds["numpy"],
        "ratio": speeds["fastseq"] / speeds["numpy"],
    }  # fmt: skip


def line(row: Row) -> str:
    return (
        f"{row['row']:30} {row['M']:6} {row['N']:6} {row['K']:6} "
        f"{row['fastseq_gflops']:9.1f} {row['numpy_gflops']:9.1f} {row['ratio']:6.2f}×"
    )


if __name__ == "__main__":
    main()
