"""Cross-entropy for classes of very unequal size."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def class_weights(labels, power: float = 1.0) -> np.ndarray:
    """Weights inverse to the class frequencies, (n / 2 n_c)^power, shape (2,).

    Args:
      labels: (n,) of 0 and 1, all atoms of the training set.
      power: 1 makes both classes count the same, 0 weighs every atom the same.

    Raises:
      ValueError: a class is empty, or the power is negative or not finite.
    """
    if not (np.isfinite(power) and power >= 0):
        raise ValueError(f"the weight power must be finite and not negative, got {power}")
    labels = np.asarray(labels)
    counts = np.array([(labels == 0).sum(), (labels == 1).sum()])
    if counts.sum() != labels.size:
        raise ValueError("training labels must be 0 or 1: give labels to every training graph")
    if not counts.all():
        raise ValueError(
            f"no training atom has label {int(np.argmin(counts))} (of {labels.size} atoms): "
            "use more specimens, another threshold, or shear further"
        )
    return (labels.size / (2 * counts)) ** power


def weighted_cross_entropy(logits: Array, labels: Array, mask: Array, weights: Array) -> Array:
    """Mean cross-entropy of the real atoms, each with its class's weight.

    Σ w_y CE / Σ w_y over the mask, so padding changes nothing; 0 for an empty mask.

    Args:
      logits: (N, 2).
      labels: (N,) 0 or 1 wherever the mask is True.
      mask: (N,) bool, True for the atoms that count.
      weights: (2,) weight of each class.
    """
    mask = jnp.asarray(mask, bool)
    # A logit that is not finite in the padding must reach neither the value nor the gradient.
    logits = jnp.where(mask[:, None], logits, 0)
    labels = jnp.where(mask, labels, 0)
    log_probability = jax.nn.log_softmax(logits)
    surprise = -jnp.take_along_axis(log_probability, labels[:, None], axis=1)[:, 0]
    weight = jnp.where(mask, jnp.asarray(weights, logits.dtype)[labels], 0)
    total = weight.sum()
    return (weight * surprise).sum() / jnp.where(total > 0, total, 1)
