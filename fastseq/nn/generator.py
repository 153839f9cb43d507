"""The random numbers of layers that were made without a seed of their own."""

from __future__ import annotations

import numpy as np

from ..checks import check_int

_default = np.random.default_rng()


def manual_seed(seed: int) -> np.random.Generator:
    """Seed the random numbers of all layers that are made without `seed`, as PyTorch does.

    Initial values and dropout of such layers, and `fastseq.nn.init` without `rng`, draw from one
    generator, in the order of the calls. Layers with a `seed` have generators of their own and do
    not depend on it; neither do language models, whose configuration holds a seed. The numbers are
    not those of PyTorch.

    Parameters
    ----------
    seed : int
        Not negative.

    Returns
    -------
    numpy.random.Generator
        The generator, newly seeded.

    Raises
    ------
    TypeError, ValueError
        `seed` is not an integer, or negative.

    Examples
    --------
    >>> import fastseq
    >>> from fastseq import nn
    >>> layers = []
    >>> for _ in range(2):
    ...     generator = fastseq.manual_seed(0)
    ...     layers.append(nn.LSTM(3, 4))
    >>> first, second = layers
    >>> bool((first.weight_hh_l0.data == second.weight_hh_l0.data).all())
    True
    """
    global _default
    check_int("seed", seed, 0)
    _default = np.random.default_rng(seed)
    return _default


def own_generator(seed: int | None) -> np.random.Generator | None:
    """A layer's own generator; None, which stands for the default one, without a seed."""
    return None if seed is None else np.random.default_rng(seed)


def generator(own: np.random.Generator | None) -> np.random.Generator:
    """A layer's own generator or the default one."""
    return _default if own is None else own
