"""Charts of judgements and studies: verdict, comparison with a reference, grid search."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from stzjax.figures import chart
from stzjax.figures.chart import BLUE, GREY, INK, ORANGE, Axis, Chart, Curve, Panel, Rule, Words

Span = Mapping[str, Any] | None
"""An estimate with the ends low and high of its interval; None or missing where undefined."""


def forest(
    spans: Mapping[str, Span],
    label: str,
    none: float | None,
    marked: Collection[str] = (),
    chance: Sequence[float | None] = (),
    ends: tuple[float, float] | None = None,
) -> Panel:
    """Estimates with their intervals, one below the other, beside a line of no effect.

    A dot is hollow where there is no interval.

    Args:
      spans: by the name of the line, from the top.
      label: name of the quantity.
      none: 1 for a ratio, 0 for a difference, None for no line.
      marked: names of the lines that stand out.
      chance: a diamond on each line, what a random ranking reaches.
      ends: first and last value shown; from the intervals if None.
    """
    estimate, low, high = (
        chart.finite(chart.dig(span, name) for span in spans.values())
        for name in ("estimate", "low", "high")
    )
    series: list[chart.Series] = []
    for colour, stands_out in ((BLUE, False), (ORANGE, True)):
        rows = [n for n, name in enumerate(spans) if (name in marked) is stands_out]
        rows = [n for n in rows if np.isfinite(estimate[n])]
        told = [_told(list(spans)[n], estimate[n], low[n], high[n]) for n in rows]
        style: dict[str, Any] = {"line": "", "mark": "o", "size": 6, "along": "x"}
        style |= {"low": low[rows], "high": high[rows], "hollow": np.isnan(low[rows])}
        series.append(Curve(estimate[rows], rows, colour, text=told, hover="%{text}", **style))
    if len(chance):
        hover = "random ranking: %{x:.3g}"
        series.append(
            Curve(chart.finite(chance), range(len(spans)), GREY, "", "D", size=7, hover=hover)
        )
    lost = np.flatnonzero(np.isnan(estimate))
    series += [Words(none or 0.0, float(n), " undefined", GREY, "lower left") for n in lost]
    if none is not None:
        series.append(Rule(none, "x", INK, "dash"))
    x = Axis(label, ends or _around(none, estimate, low, high))
    return Panel(series, x, chart.named_axis("", list(spans), down=True))


def _around(none: float | None, *values: np.ndarray) -> tuple[float, float] | None:
    every = np.concatenate([*values, chart.finite([none])])
    every = every[np.isfinite(every)]
    if not len(every) or every.min() == every.max():
        return None
    margin = 0.05 * (every.max() - every.min())
    return float(every.min() - margin), float(every.max() + margin)


def _told(name: str, estimate: float, low: float, high: float) -> str:
    ends = f"95 %: {low:.3g} to {high:.3g}" if np.isfinite(low) else "no interval"
    return f"{name}\n{estimate:.3g}, {ends}"


def comparison(
    ratios: Mapping[str, Span], differences: Mapping[str, Span], reference: str
) -> Chart:
    """AP over prevalence of each candidate, the largest first, and its difference from a reference.

    Both are by the name of the candidate; the difference of the reference itself is not shown.
    """
    estimates = chart.finite(chart.dig(span, "estimate") for span in ratios.values())
    order = np.argsort(-np.nan_to_num(estimates, nan=-np.inf), kind="stable")
    names = [list(ratios)[place] for place in order]
    left = forest({n: ratios[n] for n in names}, "AP over prevalence", 1.0, [reference])
    right = forest({n: differences[n] for n in names}, f"minus {reference}", 0.0)
    own = [place for place, name in enumerate(names) if name == reference]
    kept = [one for one in right.series if not (isinstance(one, Words) and one.y in own)]
    panels = [left, right._replace(series=kept, y=right.y._replace(bare=True))]
    num = max(len(names), 3)
    return Chart(panels, 2, (9.0, 1.2 + 0.28 * num), 110 + 24 * num, gap=0.04)


def verdict(ratios: Mapping[str, Span], chances, hits: Mapping[str, Span], hit_chances) -> Chart:
    """AP over prevalence by direction, and the events hit [%], beside a random ranking.

    The first ratio is that of all directions, which stands out; hits are by the share of the atoms
    looked at. The chances are what a random ranking reaches, in the same order.
    """
    left = forest(ratios, "AP over prevalence", 1.0, list(ratios)[:1], chances)
    label = "events hit, all directions (%)"
    right = forest(hits, label, None, hits, hit_chances, (-3, 103))
    return Chart([left, right], 2, (9.0, 3.2), 320, gap=0.16)


def grid(rows: Sequence[Mapping[str, float]], winners: Mapping[str, str | None]) -> Chart:
    """Mean AP over prevalence over layers L and features M, one panel for each number of heads N.

    A row is a shape: L, M, N, epochs, ap_over_prevalence and its _deviation. Winners are the names
    of the best shapes by metric; their cells are framed.
    """
    layers, features, heads = (sorted({int(row[letter]) for row in rows}) for letter in "LMN")
    values = chart.finite(row["ap_over_prevalence"] for row in rows)
    known = values[np.isfinite(values)]
    scale = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    panels = []
    for count in heads:
        mine = [row for row in rows if row["N"] == count]
        axes = (
            chart.named_axis("M", [f"{m}" for m in features]),
            chart.named_axis("L", [f"{n}" for n in layers]),
        )
        drawn = _cells(mine, layers, features, winners, scale)
        panels.append(Panel([drawn], *axes, f"N = {count}"))
    columns = min(len(heads), 4)
    deep, high = -(-len(heads) // columns), max(len(layers), 3)
    size = (2.5 + 2.6 * columns, deep * (1.1 + 0.34 * high))
    return Chart(panels, columns, size, deep * (130 + 34 * high), gap=0.07)


def _cells(rows, layers: list[int], features: list[int], winners, scale) -> chart.Map:
    """The shapes with one N."""
    values = np.full((len(layers), len(features)), np.nan)
    words, framed = np.full(values.shape, "", object), []
    for row in rows:
        cell = layers.index(int(row["L"])), features.index(int(row["M"]))
        values[cell] = row["ap_over_prevalence"]
        spread, name = row["ap_over_prevalence_deviation"], shape_name(row)
        around = f"± {spread:.2g}" if np.isfinite(spread) else "from one fold"
        words[cell] = f"{name.replace('_', ', ')}\n{values[cell]:.3g} {around}"
        words[cell] += f"\n{row['epochs']:g} epochs"
        best = [metric for metric, winner in winners.items() if winner == name]
        if best:
            words[cell] += f"\nbest by {', '.join(best)}"
            framed.append(cell)
    return chart.Map(values, scale, words, framed)


def shape_name(row: Mapping[str, float]) -> str:
    """Name of a shape from its L, M and N, as the files of a search have it."""
    return "_".join(f"{letter}{int(row[letter])}" for letter in "LMN")
