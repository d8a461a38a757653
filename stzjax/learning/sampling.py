"""Choice of the graphs and atoms of a training step: under- and over-sampling in training.

Under-sampling acts inside a graph: majority atoms drop out of the loss, not out of the graph, so
that attention still passes through them. Over-sampling acts on whole graphs.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def kept(key: Array, labels: Array, mask: Array, ratio: Array) -> Array:
    """Atoms that enter the loss: all positives, and about `ratio` negatives for each of them.

    Every negative is kept with the same probability, so the number varies from step to step. A
    ratio of 0, or a mask without positives, keeps all atoms.

    Args:
      key: random key of this step.
      labels: (N,) 0 or 1 wherever the mask is True.
      mask: (N,) bool, the real atoms.
      ratio: negatives for each positive.
    """
    positive = mask & (labels == 1)
    negative = mask & (labels == 0)
    wanted = ratio * positive.sum()
    share = wanted / jnp.maximum(negative.sum(), 1)
    drawn = jax.random.uniform(key, labels.shape) < share
    everything = (ratio <= 0) | ~positive.any()
    return jnp.where(everything, mask, positive | (negative & drawn))


def order(key: Array, positives: Sequence[int] | np.ndarray, power: float) -> np.ndarray:
    """Graphs of an epoch in the order in which they are shown, (G,).

    A power of 0 shows every graph once; with a larger power graphs are drawn with replacement, each
    with a chance proportional to its number of positives (G,) to this power.
    """
    count = len(positives)
    if power <= 0:
        return np.asarray(jax.random.permutation(key, count))
    chance = jnp.asarray(_chances(positives, power))
    return np.asarray(jax.random.choice(key, count, (count,), p=chance))


def _chances(positives: Sequence[int] | np.ndarray, power: float) -> np.ndarray:
    weight = np.asarray(positives, float) ** power
    if not weight.any():
        raise ValueError("no training graph holds a positive atom: nothing to draw more often")
    return weight / weight.sum()


def counts(labels: Sequence[np.ndarray], ratio: float = 0.0, power: float = 0.0) -> np.ndarray:
    """Negative and positive atoms that enter the loss in an epoch, on average, (2,).

    Args:
      labels: (N_g,) of 0 and 1 for each training graph.
      ratio: see `kept`.
      power: see `order`.

    Raises:
      ValueError: a label is neither 0 nor 1.
    """
    if not all(np.isin(own, (0, 1)).all() for own in labels):
        raise ValueError("training labels must be 0 or 1: give labels to every training graph")
    positive = np.array([np.sum(own == 1) for own in labels], float)
    negative = np.array([np.sum(own == 0) for own in labels], float)
    if ratio > 0:
        negative = np.where(positive > 0, np.minimum(negative, ratio * positive), negative)
    times = len(labels) * _chances(positive, power) if power > 0 else np.ones(len(labels))
    return np.array([times @ negative, times @ positive])
