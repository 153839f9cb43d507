"""numpydoc as Markdown: what reStructuredText writes differently, for mkdocstrings."""

import re
from typing import Any

import griffe

_RULES = [
    (re.compile(r"^(?:Notes|See Also)\n-+$", re.MULTILINE), lambda m: f"**{m[0].split()[0]}**"),
    (re.compile(r"\[(\d+)\]_"), r"[\1]"),  # a citation
    (re.compile(r"^\.\. \[(\d+)\] ", re.MULTILINE), r"[\1] "),  # what is cited
    (re.compile(r"::$", re.MULTILINE), ":"),  # before a literal block, which is indented
    (re.compile(r"^:$", re.MULTILINE), ""),
    (re.compile(r"\bpath-like\b"), "path\u2011like"),  # no difference of path and like
]


class Docstrings(griffe.Extension):
    """Rewrites the docstring of every object before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            text = obj.docstring.value
            for pattern, replacement in _RULES:
                text = pattern.sub(replacement, text)
            obj.docstring.value = text
