"""Memory for arrays, and the order of rows in which sequences are packed."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastseq.nn import buffers
from fastseq.nn.buffers import CACHE_LINE, aligned_zeros, pooled_empty
from fastseq.nn.packing import Packing

# -- buffers -------------------------------------------------------------------------------

FLOAT = np.dtype("float32")


@pytest.fixture
def pool(monkeypatch):
    """An empty pool that holds arrays of all sizes."""
    free = []
    monkeypatch.setattr(buffers, "_free", free)
    monkeypatch.setattr(buffers, "_MIN_BYTES", 0)
    return free


@settings(max_examples=50)
@given(
    shape=st.lists(st.integers(0, 60), max_size=3).map(tuple),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_an_array_of_the_pool_is_like_any_other(shape, dtype):
    array = pooled_empty(shape, np.dtype(dtype))
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert type(array) is np.ndarray
    assert array.flags.c_contiguous
    assert array.flags.writeable
    if array.nbytes >= buffers._MIN_BYTES:
        assert array.ctypes.data % CACHE_LINE == 0
    array[...] = 1
    assert (array == 1).all()


def test_memory_is_used_again_after_the_last_view_is_gone(pool):
    array = pooled_empty((100, 50), FLOAT)
    address = array.ctypes.data
    view = array[3:, ::2].T
    del array
    other = pooled_empty((100, 50), FLOAT)
    assert not np.shares_memory(view, other)
    assert other.ctypes.data != address
    del view
    again = pooled_empty((50, 99), FLOAT)  # another shape of about the same size
    assert again.ctypes.data == address


KEEPERS = {
    "slice": lambda a: a[10:20],
    "transpose": lambda a: a.T,
    "reshape": lambda a: a.reshape(-1),
    "view of bytes": lambda a: a.view(np.uint8),
    "memoryview": memoryview,
    "asarray": np.asarray,
    "iterator": lambda a: a.flat,
    "subclass": lambda a: a.view(np.recarray),
    "view of a view": lambda a: a[1:][1:][:, 1:],
    "frombuffer": lambda a: np.frombuffer(a, np.float32),
    "broadcast": lambda a: np.broadcast_to(a, (2, *a.shape)),
}


@pytest.mark.parametrize("keeper", KEEPERS)
def test_memory_is_never_used_again_while_a_view_lives(pool, keeper):
    array = pooled_empty((100, 50), FLOAT)
    array[...] = 7
    view = KEEPERS[keeper](array)
    want = np.array(view).tobytes()
    del array
    for _ in range(3):
        others = [pooled_empty((100, 50), FLOAT) for _ in range(3)]
        for other in others:
            other[...] = -1
        del other, others
    assert np.array(view).tobytes() == want


def test_arrays_that_live_at_once_share_no_memory(pool, rng):
    """Whatever the order in which they come and go."""
    alive = []
    for n in range(300):
        if alive and rng.random() < 0.5:
            array, value = alive.pop(rng.integers(len(alive)))
            assert (array == value).all()
        array = pooled_empty((int(rng.integers(1, 3000)),), FLOAT)
        array[...] = n
        alive.append((array, n))
    assert all((array == value).all() for array, value in alive)


def test_the_pool_is_bounded(pool, monkeypatch):
    """However many sizes there are, all free pages together stay within the bound."""
    monkeypatch.setattr(buffers, "_most_free_bytes", lambda: 1 << 18)
    byte = np.dtype("uint8")
    for size in range(1 << 12, 1 << 17, 5000):
        arrays = [pooled_empty((size,), byte) for _ in range(3)]
        del arrays
        assert sum(map(len, pool)) <= 1 << 18
    del_me = pooled_empty((1 << 20,), byte)
    del del_me
    assert [len(memory) for memory in pool] == [1 << 20]  # the last one is always kept


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_arrays_of_its_own():
    array = pooled_empty((1 << 17,), FLOAT)
    array[...] = 1
    child = os.fork()
    if child == 0:
        array[...] = 2
        del array
        pooled_empty((1 << 17,), FLOAT)[...] = 3
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert (array == 1).all()


@pytest.mark.parametrize("size", [0, 1, 7, 1000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_aligned_zeros(size, dtype):
    array = aligned_zeros(size, np.dtype(dtype))
    assert (array.shape, array.dtype) == ((size,), np.dtype(dtype))
    assert size == 0 or array.ctypes.data % CACHE_LINE == 0
    assert not array.any()


# -- packing -------------------------------------------------------------------------------


@st.composite
def batches(draw):
    T, B = draw(st.integers(1, 7)), draw(st.integers(1, 8))
    return T, draw(st.lists(st.integers(1, T), min_size=B, max_size=B))


@given(batches())
def test_packing_is_a_plain_loop(batch):
    T, lengths = batch
    packing, B = Packing(np.array(lengths), T), len(lengths)
    padded = np.arange(1.0, T * B * 2 + 1).reshape(T, B, 2)
    order = sorted(range(B), key=lambda b: -lengths[b])  # equal lengths keep their order
    rows, sizes = [], []
    for t in range(max(lengths)):
        active = [b for b in order if lengths[b] > t]
        rows += [padded[t, b] for b in active]
        sizes.append(len(active))
    assert packing.rows == sum(lengths)
    assert packing.batch_sizes.dtype == np.int64
    assert packing.batch_sizes.tolist() == sizes
    packed = packing.pack(padded, np.full((packing.rows, 2), np.nan))
    assert packed.tolist() == np.array(rows).tolist()
    out = packing.unpack(packed, np.full(padded.shape, np.nan))
    inside = np.arange(T)[:, None] < np.array(lengths)
    assert (out == np.where(inside[:, :, None], padded, 0)).all()
    states = np.arange(3.0 * B).reshape(3, B, 1)
    assert packing.sort(states).tolist() == states[:, order].tolist()
    assert packing.unsort(packing.sort(states)).tolist() == states.tolist()
