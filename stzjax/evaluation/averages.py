"""Several trials of one kind (seeds, rotated splits): averages, intervals, paired differences.

A metric is measured on each test set by the network that was not trained on it, and then averaged;
pooling the confidences of different networks would rank atoms by the network that judged them.
Intervals resample whole specimens, the same specimens for all trials that were tested on them: a
seed is no new specimen.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from stzjax.evaluation import metrics, verdict
from stzjax.evaluation.verdict import Predictions

Name = tuple[str, str]
"""Place of a number: "ranks" and "auc", "at_best_mcc" and "recall", "hits" and "0.01"."""

_Measure = Callable[[np.ndarray], dict[Name, float]]
"""Function from the times that each specimen of a test set was drawn to all numbers."""

_Draws = dict[tuple[int, ...], np.ndarray]
"""Times (num_samples, n) that each specimen was drawn, by the n specimens of a test set."""


class Trial(NamedTuple):
    """One training or fit, judged.

    Attributes:
      validation: predictions on the validation specimens.
      test: predictions on the test specimens.
      record: plain values about the course of the training.
    """

    validation: Predictions
    test: Predictions
    record: dict[str, Any]


def average(
    trials: Sequence[Trial], key: Array, num_samples: int = 1000
) -> dict[str, dict[str, dict[str, float]]]:
    """All numbers of `verdict.judge` averaged over trials, each with an interval.

    Args:
      trials: trials of one kind, one at least.
      key: `jax.random` key.
      num_samples: number of resamples.

    Returns:
      Under "ranks" AUC, AP, prevalence and AP/prevalence; under "at_half", "at_best_mcc" and
      "at_best_f1" recall, precision, F1 and MCC at that threshold, which each trial chooses on its
      own validation; under "hits" the rate for each share of `verdict.SHARES`. Each number has
      estimate, low, high, standard_error and undefined, as in `metrics.bootstrap`. NaN wherever
      the number is undefined for any trial.
    """
    return _intervals(*_plan(trials, key, num_samples))


def contrast(
    first: Sequence[Trial], second: Sequence[Trial], key: Array, num_samples: int = 1000
) -> dict[str, dict[str, dict[str, float]]]:
    """Paired difference of two kinds of training, first minus second, in the form of `average`.

    Both see the same specimens drawn. The number of seeds may differ, the test sets must not.
    """
    ours, theirs = ({_tested(trial) for trial in side} for side in (first, second))
    if ours != theirs:
        raise ValueError(
            f"the first was tested on specimens {sorted(ours)}, the second on {sorted(theirs)}: "
            "compare trainings on the same splits"
        )
    minuend, draws = _plan(first, key, num_samples)
    subtrahend, _ = _plan(second, key, num_samples)

    def difference(times: _Draws) -> dict[Name, float]:
        values, others = minuend(times), subtrahend(times)
        return {name: values[name] - others[name] for name in values}

    return _intervals(difference, draws)


def _tested(trial: Trial) -> tuple[int, ...]:
    return tuple(int(number) for number in np.unique(trial.test.specimen))


def _plan(trials: Sequence[Trial], key: Array, num_samples: int):
    """The mean over trials as a function of the draws of each test set, and the draws."""
    if not trials:
        raise ValueError("no training to average over: give at least one")
    parts = [(_tested(trial), _measure(trial)) for trial in trials]
    draws = {
        tested: metrics.redraws(jax.random.fold_in(key, number), num_samples, len(tested))
        if len(tested) > 1
        else np.ones((num_samples, 1), int)
        for number, tested in enumerate(sorted({tested for tested, _ in parts}))
    }

    def measure(times: _Draws) -> dict[Name, float]:
        found = [own(times[tested]) for tested, own in parts]
        return {name: float(np.mean([values[name] for values in found])) for name in found[0]}

    return measure, draws


def _intervals(measure, draws: _Draws) -> dict[str, dict[str, dict[str, float]]]:
    """Estimate and interval of each number, by group and name."""
    estimate = measure({tested: np.ones(len(tested)) for tested in draws})
    samples = [
        measure(dict(zip(draws, times, strict=True))) for times in zip(*draws.values(), strict=True)
    ]
    # A single specimen drawn again and again has no spread; the interval is unknown, not zero.
    alone = any(len(tested) < 2 for tested in draws)
    unknown = dict.fromkeys(("low", "high", "standard_error"), math.nan) if alone else {}
    found: dict[str, dict[str, Any]] = {}
    for (group, name), value in estimate.items():
        own = metrics.interval(value, np.array([values[group, name] for values in samples]))
        found.setdefault(group, {})[name] = own | unknown
    return found


def _measure(trial: Trial) -> _Measure:
    """All numbers of a trial as a function of the times that each of its specimens was drawn."""
    test = trial.test
    points, _ = verdict.operating_points(trial.validation)
    by_point = {
        name: None
        if threshold is None
        else metrics.by_group(test.label, test.confidence, test.specimen, threshold)[0]
        for name, threshold in points.items()
    }
    hits, numbers = verdict.hits(test), np.array(_tested(trial))

    def measure(times: np.ndarray) -> dict[Name, float]:
        found: dict[Name, float] = {}
        for point, own in by_point.items():
            values = dict.fromkeys(metrics.SCORES, math.nan) if own is None else own(times)
            found |= {(point, name): float(values[name]) for name in metrics.SCORES}
            if point == "at_half":
                found |= {("ranks", name): float(values[name]) for name in metrics.RANKS}
        rates = zip(hits.shares, hits.drawn(times, numbers), strict=True)
        return found | {("hits", str(share)): float(rate) for share, rate in rates}

    return measure
