"""From files to streams of integers: vocabularies, corpora, batches, named data sets."""

from . import datasets
from .batches import Batches
from .corpus import Corpus
from .datasets import Dataset
from .documents import Reading, read_documents
from .reading import TextError, find_sources, read_chunks, read_text
from .sources import Sources
from .store import cache_dir
from .vocabulary import Vocabulary

__all__ = [
    "Batches",
    "Corpus",
    "Dataset",
    "Reading",
    "Sources",
    "TextError",
    "Vocabulary",
    "cache_dir",
    "datasets",
    "find_sources",
    "read_chunks",
    "read_documents",
    "read_text",
]
