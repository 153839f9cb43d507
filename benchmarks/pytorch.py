"""PyTorch's side: the same models, updates and generation in the form that runs fastest."""

from collections.abc import Callable
from itertools import cycle, product

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases import Training
from benchmarks.timing import fastest
from benchmarks.updates import windows

CELLS = {"rnn_tanh": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
OPTIMIZERS = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}


class Model(nn.Module):
    """Embedding or one-hot, recurrent layers, linear; parameters are named as fastseq's.

    Parameters
    ----------
    case : Training
    fed : {"one-hot", "embedding"}
        An embedding has the size of the hidden state where the case has none.
    """

    def __init__(self, case: Training, fed: str) -> None:
        super().__init__()
        self.vocabulary = V = case.vocabulary
        size = V if fed == "one-hot" else case.embedding or case.H
        self.embedding = None if fed == "one-hot" else nn.Embedding(V, size)
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
    """Truncated back-propagation: values go on, gradients do not."""
    return tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def update_of(model: Model, case: Training, optimizer_form: str) -> Callable[[], float]:
    """A call that trains on the next window and returns the mean loss before it."""
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


def best_form(case: Training, fed: str) -> tuple[str, bool]:
    """What runs fastest here: the optimizer's form, and whether oneDNN is to be used.

    oneDNN computes the LSTM alone, and not always in less time.
    """
    onednn = (True, False) if case.cell == "lstm" else (True,)
    forms = {f"{form} {on}": (form, on) for form, on in product(("fused", "foreach"), onednn)}

    def maker(form: str, on: bool) -> Callable[[], Callable[[], float]]:
        def make() -> Callable[[], float]:
            torch.backends.mkldnn.set_flags(on)
            return update_of(Model(case, fed), case, form)

        return make

    return forms[fastest({name: maker(*form) for name, form in forms.items()})]


def pytorch_update(
    case: Training, fed: str
) -> tuple[Callable[[], float], dict[str, np.ndarray], str]:
    """PyTorch's best update of a case.

    Returns
    -------
    update : callable
    weights : dict of str to ndarray
        That it starts from.
    form : str
        Which form was found to be best.
    """
    form, onednn = best_form(case, fed)
    torch.backends.mkldnn.set_flags(onednn)
    torch.manual_seed(0)
    model = Model(case, fed)
    name = f"{form} {case.optimizer}, oneDNN {'on' if onednn else 'off'}"
    return update_of(model, case, form), model.weights(), name
