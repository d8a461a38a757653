"""Cross-entropy for classes of very unequal size, and what the remedies make of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

KINDS = ("weighted", "focal", "balanced", "adjusted", "event")
"""Losses: inverse class frequency; the same with focusing; effective numbers; adjusted logits;
inverse class frequency within each graph."""


class Terms(NamedTuple):
    """What a loss does to the classes.

    Attributes:
      weights: (2,) weight of each class.
      offsets: (2,) added to the logits in training alone.
      focus: power of the focal factor (1 - p)^focus; 0 is plain cross-entropy.
      by_event: 1 if the weights are those of each graph instead, see `event_weights`; else 0.
    """

    weights: Any
    offsets: Any
    focus: Any
    by_event: Any


def terms(
    kind: str,
    counts,
    *,
    weight_power: float = 1.0,
    focal_gamma: float = 2.0,
    balance_beta: float = 0.9999,
    adjustment: float = 1.0,
) -> Terms:
    """The terms of a loss for given class counts, float32.

    Args:
      kind: one of `KINDS`.

        - weighted: class weights (n / 2 n_c)^power, as in the paper.
        - focal: these and the factor (1 - p_y)^γ; Lin et al., ICCV 2017, eq. 5.
        - balanced: weights (1 - β)/(1 - β^n_c), brought to the sum 2; Cui et al., CVPR 2019, eq. 2.
        - event: class weights as for weighted with power 1, but of each graph by itself: a small
          event counts as much as an avalanche.
        - adjusted: no weights, but τ log π_y added to the logits; Menon et al., ICLR 2021, eq. 10.
      counts: (2,) atoms of each class that an epoch shows; see `sampling.counts`.
      weight_power: of weighted and focal; 0 weighs every atom alike.
      focal_gamma: γ.
      balance_beta: β in [0, 1).
      adjustment: τ.

    Raises:
      ValueError: an unknown kind, an empty class, or a parameter out of its range.
    """
    counts = np.asarray(counts, float)
    powers = {
        "weight_power": weight_power,
        "focal_gamma": focal_gamma,
        "adjustment": adjustment,
    }
    _check(kind, counts, balance_beta, powers)
    weights, offsets, focus = np.ones(2), np.zeros(2), 0.0
    if kind in ("weighted", "focal"):
        weights = _inverse(counts, weight_power)
    if kind == "event":
        weights = _inverse(counts, 1.0)
    if kind == "focal":
        focus = focal_gamma
    if kind == "balanced":
        weights = (1 - balance_beta) / -np.expm1(counts * np.log(max(balance_beta, 1e-300)))
        weights *= 2 / weights.sum()
    if kind == "adjusted":
        offsets = adjustment * np.log(counts / counts.sum())
    values = (weights, offsets, focus, kind == "event")
    return Terms(*(np.asarray(value, np.float32) for value in values))


def _check(kind: str, counts: np.ndarray, balance_beta: float, powers: Mapping[str, float]) -> None:
    if kind not in KINDS:
        raise ValueError(f"loss must be one of {', '.join(KINDS)}, got {kind!r}")
    if not counts.all():
        raise ValueError(
            f"no training atom has label {int(np.argmin(counts))} (of {counts.sum():g} atoms): "
            "use more specimens, another threshold, or shear further"
        )
    for name, value in powers.items():
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be finite and not negative, got {value}")
    if not 0 <= balance_beta < 1:
        raise ValueError(f"balance_beta must lie in [0, 1), got {balance_beta}")


def _inverse(counts: np.ndarray, power: float) -> np.ndarray:
    return (counts.sum() / (2 * counts)) ** power


def class_weights(labels, power: float = 1.0) -> np.ndarray:
    """Weights inverse to the class frequencies, (n / 2 n_c)^power, shape (2,).

    Args:
      labels: (n,) of 0 and 1, all atoms of the training set.
      power: 1 makes both classes count the same, 0 weighs every atom the same.

    Raises:
      ValueError: a class is empty, or the power is negative or not finite.
    """
    labels = np.asarray(labels)
    counts = np.array([(labels == 0).sum(), (labels == 1).sum()])
    if counts.sum() != labels.size:
        raise ValueError("training labels must be 0 or 1: give labels to every training graph")
    _check("weighted", counts, 0.0, {"weight_power": power})
    return _inverse(counts, power)


def event_weights(labels: Array, mask: Array, graph: Array, num_graphs: int) -> Array:
    """Weight of each atom, so that both classes of every graph add up to one half.

    Args:
      labels: (N,) 0 or 1 wherever the mask is True.
      mask: (N,) bool, True for the atoms that count.
      graph: (N,) number of the graph of each atom.
      num_graphs: static.

    Returns:
      (N,); 0 outside the mask. A class that a graph lacks adds nothing.
    """
    place = 2 * graph + jnp.where(mask, labels, 0)
    counts = jax.ops.segment_sum(mask.astype(jnp.float32), place, 2 * num_graphs)
    return jnp.where(mask, 0.5 / jnp.maximum(counts[place], 1.0), 0.0)


def weighted_cross_entropy(
    logits: Array,
    labels: Array,
    mask: Array,
    weights: Array,
    offsets: Any = 0.0,
    focus: Any = 0.0,
    by_event: Any = 0.0,
    graph: Array | None = None,
    num_graphs: int = 1,
) -> Array:
    """Mean cross-entropy of the real atoms, each with its class's weight.

    Σ w_y (1 - p_y)^focus CE / Σ w_y over the mask, so padding changes nothing; 0 for an empty mask.

    Args:
      logits: (N, 2).
      labels: (N,) 0 or 1 wherever the mask is True.
      mask: (N,) bool, True for the atoms that count.
      weights: (2,) weight of each class.
      offsets: (2,) added to the logits.
      focus: power of the focal factor.
      by_event: where it is not 0, `event_weights` take the place of the weights.
      graph: (N,) number of the graph of each atom; None: all are of one.
      num_graphs: static.
    """
    mask = jnp.asarray(mask, bool)
    # A logit that is not finite in the padding must reach neither the value nor the gradient.
    logits = jnp.where(mask[:, None], logits, 0) + jnp.asarray(offsets, logits.dtype)
    labels = jnp.where(mask, labels, 0)
    log_probability = jax.nn.log_softmax(logits)
    surprise = -jnp.take_along_axis(log_probability, labels[:, None], axis=1)[:, 0]
    # 1 - p of the one class is p of the other: exact, with a gradient where p is 1.
    wrong = jnp.take_along_axis(log_probability, 1 - labels[:, None], axis=1)[:, 0]
    factor = jnp.exp(jnp.asarray(focus, logits.dtype) * wrong)
    weight = jnp.where(mask, jnp.asarray(weights, logits.dtype)[labels], 0)
    graph = jnp.zeros(labels.shape, int) if graph is None else graph
    own = event_weights(labels, mask, graph, num_graphs).astype(logits.dtype)
    weight = jnp.where(jnp.asarray(by_event) > 0, own, weight)
    total = weight.sum()
    return (weight * factor * surprise).sum() / jnp.where(total > 0, total, 1)
