"""Weights in safetensors files, from and to PyTorch."""

import numpy as np
import pytest

import fastseq
from fastseq import nn


def test_round_trip(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array(3.5),
        "c": np.arange(3),
        "empty": np.zeros((0, 2), np.float32),
    }
    path = tmp_path / "weights.safetensors"
    fastseq.save_file(arrays, path, {"kind": "test"})
    loaded = fastseq.load_file(path)
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray, np.transpose, lambda a: a[::-1, ::2], lambda a: a.astype(">f8")],
)
def test_memory_order_does_not_matter(layout, tmp_path):
    array = layout(np.arange(12.0).reshape(3, 4))
    fastseq.save_file({"a": array}, tmp_path / "a")
    np.testing.assert_array_equal(fastseq.load_file(tmp_path / "a")["a"], array)


def test_a_failed_write_leaves_the_file_alone(tmp_path):
    path = tmp_path / "weights"
    fastseq.save_file({"a": np.ones(3)}, path)
    with pytest.raises(TypeError, match="b: expected numbers"):
        fastseq.save_file({"a": np.zeros(3), "b": np.array([None])}, path)
    with pytest.raises(OSError, match="weights"):
        fastseq.save_file({"a": np.zeros(3)}, path / "file")
    np.testing.assert_array_equal(fastseq.load_file(path)["a"], np.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]


def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path):
    """A limit on the size of files simulates it."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = tmp_path / "weights"
    fastseq.save_file({"a": np.ones(3)}, path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="weights") as caught:
            fastseq.save_file({"a": np.zeros(1000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(path)
    np.testing.assert_array_equal(fastseq.load_file(path)["a"], np.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]


def test_a_missing_or_damaged_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastseq.load_file(tmp_path / "nothing")
    (tmp_path / "damaged").write_bytes(b"\x08" + b"\0" * 20)
    with pytest.raises(Exception, match="eader"):
        fastseq.load_file(tmp_path / "damaged")


@pytest.mark.parametrize("cell", ["RNN", "GRU", "LSTM"])
def test_pytorch_reads_and_writes_the_same_file(cell, tmp_path, rng):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    options = {"num_layers": 2, "bidirectional": True}
    ours, theirs = getattr(nn, cell)(3, 4, **options), getattr(torch.nn, cell)(3, 4, **options)
    x = rng.normal(size=(5, 2, 3)).astype(np.float32)
    save_file(theirs.state_dict(), tmp_path / "torch")
    ours.load_state_dict(fastseq.load_file(tmp_path / "torch"))
    expected = theirs(torch.from_numpy(x))[0].detach().numpy()
    np.testing.assert_allclose(ours(x)[0], expected, atol=1e-6)
    ours.reset_parameters()
    fastseq.save_file(ours.state_dict(), tmp_path / "ours")
    theirs.load_state_dict(load_file(tmp_path / "ours"))
    expected = theirs(torch.from_numpy(x))[0].detach().numpy()
    np.testing.assert_allclose(ours(x)[0], expected, atol=1e-6)
