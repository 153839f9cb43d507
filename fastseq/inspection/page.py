"""The page: numbers as bytes, text as JSON, and the template around them."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
ZERO, ONE = 128, 126  # of signed numbers: 2 to 254 stand for −1 to 1
ONE_UNSIGNED = 255


def signed_bytes(values: NDArray[Any], step: int = 1) -> Bytes:
    """Numbers of −1 to 1 as bytes, multiples of `step` beside 128, which compress better.

    The error is at most ``step / 252``.
    """
    return (step * np.rint(values * ONE / step) + ZERO).astype(np.uint8)


def unsigned_bytes(values: NDArray[Any], step: int = 1) -> Bytes:
    """Numbers of 0 to 1 as bytes, multiples of `step`; the error is at most ``step / 510``."""
    return (step * np.rint(values * ONE_UNSIGNED / step)).astype(np.uint8)


def build_page(title: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Fill the template.

    Parameters
    ----------
    title : str
    facts : mapping
        Values that `json.dumps` takes.
    arrays : mapping of str to ndarray
        Each becomes an element with its name as id, which the page's script decodes when it
        needs it.

    Returns
    -------
    str
        An HTML document, to be stored as UTF-8.
    """
    here = files(__package__)
    return Template(here.joinpath("page.html").read_text("utf-8")).substitute(
        # The name of a file may contain what has no UTF-8 form.
        title=escape(title.encode("utf-8", "replace").decode("utf-8")),
        style=here.joinpath("page.css").read_text("utf-8"),
        script=here.joinpath("page.js").read_text("utf-8"),
        facts=_json(facts),
        arrays="\n".join(map(_element, arrays, arrays.values())),
    )


def _json(facts: Mapping[str, Any]) -> str:
    """JSON in ASCII that cannot end the element it stands in."""
    text = json.dumps(facts, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _element(name: str, array: NDArray[Any]) -> str:
    """Little-endian numbers in C order, compressed, in base64."""
    raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
    text = base64.b64encode(zlib.compress(raw, 9)).decode("ascii")
    return f'<script type="text/plain" id="{name}">{text}</script>'
