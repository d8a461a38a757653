"""Judgement of predictions of rare events: pooled metrics, intervals, hits per event.

Host code on NumPy arrays. Nothing here hides an absent event: a rate over no event is NaN, as is
a metric that is undefined (see `metrics`), and a part that cannot be computed is None beside its
reason. Atoms of one specimen are correlated, so every interval resamples whole specimens.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from stzjax.core import loads
from stzjax.evaluation import metrics

SHARES = (0.001, 0.01, 0.05)
"""Shares of the atoms of a glass among which its first event is looked for."""

CHOSEN_FOR = {"at_best_mcc": "mcc", "at_best_f1": "f1"}
"""Metric that the threshold of each operating point maximises on validation."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Labels and confidences of many runs, pooled; the atoms of a run are contiguous.

    Attributes:
      label: (A,) 0 or 1.
      confidence: (A,) in [0, 1].
      specimen: (A,) number of the specimen.
      direction: (A,) such as "+xy".

    Raises:
      ValueError: lengths differ, an unknown direction, or the atoms of a run lie apart.
    """

    label: np.ndarray
    confidence: np.ndarray
    specimen: np.ndarray
    direction: np.ndarray

    def __post_init__(self):
        """Convert the columns to arrays; refuse columns that are no pooled runs."""
        for name, column in vars(self).items():
            object.__setattr__(self, name, np.asarray(column))
        shapes = {name: column.shape for name, column in vars(self).items()}
        if len(set(shapes.values())) != 1 or len(shapes["label"]) != 1:
            told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ValueError(f"columns must be of one length, one value per atom; got {told}")
        seen = set()
        for number, direction, span in self.runs():
            if direction not in loads.DIRECTIONS:
                raise ValueError(
                    f"direction {direction!r} at atom {span.start} is none of "
                    f"{', '.join(loads.DIRECTIONS)}"
                )
            if (number, direction) in seen:
                raise ValueError(
                    f"the atoms of specimen {number} in {direction} lie apart: they go on at atom "
                    f"{span.start}; store run after run"
                )
            seen.add((number, direction))

    def runs(self) -> list[tuple[int, str, slice]]:
        """Specimen, direction and atoms of each run, in the order stored."""
        columns = self.specimen, self.direction
        changed = np.logical_or(*(column[1:] != column[:-1] for column in columns))
        edges = [0, *(np.flatnonzero(changed) + 1).tolist(), len(self.label)]
        return [
            (int(self.specimen[a]), str(self.direction[a]), slice(a, b))
            for a, b in itertools.pairwise(edges)
            if b > a
        ]

    def along(self, direction: str) -> "Predictions":
        """The runs of one direction."""
        mine = self.direction == direction
        return Predictions(**{name: column[mine] for name, column in vars(self).items()})


class Hits(NamedTuple):
    """Events found by looking at the most confident atoms, for each run with an event.

    Attributes:
      shares: S shares of the atoms of a run that are looked at.
      specimen: (E,) number of the specimen.
      hit: (E, S) chance, over the ways to break ties, that a true atom is among the atoms looked
        at; 0 or 1 if no tie decides.
      chance: (E, S) the same for a random ranking.
    """

    shares: tuple[float, ...]
    specimen: np.ndarray
    hit: np.ndarray
    chance: np.ndarray

    def drawn(self, times: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Hit rates (..., S) if specimen `numbers[i]` is drawn `times[..., i]` times.

        NaN without a drawn event.
        """
        weight = times[..., np.searchsorted(numbers, self.specimen)]
        return metrics.ratio(weight @ self.hit, weight.sum(axis=-1, keepdims=True))

    def rates(self) -> dict[str, dict[str, Any]]:
        """Means over the events: for each share, as text such as "0.01", a dict.

        It holds rate; chance, the rate expected of a random ranking; and events, the number of
        runs with an event. Rate and chance are NaN if there are none.
        """
        events = len(self.specimen)
        return {
            str(float(share)): {
                "rate": float(self.hit[:, i].mean()) if events else math.nan,
                "chance": float(self.chance[:, i].mean()) if events else math.nan,
                "events": events,
            }
            for i, share in enumerate(self.shares)
        }


def hits(predictions: Predictions, shares: Sequence[float] = SHARES) -> Hits:
    """Hits of each run with an event: chances that its most confident atoms hold a true atom.

    The ceil(share · N) atoms of highest confidence are looked at in each run of N atoms; the run
    is hit if one of them is positive. Ties count by their exact expectation over random order.

    Args:
      predictions: predictions of many runs.
      shares: shares of the atoms, in (0, 1]; taken as the decimals they print as.

    Raises:
      ValueError: a share out of range; labels and confidence as for `metrics.evaluate`.
    """
    bad = [share for share in shares if not 0 < share <= 1]
    if bad:
        raise ValueError(f"a share of the atoms must be above 0 and at most 1, got {bad[0]}")
    truth, score = metrics.checked(predictions.label, predictions.confidence)
    specimen, hit, chance = [], [], []
    for number, _, span in predictions.runs():
        label = truth[span]
        if label.any():
            # In floating point 0.07 · 100 is above 7.
            looked = [math.ceil(Fraction(str(float(share))) * len(label)) for share in shares]
            specimen.append(number)
            hit.append([_hit(label, score[span], count) for count in looked])
            chance.append([_drawn(len(label), int(label.sum()), count) for count in looked])
    shape = (-1, len(shares))
    return Hits(
        tuple(shares), np.array(specimen, int), np.reshape(hit, shape), np.reshape(chance, shape)
    )


