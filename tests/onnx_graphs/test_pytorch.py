"""Models that PyTorch has exported compute the same here, with the same gradients."""

import importlib.util
import io

import numpy as np
import pytest
from graphs import agree

from fastseq.onnx import export, load

torch = pytest.importorskip("torch")
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch's own, of its exporters

EXPORTERS = [
    False,
    pytest.param(True, marks=pytest.mark.skipif(
        importlib.util.find_spec("onnxscript") is None, reason="needs onnxscript")),
]  # fmt: skip


class Tagger(torch.nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 8)
        self.rnn = getattr(torch.nn, kind)(8, 6, **options)
        self.norm = torch.nn.LayerNorm(6 * (1 + self.rnn.bidirectional))
        self.head = torch.nn.Linear(self.norm.normalized_shape[0], 5)

    def forward(self, ids):
        return torch.log_softmax(
            self.head(torch.relu(self.norm(self.rnn(self.embedding(ids))[0]))), -1
        )


class Packed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.LSTM(4, 6, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(12, 3)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, (h, _) = self.rnn(packed)
        return self.head(pad_packed_sequence(y, batch_first=True)[0]), h


def exported(module, arguments, path, new):
    """The module as PyTorch writes it and `load` reads it."""
    options = {} if new else {"opset_version": 17}
    torch.onnx.export(module.eval(), arguments, str(path), dynamo=new, verbose=False, **options)
    return load(path)


@pytest.mark.parametrize("new", EXPORTERS)
@pytest.mark.parametrize(("kind", "options"), [
    ("LSTM", {}), ("LSTM", {"bidirectional": True, "num_layers": 2}),
    ("GRU", {"batch_first": True}), ("GRU", {"bidirectional": True, "bias": False}),
    ("RNN", {}), ("RNN", {"nonlinearity": "relu"}),
])  # fmt: skip
def test_a_tagger_and_its_gradients(kind, options, new, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())  # the new exporter reports its progress
    torch.manual_seed(0)
    tagger, ids = Tagger(kind, **options), torch.randint(0, 20, (7, 3))
    module = exported(tagger, (ids,), tmp_path / "model.onnx", new).train()
    expected = tagger(ids)
    got = module(ids.numpy())
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    dy = torch.randn_like(expected)
    expected.backward(dy)
    module.backward(dy.numpy())
    layers = dict(module.named_parameters())
    table = next(p for name, p in layers.items() if "embedding" in name)
    head = list(layers.values())[-2:]
    twins = tagger.embedding.weight, tagger.head.weight, tagger.head.bias
    for parameter, twin in zip((table, *head), twins, strict=True):
        np.testing.assert_allclose(parameter.grad, twin.grad.numpy(), rtol=1e-3, atol=1e-5)
    export(module.eval(), tmp_path / "again.onnx")
    agree([load(tmp_path / "again.onnx")(ids.numpy())], [got])


def test_packed_sequences(tmp_path):
    torch.manual_seed(0)
    arguments = torch.randn(3, 7, 4), torch.tensor([3, 7, 5])
    packed = Packed()
    module = exported(packed, arguments, tmp_path / "model.onnx", False)
    got = module(*[argument.numpy() for argument in arguments])
    agree(got, [tensor.detach().numpy() for tensor in packed(*arguments)])
