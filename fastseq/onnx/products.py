"""Operators that multiply: matrices, convolutions; pools and normalisations beside them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .table import Array, check_shape, gradient, operator, unbroadcast


@operator("MatMul")
def matmul(a: Array, b: Array) -> Array:
    return np.asarray(a @ b)


@gradient("MatMul")
def _matmul(dy: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array]:
    # Vectors as matrices: a row on the left, a column on the right.
    left, right = (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
    d = np.expand_dims(dy, -1) if b.ndim == 1 else dy
    d = np.expand_dims(d, -2) if a.ndim == 1 else d
    da = unbroadcast(d @ right.swapaxes(-1, -2), left)
    db = unbroadcast(left.swapaxes(-1, -2) @ d, right)
    return da.reshape(a.shape), db.reshape(b.shape)


@operator("Gemm")
def gemm(
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Array:
    y = (a.T if transA else a) @ (b.T if transB else b) * a.dtype.type(alpha)
    return np.asarray(y if c is None else y + c * a.dtype.type(beta))


@gradient("Gemm")
def _gemm(
    dy: Array,
    y: Array,
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> tuple[Array, Array, Array | None]:
    d = dy * dy.dtype.type(alpha)
    da, db = d @ (b if transB else b.T), (a if transA else a.T) @ d
    dc = None if c is None else unbroadcast(dy * dy.dtype.type(beta), c)
    return (da.T if transA else da), (db.T if transB else db), dc


# -- normalisation ---------------------------------------------------------------------------


@operator("BatchNormalization")
def batch_normalization(
    x: Array,
    scale: Array,
    bias: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> Array:
    if training_mode or not spatial:
        raise ValueError("training_mode, spatial: expected the form that is used after training")
    factor = (scale / np.sqrt(variance + x.dtype.type(epsilon))).astype(x.dtype)
    offset = bias - mean * factor
    channels = -1, *(1,) * (x.ndim - 2)
    return np.asarray(x * factor.reshape(channels) + offset.reshape(channels), x.dtype)


@gradient("BatchNormalization")
def _batch_normalization(
    dy: Array,
    y: Array,
    x: Array,
    scale: Array,
    bias: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float = 1e-5,
    **attributes: Any,
) -> tuple[Array]:
    factor = (scale / np.sqrt(variance + x.dtype.type(epsilon))).astype(x.dtype)
    return (dy * factor.reshape(-1, *(1,) * (x.ndim - 2)),)


def _normalized(x: Array, axis: int, epsilon: float) -> tuple[Array, Array, tuple[int, ...]]:
    """(x − mean) · s, s = 1 / √(variance + ε), and the axes of the means."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = (centred * centred).mean(axis=axes, keepdims=True)
    scale = 1 / np.sqrt(variance + x.dtype.type(epsilon))
    return centred * scale, scale, axes


@operator("LayerNormalization")
def layer_normalization(
    x: Array,
    scale: Array,
    bias: Array | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Array:
    y = _normalized(x, axis, epsilon)[0] * scale
    return np.asarray(y if bias is None else y + bias, x.dtype)


@gradient("LayerNormalization")
def _layer_normalization(
    dy: Array,
    y: Array,
    x: Array,
    scale: Array,
    bias: Array | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Array, Array, Array | None]:
    normal, factor, axes = _normalized(x, axis, epsilon)
    d = dy * scale
    mean = d.mean(axis=axes, keepdims=True)
    along = (d * normal).mean(axis=axes, keepdims=True)
    dx = (d - mean - normal * along) * factor
    return dx, unbroadcast(dy * normal, scale), None if bias is None else unbroadcast(dy, bias)


# -- windows ---------------------------------------------------------------------------------


def _pads(
    x: Array, kernel: Any, strides: Any, dilations: Any, pads: Any, auto_pad: str
) -> list[tuple[int, int]]:
    """Values before and after each spatial axis."""
    n = x.ndim - 2
    if auto_pad == "NOTSET":
        given = (0,) * 2 * n if pads is None else pads
        return list(zip(given[:n], given[n:], strict=True))
    if auto_pad == "VALID":
        return [(0, 0)] * n
    result = []
    for size, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        whole = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        half = whole // 2
        result.append((whole - half, half) if auto_pad == "SAME_LOWER" else (half, whole - half))
    return result


def _windows(x: Array, kernel: Any, strides: Any, dilations: Any) -> Array:
    """A view (N, C, *positions, *kernel) of all windows of padded x."""
    axes = tuple(range(2, x.ndim))
    spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, spans, axes)
    steps = (slice(None, None, step) for step in (*strides, *dilations))
    result: Array = view[(slice(None), slice(None), *steps)]
    return result


