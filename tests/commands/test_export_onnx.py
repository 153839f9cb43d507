"""`fastseq export-onnx` writes what `fastseq.onnx.export` does."""

import json
import sys

import pytest

from fastseq.lm import LanguageModel

pytest.importorskip("onnx")

from fastseq.onnx import export, load


def test_the_file_is_that_of_the_library(fastseq, model, tmp_path):
    status, out, _ = fastseq("export-onnx", model, "-o", "a.onnx")
    assert status == 0
    export(LanguageModel.load(model), "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    size = len(load("a.onnx").outputs)
    assert size == 3
    assert out.startswith("a.onnx, ")
    assert "inputs     ids (batch) int64, h (1, batch, 8) float32, c (1, batch, 8) float32" in out
    assert "metadata   vocabulary, model, start_token, start" in out


def test_json(fastseq, model):
    facts = json.loads(fastseq("export-onnx", model, "--json")[1])
    assert facts["file"] == "model.onnx"
    assert [port["name"] for port in facts["outputs"]] == ["log_probs", "h_n", "c_n"]


def test_errors_take_one_line(refused, model, monkeypatch):
    assert "nothing.safetensors" in refused("export-onnx", "nothing.safetensors")
    assert "nowhere" in refused("export-onnx", model, "-o", "nowhere/a.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "pip install 'fastseq-rnn[onnx]'" in refused("export-onnx", model)
