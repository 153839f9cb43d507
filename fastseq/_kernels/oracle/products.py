"""Matrix products, sums over rows, rows of tables (see the package for the notation)."""

from ._math import vec_mat


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


def unique_ids(ids, marks, out):
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
