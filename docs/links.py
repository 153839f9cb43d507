"""Relative links of Markdown pages, rewritten for places where the files are not beside them."""

import re
from collections.abc import Callable

_FENCE = re.compile(r"^(`{3,}).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
# ![label](path#anchor): the label may hold `code` in brackets, as an image within a link does not.
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
_CODE_OR_REFERENCE = re.compile(r"^(`{3,}).*?^\1[ \t]*$|`[^`]*`|\]\[", re.MULTILINE | re.DOTALL)
_ABSOLUTE = re.compile(r"[a-z]+:|/")


def rewrite(text: str, target: Callable[[str, bool], str | None]) -> str:
    """Replace the target of every relative link and image outside of code blocks.

    Parameters
    ----------
    text : str
        A page in Markdown.
    target : callable
        Is given the path and whether it is that of an image; returns the new target. None
        leaves only the label of a link, and nothing of an image.
    """

    def replaced(match: re.Match[str]) -> str:
        mark, label, path, anchor = match.groups()
        if not path or _ABSOLUTE.match(path):
            return match[0]
        new = target(path, bool(mark))
        if new is None:
            return "" if mark else label
        return f"{mark}[{label}]({new}{anchor or ''})"

    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(replaced, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(replaced, text[end:])])


def without_references(text: str) -> str:
    """Escape a[i][j] in prose, which MkDocs would take for a link to "j"."""
    return _CODE_OR_REFERENCE.sub(lambda m: r"]\[" if m[0] == "][" else m[0], text)


def absolute(text: str, repository: str | None, revision: str) -> str:
    """Rewrite a page at the root of the sources for a place outside of them, such as an index.

    Parameters
    ----------
    text : str
    repository : str or None
        Address of the repository on GitHub; without one, links become their labels.
    revision : str
        Tag or branch that the links lead to.
    """

    return rewrite(text, lambda path, image: in_repository(path, repository, revision, image))


def in_repository(path: str, repository: str | None, revision: str, image: bool) -> str | None:
    """The address of a file or folder at the root of the repository; None without one."""
    if not repository:
        return None
    kind = "raw" if image else "tree" if path.endswith("/") else "blob"
    return f"{repository.rstrip('/')}/{kind}/{revision}/{path}"
