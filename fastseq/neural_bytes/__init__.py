"""Drop-in for the classes and helpers of ``neural_bytes``, a pure-Python experiment.

A script written for that package runs with its import changed::

    from fastseq.neural_bytes import LSTM                     # was: from neural_bytes import LSTM
    from fastseq.neural_bytes.utils import build_word_vocab   # and so on

and trains thousands of times faster, with fastseq's kernels in float64. The same ``random.seed``
gives the same initial weights to the last bit, and sampling consumes the same random numbers.

Deliberate differences from the original:

* **Sigmoid and tanh are exact.** The original rounds every activation to 4 decimals. It also
  limits the argument of its gates' sigmoid to ±15, which changes the result by less than 4e-7.
* **The gradient of the forget gate is correct.** The original takes the derivative of its sigmoid
  at the pre-activation instead of the activation.

Other differences that a script may notice: parameters, Adagrad memories and gradients are NumPy
arrays of the original's shapes. ``m.U[i][j]`` reads and writes, ``len(m.U)`` and iteration refer
to rows, and assigning nested lists to a parameter copies them. Returned states (`h_last`,
`c_last`) are nested lists; states passed in may be lists or arrays.
"""

from . import activations, utils
from .lstm import LSTM
from .rnn import RNN
from .utils import plot_loss

__all__ = ["LSTM", "RNN", "activations", "plot_loss", "utils"]
