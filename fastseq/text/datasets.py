"""Named corpora: the Python manual, Jules Verne, and others from local folders."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path

from .reading import TextError, find_sources, read_text
from .store import cache_dir

# Novels by Jules Verne and their numbers at Project Gutenberg.
VERNE = {
    "A Journey to the Centre of the Earth": 18857,
    "Around the World in Eighty Days": 103,
    "Five Weeks in a Balloon": 3526,
    "From the Earth to the Moon": 83,
    "Off on a Comet": 1353,
    "The Master of the World": 3809,
    "The Mysterious Island": 1268,
    "Twenty Thousand Leagues under the Sea": 2488,
}
FOLDERS = {
    "shakespeare": ("shakespeare", "tinyshakespeare"),
    "verne": ("verne",),
    "wikitext-2": ("wikitext-2",),
}
NAMES = ("python-manual", *FOLDERS)

# Required similarity of a title and a file name, 0 to 1: tolerates a misspelt word.
_MIN_SIMILARITY = 0.85


@dataclass(frozen=True)
class Dataset:
    """A named corpus: files, or a text that needs none.

    Parameters
    ----------
    name : str
        Name of the corpus.
    description : str
        Name and origin of the corpus, for people.
    files : tuple of Path
        Its files, in order.
    embedded : str or None
        The text itself, if there are no files.

    Examples
    --------
    >>> from fastseq.text import Dataset
    >>> Dataset("greeting", "a short text", embedded="hello world").text()
    'hello world'
    """

    name: str
    description: str
    files: tuple[Path, ...] = ()
    embedded: str | None = None

    def path(self, title: str) -> Path | None:
        """Find the file with a title, allowing for misspelling.

        Parameters
        ----------
        title : str
            Title of a book.

        Returns
        -------
        Path or None
            None where no file has a similar name.
        """
        best = max(self.files, key=partial(_similarity, title), default=None)
        return best if best and _similarity(title, best) >= _MIN_SIMILARITY else None

    def text(self, title: str | None = None, strip_licence: bool = True) -> str:
        """Read the text of a title, or of the whole corpus if it has no such title.

        Line ends are converted to newlines. For large corpora pass `files` to
        `Corpus.from_files` instead.

        Parameters
        ----------
        title : str or None
            Title of a book; None for the whole corpus.
        strip_licence : bool
            Leave out Project Gutenberg's header and footer.

        Returns
        -------
        str

        Raises
        ------
        OSError, TextError
            A file cannot be read, or is not UTF-8.
        """
        if self.embedded is not None:
            return self.embedded
        path = self.path(title) if title else None
        paths = self.files if path is None else (path,)
        text = "\n".join(read_text(path, strip_licence) for path in paths)
        return text.replace("\r\n", "\n")


def find(name: str | os.PathLike[str] | None = None, folder: str | None = None) -> Dataset:
    """Find a corpus by its name, or by the path of a folder or file.

    Parameters
    ----------
    name : str or path-like, optional
        One of `NAMES`, or a path. The default is Verne if all eight novels are available
        without a download, else the Python manual.
    folder : str, optional
        The named corpus's folder, or its parent. By default `FASTSEQ_DATA`, then `cache_dir`.
        Novels of Verne that are not found there are downloaded from Project Gutenberg.

    Returns
    -------
    Dataset

    Raises
    ------
    TextError
        For a corpus that is not available and cannot be downloaded.

    Examples
    --------
    >>> from pathlib import Path
    >>> from fastseq.text import datasets
    >>> Path("mine.txt").write_text("my own text")
    11
    >>> datasets.find("mine.txt").text()
    'my own text'
    """
    if name is None:
        novels = _local_verne(folder)
        return python_manual() if None in novels.values() else _verne(novels)
    if name == "python-manual":
        return python_manual()
    if name == "verne":
        return _verne(_local_verne(folder))
    if isinstance(name, str) and name in FOLDERS:
        return _local(name, folder)
    return _own(Path(name))


def python_manual() -> Dataset:
    """Return the language reference that CPython includes for `help`: about 465,000 characters.

    Returns
    -------
    Dataset

    Raises
    ------
    TextError
        This Python comes without it.

    Examples
    --------
    >>> from fastseq.text import datasets
    >>> manual = datasets.python_manual()
    >>> manual.name, "lambda" in manual.text()
    ('python-manual', True)
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise TextError("python-manual: this Python comes without pydoc_data.topics") from None
    text = "\n".join(topics.values())
    version = platform.python_version()
    description = f"the manual of Python {version} (pydoc_data.topics), {len(text):,} characters"
    return Dataset("python-manual", description, embedded=text)


