"""Every kernel in plain Python: the reference with which tests compare the compiled builds.

Only floats, lists and ``math`` are used, no NumPy arithmetic. Each function has the parameters of
the compiled kernel of its name. It reads the arrays into nested lists, computes, and writes the
results into the arguments marked OUT (written), INOUT (read, then written) or ACC (added to).
Arguments without a mark are only read. Values that belong together come as one tuple, see
`fastseq._kernels.arguments`. The code is written for clarity, not for speed.

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
from .loss import (
    linear_cross_entropy,
    linear_cross_entropy_with_grads,
    softmax_cross_entropy,
)
from .products import (
    clear_rows,
    gather_rows,
    matmul,
    scatter_add_rows,
    sum_rows,
    unique_ids,
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
    "gather_rows",
    "get_num_threads",
    "gru_backward",
    "gru_forward",
    "linear_cross_entropy",
    "linear_cross_entropy_with_grads",
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
    "unique_ids",
    "vexp",
    "vlog",
    "vsigmoid",
    "vtanh",
]
