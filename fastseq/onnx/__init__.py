"""Models to and from ONNX [1]_, the format that other runtimes read; needs the package onnx.

- `export` writes layers, a `fastseq.nn.Sequential` or a language model
- `load` reads a model as a module that computes it and can be trained further

References
----------
.. [1] https://onnx.ai

Examples
--------
>>> import numpy as np
>>> import fastseq.onnx
>>> from fastseq import nn
>>> lstm = nn.LSTM(3, 4, bidirectional=True, seed=0).eval()
>>> fastseq.onnx.export(lstm, "lstm.onnx")
>>> model = fastseq.onnx.load("lstm.onnx")
>>> x = np.ones((5, 2, 3), np.float32)
>>> bool((model(x)[0] == lstm(x)[0]).all())
True
"""

from .exporter import export
from .graph import GraphModule, Port
from .loader import load
from .package import OnnxError

__all__ = ["GraphModule", "OnnxError", "Port", "export", "load"]
