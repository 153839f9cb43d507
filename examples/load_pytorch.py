"""Run a model that was trained with PyTorch: load its state_dict from a safetensors file.

Without a file, one is written first: by PyTorch, whose output is then compared with fastseq's, or
without PyTorch by fastseq, under the same names.
"""

import argparse
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import fastseq
from fastseq import nn


class Model(nn.Module):
    """The counterpart of a PyTorch module with these attributes: names and shapes are the same."""

    def __init__(self, inputs=8, hidden=32, classes=4):
        self.rnn = nn.LSTM(inputs, hidden, num_layers=2, bidirectional=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.head(y)


def write_weights(path, x):
    """Write the weights of such a model with PyTorch, and return its output for x."""
    import torch
    from safetensors.torch import save_file

    rnn, head = torch.nn.LSTM(8, 32, num_layers=2, bidirectional=True), torch.nn.Linear(64, 4)
    save_file(torch.nn.ModuleDict({"rnn": rnn, "head": head}).state_dict(), path)
    with torch.no_grad():
        return head(rnn(torch.from_numpy(x))[0]).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("weights", nargs="?", metavar="FILE", help="a safetensors file")
    path = parser.parse_args().weights

    x = np.random.default_rng(0).standard_normal((20, 3, 8)).astype(np.float32)  # (T, B, inputs)
    expected = None
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = str(Path(folder, "model.safetensors"))
            if find_spec("torch"):
                expected = write_weights(path, x)
            else:
                fastseq.save_file(Model().state_dict(), path)
        model = Model().eval()
        model.load_state_dict(fastseq.load_file(path))
    y = model(x)
    print(f"loaded {sum(p.size for p in model.parameters()):,} weights; output {y.shape}")
    if expected is not None:
        print(f"largest difference from PyTorch: {abs(y - expected).max():.1e}")


if __name__ == "__main__":
    main()