def judge(
    validation: Predictions, test: Predictions, key: Array, num_samples: int = 1000
) -> dict[str, Any]:
    """The whole judgement of the test predictions, pooled and per direction, as plain values.

    Thresholds are chosen on all of the validation, for the directions too, and never on the test.

    Args:
      validation: predictions to choose thresholds on.
      test: predictions to judge.
      key: `jax.random` key; every bootstrap resamples with it.
      num_samples: number of resamples.

    Returns:
      The same under "pooled" and, for each direction that the test holds, under "directions":
      `metrics.evaluate` under at_half (threshold 0.5), at_best_mcc and at_best_f1;
      `metrics.bootstrap` at threshold 0.5 under interval; `Hits.rates` under hits, each with the
      interval of its rate; and under reasons the reason for each of these names that is None (for
      hits: if its intervals are None). Undefined values are NaN.

    Raises:
      ValueError: the test is empty; labels and confidence as for `metrics.evaluate`; num_samples.
    """
    thresholds, reasons = operating_points(validation)

    def judged(part: Predictions) -> dict[str, Any]:
        found: dict[str, Any] = {
            name: None if value is None else metrics.evaluate(part.label, part.confidence, value)
            for name, value in thresholds.items()
        }
        found["interval"], missing = None, dict(reasons)
        if len(np.unique(part.specimen)) < 2:
            missing["interval"] = "fewer than two specimens"
        else:
            found["interval"] = metrics.bootstrap(
                part.label, part.confidence, part.specimen, num_samples, key=key
            )
        found["hits"], reason = _hits_with_intervals(part, key, num_samples)
        return found | {"reasons": missing | ({"hits": reason} if reason else {})}

    present = [d for d in loads.DIRECTIONS if (test.direction == d).any()]
    return {"pooled": judged(test), "directions": {d: judged(test.along(d)) for d in present}}


def operating_points(validation: Predictions) -> tuple[dict[str, float | None], dict[str, str]]:
    """Thresholds by name, 0.5 and the best by each metric of `CHOSEN_FOR`, None with a reason."""
    thresholds: dict[str, float | None] = {"at_half": 0.5}
    reasons = {}
    for name, metric in CHOSEN_FOR.items():
        thresholds[name], reason = choose_threshold(validation, metric)
        if reason:
            reasons[name] = reason
    return thresholds, reasons


def choose_threshold(validation: Predictions, metric: str) -> tuple[float | None, str]:
    """The best threshold on validation by a metric of `metrics.SCORES`, or None and the reason."""
    if not len(validation.label):
        return None, "validation is empty"
    truth, _ = metrics.checked(validation.label, validation.confidence)
    positive = int(truth.sum())
    # F1 would be defined, but the same at any threshold or best at the lowest.
    if positive in (0, len(truth)):
        return None, f"validation holds one class only: {positive} of {len(truth)} are positive"
    try:
        return metrics.best_threshold(validation.label, validation.confidence, metric), ""
    except ValueError as error:  # Labels and confidence are in order: the metric is undefined.
        return None, str(error)


def _hits_with_intervals(
    test: Predictions, key: Array, num_samples: int
) -> tuple[dict[str, dict[str, Any]], str]:
    """Rates of hits, each with a bootstrap interval or None, and the reason if it is None."""
    found, numbers = hits(test), np.unique(test.specimen)
    rates = found.rates()
    if len(np.unique(found.specimen)) < 2:
        # A single specimen repeated would give an interval without width.
        what = "specimens" if len(numbers) < 2 else "specimens with an event"
        return {s: row | {"interval": None} for s, row in rates.items()}, f"fewer than two {what}"
    samples = found.drawn(metrics.redraws(key, num_samples, len(numbers)), numbers)
    for row, values in zip(rates.values(), samples.T, strict=True):
        row["interval"] = metrics.interval(row["rate"], values)
    return rates, ""


def _hit(label: np.ndarray, confidence: np.ndarray, count: int) -> float:
    """Chance that a positive is among the `count` highest, ties being broken at random."""
    cut = np.partition(confidence, len(label) - count)[len(label) - count]
    above, tied = confidence > cut, confidence == cut
    if label[above].any():
        return 1.0
    return _drawn(int(tied.sum()), int(label[tied].sum()), count - int(above.sum()))


def _drawn(num: int, positive: int, count: int) -> float:
    """Chance that `count` of `num` atoms, drawn without replacement, hold one of the positives.

    1 - C(num - positive, count) / C(num, count), as a product of as few factors as there are.
    """
    if count > num - positive:
        return 1.0
    fewer, more = sorted((positive, count))
    return float(-np.expm1(np.log1p(-more / (num - np.arange(fewer))).sum()))
