"""Metrics of confidences per atom as predictions of the rare atoms that move first.

Host code on NumPy arrays. Labels are arrays of 0 and 1 of any shape, confidences arrays of the same
shape; a higher confidence means that 1 is more likely. All functions raise ValueError for empty
arrays, other shapes or labels, and confidences that are not finite.

A value that is undefined (0/0) is NaN and never a silent zero:

- recall: no positive label;
- precision: nothing predicted positive;
- F1: neither a positive label nor a positive prediction;
- MCC: labels or predictions hold one class only (scikit-learn returns 0 here);
- AUC: labels hold one class only;
- AP and AP/prevalence: no positive label.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

SCORES = ("recall", "precision", "f1", "mcc")
"""Metrics that depend on a threshold."""

RANKS = ("auc", "ap", "prevalence", "ap_over_prevalence")
"""Metrics of the ranking, and the prevalence; no threshold in them."""

TAILS = (1 - 0.95) / 2, (1 + 0.95) / 2
"""Quantiles at the ends of all intervals, which cover 95 %."""


def evaluate(labels, confidence, threshold: float = 0.5) -> dict[str, Any]:
    """The six metrics and the confusion matrix, pooled over all entries.

    An atom is predicted positive if its confidence is at least the threshold.

    Returns:
      Plain floats under recall, precision, f1, mcc, auc, ap, prevalence, ap_over_prevalence and
      threshold; plain integers tp, fp, fn, tn under confusion. NaN where undefined (see above).
    """
    confusion, levels = _counts(labels, confidence, np.zeros(np.size(labels), int), 1, threshold)
    values = _measured(confusion[:, 0], levels[..., 0])
    return {
        **{name: float(values[name]) for name in SCORES + RANKS},
        "threshold": float(threshold),
        "confusion": dict(zip(("tp", "fp", "fn", "tn"), confusion[:, 0].tolist(), strict=True)),
    }


def brier(labels, confidence) -> float:
    """Mean squared difference between confidence and label; Brier, Mon. Weather Rev. 78, 1 (1950).

    A proper score: lowest for confidences that are true probabilities. ValueError for a confidence
    outside [0, 1].
    """
    truth, score = checked(labels, confidence)
    if score.min() < 0 or score.max() > 1:
        raise ValueError(
            f"confidences must lie in [0, 1] to be probabilities, got {score.min()} to "
            f"{score.max()}"
        )
    return float(np.mean((score - truth) ** 2))


def scores(tp, fp, fn, tn) -> dict[str, np.ndarray]:
    """Recall, precision, F1 and MCC of one or many confusion matrices.

    MCC = (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)), Matthews 1975. The four counts are
    numbers or arrays that broadcast together.
    """
    tp, fp, fn, tn = (np.asarray(count, np.float64) for count in (tp, fp, fn, tn))
    # Square roots first: the plain product of four counts loses exactness near 1e6 atoms.
    spread = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    return {
        "recall": ratio(tp, tp + fn),
        "precision": ratio(tp, tp + fp),
        "f1": ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": ratio(tp * tn - fp * fn, spread),
    }


def roc_curve(labels, confidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False positive rate, true positive rate and threshold, one point per distinct confidence.

    Starts at (0, 0) with threshold infinity, thresholds descend. A rate of an absent class is NaN.
    """
    thresholds, tp, fp = _cumulative(*checked(labels, confidence))
    tp, fp = np.append(0, tp), np.append(0, fp)
    return ratio(fp, fp[-1]), ratio(tp, tp[-1]), np.append(np.inf, thresholds)


