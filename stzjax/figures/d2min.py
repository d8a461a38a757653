"""Charts over D²min: how its values spread, what the network calls, what a threshold changes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stzjax.evaluation import called_by_d2min
from stzjax.evaluation.called_by_d2min import OPERATING, Share
from stzjax.figures import chart
from stzjax.figures.chart import BLUE, GREY, ORANGE, Axis, Chart, Curve, Panel, Rule, Words

LABEL = "D²min in the step of the first event (Å²)"
"""Label of an axis."""

FEW = 20
"""Bins with fewer atoms are drawn hollow."""

_PANELS = {
    "class_ratio": ("class ratio", "Event atoms to others"),
    "recall": ("recall", "Recall"),
    "precision": ("precision", "Precision"),
    "auc": ("AUC", "Area under the ROC curve"),
    "ap": ("AP", "Average precision"),
    "f1": ("F1", "F1"),
    "mcc": ("MCC", "Matthews correlation"),
    "ap_over_prevalence": ("AP / prevalence", "AP over that of chance"),
}
"""Short and long name of each metric in Figure 4."""

_CHANCE = {"auc": 0.5, "mcc": 0.0, "ap_over_prevalence": 1.0}


def histogram(values, threshold: float) -> Chart:
    """Distribution of D²min (A,) in the steps of the first events, on two logarithmic axes [Å²]."""
    values = np.asarray(values, float)
    # Rounding noise of atoms that did not move spans decades of no interest.
    values = values[values > 1e-10]
    edges = chart.log_bins(np.append(values, threshold), 60)
    bars = chart.counted(values, edges, BLUE, "atoms")
    highest = max(float(np.max(bars.height)), 10.0)
    title = f"An atom above {threshold:g} Å² has moved"
    x, y = chart.log_axis(LABEL, edges[0], edges[-1]), chart.log_axis("atoms", 0.5, 2 * highest)
    return Chart([Panel([bars, Rule(threshold)], x, y, title)], 1, (5.6, 3.6))


def shares(found: Share, d2min, threshold: float) -> Chart:
    """Figure 3 A and B: share of the atoms called positive by D²min, and the histogram of D²min.

    `d2min` (A,) [Å²] is that of all test atoms in the step of the first event of their run.
    """
    panels = [_share_panel(found, threshold), _density_panel(np.asarray(d2min), threshold)]
    return Chart(panels, 2, (8.6, 4.0), 420, "upper left")


def _mark(threshold: float, y: Axis) -> list[chart.Series]:
    """A line at the threshold, and its value at the foot."""
    foot = y.ends[0] if y.ends else 0.0
    return [Rule(threshold), Words(threshold, foot, f"{threshold:g} Å² ", ORANGE, "lower right")]


def _share_panel(found: Share, threshold: float) -> Panel:
    x = chart.log_axis(LABEL, found.edges[0], found.edges[-1])
    y = Axis(f"share with confidence ≥ {OPERATING:g}", (-0.02, 1.04))
    mark = _mark(threshold, y)
    if not found.atoms.any():
        return Panel(mark, x, y, "Called positive", "no D²min in the test set")
    centre = np.sqrt(found.edges[1:] * found.edges[:-1])
    behind = "one specimen" if found.specimens < 2 else f"{found.specimens} specimens"
    overall = np.nansum(found.share * found.atoms) / found.atoms.sum()
    there = found.atoms > 0
    few = found.atoms[there] < FEW
    bins = zip(found.edges[:-1], found.edges[1:], found.atoms, found.low, found.high, strict=True)
    words = [
        f"{a:.3g} to {b:.3g} Å²: {num} atoms\n95 %: {low:.3f} to {high:.3f}"
        for a, b, num, low, high in bins
        if num
    ]
    series = [
        chart.Band(centre, found.low, found.high, name=f"95 %, {behind}"),
        Curve(found.edges[[0, -1]], [overall] * 2, GREY, "dash", name=f"all atoms: {overall:.3g}"),
        Curve(centre, found.share),
        Curve(
            centre[there], found.share[there], BLUE, "", "o", low=found.low[there],
            high=found.high[there], hollow=few, text=words, hover="share %{y:.3f}\n%{text}",
        ),
        *mark,
    ]  # fmt: skip
    if few.any():
        label = f"hollow: fewer than {FEW} atoms"
        series.append(Curve([np.nan], [np.nan], BLUE, "", "o", name=label, hollow=[True]))
    return Panel(series, x, y, "Called positive")


def _density_panel(d2min: np.ndarray, threshold: float) -> Panel:
    values = d2min[np.isfinite(d2min)]
    edges = called_by_d2min.bins(values, threshold, 8)
    count = np.histogram(values, edges)[0]
    density = np.where(count > 0, count / (max(len(values), 1) * np.diff(edges)), np.nan)
    x, y = chart.log_axis(LABEL, edges[0], edges[-1]), Axis("probability density (1/Å²)")
    title = f"Histogram of {len(values):,} atoms"
    if not count.any():
        return Panel(_mark(threshold, y), x, y, title, "no D²min in the test set")
    spans = zip(edges[:-1], edges[1:], count, strict=True)
    words = [f"{a:.3g} to {b:.3g} Å²\n{num} atoms" for a, b, num in spans]
    stairs = np.repeat(edges, 2)[1:-1], np.repeat(density, 2)
    curve = Curve(*stairs, text=np.repeat(words, 2).tolist(), hover="%{text}")
    y = chart.log_axis(y.label, np.nanmin(density) / 2, np.nanmax(density) * 2)
    return Panel([*_mark(threshold, y), curve], x, y, title)


def thresholds(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """Figure 4: the class ratio and the metrics against the D²min threshold.

    Args:
      rows: one for each threshold, in any order: threshold [Å²]; class_ratio; test, the metrics
        by name; interval, low and high by metric, or None. None and NaN are gaps.
    """
    rows = sorted(rows, key=lambda row: row["threshold"])
    place = np.array([row["threshold"] for row in rows], float)
    x = Axis("D²min threshold (Å²)", None, False, {one: f"{one:g}" for one in place})
    if place[-1] >= 5 * place[0]:
        margin = (place[-1] / place[0]) ** 0.06
        x = chart.log_axis(x.label, place[0] / margin, place[-1] * margin)
    elif len(place) > 1:
        x = Axis(x.label)
    panels = [_metric_panel(rows, place, name, x) for name in _PANELS]
    return Chart(panels, 4, (13.2, 6.5), 560, "below", 0.075)


def _metric_panel(rows, place: np.ndarray, name: str, x: Axis) -> Panel:
    """One metric against the threshold, beside what guessing gives."""
    short, title = _PANELS[name]
    path = (name,) if name == "class_ratio" else ("test", name)
    values = chart.finite(chart.dig(row, *path) for row in rows)
    ends = [
        chart.finite(chart.dig(row, "interval", name, end) for row in rows)
        for end in ("low", "high")
    ]
    low, high = np.where(np.isfinite(values), ends, np.nan)
    # The legend is that of the panel of AUC, which has all.
    named = name == "auc"
    series: list[chart.Series] = []
    # The result of guessing depends on the way of guessing for the other metrics.
    if name in ("precision", "ap"):
        prevalence = chart.finite(chart.dig(row, "test", "prevalence") for row in rows)
        series.append(Curve(place, prevalence, GREY, "dash"))
    elif name in _CHANCE:
        chance = np.full(len(rows), _CHANCE[name])
        series.append(Curve(place, chance, GREY, "dash", name="chance" if named else ""))
    if np.isfinite(low).any():
        series.append(chart.Band(place, low, high, name="95 % interval" if named else ""))
    series.append(
        Curve(
            place, values, mark="o", name="test specimens" if named else "", low=low, high=high,
            hover="%{x:g} Å²: %{y:.4g}",
        )
    )  # fmt: skip
    y, positive = Axis(short), values[values > 0]
    if name == "class_ratio" and positive.size:
        y = chart.log_axis(short, positive.min() / 1.5, positive.max() * 1.5)
    empty = "" if np.isfinite(values).any() else "undefined at every threshold"
    return Panel(series, x, y, title, empty)
