"""The configuration of a language model, and the parameter shapes that follow from it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, TypedDict, TypeVar, get_args

from .._kernels.cells import BY_FAMILY, Cell
from ..checks import check_choice, check_int, check_memory, check_real, check_type
from ..nn.checks import MAX_LAYERS

_T = TypeVar("_T")
CELLS = tuple(BY_FAMILY)
DType = Literal["float32", "float64"]


class ModelOptions(TypedDict, total=False):
    """Keyword arguments of `LanguageModel`: the fields of `ModelConfig`."""

    cell: str
    hidden_size: int
    num_layers: int
    embedding_size: int | None
    dropout: float
    tie_weights: bool
    forget_bias: float
    dtype: DType
    seed: int


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a `LanguageModel`.

    Each parameter is an attribute, too. A configuration cannot be changed.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
        Kind of recurrent layer: `fastseq.nn.LSTM`, `GRU` or, with tanh, `RNN`.
    hidden_size : int
        Units H of each layer.
    num_layers : int
        Layers L on top of each other, at most 10,000.
    embedding_size : int or None
        Size E of the embedding of tokens. None feeds tokens to the first layer as one-hot vectors.
    dropout : float
        Fraction of activations that is dropped in training, from 0 to less than 1: of the
        embedding and of each layer's output.
    tie_weights : bool
        Use the embedding as the softmax layer's weight [1]_; `embedding_size` must be
        `hidden_size`.
    forget_bias : float
        Initial bias of the LSTM's forget gate [2]_.
    dtype : {"float32", "float64"}
        Type of the weights and of all arithmetic.
    seed : int
        Seed of the initial weights and of dropout.

    Raises
    ------
    TypeError, ValueError
        An unusable value, by name; also a model whose weights and gradients would exceed the
        machine's memory.

    References
    ----------
    .. [1] O. Press, L. Wolf, "Using the output embedding to improve language models", EACL 2017.
    .. [2] R. Jozefowicz, W. Zaremba, I. Sutskever, "An empirical exploration of recurrent
           network architectures", ICML 2015.

    Examples
    --------
    >>> from fastseq.lm import ModelConfig
    >>> config = ModelConfig(cell="gru", hidden_size=8)
    >>> config.parameter_shapes(vocabulary_size=50)["rnn.weight_hh_l0"]
    (24, 8)
    """

    cell: str = "lstm"
    hidden_size: int = 128
    num_layers: int = 1
    embedding_size: int | None = None
    dropout: float = 0.0
    tie_weights: bool = False
    forget_bias: float = 1.0
    dtype: DType = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("cell", self.cell, CELLS)
        check_choice("dtype", self.dtype, get_args(DType))
        check_int("hidden_size", self.hidden_size, 1)
        check_int("num_layers", self.num_layers, 1, MAX_LAYERS)
        check_int("seed", self.seed, 0)
        if self.embedding_size is not None:
            check_int("embedding_size", self.embedding_size, 1)
        check_real("dropout", self.dropout, 0.0, 1.0)
        if self.dropout == 1.0:
            raise ValueError("dropout: expected less than 1, got 1.0")
        check_real("forget_bias", self.forget_bias)
        check_type("tie_weights", self.tie_weights, bool)
        if self.tie_weights and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"tie_weights: expected embedding_size {self.hidden_size} as hidden_size, "
                f"got {self.embedding_size}"
            )
        self.check_memory(1)

    def check_memory(self, vocabulary_size: int) -> None:
        """Refuse a model whose weights and gradients exceed the machine's memory.

        Parameters
        ----------
        vocabulary_size : int
            Number of tokens.

        Raises
        ------
        ValueError
            The model is too large.
        """
        size = sum(map(math.prod, self.parameter_shapes(vocabulary_size).values()))
        nbytes = 2 * size * (8 if self.dtype == "float64" else 4)
        check_memory("hidden_size, num_layers, embedding_size, vocabulary", nbytes)

    @property
    def kernel_cell(self) -> Cell:
        """The cell's row in the kernels' table."""
        return BY_FAMILY[self.cell]

    def parameter_shapes(self, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
        """Return names and shapes of all parameters, in the order in which the model holds them.

        Parameters
        ----------
        vocabulary_size : int
            Number V of tokens.

        Returns
        -------
        dict of str to tuple of int
            ``embedding.weight`` (V, E) where there is an embedding, ``rnn.weight_ih_l0`` and so on
            as in `fastseq.nn`, ``head.weight`` (V, H) unless it is tied, ``head.bias`` (V,).
        """
        V, H, E = vocabulary_size, self.hidden_size, self.embedding_size
        shapes: dict[str, tuple[int, ...]] = {} if E is None else {"embedding.weight": (V, E)}
        for layer in range(self.num_layers):
            for name, shape in self.kernel_cell.parameter_shapes(H if layer else (E or V), H):
                shapes[f"rnn.{name}_l{layer}"] = shape
        if not self.tie_weights:
            shapes["head.weight"] = (V, H)
        shapes["head.bias"] = (V,)
        return shapes

    def to_json(self) -> str:
        """Write all fields as a JSON object.

        Returns
        -------
        str
        """
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Parameters
        ----------
        text : str
            A JSON object; fields that are missing get their defaults.

        Returns
        -------
        ModelConfig

        Raises
        ------
        TypeError, ValueError
            Not a JSON object, unknown fields, or an unusable value.
        """
        return from_json(cls, text)


def from_json(cls: type[_T], text: str, renamed: Mapping[str, str] | None = None) -> _T:
    """Build a dataclass from a JSON object of its fields.

    Parameters
    ----------
    cls : type
        A dataclass.
    text : str
    renamed : mapping of str to str, optional
        Fields by the names that earlier versions wrote.

    Raises
    ------
    ValueError, TypeError
        Not a JSON object, unknown keys, or a value that the class refuses.
    """
    try:
        values: Any = json.loads(text)
    except RecursionError:
        raise ValueError(f"{cls.__name__}: expected JSON, got something too deep") from None
    if not isinstance(values, dict):
        raise ValueError(f"{cls.__name__}: expected a JSON object, got {type(values).__name__}")
    values = {(renamed or {}).get(key, key): value for key, value in values.items()}
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]  # T is a dataclass
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{cls.__name__}: unknown keys: {', '.join(unknown)}")
    return cls(**values)