def _own(path: Path) -> Dataset:
    if not path.exists():
        names = ", ".join(NAMES)
        raise TextError(f"corpus: expected a file, a folder or one of {names}, got '{path}'")
    files = tuple(find_sources(path))
    return Dataset(path.name, f"{len(files)} file(s) of {path}", files)


def _roots(folder: str | None) -> list[Path]:
    """Folders to search for a corpus, in order."""
    if folder is None:
        data = os.environ.get("FASTSEQ_DATA")
        return [Path(data).expanduser(), cache_dir()] if data else [cache_dir()]
    if not Path(folder).is_dir():
        raise TextError(f"folder: expected a folder, got '{folder}'")
    return [Path(folder)]


def _local(name: str, folder: str | None) -> Dataset:
    aliases = FOLDERS[name]
    for root in _roots(folder):
        for path in (root, *(root / alias for alias in aliases)):
            if path.name in aliases and path.is_dir():
                return Dataset(name, f"{name} from {path}", tuple(find_sources(path)))
    raise TextError(
        f"{name}: not found; set FASTSEQ_DATA to a folder that holds it in '{aliases[0]}'"
    )


def _local_verne(folder: str | None) -> dict[str, Path | None]:
    """File of every novel, None for missing ones."""
    folders = [path for root in _roots(folder) for path in (root / "verne", root)]
    files = [path for at in folders for path in sorted(at.glob("*.txt*")) if path.is_file()]
    candidates = Dataset("verne", "", tuple(files))
    return {title: candidates.path(title) for title in VERNE}


def _verne(novels: dict[str, Path | None]) -> Dataset:
    """Build the corpus of Verne; missing novels are downloaded."""
    files = tuple(path or _fetch(title) for title, path in novels.items())
    folders = ", ".join(sorted({str(path.parent) for path in files}))
    return Dataset("verne", f"{len(files)} novels by Jules Verne from {folders}", files)


def _address(number: int) -> str:
    """Address of the plain text of a book at Project Gutenberg."""
    return f"https://www.gutenberg.org/cache/epub/{number}/pg{number}.txt"


def _fetch(title: str) -> Path:
    try:
        import pooch
    except ImportError:
        raise TextError(
            f"verne: '{title}' not found; pip install 'fastseq-rnn[data]' to fetch it, or set "
            "FASTSEQ_DATA to a folder that has it"
        ) from None
    address = _address(VERNE[title])
    try:
        path = pooch.retrieve(address, None, f"{title}.txt", cache_dir() / "verne")
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise TextError(f"verne: cannot fetch {address}: {reason}") from None
    return Path(path)


def _similarity(title: str, path: Path) -> float:
    """Similarity of a file name and a title, or of a book's number at Project Gutenberg."""
    name = Path(path.name.lower().removesuffix(".gz")).stem
    if numbered := re.fullmatch(r"(?:pg)?(\d+)(?:-\d+)?", name):
        return float(int(numbered[1]) == VERNE.get(title))
    wanted, got = ("".join(filter(str.isalnum, text.casefold())) for text in (title, name))
    return SequenceMatcher(None, wanted, got, autojunk=False).ratio() + (wanted in got)
