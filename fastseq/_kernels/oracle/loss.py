"""Softmax cross-entropy, alone and with the linear layer before it (notation: see the package)."""

import math

from ._math import exp_all, mat_vec, vec_mat


def softmax_cross_entropy(logits, targets, scale, losses, dlogits):
    """−log softmax(logits)[target] of each row and its gradient times `scale`.

    A row whose target is negative is left out: loss 0, gradient 0.

    Parameters
    ----------
    logits : (N, V)
    targets : (N,) int64
    scale : float
    losses : (N,) OUT
    dlogits : (N, V) OUT or None
        It may be `logits` itself.

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


def linear_cross_entropy(h, w, b, targets, losses):
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


def linear_cross_entropy_with_grads(h, w, b, targets, losses, grads, scale, accumulate):
    """`linear_cross_entropy` and its gradients times `scale`; only some rows of logits are held.

    Parameters
    ----------
    h : (N, H)
    w : (V, H)
    b : (V,) or None
    targets : (N,) int64
        Negative: the row is left out.
    losses : (N,) OUT
        Not scaled.
    grads : LinearGrads
        dh (N, H) OUT; dw (V, H) and db (V,) or None, OUT or ACC.
    scale : float or None
        None: 1 / number of targets that are not left out, which makes the loss a mean.
    accumulate : bool
        Add to dw and db instead of overwriting them.

    Returns
    -------
    float
        Sum of `losses`.
    """
    dh, dw, db = grads
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
