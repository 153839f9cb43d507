"""What a language model is made of: its configuration and the shapes that follow from it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, TypeVar, get_args

from .._kernels.cells import BY_NAME
from ..nn.checks import MAX_LAYERS, check_memory

_T = TypeVar("_T")
Cell = Literal["lstm", "gru", "rnn"]
DType = Literal["float32", "float64"]


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a `LanguageModel`; see there for the meaning of each field."""

    cell: Cell = "lstm"
    hidden_size: int = 128
    num_layers: int = 1
    embedding_size: int | None = None
    dropout: float = 0.0
    tie_weights: bool = False
    forget_bias: float = 1.0
    dtype: DType = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("cell", self.cell, get_args(Cell))
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
        if not isinstance(self.tie_weights, bool):
            raise TypeError(f"tie_weights: expected a bool, got {self.tie_weights!r}")
        if self.tie_weights and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"tie_weights: expected embedding_size {self.hidden_size} as hidden_size, "
                f"got {self.embedding_size}"
            )

        self.check_memory(1)

    def check_memory(self, vocabulary_size: int) -> None:
        """Refuse what has more weights and gradients than the machine has memory.

        Raises
        ------
        ValueError
        """
        size = sum(map(math.prod, self.parameter_shapes(vocabulary_size).values()))
        nbytes = 2 * size * (8 if self.dtype == "float64" else 4)
        check_memory("hidden_size, num_layers, embedding_size, vocabulary", nbytes)

    @property
    def kernel_cell(self) -> str:
        """The cell's name among the kernels."""
        return "rnn_tanh" if self.cell == "rnn" else self.cell

    def parameter_shapes(self, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all parameters, in the order in which the model holds them."""
        V, H, E = vocabulary_size, self.hidden_size, self.embedding_size
        cell = BY_NAME[self.kernel_cell]
        shapes: dict[str, tuple[int, ...]] = {} if E is None else {"embedding.weight": (V, E)}
        for layer in range(self.num_layers):
            for name, shape in cell.parameter_shapes(H if layer else (E or V), H):
                shapes[f"rnn.{name}_l{layer}"] = shape
        if not self.tie_weights:
            shapes["head.weight"] = (V, H)
        shapes["head.bias"] = (V,)
        return shapes

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return from_json(cls, text)


def from_json(cls: type[_T], text: str) -> _T:
    """An instance of a dataclass from a JSON object of its fields.

    Raises
    ------
    ValueError, TypeError
        Not such an object, unknown keys, or a value that the class refuses.
    """
    try:
        values: Any = json.loads(text)
    except RecursionError:
        raise ValueError(f"{cls.__name__}: expected JSON, got something too deep") from None
    if not isinstance(values, dict):
        raise ValueError(f"{cls.__name__}: expected a JSON object, got {type(values).__name__}")
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]  # T is a dataclass
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{cls.__name__}: unknown keys: {', '.join(unknown)}")
    return cls(**values)


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(str, choices))}, got {value!r}")


def check_int(name: str, value: Any, least: int, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    if most is not None and value > most:
        raise ValueError(f"{name}: expected at most {most}, got {value}")


def check_real(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> None:
    """A finite number in [least, most]."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not (math.isfinite(value) and least <= value <= most):
        span = "" if math.isinf(least) else f" of at least {least}"
        span += "" if math.isinf(most) else f" and at most {most}"
        raise ValueError(f"{name}: expected a finite number{span}, got {value}")
