"""Steps of a sequence before which the state is set to zero."""

import numpy as np
import numpy.typing as npt

from .packing import Packing


def check_resets(resets: npt.ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Resets as a bool array of this shape, a copy.

    Raises
    ------
    TypeError
        Not bool.
    ValueError
        Another shape.
    """
    array = np.array(resets)
    if array.dtype.kind != "b":
        raise TypeError(f"resets: expected bool, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"resets: expected shape {shape}, got {array.shape}")
    return array


def reset_rows(resets: np.ndarray, packing: Packing | None, directions: int) -> list[np.ndarray]:
    """Marks of the packed rows whose step begins at zero, by direction (see `LayerCall`).

    The reverse direction comes from the step after: where a reset parts step t from step t − 1, it
    begins anew at t − 1.

    Parameters
    ----------
    resets : ndarray of bool of shape (T, B)
    packing : Packing or None
        Of sequences with lengths.
    directions : int
        1 or 2.
    """
    if packing is not None:
        resets = np.where(packing.active, resets, False)
    marks = [resets]
    if directions == 2:
        marks.append(np.zeros_like(resets))
        marks[1][:-1] = resets[1:]
    flat = [m.ravel() if packing is None else packing.pack_marks(m) for m in marks]
    return [m.view(np.uint8) for m in flat]