def precision_recall_curve(labels, confidence) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and threshold, one point per distinct confidence.

    The order is scikit-learn's: thresholds ascend, and a last point (precision 1, recall 0)
    without a threshold closes the curve. Recall is NaN if no label is positive.
    """
    thresholds, tp, fp = (values[::-1] for values in _cumulative(*checked(labels, confidence)))
    recall = ratio(tp, tp[0])
    return np.append(tp / (tp + fp), 1.0), np.append(recall, 0.0 if tp[0] else np.nan), thresholds


def best_threshold(labels, confidence, metric: str = "mcc") -> float:
    """The observed confidence that, used as the threshold, maximises a metric.

    Exact over all distinct confidences; the highest threshold wins a tie. To be called on
    validation labels, never on test labels. ValueError for a metric that is not in `SCORES`, or is
    undefined at every threshold.
    """
    if metric not in SCORES:
        raise ValueError(f"no threshold to choose for {metric!r}; choose from {', '.join(SCORES)}")
    thresholds, tp, fp = _cumulative(*checked(labels, confidence))
    values = scores(tp, fp, tp[-1] - tp, fp[-1] - fp)[metric]
    if np.isnan(values).all():
        raise ValueError(
            f"cannot choose a threshold: {metric} is undefined at each of {len(thresholds)} "
            f"thresholds ({tp[-1]} positive and {fp[-1]} negative labels)"
        )
    return float(thresholds[np.nanargmax(values)])


def bootstrap(
    labels, confidence, groups, num_samples: int = 1000, *, key: Array
) -> dict[str, dict[str, float]]:
    """Percentile intervals of the metrics at threshold 0.5 under resampling of whole specimens.

    Atoms of one specimen are correlated, so specimens and not atoms are drawn with replacement
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13).

    Args:
      labels: 0 or 1 of each atom.
      confidence: of each atom.
      groups: specimen of each atom; two at least.
      num_samples: number of resamples.
      key: `jax.random` key.

    Returns:
      For each metric: estimate (of the data itself), low, high, standard_error, and undefined,
      the share of the resamples in which the metric was NaN and which were left out.
    """
    measure, num_groups = by_group(labels, confidence, groups, 0.5)
    samples = [measure(times) for times in redraws(key, num_samples, num_groups)]
    estimate = measure(np.ones(num_groups))
    return {
        name: interval(estimate[name], np.array([s[name] for s in samples])) for name in estimate
    }


def by_group(labels, confidence, groups, threshold: float) -> tuple[Callable[..., dict], int]:
    """All metrics as a function of the times that each group was drawn.

    Returns:
      The function, from (G,) times drawn in the order of `np.unique(groups)` to the metrics by
      name, without looking at the atoms again; and the number of groups G.
    """
    if np.shape(groups) != np.shape(labels):
        raise ValueError(f"groups have shape {np.shape(groups)}, labels {np.shape(labels)}")
    names, member = np.unique(np.ravel(groups), return_inverse=True)
    confusion, levels = _counts(labels, confidence, member, len(names), threshold)
    return lambda times: _measured(confusion @ times, levels @ times), len(names)


def _counts(labels, confidence, member, num_groups, threshold) -> tuple[np.ndarray, np.ndarray]:
    """True positives, false positives, false and true negatives (4, num_groups), and `_levels`."""
    truth, score = checked(labels, confidence)
    if np.ndim(threshold) or math.isnan(threshold):
        raise ValueError(f"the threshold must be one number, got {threshold!r}")
    called = score >= threshold
    cells = truth & called, ~truth & called, truth & ~called, ~truth & ~called
    confusion = np.stack([np.bincount(member[cell], minlength=num_groups) for cell in cells])
    return confusion, _levels(truth, score, member, num_groups)


def _measured(confusion: np.ndarray, levels: np.ndarray) -> dict[str, np.ndarray]:
    """All metrics from the counts of `_counts`, of a single group or summed over groups."""
    (tp, fp, fn, tn), (positives, at, above) = confusion, levels
    return scores(tp, fp, fn, tn) | _ranks(positives, at, above, fp + tn, tp + fn)


def redraws(key: Array, num_samples: int, num_groups: int) -> np.ndarray:
    """Times that each specimen is drawn by a bootstrap, (num_samples, num_groups) integers.

    It draws with replacement as many specimens as there are, so the rows sum to num_groups.
    """
    if num_groups < 2:
        raise ValueError(f"a bootstrap over specimens needs at least two, got {num_groups}")
    if num_samples < 1:
        raise ValueError(f"need num_samples >= 1, got {num_samples}")
    draws = jax.random.randint(key, (num_samples, num_groups), 0, num_groups, jnp.int32)
    return np.stack([np.bincount(draw, minlength=num_groups) for draw in np.asarray(draws)])


def interval(estimate, samples: np.ndarray) -> dict[str, float]:
    """Percentile interval of an estimate from resamples, NaN where undefined; see `bootstrap`."""
    defined = samples[~np.isnan(samples)]
    low = high = spread = math.nan
    if len(defined):
        low, high = np.quantile(defined, TAILS)
    if len(defined) > 1:
        spread = np.std(defined, ddof=1)
    return {
        "estimate": float(estimate),
        "low": float(low),
        "high": float(high),
        "standard_error": float(spread),
        "undefined": 1 - len(defined) / len(samples),
    }


def _levels(truth, score, member, num_groups) -> np.ndarray:
    """Counts per group at each distinct confidence of a positive, highest first.

    The curves bend only where a positive enters, so these counts hold AUC and AP exactly, and
    being additive over groups they serve every resample without sorting again.

    Returns:
      (3, U, num_groups): positives at or above, negatives at or above, negatives strictly above.
    """
    level = np.unique(score[truth])[::-1]
    counts = np.zeros((3, len(level), num_groups))
    for group in range(num_groups):
        mine = member == group
        positive, negative = np.sort(score[mine & truth]), np.sort(score[mine & ~truth])
        counts[0, :, group] = len(positive) - np.searchsorted(positive, level, "left")
        counts[1, :, group] = len(negative) - np.searchsorted(negative, level, "left")
        counts[2, :, group] = len(negative) - np.searchsorted(negative, level, "right")
    return counts


def _ranks(positives, at, above, num_negative, num_positive) -> dict[str, np.ndarray]:
    """AUC, AP and prevalence from the counts of `_levels` (one group, or a sum over groups).

    AUC is the chance that a positive outranks a negative, ties counting one half; AP is the step
    sum of precision over the gains in recall.
    """
    entering = np.diff(positives, prepend=0.0)
    beaten = num_negative - (at + above) / 2
    # Before the first drawn positive both counts may be zero; such levels have no weight.
    precision = positives / np.maximum(positives + at, 1.0)
    ap = ratio(entering @ precision, num_positive)
    prevalence = ratio(num_positive, num_positive + num_negative)
    return {
        "auc": ratio(entering @ beaten, float(num_positive) * float(num_negative)),
        "ap": ap,
        "prevalence": prevalence,
        "ap_over_prevalence": ratio(ap, prevalence),
    }


def _cumulative(truth, score) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct confidences, descending, with the true and false positives at or above each."""
    order = np.argsort(score)[::-1]
    score, truth = score[order], truth[order]
    last = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1)
    tp = np.cumsum(truth)[last]
    return score[last], tp, last + 1 - tp


