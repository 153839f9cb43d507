"""Checkpoint files: round trips, and refusal of anything else."""

import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseq.storage.files import atomic_file
from fastseq.storage.tensorfile import CheckpointError, read_tensors, write_tensors
from fastseq.training.run_directory import RunDirectory

TENSORS = {
    "rnn.weight_ih_l0": np.arange(6, dtype=np.float32).reshape(2, 3),
    "training.position": np.array([3, -1], np.int64),
    "head.bias": np.array([0.25, np.inf]),
    "empty": np.zeros((0, 4), np.float32),
}
METADATA = {"format": "test", "text": 'quotes " \\ and\nlines é, "sha256":"' + "0" * 64 + '"'}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, TENSORS, METADATA)
    return path


def parts(path):
    """Header as a dict and data bytes."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def assemble(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def assert_equal(tensors):
    assert tensors.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        assert tensors[name].dtype == expected.dtype
        np.testing.assert_array_equal(tensors[name], expected)


def test_round_trip(path):
    file = read_tensors(path)
    assert_equal(file.tensors)
    assert METADATA.items() <= file.metadata.items()
    assert not any(array.flags.writeable for array in file.tensors.values())


def test_the_safetensors_library_reads_it(path):
    assert_equal(safetensors.numpy.load_file(path))


def test_same_content_same_bytes(path, tmp_path):
    other = tmp_path / "other.safetensors"
    write_tensors(other, dict(reversed(TENSORS.items())), METADATA)
    assert other.read_bytes() == path.read_bytes()


def test_a_full_disk_is_reported_with_the_name_of_the_file(path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*model\.safetensors'"):
        write_tensors(path, {"more": np.ones(3)}, {})
    with RunDirectory(path.parent) as run:
        run.start_metrics(0)
        with pytest.raises(OSError, match=r"No space left on device: '.*metrics\.jsonl'"):
            run.sync_metrics()
    run.metrics.unlink()
    (path.parent / "lock").unlink()
    assert (path.read_bytes(), list(path.parent.iterdir())) == (before, [path])


def test_every_flipped_bit_is_noticed(path):
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            read_tensors(path)


def test_truncated_anywhere(path):
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError):
            read_tensors(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError):
        read_tensors(path)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_noise_is_refused(tmp_path_factory, noise):
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(noise)
    with pytest.raises(CheckpointError):
        read_tensors(path)
    assemble(path, noise)
    with pytest.raises(CheckpointError):
        read_tensors(path)


def entry(shape=(2,), offsets=(0, 8), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"a": entry(shape=(1 << 62, 1 << 62))}, "disagree"),
        ({"a": entry(shape=(1 << 40,), offsets=(0, 1 << 42))}, "describes"),
        ({"a": entry(shape=(-2,), offsets=(0, -8))}, "non-negative"),
        ({"a": entry(shape=(2.0,))}, "non-negative"),
        ({"a": entry(shape=(True, 2))}, "non-negative"),
        ({"a": entry(shape=[1] * 70 + [2])}, "non-negative"),
        ({"a": entry(), "b": entry()}, "expected at byte 8"),
        ({"a": entry(offsets=(4, 12))}, "expected at byte 0"),
        ({"a": entry(dtype="BF16")}, "dtype"),
        ({"a": entry(dtype=["F32"])}, "dtype"),
        ({"a": [1, 2]}, "data_offsets"),
        ({"a": entry() | {"pickle": "x"}}, "data_offsets"),
        ({"../../etc/passwd": entry()}, "name"),
        ({"a/b": entry()}, "name"),
        ({"": entry()}, "name"),
        ({"a.": entry()}, "name"),
        ({"a" * 300: entry()}, "name"),
        ({"a": entry(), "__metadata__": {"n": 1}}, "strings"),
        ({"a": entry(), "__metadata__": {}}, "checksum"),
        (b'{"a":' + json.dumps(entry()).encode() + b',"a":{}}', "twice"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a":' + b"9" * 10_000 + b"}", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b"\xff\xfe{}", "not JSON"),
    ],
)
def test_hostile_headers(path, header, reason):
    assemble(path, header, b"\0" * 8)
    with pytest.raises(CheckpointError, match=reason):
        read_tensors(path)


@pytest.mark.parametrize("length", [0, 1 << 30, (1 << 63) - 1, (1 << 64) - 1])
def test_hostile_header_length(path, length):
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(CheckpointError):
        read_tensors(path)


def test_pickle_is_named(path):
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(CheckpointError, match="pickle"):
        read_tensors(path)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "a..b"])
def test_names_are_checked_before_writing(tmp_path, name):
    with pytest.raises(ValueError, match="dotted name"):
        write_tensors(tmp_path / "x", {name: np.zeros(1)}, {})
    assert not list(tmp_path.iterdir())


def test_a_failing_disk_keeps_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_tensors(path, {"a": np.zeros(3)}, {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_interrupt_while_writing_keeps_the_old_file(path):
    before = path.read_bytes()

    def write_half():
        with atomic_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/file", "folder"])
def test_errors_name_the_file_and_not_the_temporary_one(tmp_path, place):
    (tmp_path / "folder").mkdir()
    kinds = FileNotFoundError, IsADirectoryError, PermissionError
    with pytest.raises(kinds) as caught, atomic_file(tmp_path / place):
        pass
    assert caught.value.filename == str(tmp_path / place)
    assert caught.value.filename2 is None
    assert not list(tmp_path.glob(".*"))


def test_two_threads_write_one_file(path):
    """The result is one of the two files, complete."""
    barrier = threading.Barrier(2)

    def write(text):
        with atomic_file(path) as file:
            file.write(text)
            barrier.wait(10)

    texts = [letter * 100 for letter in (b"a", b"b")]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, texts))
    assert path.read_bytes() in texts
    assert list(path.parent.iterdir()) == [path]
