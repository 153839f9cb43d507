"""A network, forward only, one time step or one token after the other."""

import numpy as np

from ..cells import CELLS
from ..records import LayerCall, Saved
from .decode import draw
from .products import gather_rows, matmul
from .recurrence import layer_forward


class PackedStack:
    """Layers of one cell whose weights are kept in the order in which products read them.

    That order is each build's own; the oracle's is the matrix as it is.

    Parameters
    ----------
    cell : int
        `Cell.id`.
    layers : list of Weights
        All forward. The first layer's w_ih may be None, where only `decode` is called.
    table : ndarray of shape (V, G·H) or None
        Row i is the first layer's input projection of token i, biases included.
    head : pair of ndarray of shape (V, P) and (V,) or None
        Weight and bias of the output layer, or (None, None).

    Raises
    ------
    ValueError
        No layers, or shapes that do not fit each other.
    """

    def __init__(self, cell, layers, table=None, head=(None, None)):
        if not layers:
            raise ValueError("layers: expected at least one, got 0")
        self.cell = cell
        self.layers = [type(w)(*(None if a is None else a.copy() for a in w)) for w in layers]
        self.table, self.head = table, head

    def __reduce__(self):
        raise TypeError("packed weights cannot be copied or pickled")

    def step(self, x, h, c):
        """Feed one time step to all layers and replace their states.

        Parameters
        ----------
        x : (B, I), or (I,) for B = 1
        h : (L, B, P) INOUT
        c : (L, B, H) INOUT, or None unless the cell has a cell state
        """
        self._advance(np.atleast_2d(x), None, h, c)

    def decode(self, h, c, tokens, log_probs, uniforms, draw_options, seen):
        """Draw S tokens for each of B independent rows, feeding each token back in.

        Parameters
        ----------
        h : (L, B, P) INOUT
        c : (L, B, H) INOUT, or None unless the cell has a cell state
        tokens : (S+1, B) int64 INOUT
            Slot 0 holds the first token to feed; slots 1…S are drawn.
        log_probs : (S, B) float64 OUT
            log softmax of the drawn token under the model itself, before any of the filters.
        uniforms : (S, B) float64
            Numbers in [0, 1), one for each draw.
        draw_options : Draw
        seen : (B, V) uint8 INOUT or None
            1 marks a token that row b has had; `Draw.penalty` applies to those.

        Raises
        ------
        IndexError
            A first token below 0 or not below V; nothing is written.
        """
        w, bias = self.head
        for s in range(uniforms.shape[0]):
            gates = np.zeros((tokens.shape[1], self.table.shape[1]), self.table.dtype)
            gather_rows(self.table, tokens[s], None, gates)
            self._advance(None, gates, h, c)
            logits = np.zeros((tokens.shape[1], w.shape[0]), w.dtype)
            matmul(h[-1], w.T, logits, bias, False)
            for b in range(tokens.shape[1]):
                marks = None if seen is None else seen[b].tolist()
                token, log_probs[s, b] = draw(
                    logits[b].tolist(), draw_options, marks, float(uniforms[s, b])
                )
                tokens[s + 1, b] = token
                if seen is not None:
                    seen[b, token] = 1

    def _advance(self, x, gates, h, c):
        """One time step; gates: the first layer's input projection, where x is None."""
        for k, weights in enumerate(self.layers):
            saved = None
            if gates is not None and k == 0:
                saved = _saved(self.cell, gates, weights)
            states = (h[k].copy(), None if c is None else c[k].copy())
            y = np.zeros_like(h[k])
            call = LayerCall(self.cell, x, weights, *states, None, False, y, h[k],
                             None if c is None else c[k], saved)  # fmt: skip
            layer_forward(call)
            x = y


def _saved(cell, gates, weights):
    """Arrays for a call whose input projection is given."""
    row, B = CELLS[cell], len(gates)
    H = weights.w_hh.shape[0] // len(row.gates)
    c = np.zeros((B, H), gates.dtype) if row.has_c else None
    inner = np.zeros((B, row.inner_gates * H), gates.dtype) if row.inner_gates else None
    return Saved(gates.copy(), c, inner)
