"""Generation: embedding row, cells, head and draw, token after token."""

import math

import numpy as np

from .products import gather_rows, matmul
from .step import advance


def decode(
    cell, table, w_ih, bias, w_hh, b_hn, h, c, head_w, head_b, allowed, seen,
    uniforms, temperature, top_k, top_p, min_p, penalty, tokens, log_probs,
):  # fmt: skip
    """Draw S tokens for each of B independent rows, feeding each token back in.

    Parameters
    ----------
    cell : int
        As in `stack_step`.
    table : (V, G·H)
        Row i is what token i sends to the gates of the first layer, biases included.
    w_ih : (L−1, G·H, H)
        Input weights of the layers above the first.
    bias : (L−1, G·H)
        Their biases (b_ih + b_hh; of the GRU's n only b_ih).
    w_hh : (L, G·H, H)
    b_hn : (L, H) or None
        The GRU's recurrent bias of n.
    h : (L, B, H) INOUT
    c : (L, B, H) INOUT, or None unless an LSTM
    head_w, head_b : (V, H), (V,) or None
    allowed : (V,) uint8 or None
        0 marks a token that is never drawn.
    seen : (B, V) uint8 INOUT or None
        1 marks a token that row b has had; `penalty` applies to those [1]_.
    uniforms : (S, B) float64
        Numbers in [0, 1), one for each draw.
    temperature : float
        0 takes the most likely token.
    top_k, top_p, min_p : int, float, float
        Keep the k likeliest (0: all), the smallest set whose mass reaches p (1: all) [2]_,
        those at least min_p times as likely as the likeliest (0: all). Applied in this order.
    penalty : float
        A positive logit of a seen token is divided by it, a negative one multiplied.
    tokens : (S+1, B) int64 INOUT
        Slot 0 holds the first token to feed; slots 1…S are drawn.
    log_probs : (S, B) float64 OUT
        log softmax of the drawn token under the model itself, before any of the filters.

    References
    ----------
    .. [1] N. Keskar et al., "CTRL: a conditional transformer language model", 2019.
    .. [2] A. Holtzman et al., "The curious case of neural text degeneration", ICLR 2020.
    """
    B = tokens.shape[1]
    for s in range(uniforms.shape[0]):
        x = np.zeros((B, table.shape[1]), table.dtype)
        gather_rows(table, tokens[s], None, x)
        top = advance(cell, x, w_ih, bias, w_hh, b_hn, None, h, c)
        logits = np.zeros((B, head_w.shape[0]), table.dtype)
        matmul(top, head_w.T, logits, head_b, False)
        for b in range(B):
            z = logits[b].tolist()
            marks = None if seen is None else seen[b].tolist()
            weights = _weights(z, allowed, marks, temperature, top_k, top_p, min_p, penalty)
            token = _draw(weights, float(uniforms[s, b]))
            peak = max(z)
            total = math.log(sum(math.exp(v - peak) for v in z)) + peak
            tokens[s + 1, b], log_probs[s, b] = token, z[token] - total
            if seen is not None:
                seen[b, token] = 1


def _weights(z, allowed, seen, temperature, top_k, top_p, min_p, penalty):
    """Unnormalised probabilities after penalty, temperature and the three filters."""
    z = list(z)
    for v in range(len(z)):
        if seen is not None and seen[v]:
            z[v] = z[v] / penalty if z[v] > 0 else z[v] * penalty
        if allowed is not None and not allowed[v]:
            z[v] = -math.inf
    peak = max(z)
    if temperature == 0.0:
        first = z.index(peak)
        return [1.0 if v == first else 0.0 for v in range(len(z))]
    weights = [math.exp((v - peak) / temperature) for v in z]
    # Ties are broken by the smaller id, so that every build keeps the same set.
    order = sorted(range(len(z)), key=lambda v: (-weights[v], v))
    for v in order[_kept([weights[v] for v in order], top_k, top_p, min_p) :]:
        weights[v] = 0.0
    return weights


def _kept(falling, top_k, top_p, min_p):
    """How many of the falling weights survive the filters; never fewer than one."""
    count = min(top_k, len(falling)) if top_k > 0 else len(falling)
    if top_p < 1.0:
        mass, goal, upto = 0.0, top_p * sum(falling[:count]), 0
        while upto < count and mass < goal:
            mass += falling[upto]
            upto += 1
        count = upto
    while count > 1 and falling[count - 1] < min_p * falling[0]:
        count -= 1
    return max(count, 1)


def _draw(weights, uniform):
    """The first index whose cumulative weight exceeds uniform · total."""
    goal, mass, last = uniform * sum(weights), 0.0, 0
    for v, weight in enumerate(weights):
        mass += weight
        if weight > 0.0:
            last = v
            if mass > goal:
                return v
    return last
