"""Models in files: weights as tensors, configuration and vocabulary as metadata."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from .._version import __version__
from ..text import Vocabulary
from .config import ModelConfig
from .tensorfile import DTYPES, CheckpointError, TensorFile, read_tensors, write_tensors

if TYPE_CHECKING:
    from .model import LanguageModel

    Model = TypeVar("Model", bound=LanguageModel)

FORMAT = "fastseq-language-model-1"
TRAINING = "training."  # tensors of a training's state, which a model alone does not need
BEST, LAST = "best.safetensors", "last.safetensors"


def save_model(
    lm: LanguageModel,
    path: str | os.PathLike[str],
    tensors: Mapping[str, NDArray[Any]] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model, with further tensors (named "training....") and metadata where given."""
    write_tensors(
        path,
        lm.state_dict() | dict(tensors or {}),
        {
            "format": FORMAT,
            "fastseq": __version__,
            "model": lm.config.to_json(),
            "vocabulary": lm.vocabulary.to_json(),
            **(metadata or {}),
        },
    )


def open_checkpoint(path: str | os.PathLike[str]) -> TensorFile:
    """Read and verify a checkpoint, or the best (else the last) one of a run directory.

    Raises
    ------
    OSError, CheckpointError
        As `read_tensors`; CheckpointError also where metadata and tensors do not make a model.
    """
    if Path(path).is_dir():
        path = find_checkpoint(path)
    file = read_tensors(path)
    try:
        config, vocabulary = describe(file)
        problems = list(mismatches(file, config, vocabulary))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{os.fspath(path)}: not a usable checkpoint: {error}") from None
    if problems:
        raise CheckpointError(f"{os.fspath(path)}: not a usable checkpoint: {'; '.join(problems)}")
    return file


def find_checkpoint(run: str | os.PathLike[str]) -> Path:
    """The best model of a run directory, else the last."""
    for name in (BEST, LAST):
        if (Path(run) / name).is_file():
            return Path(run) / name
    raise FileNotFoundError(f"{os.fspath(run)}: no {BEST} or {LAST} in this directory")


def describe(file: TensorFile) -> tuple[ModelConfig, Vocabulary]:
    """Configuration and vocabulary that a checkpoint's metadata tell of."""
    if file.metadata.get("format") != FORMAT:
        raise CheckpointError(f"format: expected {FORMAT}, got {file.metadata.get('format')!r}")
    for name in ("model", "vocabulary"):
        if name not in file.metadata:
            raise CheckpointError(f"metadata: {name} is missing")
    config = ModelConfig.from_json(file.metadata["model"])
    return config, Vocabulary.from_json(file.metadata["vocabulary"])


def mismatches(file: TensorFile, config: ModelConfig, vocabulary: Vocabulary) -> Iterator[str]:
    """What keeps a file's tensors from being those of this model."""
    if config.num_layers > len(file.tensors):  # before anything is built for each layer
        yield f"num_layers: expected at most {len(file.tensors)} by the number of tensors"
        return
    expected = config.parameter_shapes(len(vocabulary))
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


def restore_model(cls: type[Model], file: TensorFile) -> Model:
    """The model of a checkpoint that `open_checkpoint` has read."""
    config, vocabulary = describe(file)
    lm = cls(vocabulary, **asdict(config))
    names = config.parameter_shapes(len(vocabulary))
    lm.load_state_dict({name: file.tensors[name] for name in names})
    return lm
