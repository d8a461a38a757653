"""Calibration: scaling of the logits, fitted on validation, so that confidences are probabilities.

Guo et al., ICML 2017; Platt, in Advances in Large Margin Classifiers (1999). The slope is positive,
so the ranking, AUC and AP stay as they are.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.special
from jax import Array

KINDS = ("none", "temperature", "platt")

_LEAST_SLOPE = 1e-3
"""Least slope of margins in units of their spread, given to a ranking worse than chance.

Its confidences are almost constant, which shows the failure; a negative slope would hide it.
"""


class Calibration(NamedTuple):
    """confidence = 1 / (1 + exp(-(slope · margin + offset))) of the margin between the logits.

    Attributes:
      slope: the inverse temperature; 1 if nothing was fitted.
      offset: 0 for all kinds but Platt's.
    """

    slope: Any = 1.0
    offset: Any = 0.0


def confidence(logits, calibration: Calibration) -> Array:
    """Probability of class 1 from logits (..., 2), in their float type; differentiable."""
    logits = jnp.asarray(logits)
    slope, offset = (jnp.asarray(value, logits.dtype) for value in calibration)
    # The softmax of two logits is the logistic function of their difference.
    return jax.nn.sigmoid(slope * (logits[..., 1] - logits[..., 0]) + offset)


def fit(kind: str, logits, labels) -> Calibration:
    """Calibration fitted on labelled logits by maximum likelihood; atoms have equal weights.

    Args:
      kind: one of `KINDS`.
      logits: (n, 2) of the validation atoms.
      labels: (n,) of 0 and 1, both present unless `kind` is "none".

    Raises:
      ValueError: an unknown kind, one class alone, or margins that are all the same.
    """
    if kind not in KINDS:
        raise ValueError(f"calibration must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "none":
        return Calibration()
    logits = np.asarray(logits, np.float64)
    margin, labels = logits[:, 1] - logits[:, 0], np.asarray(labels, float)
    if labels.min() == labels.max():
        raise ValueError(
            f"calibration={kind} needs both classes in validation, all its labels are "
            f"{labels[0]:g}: use more validation specimens or calibration=none"
        )
    spread = margin.std()
    if not spread > 0:
        raise ValueError("cannot calibrate: the network gives every validation atom one confidence")
    columns = np.stack([margin / spread, np.ones_like(margin)], axis=1)
    if kind == "temperature":
        columns = columns[:, :1]
    slope, *offset = _logistic(columns, labels).tolist()
    return Calibration(slope / spread, *offset)


def _logistic(columns: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Coefficients (c,) of a logistic regression of labels (n,) on columns (n, c), slope first."""
    sign = 1.0 - 2.0 * labels

    def loss(coefficients):
        exponent = sign * (columns @ coefficients)
        slope = sign * scipy.special.expit(exponent)
        return np.logaddexp(0.0, exponent).mean(), columns.T @ slope / len(labels)

    start = np.ones(columns.shape[1])
    bounds = [(_LEAST_SLOPE, None), (None, None)][: len(start)]
    options = {"gtol": 1e-10, "ftol": 1e-15, "maxiter": 1000}
    how = {"method": "L-BFGS-B", "jac": True, "bounds": bounds, "options": options}
    return scipy.optimize.minimize(loss, start, **how).x
