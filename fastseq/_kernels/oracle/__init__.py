"""Every kernel in plain Python: the reference with which tests compare the compiled builds.

Only floats, lists and ``math`` are used, no NumPy arithmetic. Each function has the parameters of
the compiled kernel of its name. It reads the arrays into nested lists, computes, and writes the
results into the arguments marked OUT (written), INOUT (read, then written) or ACC (added to).
Arguments without a mark are only read. Values that belong together come as one tuple, see
`fastseq._kernels.records`. The code is written for clarity, not for speed.

Notation
--------
==========  =====================================================================================
T, B        time steps, batch rows
I, H, P     input size, hidden size, size of what is fed back (P = H unless projected)
G           gates of a cell: RNN 1, GRU 3 (r, z, n), LSTM 4 (i, f, g, o)
V, N, L     vocabulary size, rows of a flattened (T·B) batch, layers
x @ wᵀ      every weight is stored (out, in), so that row j makes output j
packed      The order of rows in which sequences of different lengths are computed: sequences
            by decreasing length, step after step, no rows for padding (see `LayerCall`). N is the
            number of rows; without padding N = T·B and row t·B + b is step t of sequence b.
gates       (N, G·H). The input projection x @ w_ihᵀ + b_ih + b_hh (of inner gates without
            b_hh), then the activated gates,
            after the backward pass d loss / d input projection
inner       Recurrent product of gates whose product stands inside another gate (GRU's n)
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

from ._math import vexp, vlog, vsigmoid, vtanh
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
from .recurrence import layer_backward, layer_forward
from .step import PackedStack
from .updates import adagrad, adam, rmsprop, sgd, sum_squares

NAME = "oracle"

__all__ = [
    "NAME",
    "PackedStack",
    "adagrad",
    "adam",
    "clear_rows",
    "gather_rows",
    "layer_backward",
    "layer_forward",
    "linear_cross_entropy",
    "linear_cross_entropy_with_grads",
    "matmul",
    "rmsprop",
    "scatter_add_rows",
    "sgd",
    "softmax_cross_entropy",
    "sum_rows",
    "sum_squares",
    "unique_ids",
    "vexp",
    "vlog",
    "vsigmoid",
    "vtanh",
]
