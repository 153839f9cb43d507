"""Generation: one token drawn from one row of logits."""

import math


def draw(z, options, seen, uniform):
    """A token and its log-probability under the model itself, before any of the filters.

    Parameters
    ----------
    z : list of V floats
        Logits.
    options : Draw
    seen : list of V ints or None
        1 marks a token to which `Draw.penalty` applies.
    uniform : float
        In [0, 1).
    """
    token = _draw(_weights(z, options, seen), uniform)
    peak = max(z)
    total = math.log(sum(math.exp(v - peak) for v in z)) + peak
    return token, z[token] - total


def _weights(z, options, seen):
    """Unnormalised probabilities after penalty, temperature and the three filters."""
    temperature, top_k, top_p, min_p, penalty, allowed = options
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
    for v in order[_surviving([weights[v] for v in order], top_k, top_p, min_p) :]:
        weights[v] = 0.0
    return weights


def _surviving(falling, top_k, top_p, min_p):
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
