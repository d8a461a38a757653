"""Events of different sizes, each ranked within its own glass.

Pooled metrics weigh atoms, and nearly all labelled atoms may lie in a few avalanches. Here every
event weighs the same.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stzjax.evaluation import metrics, verdict
from stzjax.evaluation.verdict import Predictions

FIRST = (1, 4, 11, 51, 201)
"""Least number of atoms of an event of each class; the last has no upper end."""

LOOKED_AT = 0.01
"""Share of the atoms of a glass among which an event is looked for."""


class Found(NamedTuple):
    """One event, ranked among the atoms of its glass.

    Attributes:
      specimen: number of the specimen.
      size: labelled atoms.
      auc: NaN if every atom is labelled.
      ap_over_prevalence: AP/prevalence of the run alone.
      hit: chance that one of its atoms is among the most confident atoms.
    """

    specimen: int
    size: int
    auc: float
    ap_over_prevalence: float
    hit: float


def each(predictions: Predictions) -> list[Found]:
    """Every run with an event, in the order stored."""
    runs = [run for run in predictions.runs() if predictions.label[run[2]].any()]
    found = []
    for (number, _, span), hit in zip(
        runs, verdict.hits(predictions, [LOOKED_AT]).hit, strict=True
    ):
        label = predictions.label[span]
        judged = metrics.evaluate(label, predictions.confidence[span])
        ratio = judged["ap_over_prevalence"]
        found.append(Found(number, int(label.sum()), judged["auc"], ratio, float(hit[0])))
    return found


def by_size(tests: Iterable[Predictions]) -> list[dict[str, Any]]:
    """Means over the events of each class of size.

    Args:
      tests: predictions on test specimens of each training.

    Returns:
      For each class: least and most, its sizes (most is None for the last); events, counted once
      for each training that was tested on them; auc, the mean, and auc_error, its standard error,
      by specimens (events of one specimen are correlated), NaN for fewer than two; the median of
      ap_over_prevalence, which is skewed; hit, the mean. NaN where there is no event.
    """
    found = [event for test in tests for event in each(test)]
    return [
        {"least": least, "most": None if above is None else above - 1}
        | _means([e for e in found if e.size >= least and (above is None or e.size < above)])
        for least, above in zip(FIRST, [*FIRST[1:], None], strict=True)
    ]


def _means(events: Sequence[Found]) -> dict[str, Any]:
    if not events:
        nothing = ("auc", "auc_error", "ap_over_prevalence", "hit")
        return {"events": 0} | dict.fromkeys(nothing, math.nan)
    specimen, _, auc, ratio, hit = map(np.array, zip(*events, strict=True))
    return {
        "events": len(events),
        "auc": float(auc.mean()),
        "auc_error": _clustered_error(auc, specimen),
        "ap_over_prevalence": float(np.median(ratio)),
        "hit": float(hit.mean()),
    }


def span(row: Mapping[str, Any]) -> str:
    """The sizes of a class of `by_size` in words, such as "1 to 3"."""
    return f"{row['least']} " + ("or more" if row["most"] is None else f"to {row['most']}")


def _clustered_error(values: np.ndarray, cluster: np.ndarray) -> float:
    """Standard error of a mean whose values are correlated within clusters (Liang and Zeger)."""
    numbers = np.unique(cluster)
    if len(numbers) < 2:
        return math.nan
    apart = values - values.mean()
    sums = np.array([apart[cluster == number].sum() for number in numbers])
    correction = len(numbers) / (len(numbers) - 1)
    return float(np.sqrt(correction * (sums**2).sum()) / len(values))
