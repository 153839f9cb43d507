"""Products, rows of tables, softmax cross-entropy (see the package for the notation)."""

import math

from ._math import exp_all, mat_vec, vec_mat


def matmul(a, b, out, bias, accumulate):
    """out = a @ b + bias, or out += a @ b + bias.

    Parameters
    ----------
    a : (M, K), any strides; pass ``x.T`` to transpose
    b : (K, N), any strides
    out : (M, N) OUT or ACC, rows may be strided, columns contiguous
    bias : (N,) or None
    accumulate : bool
    """
    a_, b_ = a.tolist(), b.tolist()
    N = b.shape[1]
    start = [0.0] * N if bias is None else bias.tolist()
    for m, row in enumerate(a_):
        product = vec_mat(row, b_) if row else [0.0] * N
        old = out[m].tolist() if accumulate else [0.0] * N
        out[m] = [old[n] + start[n] + product[n] for n in range(N)]


def sum_rows(a, out):
    """out += Σₘ a[m], the gradient of a bias.

    Parameters
    ----------
    a : (M, N), rows may be strided
    out : (N,) ACC
    """
    total = out.tolist()
    for row in a.tolist():
        total = [s + v for s, v in zip(total, row, strict=True)]
    out[...] = total


def gather_rows(table, ids, bias, out):
    """out[n] = table[ids[n]] + bias: the product of one-hot rows with a table.

    Parameters
    ----------
    table : (V, N)
    ids : (R,) int64
    bias : (N,) or None
    out : (R, N) OUT

    Raises
    ------
    IndexError
        An id below 0 or not below V; nothing is written.
    """
    _check_ids(ids, table.shape[0])
    start = [0.0] * table.shape[1] if bias is None else bias.tolist()
    for n, i in enumerate(ids.tolist()):
        out[n] = [v + s for v, s in zip(table[i].tolist(), start, strict=True)]


def scatter_add_rows(rows, ids, table):
    """table[ids[n]] += rows[n] in the order of n: the gradient of `gather_rows`.

    Parameters
    ----------
    rows : (R, N)
    ids : (R,) int64
    table : (V, N) ACC

    Raises
    ------
    IndexError
        An id below 0 or not below V; nothing is written.
    """
    _check_ids(ids, table.shape[0])
    for n, i in enumerate(ids.tolist()):
        table[i] = [t + v for t, v in zip(table[i].tolist(), rows[n].tolist(), strict=True)]


def clear_rows(table, ids):
    """table[ids] = 0.

    Parameters
    ----------
    table : (V, N) ACC
    ids : (R,) int64

    Raises
    ------
    IndexError
        An id below 0 or not below V; nothing is written.
    """
    _check_ids(ids, table.shape[0])
    for i in ids.tolist():
        table[i] = 0.0


def distinct_ids(ids, marks, out):
    """out[:n] = the ids without repeats, in the order in which they first appear.

    Parameters
    ----------
    ids : (R,) int64
    marks : (V,) uint8
        Zeros, before and after.
    out : (V,) int64 OUT

    Returns
    -------
    int
        n.

    Raises
    ------
    IndexError
        An id below 0 or not below V; nothing is written.
    """
    _check_ids(ids, marks.shape[0])
    found = list(dict.fromkeys(ids.tolist()))
    out[: len(found)] = found
    return len(found)


def _check_ids(ids, size):
    for n, i in enumerate(ids.tolist()):
        if not 0 <= i < size:
            raise IndexError(f"ids: expected 0 <= id < {size}, got {i} at position {n}")


def softmax_cross_entropy(logits, targets, scale, losses, dlogits):
    """−log softmax(logits)[target] of each row and its gradient times `scale`.

    A row whose target is negative is left out: loss 0, gradient 0.

    Parameters
    ----------
    logits : (N, V)
    targets : (N,) int64
    scale : float
    losses : (N,) OUT
    dlogits : (N, V) OUT or None; may be `logits` itself

    Raises
    ------
    IndexError
        A target not below V; nothing is written.
    """
    _check_targets(targets, logits.shape[1])
    for n, target in enumerate(targets.tolist()):
        loss, grad = _row_loss(logits[n].tolist(), target)
        losses[n] = loss
        if dlogits is not None:
            dlogits[n] = [scale * g for g in grad]


def _check_targets(targets, size):
    for n, i in enumerate(targets.tolist()):
        if i >= size:
            raise IndexError(f"targets: expected id < {size}, got {i} at position {n}")


def _row_loss(z, target):
    if target < 0:
        return 0.0, [0.0] * len(z)
    top = max(z)
    e = exp_all(z, top)  # (1)
    total = sum(e)  # (2)
    grad = [v / total for v in e]  # d log Σ e^z / dz = softmax(z)
    grad[target] -= 1.0
    return math.log(total) + top - z[target], grad


def head_losses(h, w, b, targets, losses):
    """Cross-entropy of softmax(h @ wᵀ + b) against `targets`, without gradients.

    Parameters
    ----------
    h : (N, H)
    w : (V, H)
    b : (V,) or None
    targets : (N,) int64
    losses : (N,) OUT
    """
    _check_targets(targets, w.shape[0])
    w_, bias = w.tolist(), [0.0] * w.shape[0] if b is None else b.tolist()
    for n, target in enumerate(targets.tolist()):
        z = [p + s for p, s in zip(mat_vec(w_, h[n].tolist()), bias, strict=True)]
        losses[n] = _row_loss(z, target)[0]


def head_backward(h, w, b, targets, scale, losses, dh, dw, db, accumulate):
    """`head_losses` and all its gradients times `scale`, never holding more than some rows.

    Parameters
    ----------
    h : (N, H)
    w : (V, H)
    b : (V,) or None
    targets : (N,) int64
        Negative: the row is left out.
    scale : float or None
        None: 1 / number of targets that are not left out, which makes the loss a mean.
    losses : (N,) OUT
        Not scaled.
    dh : (N, H) OUT
    dw : (V, H) OUT or ACC
    db : (V,) OUT or ACC, or None
    accumulate : bool
        Add to `dw` and `db` instead of overwriting them.

    Returns
    -------
    float
        Sum of `losses`.
    """
    _check_targets(targets, w.shape[0])
    if scale is None:
        scale = 1.0 / max(1, sum(target >= 0 for target in targets.tolist()))
    V, H = w.shape
    w_, bias = w.tolist(), [0.0] * V if b is None else b.tolist()
    dw_ = dw.tolist() if accumulate else [[0.0] * H for _ in range(V)]
    db_ = db.tolist() if accumulate and db is not None else [0.0] * V
    for n, target in enumerate(targets.tolist()):
        x = h[n].tolist()
        z = [p + s for p, s in zip(mat_vec(w_, x), bias, strict=True)]  # (1)
        losses[n], dz = _row_loss(z, target)  # (2)
        dz = [scale * d for d in dz]  # inverts (2)
        dh[n] = vec_mat(dz, w_)  # inverts (1)
        for v in range(V):  # inverts (1)
            row, d = dw_[v], dz[v]
            for k in range(H):
                row[k] += d * x[k]
            db_[v] += d
    dw[...] = dw_
    if db is not None:
        db[...] = db_
    return sum(losses.tolist())
