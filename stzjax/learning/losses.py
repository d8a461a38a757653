"""Losses for classes of very unequal size, and the registry of them.

A loss is a function of the class counts (2,) and the configuration that gives its `Terms`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax.core.settings import setting


class Terms(NamedTuple):
    """The part that a loss has in the cross-entropy: arrays, so that all losses share a program.

    Attributes:
      weights: (2,) weight of each class.
      offsets: (2,) added to the logits in training alone.
      focus: power of the focal factor (1 - p)^focus; 0 is plain cross-entropy.
      by_event: 1 if the weights are those of each graph instead, see `event_weights`; else 0.
    """

    weights: Any = (1.0, 1.0)
    offsets: Any = (0.0, 0.0)
    focus: Any = 0.0
    by_event: Any = 0.0


def weighted(counts: np.ndarray, config: "LossConfig") -> Terms:
    """Inverse class frequency, class weights (n / 2 n_c)^power, as in the paper."""
    return Terms(weights=class_weights(counts, config.weight_power))


def focal(counts: np.ndarray, config: "LossConfig") -> Terms:
    """Weights of `weighted` and the factor (1 - p_y)^γ; Lin et al., ICCV 2017, eq. 5."""
    return Terms(weights=class_weights(counts, config.weight_power), focus=config.focal_gamma)


def balanced(counts: np.ndarray, config: "LossConfig") -> Terms:
    """Weights (1 - β)/(1 - β^n_c), brought to the sum 2; Cui et al., CVPR 2019, eq. 2."""
    beta = config.balance_beta
    weights = (1 - beta) / -np.expm1(counts * np.log(max(beta, 1e-300)))
    return Terms(weights=weights * (2 / weights.sum()))


def adjusted(counts: np.ndarray, config: "LossConfig") -> Terms:
    """No weights, but τ log π_y added to the logits; Menon et al., ICLR 2021, eq. 10."""
    return Terms(offsets=config.adjustment * np.log(counts / counts.sum()))


def event(counts: np.ndarray, config: "LossConfig") -> Terms:
    """Inverse class frequency of each graph by itself: a small event counts as an avalanche."""
    return Terms(weights=class_weights(counts), by_event=1.0)


def class_weights(counts: np.ndarray, power: float = 1.0) -> np.ndarray:
    """Weights (n / 2 n_c)^power of the classes from their counts (2,); ValueError if one is empty.

    A power of 1 makes both classes count the same, 0 weighs every atom the same.
    """
    _check(counts)
    return (counts.sum() / (2 * counts)) ** power


def _check(counts: np.ndarray) -> None:
    if not counts.all():
        raise ValueError(
            f"no training atom has label {int(np.argmin(counts))} (of {counts.sum():g} atoms): "
            "use more specimens, another threshold, or shear further"
        )


def event_weights(labels: Array, mask: Array, graph: Array, num_graphs: int) -> Array:
    """Weight of each atom (N,), so that both classes of every graph add up to one half.

    The arguments are those of `weighted_cross_entropy`. A class that a graph lacks adds nothing.
    """
    place = 2 * graph + jnp.where(mask, labels, 0)
    counts = jax.ops.segment_sum(mask.astype(jnp.float32), place, 2 * num_graphs)
    return jnp.where(mask, 0.5 / jnp.maximum(counts[place], 1.0), 0.0)


def weighted_cross_entropy(
    logits: Array,
    labels: Array,
    mask: Array,
    terms: Terms,
    graph: Array | None = None,
    num_graphs: int = 1,
) -> Array:
    """Mean cross-entropy of the real atoms, each with its class's weight.

    Σ w_y (1 - p_y)^focus CE / Σ w_y over the mask, so padding changes nothing; 0 for an empty mask.

    Args:
      logits: (N, 2).
      labels: (N,) 0 or 1 wherever the mask is True.
      mask: (N,) bool, True for the atoms that count.
      terms: weights, offsets and focus.
      graph: (N,) number of the graph of each atom; None: all are of one.
      num_graphs: static.
    """
    mask = jnp.asarray(mask, bool)
    # A logit that is not finite in the padding must reach neither the value nor the gradient.
    logits = jnp.where(mask[:, None], logits, 0) + jnp.asarray(terms.offsets, logits.dtype)
    labels = jnp.where(mask, labels, 0)
    log_probability = jax.nn.log_softmax(logits)
    surprise = -jnp.take_along_axis(log_probability, labels[:, None], axis=1)[:, 0]
    # 1 - p of the one class is p of the other: exact, with a gradient where p is 1.
    wrong = jnp.take_along_axis(log_probability, 1 - labels[:, None], axis=1)[:, 0]
    factor = jnp.exp(jnp.asarray(terms.focus, logits.dtype) * wrong)
    weight = jnp.where(mask, jnp.asarray(terms.weights, logits.dtype)[labels], 0)
    graph = jnp.zeros(labels.shape, int) if graph is None else graph
    own = event_weights(labels, mask, graph, num_graphs).astype(logits.dtype)
    weight = jnp.where(jnp.asarray(terms.by_event) > 0, own, weight)
    total = weight.sum()
    return (weight * factor * surprise).sum() / jnp.where(total > 0, total, 1)


class Loss(NamedTuple):
    """A loss of the registry.

    Attributes:
      terms: from the class counts (2,) and the configuration to a named tuple of numbers and
        arrays, made once for a training on the host.
      value: from logits (N, 2), labels (N,), mask (N,), these terms, and by keyword graph (N,) and
        num_graphs to the mean over the mask, a scalar; compiled into each step.
    """

    terms: Callable[[np.ndarray, "LossConfig"], Any]
    value: Callable[..., Array] = weighted_cross_entropy


LOSSES = {
    "weighted": Loss(weighted),
    "focal": Loss(focal),
    "balanced": Loss(balanced),
    "adjusted": Loss(adjusted),
    "event": Loss(event),
}
"""The losses by the names that `--loss` takes."""


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Choice of a loss, and the parameters of all."""

    loss: str = setting("weighted", "Loss of the training.", LOSSES)
    weight_power: float = setting(
        1.0,
        "Power of the inverse class frequency in the weighted and focal loss; 0 weighs all alike.",
        limits="[0, inf)",
    )
    focal_gamma: float = setting(2.0, "Focusing power of the focal loss.", limits="[0, inf)")
    balance_beta: float = setting(0.9999, "Beta of the class-balanced loss.", limits="[0, 1)")
    adjustment: float = setting(1.0, "Strength of the logit adjustment.", limits="[0, inf)")


def terms(counts, config: LossConfig) -> Any:
    """The terms of a loss, float32, for the class counts (2,) of an epoch; see `sampling.counts`.

    Raises:
      ValueError: an empty class.
    """
    counts = np.asarray(counts, float)
    _check(counts)
    found = LOSSES[config.loss].terms(counts, config)
    return found._make(np.asarray(value, np.float32) for value in found)
