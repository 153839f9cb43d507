"""Operators that move values: shapes, slices, joins, padding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .table import Array, check_shape, gradient, integers, operator


@operator("Shape")
def shape(x: Array, *, start: int = 0, end: int | None = None) -> Array:
    return np.array(x.shape[start:end], np.int64)


@operator("Size")
def size(x: Array) -> Array:
    return np.array(x.size, np.int64)


# -- other shapes ----------------------------------------------------------------------------


@operator("Reshape")
def reshape(x: Array, target: Array, *, allowzero: int = 0) -> Array:
    sizes = list(integers(target))
    if not allowzero:
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


@operator("Flatten")
def flatten(x: Array, *, axis: int = 1) -> Array:
    start = axis if axis >= 0 else axis + x.ndim
    rows = int(np.prod(x.shape[:start], dtype=np.int64))
    return x.reshape(rows, -1) if x.size else x.reshape(rows, x.size // max(rows, 1))


@operator("Squeeze")
def squeeze(x: Array, given: Array | None = None, *, axes: Any = None) -> Array:
    chosen = axes if given is None else given
    return np.squeeze(x) if chosen is None else np.squeeze(x, integers(chosen))


@operator("Unsqueeze")
def unsqueeze(x: Array, given: Array | None = None, *, axes: Any = None) -> Array:
    return np.expand_dims(x, integers(axes if given is None else given))


@gradient("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def _reshape(dy: Array, y: Array, x: Array, *rest: Array, **attributes: Any) -> tuple[Array]:
    return (dy.reshape(x.shape),)


@operator("Transpose")
def transpose(x: Array, *, perm: Any = None) -> Array:
    return np.transpose(x, perm)


@gradient("Transpose")
def _transpose(dy: Array, y: Array, x: Array, *, perm: Any = None) -> tuple[Array]:
    return (np.transpose(dy, None if perm is None else np.argsort(perm)),)


# -- parts -----------------------------------------------------------------------------------


@operator("Gather")
def gather(x: Array, indices: Array, *, axis: int = 0) -> Array:
    return np.take(x, indices, axis=axis)


@gradient("Gather")
def _gather(dy: Array, y: Array, x: Array, indices: Array, *, axis: int = 0) -> tuple[Array]:
    dx = np.zeros_like(x)
    along = axis % x.ndim
    moved = np.moveaxis(
        dy, range(along, along + indices.ndim), range(indices.ndim)
    )  # the axes of the indices first
    np.add.at(np.moveaxis(dx, along, 0), indices, moved)
    return (dx,)


@operator("GatherElements")
def gather_elements(x: Array, indices: Array, *, axis: int = 0) -> Array:
    return np.take_along_axis(x, indices, axis)


@gradient("GatherElements")
def _gather_elements(
    dy: Array, y: Array, x: Array, indices: Array, *, axis: int = 0
) -> tuple[Array]:
    dx = np.zeros_like(x)
    places: list[Array] = list(np.indices(indices.shape))
    places[axis] = indices
    np.add.at(dx, tuple(places), dy)
    return (dx,)


@operator("ScatterElements")
def scatter_elements(
    x: Array, indices: Array, updates: Array, *, axis: int = 0, reduction: str = "none"
) -> Array:
    if reduction != "none":
        raise ValueError(f"reduction: expected none, got {reduction!r}")
    y = x.copy()
    np.put_along_axis(y, indices, updates, axis)
    return y


def _slices(x: Array, starts: Any, ends: Any, axes: Any, steps: Any) -> tuple[slice, ...]:
    begins, stops = integers(starts), integers(ends)
    along = range(len(begins)) if axes is None else integers(axes)
    strides = (1,) * len(begins) if steps is None else integers(steps)
    index = [slice(None)] * x.ndim
    for axis, begin, stop, stride in zip(along, begins, stops, strides, strict=True):
        index[axis] = slice(begin, stop, stride)
    return tuple(index)


@operator("Slice")
def cut(
    x: Array,
    begins: Array | None = None,
    stops: Array | None = None,
    along: Array | None = None,
    strides: Array | None = None,
    *,
    starts: Any = None,
    ends: Any = None,
    axes: Any = None,
) -> Array:
    if begins is None:
        return x[_slices(x, starts, ends, axes, None)]
    return x[_slices(x, begins, stops, along, strides)]


@gradient("Slice")
def _cut(
    dy: Array,
    y: Array,
    x: Array,
    *rest: Array | None,
    starts: Any = None,
    ends: Any = None,
    axes: Any = None,
) -> tuple[Array]:
    dx = np.zeros_like(x)
    begins, stops, along, strides = [*rest, None, None, None, None][:4]
    if begins is None:
        begins, stops, along = starts, ends, axes
    dx[_slices(x, begins, stops, along, strides)] = dy
    return (dx,)


@operator("TopK")
def top_k(
    x: Array,
    k: Array,
    *,
    axis: int = -1,
    largest: int = 1,
    sorted: int = 1,
    output_count: int = 2,
) -> tuple[Array, ...]:
    count = int(k.reshape(()))
    if not 0 <= count <= x.shape[axis]:
        raise ValueError(f"k: expected 0 to {x.shape[axis]}, got {count}")
    # Of equal values the one with the lower index comes first.
    order = np.argsort(np.flip(x, axis) if largest else x, axis=axis, kind="stable")
    if largest:
        order = x.shape[axis] - 1 - np.flip(order, axis)
    indices = np.take(order, np.arange(count), axis)
    return (np.take_along_axis(x, indices, axis), indices)[:output_count]


def _bounds(sizes: Any, count: int, length: int) -> list[int]:
    """Where to cut an axis into parts of these sizes, or into `count` almost equal ones."""
    if sizes is None:
        part = -(-length // count)
        return [min(part * n, length) for n in range(1, count)]
    if len(integers(sizes)) != count or sum(integers(sizes)) != length:
        raise ValueError(f"split: expected {count} sizes with the sum {length}, got {sizes}")
    return np.cumsum(integers(sizes))[:-1].tolist()


@operator("Split")
def split(
    x: Array,
    given: Array | None = None,
    *,
    axis: int = 0,
    split: Any = None,
    num_outputs: int | None = None,
    output_count: int = 1,
) -> tuple[Array, ...]:
    sizes = split if given is None else given
    return tuple(np.split(x, _bounds(sizes, output_count, x.shape[axis]), axis))


@gradient("Split")
def _split(
    dy: tuple[Array, ...], y: Any, x: Array, *rest: Array, axis: int = 0, **attributes: Any
) -> tuple[Array]:
    return (np.concatenate(dy, axis),)


# -- joins and repetitions -------------------------------------------------------------------


@operator("Concat")
def concatenate(*arrays: Array, axis: int) -> Array:
    return np.concatenate(arrays, axis)


@gradient("Concat")
def _concatenate(dy: Array, y: Array, *arrays: Array, axis: int) -> tuple[Array, ...]:
    return tuple(np.split(dy, np.cumsum([a.shape[axis] for a in arrays])[:-1], axis))


@operator("Expand")
def expand(x: Array, target: Array) -> Array:
    wanted = np.broadcast_shapes(x.shape, integers(target))
    check_shape(wanted, x.dtype)
    return np.broadcast_to(x, wanted)


@gradient("Expand")
def _expand(dy: Array, y: Array, x: Array, target: Array) -> tuple[Array]:
    extra = dy.ndim - x.ndim
    repeated = [a + extra for a, n in enumerate(x.shape) if n == 1 and dy.shape[a + extra] != 1]
    return (dy.sum(axis=(*range(extra), *repeated)).reshape(x.shape),)


@operator("Tile")
def tile(x: Array, repeats: Array) -> Array:
    counts = integers(repeats)
    check_shape([n * count for n, count in zip(x.shape, counts, strict=True)], x.dtype)
    return np.tile(x, counts)


@operator("Pad")
def pad(
    x: Array,
    widths: Array | None = None,
    value: Array | None = None,
    along: Array | None = None,
    *,
    mode: str = "constant",
    pads: Any = None,
) -> Array:
    sizes = integers(pads if widths is None else widths)
    axes = range(x.ndim) if along is None else integers(along)
    if len(sizes) != 2 * len(axes):
        raise ValueError(f"pads: expected {2 * len(axes)} widths, got {len(sizes)}")
    before_after = [(0, 0)] * x.ndim
    for axis, before, after in zip(axes, sizes[: len(axes)], sizes[len(axes) :], strict=True):
        before_after[axis] = before, after
    check_shape([n + sum(width) for n, width in zip(x.shape, before_after, strict=True)], x.dtype)
    if mode == "constant":
        fill = 0 if value is None else value.reshape(())
        return np.pad(x, before_after, constant_values=fill)
    if mode not in ("reflect", "edge"):
        raise ValueError(f"mode: expected constant, reflect or edge, got {mode!r}")
    return np.pad(x, before_after, mode)  # type: ignore[call-overload]  # NumPy's types want literals


@operator("ConstantOfShape")
def constant_of_shape(target: Array, *, value: Array | None = None) -> Array:
    fill = np.zeros(1, np.float32) if value is None else value
    check_shape(integers(target), fill.dtype)
    return np.full(integers(target), fill.reshape(()))


@operator("Range")
def arange(start: Array, limit: Array, delta: Array) -> Array:
    first, end, stride = (value.reshape(()).item() for value in (start, limit, delta))
    check_shape([max(math.ceil((end - first) / stride), 0)], start.dtype)
    return np.arange(first, end, stride).astype(start.dtype)


@operator("OneHot")
def one_hot(indices: Array, depth: Array, values: Array, *, axis: int = -1) -> Array:
    count = int(depth.reshape(()))
    check_shape([*indices.shape, count], values.dtype)
    ids = np.where(indices < 0, indices + count, indices)
    hot = ids[..., None] == np.arange(count)
    return np.moveaxis(np.where(hot, values[1], values[0]), -1, axis)


@operator("ReverseSequence")
def reverse_sequence(
    x: Array, lengths: Array, *, batch_axis: int = 1, time_axis: int = 0
) -> Array:
    steps = np.moveaxis(x, (time_axis, batch_axis), (0, 1))
    return np.moveaxis(flip(steps, lengths), (0, 1), (time_axis, batch_axis))


@gradient("ReverseSequence")
def _reverse_sequence(
    dy: Array, y: Array, x: Array, lengths: Array, **attributes: int
) -> tuple[Array]:
    return (reverse_sequence(dy, lengths, **attributes),)


def flip(x: Array, lengths: Array | None) -> Array:
    """The steps of each sequence of (T, B, …) in reverse order; padding stays in its place."""
    if lengths is None:
        return x[::-1]
    step, ends = np.arange(len(x))[:, None], np.asarray(lengths, np.int64)
    order = np.where(step < ends, ends - 1 - step, step)
    return x[order, np.arange(x.shape[1])]
