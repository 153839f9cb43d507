"""Every kernel in plain Python: the specification that the compiled builds are held against.

Only floats, lists and ``math``: no NumPy arithmetic. Each function takes the arrays that its
compiled twin takes, in the same order, reads them into nested lists, computes, and writes the
results back into the arguments marked OUT (written), INOUT (read, then written) or ACC (added
to). Arguments without a mark are only read. Speed is not a goal; clarity is.

Notation
--------
==========  =====================================================================================
T, B        time steps, batch rows
I, H, P     input size, hidden size, size of what is fed back (P = H unless projected)
G           gates of a cell: RNN 1, GRU 3 (r, z, n), LSTM 4 (i, f, g, o)
V, N, L     vocabulary size, rows of a flattened (T·B) batch, layers
x @ wᵀ      every weight is stored (out, in), so that row j makes output j
gates       (T, B, G·H). Forward IN: x @ w_ihᵀ + b_ih (+ b_hh), computed for all T beforehand;
            forward OUT: the activated gates; backward OUT: d loss / d forward-IN
h, c        (T+1, B, ·) states. The forward direction starts from slot 0 and writes slots 1…T;
            the reverse direction starts from slot T and writes slots T−1…0. The state before
            step t is slot t (reverse: t+1), the state after it slot t+1 (reverse: t).
lengths     (B,) int64 or None. At t ≥ lengths[b] row b keeps its state and gets no gradient.
da          gradient of the loss with respect to a
==========  =====================================================================================

References
----------
.. [1] J. L. Elman, "Finding structure in time", Cognitive Science 14, 1990.
.. [2] S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997.
.. [3] F. Gers, J. Schmidhuber, F. Cummins, "Learning to forget", Neural Computation 12, 2000.
.. [4] H. Sak, A. Senior, F. Beaufays, "Long short-term memory recurrent neural network
       architectures for large scale acoustic modeling", Interspeech 2014 (projection).
.. [5] K. Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.
.. [6] P. Werbos, "Backpropagation through time: what it does and how to do it", 1990.
"""

from ._math import get_num_threads, set_num_threads, vexp, vlog, vsigmoid, vtanh
from .cells import (
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
    rnn_backward,
    rnn_forward,
)
from .decode import decode
from .dense import (
    clear_rows,
    distinct_ids,
    gather_rows,
    head_backward,
    head_losses,
    matmul,
    scatter_add_rows,
    softmax_cross_entropy,
    sum_rows,
)
from .step import pack_weight, packed_length, stack_step
from .updates import adagrad, adam, rmsprop, sgd, sum_squares

NAME = "oracle"

__all__ = [
    "NAME",
    "adagrad",
    "adam",
    "clear_rows",
    "decode",
    "distinct_ids",
    "gather_rows",
    "get_num_threads",
    "gru_backward",
    "gru_forward",
    "head_backward",
    "head_losses",
    "lstm_backward",
    "lstm_forward",
    "matmul",
    "pack_weight",
    "packed_length",
    "rmsprop",
    "rnn_backward",
    "rnn_forward",
    "scatter_add_rows",
    "set_num_threads",
    "sgd",
    "softmax_cross_entropy",
    "stack_step",
    "sum_rows",
    "sum_squares",
    "vexp",
    "vlog",
    "vsigmoid",
    "vtanh",
]