def _padded(x: Array, widths: list[tuple[int, int]], fill: float) -> Array:
    if not any(map(any, widths)):
        return x
    return np.pad(x, [(0, 0), (0, 0), *widths], constant_values=fill)


@operator("Conv")
def convolution(
    x: Array,
    w: Array,
    bias: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Any = None,
    group: int = 1,
    kernel_shape: Any = None,
    pads: Any = None,
    strides: Any = None,
) -> Array:
    n, kernel = x.ndim - 2, w.shape[2:]
    strides, dilations = strides or (1,) * n, dilations or (1,) * n
    if group < 1 or x.shape[1] != w.shape[1] * group or len(w) % group:
        raise ValueError(f"group: {group} does not fit channels {x.shape[1]}, weight {w.shape}")
    widths = _pads(x, kernel, strides, dilations, pads, auto_pad)
    windows = _windows(_padded(x, widths, 0), kernel, strides, dilations)
    check_shape(windows.shape, x.dtype)
    inputs, outputs = np.split(windows, group, 1), np.split(w, group)
    summed = [1, *range(2 + n, 2 + 2 * n)], list(range(1, 2 + n))
    parts = [np.tensordot(a, b, summed) for a, b in zip(inputs, outputs, strict=True)]
    y = np.concatenate(parts, axis=-1) if group > 1 else parts[0]
    return np.moveaxis(y if bias is None else y + bias, -1, 1)


def _pool(
    x: Array,
    fill: float,
    kernel_shape: Any,
    strides: Any,
    dilations: Any,
    pads: Any,
    auto_pad: str,
    ceil_mode: int,
) -> tuple[Array, tuple[int, ...]]:
    """All windows, and the axes of one."""
    if ceil_mode:
        raise ValueError("ceil_mode: expected 0, got 1")
    n = x.ndim - 2
    strides, dilations = strides or (1,) * n, dilations or (1,) * n
    widths = _pads(x, kernel_shape, strides, dilations, pads, auto_pad)
    windows = _windows(_padded(x, widths, fill), kernel_shape, strides, dilations)
    return windows, tuple(range(2 + n, 2 + 2 * n))


@operator("MaxPool")
def max_pool(
    x: Array,
    *,
    kernel_shape: Any,
    strides: Any = None,
    dilations: Any = None,
    pads: Any = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    storage_order: int = 0,
) -> Array:
    windows, axes = _pool(x, -np.inf, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    return np.asarray(windows.max(axis=axes))


@operator("AveragePool")
def average_pool(
    x: Array,
    *,
    kernel_shape: Any,
    strides: Any = None,
    dilations: Any = None,
    pads: Any = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Array:
    rest = kernel_shape, strides, dilations, pads, auto_pad, ceil_mode
    windows, axes = _pool(x, 0, *rest)
    total = windows.sum(axis=axes)
    if count_include_pad:
        return np.asarray(total / total.dtype.type(np.prod(kernel_shape)))
    return np.asarray(total / _pool(np.ones_like(x), 0, *rest)[0].sum(axis=axes))


@operator("GlobalAveragePool")
def global_average_pool(x: Array) -> Array:
    return np.asarray(x.mean(axis=tuple(range(2, x.ndim)), keepdims=True))
