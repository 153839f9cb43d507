"""The base of all optimizers: parameter groups, state, clipping inside the update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from .._kernels.records import Clip
from ..backend import kernels
from ..checks import check_mapping
from ..nn import Parameter
from ..nn.calls import check_none_passed_over
from .segments import Segment, segments


class Optimizer:
    """Base class of the optimizers.

    A subclass names the arrays that it keeps beside the parameters and calls one kernel for each
    run of parameters that lie side by side in memory.

    Parameters
    ----------
    params : iterable of Parameter, or of dicts with a "params" entry
        A dict is a group of parameters; its other entries take precedence over `defaults`.
    defaults : dict
        Options of groups that do not set them.

    Attributes
    ----------
    param_groups : list of dict
        For each group ``params``, ``step`` (the number of steps so far) and all options. Options
        may be changed between steps, as a schedule changes ``lr``.
    defaults : dict

    Raises
    ------
    TypeError
        Something other than parameters.
    ValueError
        No parameters, one of them twice, two dtypes in one group, or an option out of range.

    Examples
    --------
    Two groups, of which the second has its own learning rate:

    >>> from fastseq import nn, optim
    >>> rnn, head = nn.GRU(3, 4), nn.Linear(4, 2)
    >>> groups = [{"params": rnn.parameters()}, {"params": head.parameters(), "lr": 0.01}]
    >>> optimizer = optim.SGD(groups, lr=0.1, momentum=0.9)
    >>> [(len(group["params"]), group["lr"]) for group in optimizer.param_groups]
    [(4, 0.1), (2, 0.01)]
    """

    def __init__(
        self, params: Iterable[Parameter] | Iterable[dict[str, Any]], defaults: dict[str, Any]
    ) -> None:
        if isinstance(params, (Parameter, np.ndarray, Mapping)):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of parameters or "
                f"dicts, got {type(params).__name__}"
            )
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self._state: list[dict[str, np.ndarray]] = []  # for each group flat arrays by name
        self._segments: list[list[Segment]] = []
        self._storage_version = Parameter.storage_version  # for which they were cut
        entries: list[Any] = list(params)
        if not entries:
            raise ValueError("optimizer got an empty parameter list")
        groups = entries if isinstance(entries[0], dict) else [{"params": entries}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Optimize further parameters, with options of their own.

        Parameters
        ----------
        group : dict
            ``params``, and options that differ from the defaults.

        Raises
        ------
        TypeError, ValueError
            As for the optimizer itself; nothing is added.
        """
        params = group["params"]
        chosen = [params] if isinstance(params, Parameter) else list(params)
        known = [p for g in self.param_groups for p in g["params"]]
        self._check_parameters(chosen, known)
        complete = self.defaults | group | {"params": chosen, "step": 0}
        self._check_options(complete)
        size = sum(parameter.size for parameter in chosen)
        arrays = {
            name: np.full(size, value, chosen[0].dtype)
            for name, value in self._initial_state(complete).items()
        }
        self.param_groups.append(complete)
        self._state.append(arrays)
        self._segments = []

    @staticmethod
    def _check_parameters(chosen: list[Any], known: list[Parameter]) -> None:
        for parameter in chosen:
            if not isinstance(parameter, Parameter):
                kind = type(parameter).__name__
                raise TypeError(f"optimizer can only optimize parameters, got {kind}")
        ids = [id(parameter) for parameter in (*known, *chosen)]
        if len(set(ids)) < len(ids):
            raise ValueError("some parameters appear in more than one parameter group or twice")
        if not chosen:
            raise ValueError("optimizer got an empty parameter list")
        if len({parameter.dtype for parameter in chosen}) > 1:
            raise ValueError("parameters of one group must share one dtype")

    # -- what a subclass says ----------------------------------------------------------------

    # Names of arrays in state dicts of earlier versions -> names of today.
    _earlier_names: ClassVar[dict[str, str]] = {}

    def _check_options(self, group: dict[str, Any]) -> None:
        """Raise ValueError for an option out of range."""
        raise NotImplementedError

    def _initial_state(self, group: dict[str, Any]) -> dict[str, float]:
        """Names and first values of the arrays that are kept beside the parameters."""
        raise NotImplementedError

    def _leaves_other_rows(self, group: dict[str, Any]) -> bool:
        """Whether a row without gradient would not change, so that it may be skipped."""
        return False

    def _update(
        self,
        k: Any,
        segment: Segment,
        rows: np.ndarray | None,
        group: dict[str, Any],
        clip: Clip,
    ) -> None:
        raise NotImplementedError

    # -- steps -------------------------------------------------------------------------------

    def step(self, scale: float = 1.0, limit: float = math.inf) -> None:
        """Update all parameters once, from their gradients.

        The gradient that enters the formula is clip(scale · g, ±limit). The gradients themselves
        are not changed.

        Parameters
        ----------
        scale : float
            Factor on every gradient: clipping by norm, or a mean over tokens, at no cost.
        limit : float
            Bound on every element of the scaled gradients.

        Raises
        ------
        RuntimeError
            ``backward`` of a module has left out a forward call before the one that it has gone
            through, so that the gradients may be those of another call. Nothing is updated.

        Examples
        --------
        Clip the norm of all gradients to 1 within the update:

        >>> import numpy as np
        >>> from fastseq import nn, optim
        >>> weight = nn.Parameter(np.zeros(2))
        >>> weight.grad = [3.0, 4.0]
        >>> optimizer = optim.SGD([weight], lr=1.0)
        >>> optimizer.step(scale=nn.utils.clip_coefficient(optimizer.grad_norm(), 1.0))
        >>> weight.data.round(4).tolist()
        [-0.6, -0.8]
        """
        check_none_passed_over(p for group in self.param_groups for p in group["params"])
        for group, group_segments in zip(self.param_groups, self._current(), strict=True):
            group["step"] += 1
            clip = Clip(scale, limit, group["weight_decay"])
            k = kernels(group_segments[0].data.dtype)
            sparse = self._leaves_other_rows(group)
            for segment in group_segments:
                rows = segment.rows if sparse else None
                if rows is None or rows.size:
                    self._update(k, segment, rows, group, clip)

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for group_segments in self._current():
            for segment in group_segments:
                segment.zero_grad()

    def grad_norm(self) -> float:
        """Return the Euclidean norm of all gradients together.

        Returns
        -------
        float
        """
        total = 0.0
        for group_segments in self._current():
            k = kernels(group_segments[0].data.dtype)
            for segment in group_segments:
                if segment.rows is None or segment.rows.size:
                    total += k.sum_squares(segment.grad, segment.rows)
        return math.sqrt(total)

    def _current(self) -> list[list[Segment]]:
        """Segments of each group, cut again if any parameter's storage has changed."""
        if not self._segments or self._storage_version != Parameter.storage_version:
            self._storage_version = Parameter.storage_version
            self._segments = [
                [self._with_state(segment, state) for segment in segments(group["params"])]
                for group, state in zip(self.param_groups, self._state, strict=True)
            ]
        return self._segments

    @staticmethod
    def _with_state(segment: Segment, state: dict[str, np.ndarray]) -> Segment:
        part = slice(segment.start, segment.stop)
        segment.state = {name: a[part].reshape(segment.data.shape) for name, a in state.items()}
        return segment

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_segments": []}

    # -- loading and storing -----------------------------------------------------------------

    def _named_state(self) -> dict[str, np.ndarray]:
        """Views of the state of each parameter, as ``"<number>.<name>"``."""
        named, number = {}, 0
        for group, state in zip(self.param_groups, self._state, strict=True):
            start = 0
            for parameter in group["params"]:
                part = slice(start, start + parameter.size)
                for name, array in state.items():
                    named[f"{number}.{name}"] = array[part].reshape(parameter.shape)
                start, number = part.stop, number + 1
        return named

    def state_dict(self) -> dict[str, Any]:
        """Copy everything that the next step depends on besides parameters and gradients.

        Returns
        -------
        dict
            ``"state"`` maps names to arrays, which fit a safetensors file. ``"param_groups"`` is a
            list of dicts of numbers, which fit a JSON file; their ``"params"`` number the
            parameters.
        """
        groups, number = [], 0
        for group in self.param_groups:
            count = len(group["params"])
            groups.append(group | {"params": list(range(number, number + count))})
            number += count
        state = {name: view.copy() for name, view in self._named_state().items()}
        return {"state": state, "param_groups": groups}

    def _renamed(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The same arrays under the names of today."""
        renamed = {}
        for key, array in arrays.items():
            number, dot, name = key.partition(".")
            renamed[number + dot + self._earlier_names.get(name, name)] = array
        return renamed

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue as the optimizer would have from which a state was taken.

        Parameters
        ----------
        state_dict : mapping
            From `state_dict`, also of an earlier version, whose arrays had other names.

        Raises
        ------
        TypeError, ValueError
            Not the state of an optimizer; other groups, parameters or arrays. Nothing is changed.

        Examples
        --------
        >>> from fastseq import nn, optim
        >>> layer = nn.Linear(3, 2)
        >>> before = optim.Adam(layer.parameters(), lr=0.1)
        >>> before.step()
        >>> after = optim.Adam(layer.parameters())
        >>> after.load_state_dict(before.state_dict())
        >>> after.param_groups[0]["lr"], after.param_groups[0]["step"]
        (0.1, 1)
        """
        check_mapping("state_dict", state_dict, "state", "param_groups")
        own, loaded = self.param_groups, state_dict["param_groups"]
        if [len(g["params"]) for g in own] != [len(g["params"]) for g in loaded]:
            raise ValueError("loaded state dict has other parameter groups than the optimizer")
        named, arrays = self._named_state(), self._renamed(state_dict["state"])
        if named.keys() != arrays.keys():
            wrong = sorted(named.keys() ^ arrays.keys())
            raise ValueError(f"loaded state dict has other arrays than the optimizer: {wrong}")
        for name, view in named.items():
            if view.shape != np.shape(arrays[name]):
                got = np.shape(arrays[name])
                raise ValueError(f"state {name}: expected shape {view.shape}, got {got}")
        # All are converted first: that may fail, as where an overflow is made an error.
        given = {name: np.asarray(arrays[name]) for name in named}
        converted = {n: a.astype(named[n].dtype, copy=False) for n, a in given.items()}
        for name, view in named.items():
            view[...] = converted[name]
        for group, other in zip(own, loaded, strict=True):
            options = {key: _as_given(value) for key, value in other.items() if key != "params"}
            group.update(options)


def _as_given(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # JSON makes lists of tuples
