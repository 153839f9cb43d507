"""Random numbers of Python's `random` at the speed of NumPy."""

import random

import numpy as np


def uniforms(count: int) -> np.ndarray:
    """Return the results of `count` calls of ``random.random()``, and advance `random` by them.

    Both generators are MT19937 [1]_ and build a double of 53 bits from two words in the same
    way, so NumPy can continue from Python's state and return it.

    Returns
    -------
    ndarray of shape (count,), float64

    References
    ----------
    .. [1] M. Matsumoto, T. Nishimura, "Mersenne Twister", ACM TOMACS 8, 1998.
    """
    version, (*key, position), gauss_next = random.getstate()
    generator = np.random.MT19937()
    generator.state = {
        "bit_generator": "MT19937",
        "state": {"key": np.array(key, np.uint32), "pos": position},
    }
    numbers = np.random.Generator(generator).random(count)
    after = generator.state["state"]
    random.setstate((version, (*after["key"].tolist(), int(after["pos"])), gauss_next))
    return numbers
