"""Models in files: weights as tensors, configuration and vocabulary as metadata."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .._version import __version__
from ..storage.tensorfile import DTYPES, CheckpointError, TensorFile, read_tensors, write_tensors
from ..text import Reading, Vocabulary
from .config import ModelConfig
from .network import Network, State

FORMAT = "fastseq-language-model-1"
TRAINING = "training."  # prefix of the tensors that only a resumed training run needs
READING = "reading"  # name of the metadata about files
_START = "start."  # prefix of the state before a text
BEST, LAST = "best.safetensors", "last.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint, as `open_checkpoint` returns it.

    Attributes
    ----------
    path : Path
        The file that was read.
    config : ModelConfig
        The model's architecture.
    vocabulary : Vocabulary
        The model's vocabulary.
    metadata : dict of str to str
        All text of the header.
    tensors : dict of str to ndarray
        Weights, the state before a text under "start.h" and "start.c" if the model has one,
        and, under names that begin with "training.", the state of a training run.
        Read-only views of the contents, which are mapped where the system can.

    Examples
    --------
    >>> import fastseq
    >>> from fastseq.lm import open_checkpoint
    >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
    >>> fastseq.LanguageModel(vocabulary, hidden_size=8).save("be.safetensors")
    >>> checkpoint = open_checkpoint("be.safetensors")
    >>> checkpoint.config.cell, checkpoint.weights["head.bias"].shape
    ('lstm', (8,))
    """

    path: Path
    config: ModelConfig
    vocabulary: Vocabulary
    metadata: dict[str, str]
    tensors: dict[str, NDArray[Any]]

    @property
    def weights(self) -> dict[str, NDArray[Any]]:
        """The model's parameters, a dict of ndarray by name."""
        names = self.config.parameter_shapes(len(self.vocabulary))
        return {name: self.tensors[name] for name in names}

    @property
    def reading(self) -> Reading:
        """How the files of the training text were read.

        A model that was not trained on files has the usual way: UTF-8, and each file a document
        if the vocabulary has a token for the end of one.
        """
        if READING in self.metadata:
            return Reading.from_json(self.metadata[READING])
        return Reading(None if self.vocabulary.eod_id is None else "files")

    @property
    def start(self) -> State | None:
        """The model's state before a text; None for a model that has none."""
        h, c = self.tensors.get(f"{_START}h"), self.tensors.get(f"{_START}c")
        return None if h is None else State(h, c).copy()


def save_model(
    network: Network,
    vocabulary: Vocabulary,
    path: str | os.PathLike[str],
    tensors: Mapping[str, NDArray[Any]] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model to one file.

    Parameters
    ----------
    network : Network
    vocabulary : Vocabulary
    path : path-like
    tensors, metadata : mapping, optional
        Further entries; the names of the tensors begin with "training.".
    """
    write_tensors(
        path,
        network.state_dict() | _start_tensors(network) | dict(tensors or {}),
        {
            "format": FORMAT,
            "fastseq": __version__,
            "model": network.config.to_json(),
            "vocabulary": vocabulary.to_json(),
            **(metadata or {}),
        },
    )


def _start_tensors(network: Network) -> dict[str, NDArray[Any]]:
    if network.start is None:
        return {}
    named = network.start._asdict().items()
    return {_START + name: array for name, array in named if array is not None}


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read and verify a checkpoint, or the best (else the last) one of a run directory.

    Parameters
    ----------
    path : path-like
        A file that `LanguageModel.save` or a `Trainer` wrote, or a trainer's directory.

    Returns
    -------
    Checkpoint
        Its tensors are read-only views of the contents, which are mapped where the system can.

    Raises
    ------
    OSError
        The file cannot be opened.
    CheckpointError
        It is damaged, or its contents do not make a model.

    Examples
    --------
    >>> import fastseq
    >>> from fastseq.lm import open_checkpoint
    >>> vocabulary = fastseq.Vocabulary.characters("to be or not to be")
    >>> fastseq.LanguageModel(vocabulary, hidden_size=8).save("be.safetensors")
    >>> open_checkpoint("be.safetensors").vocabulary == vocabulary
    True
    """
    path = find_checkpoint(path) if Path(path).is_dir() else Path(path)
    file = read_tensors(path)
    try:
        config, vocabulary = _describe(file)
        if READING in file.metadata:
            Reading.from_json(file.metadata[READING])
        problems = "; ".join(_mismatches(file, config, vocabulary))
    except (ValueError, TypeError) as error:
        problems = str(error) or repr(error)
    if problems:
        raise CheckpointError(f"{path}: not a usable checkpoint: {problems}")
    return Checkpoint(path, config, vocabulary, file.metadata, file.tensors)


def find_checkpoint(run: str | os.PathLike[str]) -> Path:
    """The best model of a run directory, else the last."""
    for name in (BEST, LAST):
        if (Path(run) / name).is_file():
            return Path(run) / name
    raise FileNotFoundError(f"{os.fspath(run)}: no {BEST} or {LAST} in this directory")


def _describe(file: TensorFile) -> tuple[ModelConfig, Vocabulary]:
    """Configuration and vocabulary from a checkpoint's metadata."""
    if file.metadata.get("format") != FORMAT:
        raise CheckpointError(f"format: expected {FORMAT}, got {file.metadata.get('format')!r}")
    for name in ("model", "vocabulary"):
        if name not in file.metadata:
            raise CheckpointError(f"metadata: {name} is missing")
    config = ModelConfig.from_json(file.metadata["model"])
    return config, Vocabulary.from_json(file.metadata["vocabulary"])


def _mismatches(file: TensorFile, config: ModelConfig, vocabulary: Vocabulary) -> Iterator[str]:
    """Differences between a file's tensors and the parameters of this model."""
    if config.num_layers > len(file.tensors):  # before anything is built for each layer
        yield f"num_layers: expected at most {len(file.tensors)} by the number of tensors"
        return
    expected = config.parameter_shapes(len(vocabulary)) | _start_shapes(file, config)
    dtype = DTYPES["F32" if config.dtype == "float32" else "F64"]
    for name, shape in expected.items():
        tensor = file.tensors.get(name)
        if tensor is None:
            yield f"{name}: missing"
        elif tensor.shape != shape or tensor.dtype != dtype:
            found = f"{tensor.dtype} of shape {tensor.shape}"
            yield f"{name}: expected {dtype} of shape {shape}, got {found}"
    for name in file.tensors:
        if name not in expected and not name.startswith(TRAINING):
            yield f"{name}: unexpected"


def _start_shapes(file: TensorFile, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the state before a text, if the file has one; earlier versions wrote none."""
    if not any(name.startswith(_START) for name in file.tensors):
        return {}
    names = ("h", "c") if config.kernel_cell.has_c else ("h",)
    return {_START + name: (config.num_layers, 1, config.hidden_size) for name in names}
