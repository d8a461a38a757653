"""Forest plots: estimates with their intervals, one below the other, beside a line of no effect."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from stzjax.figures.stages import BLUE, GREY, INK, ORANGE
from stzjax.report import drawing
from stzjax.report.markup import known


class Bar(NamedTuple):
    """One line of a forest plot; NaN or None where undefined.

    Attributes:
      name: of the line.
      estimate: the dot.
      low: end of the interval.
      high: its other end.
      marked: whether it stands out.
    """

    name: str
    estimate: float | None
    low: float | None
    high: float | None
    marked: bool = False


def bar(name: str, span: Mapping[str, Any] | None, marked: bool = False) -> Bar:
    """A line from estimate, low and high."""
    span = span or {}
    return Bar(name, span.get("estimate"), span.get("low"), span.get("high"), marked)


def descending(bars: Sequence[Bar]) -> list[Bar]:
    """By estimate, the largest first and the undefined last."""

    def rank(one: Bar) -> tuple[bool, float]:
        value = one.estimate
        return (False, -value) if value is not None and known(value) else (True, 0.0)

    return sorted(bars, key=rank)


def panel(figure: go.Figure, bars: Sequence[Bar], none: float | None, column: int) -> None:
    """Draw one line of the plot for each bar, and a dashed line where there is no effect.

    Args:
      figure: of `make_subplots`, with one row.
      bars: the lines.
      none: 1 for a ratio, 0 for a difference, None for no line.
      column: of the panel.
    """
    for colour, marked in ((BLUE, False), (ORANGE, True)):
        _dots(figure, [one for one in bars if one.marked is marked], colour, column)
    lost = [one.name for one in bars if not known(one.estimate)]
    if lost:
        figure.add_scatter(
            x=[none or 0.0] * len(lost), y=lost, mode="text", text=["<i>undefined</i>"] * len(lost),
            textfont={"color": GREY}, textposition="middle right", hoverinfo="skip",
            showlegend=False, row=1, col=column,
        )  # fmt: skip
    if none is not None:
        figure.add_vline(none, line={"color": INK, "width": 1, "dash": "dash"}, row=1, col=column)
    ends = np.array([none, *(end for one in bars for end in one[1:4])], float)
    lowest, highest = np.nanmin(ends, initial=np.inf), np.nanmax(ends, initial=-np.inf)
    if lowest < highest:
        margin = 0.05 * (highest - lowest)
        figure.update_xaxes(range=[lowest - margin, highest + margin], row=1, col=column)
    names(figure, [one.name for one in bars], column)


def names(figure: go.Figure, lines: Sequence[str], column: int | None = None) -> None:
    """Put the lines of a panel, or of all, from above to below."""
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=lines[::-1], row=1, col=column,
        range=[-0.6, len(lines) - 0.4],
    )  # fmt: skip


def _dots(figure: go.Figure, bars: Sequence[Bar], colour: str, column: int) -> None:
    """Estimates, hollow where there is no interval."""
    shown = [one for one in bars if known(one.estimate)]
    values, low, high = ([one[place] for one in shown] for place in (1, 2, 3))
    figure.add_scatter(
        x=values, y=[one.name for one in shown], mode="markers", showlegend=False,
        error_x=drawing.bars(values, low, high, colour, 2), row=1, col=column,
        marker={
            "size": 9, "line": {"color": colour, "width": 1.5},
            "color": [colour if known(end) else "#ffffff" for end in low],
        },
        text=[_words(one) for one in shown], hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip


def height(num: int) -> int:
    """Of a figure with as many lines [px]."""
    return 110 + 24 * max(num, 3)


def _words(one: Bar) -> str:
    ends = f"95 %: {one.low:.3g} to {one.high:.3g}" if known(one.low) else "no interval"
    return f"{one.name}<br>{one.estimate:.3g}, {ends}"
