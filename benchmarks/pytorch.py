"""The side of PyTorch: the same models, updates and generation in their fastest form."""

import copy
from collections.abc import Callable
from itertools import cycle

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.timing import fastest
from benchmarks.updates import windows
from benchmarks.workloads import TrainingWorkload

CELLS = {"rnn_tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
OPTIMIZERS = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}


class Model(nn.Module):
    """Embedding or one-hot, recurrent layers, linear, with the parameter names of fastseq.

    Parameters
    ----------
    case : TrainingWorkload
    input_form : {"one-hot", "embedding"}
        The embedding has the hidden size if the workload specifies none.
    """

    def __init__(self, case: TrainingWorkload, input_form: str) -> None:
        super().__init__()
        self.vocabulary = V = case.vocabulary
        size = V if input_form == "one-hot" else case.embedding or case.H
        self.embedding = None if input_form == "one-hot" else nn.Embedding(V, size)
        self.rnn = CELLS[case.cell](size, case.H, case.layers)
        self.head = nn.Linear(case.H, V)

    def forward(self, ids, state):
        if self.embedding is None:
            x = F.one_hot(ids, self.vocabulary).to(torch.float32)
        else:
            x = self.embedding(ids)
        y, state = self.rnn(x, state)
        return self.head(y), state

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of all parameters by name."""
        return {name: tensor.numpy().copy() for name, tensor in self.state_dict().items()}


def detach(state):
    """Truncate back-propagation: keep the values without their graph."""
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def update_of(model: Model, case: TrainingWorkload, optimizer_form: str) -> Callable[[], float]:
    """Build a call that trains on the next window and returns its mean loss before the update."""
    parameters = list(model.parameters())
    optimizer = OPTIMIZERS[case.optimizer](parameters, lr=case.lr, **{optimizer_form: True})
    tensors = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in windows(case)]
    feed, state = cycle(tensors), None

    def update() -> float:
        nonlocal state
        inputs, targets = next(feed)
        optimizer.zero_grad(set_to_none=True)
        logits, state = model(inputs, state)
        state = detach(state)
        loss = F.cross_entropy(logits.view(-1, case.vocabulary), targets.view(-1))
        loss.backward()
        if case.clip == "value":
            nn.utils.clip_grad_value_(parameters, case.limit, foreach=True)
        else:
            nn.utils.clip_grad_norm_(parameters, case.limit, foreach=True)
        optimizer.step()
        return loss.item()

    return update


def best_optimizer(case: TrainingWorkload, model: Model) -> str:
    """Find the form of the optimizer that takes the least time for one step."""

    def maker(form: str) -> Callable[[], Callable[[], object]]:
        parameters = [torch.randn_like(p).requires_grad_() for p in model.parameters()]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        return lambda: OPTIMIZERS[case.optimizer](parameters, lr=case.lr, **{form: True}).step

    return fastest({form: maker(form) for form in ("fused", "foreach")})


def best_recurrence(case: TrainingWorkload, model: Model, form: str) -> bool:
    """Whether oneDNN is faster; it only applies to the LSTM."""

    def maker(on: bool) -> Callable[[], Callable[[], object]]:
        def make() -> Callable[[], object]:
            torch.backends.mkldnn.set_flags(on)
            return update_of(copy.deepcopy(model), case, form)

        return make

    forms = {"on": maker(True), "off": maker(False)}
    return case.cell != "lstm" or fastest(forms) == "on"


def pytorch_update(
    case: TrainingWorkload, input_form: str
) -> tuple[Callable[[], float], dict[str, np.ndarray], str]:
    """Build PyTorch's fastest update of a workload; this switches oneDNN on or off.

    Returns
    -------
    update : callable
    weights : dict of str to ndarray
        Initial weights.
    form : str
        Name of the fastest form.
    """
    torch.manual_seed(0)
    model = Model(case, input_form)
    form = best_optimizer(case, model)
    onednn = best_recurrence(case, model, form)
    torch.backends.mkldnn.set_flags(onednn)
    name = f"{form} {case.optimizer}, oneDNN {'on' if onednn else 'off'}"
    return update_of(model, case, form), model.weights(), name


# -- generation ----------------------------------------------------------------------------


class Generator(nn.Module):
    """A character model of one LSTM layer that draws its own next token.

    Parameters
    ----------
    vocabulary, hidden_size : int
    input_form : {"one-hot", "embedding"}
    whole_layer : bool
        Run `nn.LSTM` on sequences of one step instead of `nn.LSTMCell`.
    """

    def __init__(
        self, vocabulary: int, hidden_size: int, input_form: str, whole_layer: bool
    ) -> None:
        super().__init__()
        size = vocabulary if input_form == "one-hot" else hidden_size
        table = torch.eye(vocabulary) if input_form == "one-hot" else torch.randn(vocabulary, size)
        self.register_buffer("table", table)  # a row of the identity is a one-hot vector
        self.whole_layer = whole_layer
        self.cell = (nn.LSTM if whole_layer else nn.LSTMCell)(size, hidden_size)
        self.head = nn.Linear(hidden_size, vocabulary)

    @torch.inference_mode()
    def generate(self, count: int) -> list[int]:
        token, state, tokens = torch.zeros(1, dtype=torch.int64), None, []
        for _ in range(count):
            x = F.embedding(token, self.table)
            if self.whole_layer:
                y, state = self.cell(x[None], state)
                y = y[0]
            else:
                state = self.cell(x, state)
                y = state[0]
            token = torch.multinomial(F.softmax(self.head(y), dim=-1), 1)[0]
            tokens.append(token)
        return torch.cat(tokens).tolist()


def best_generator(vocabulary: int, hidden_size: int, count: int) -> tuple[Generator, str]:
    """Find the fastest form of the loop; return it with its name."""
    generators = {
        f"{'LSTM' if whole else 'LSTMCell'}, {input_form}": Generator(
            vocabulary, hidden_size, input_form, whole
        )
        for whole in (False, True)
        for input_form in ("one-hot", "embedding")
    }
    calls = {name: lambda g=g: lambda: g.generate(count) for name, g in generators.items()}
    best = fastest(calls)
    return generators[best], best