def ratio(numerator, denominator) -> np.ndarray:
    """Quotient that is NaN where the denominator is zero."""
    numerator, denominator = np.asarray(numerator, float), np.asarray(denominator, float)
    safe = np.where(denominator == 0, 1.0, denominator)
    return np.where(denominator == 0, np.nan, numerator / safe)


def checked(labels, confidence) -> tuple[np.ndarray, np.ndarray]:
    """Labels as booleans and confidences as float64, both flat, or ValueError."""
    labels, confidence = np.asarray(labels), np.asarray(confidence, np.float64)
    if labels.shape != confidence.shape:
        raise ValueError(
            f"labels have shape {labels.shape}, confidence {confidence.shape}: one each per atom"
        )
    if not labels.size:
        raise ValueError("no labels: cannot evaluate an empty set")
    labels, confidence = labels.ravel(), confidence.ravel()
    truth = labels == 1
    strange = np.flatnonzero(~truth & (labels != 0))
    if len(strange):
        raise ValueError(f"labels must be 0 or 1; entry {strange[0]} is {labels[strange[0]]!r}")
    bad = np.flatnonzero(~np.isfinite(confidence))
    if len(bad):
        raise ValueError(
            f"confidence must be finite; entry {bad[0]} is {confidence[bad[0]]} "
            f"({len(bad)} of {len(confidence)} are not): did the training diverge?"
        )
    return truth, confidence
