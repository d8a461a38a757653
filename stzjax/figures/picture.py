"""Charts as Matplotlib figures for papers; no global state is touched."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, NullLocator

from stzjax.figures import chart
from stzjax.io import archives

LABEL, TICK, TITLE = 9.5, 8.5, 10.5
"""Sizes of letters [pt]."""

_DPI = 160
_DASHES = {"solid": "-", "dash": "--", "": ""}
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}
"""Dates and versions that savefig would write, which make equal figures differ."""


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Write a PNG or PDF atomically; the same figure gives the same bytes.

    Raises:
      ValueError: another ending.
    """
    ending = Path(path).suffix
    if ending not in _METADATA:
        raise ValueError(f"cannot write a figure to {path}: end it in {' or '.join(_METADATA)}")
    with archives.atomic(path) as temporary:
        figure.savefig(temporary, format=ending[1:], dpi=_DPI, metadata=_METADATA[ending])


def blank(width: float, height: float) -> Figure:
    """An empty figure [inches] that no global state knows of."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def draw(drawn: chart.Chart) -> Figure:
    """The figure of a chart."""
    figure = blank(*drawn.size)
    grid = figure.subplots(drawn.rows, drawn.columns, squeeze=False).ravel()
    for axes, panel in zip(grid, drawn.panels, strict=False):
        add_panel(axes, panel)
    for axes in grid[len(drawn.panels) :]:
        axes.remove()
    if (maps := [axes.images[0] for axes in grid if axes.images]) != []:
        figure.colorbar(maps[0], ax=list(grid[: len(drawn.panels)]), shrink=0.8)
    if drawn.legend:
        _legend(figure, grid, drawn.legend)
    return figure


def _legend(figure: Figure, grid: Any, place: str) -> None:
    if place not in ("right", "below"):
        add_legend(grid[0], place)
        return
    drawn = [axes.get_legend_handles_labels() for axes in grid]
    named = {label: one for each in drawn for one, label in zip(*each, strict=True)}
    where: dict[str, Any] = {"loc": "outside right upper"}
    if place == "below":
        where = {"loc": "outside lower center", "ncols": len(named)}
    handles = list(named.values())
    figure.legend(handles=handles, fontsize=TICK, labelcolor=chart.INK, frameon=False, **where)


def add_legend(axes: Axes, place: Any) -> None:
    """A legend of what has a name, in a corner of a panel."""
    axes.legend(loc=place, fontsize=TICK, labelcolor=chart.INK, framealpha=0.85, edgecolor="none")


def add_panel(axes: Axes, panel: chart.Panel) -> None:
    """Draw a panel on axes."""
    style(axes)
    for name, axis in (("x", panel.x), ("y", panel.y)):
        _axis(axes, name, axis)
    for series in panel.series:
        _ADD[type(series)](axes, series)
    if panel.empty:
        axes.text(0.5, 0.5, panel.empty, transform=axes.transAxes, ha="center", va="center",
                  fontsize=LABEL, c=chart.GREY)  # fmt: skip
    name_axes(axes, panel.x.label, panel.y.label, panel.title)
    if panel.square:
        axes.set_aspect("equal")


def style(axes: Axes) -> None:
    """Spines, ticks and grid as in all figures."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(chart.GREY)
    axes.tick_params(labelsize=TICK, colors=chart.INK, color=chart.GREY, which="both")
    axes.grid(color=chart.FAINT, lw=0.7)
    axes.set_axisbelow(True)


def name_axes(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Names of both axes, and a title."""
    axes.set_xlabel(x, fontsize=LABEL, color=chart.INK, parse_math=False)
    axes.set_ylabel(y, fontsize=LABEL, color=chart.INK, parse_math=False)
    axes.set_title(title, fontsize=TITLE, color=chart.INK, loc="left", parse_math=False)


def _axis(axes: Axes, name: str, axis: chart.Axis) -> None:
    if axis.log:
        axes.set(**{f"{name}scale": "log"})
    if axis.ticks is not None:
        both = getattr(axes, f"{name}axis")
        words = [""] * len(axis.ticks) if axis.bare else list(axis.ticks.values())
        both.set_ticks(list(axis.ticks), words, parse_math=False)
        both.set_minor_locator(NullLocator())
        both.set_minor_formatter(NullFormatter())
    if axis.ends is not None:
        axes.set(**{f"{name}lim": axis.ends})


def _add_curve(axes: Axes, one: chart.Curve) -> None:
    x, y = np.asarray(one.x, float), np.asarray(one.y, float)
    line: dict[str, Any] = {"color": one.colour, "alpha": one.opacity, "lw": one.width}
    mark: dict[str, Any] = {"marker": one.mark, "ms": one.size, "mec": "white", "mew": 0.6}
    hollow = np.broadcast_to(one.hollow if np.size(one.hollow) else False, x.shape)
    if len(one.low):
        value = x if one.along == "x" else y
        ends = np.abs(np.stack([value - chart.finite(one.low), chart.finite(one.high) - value]))
        known = np.isfinite(ends).all(axis=0)
        axes.errorbar(
            x[known], y[known], **{f"{one.along}err": ends[:, known]}, fmt="none",
            ecolor=one.colour, alpha=0.6, elinewidth=one.width,
        )  # fmt: skip
    full = np.where(hollow, np.nan, y) if not one.line else y
    label = one.name or None
    axes.plot(x, full, ls=_DASHES[one.line], label=label, **line, **(mark if one.mark else {}))
    if hollow.any():
        inside = {**mark, "mfc": "white", "mec": one.colour, "mew": 1.2}
        axes.plot(x[hollow], y[hollow], ls="", color=one.colour, **inside)


def _add_band(axes: Axes, band: chart.Band) -> None:
    axes.fill_between(
        band.x, band.low, band.high, color=band.colour, alpha=0.18, lw=0, label=band.name or None
    )


def _add_bars(axes: Axes, bars: chart.Bars) -> None:
    left, right = np.asarray(bars.left, float), np.asarray(bars.right, float)
    axes.bar(left, bars.height, right - left, align="edge", color=bars.colour, ec="white", lw=0.6)
    if not bars.hover:
        for a, b, height, text in zip(left, right, bars.height, bars.text, strict=True):
            middle = (a + b) / 2
            axes.text(middle, height, text, ha="center", va="bottom", fontsize=LABEL, c=chart.INK)


def _add_rule(axes: Axes, rule: chart.Rule) -> None:
    across = axes.axvline if rule.axis == "x" else axes.axhline
    across(rule.value, c=rule.colour, lw=1.2, ls=_DASHES[rule.line])


def _add_words(axes: Axes, words: chart.Words) -> None:
    vertical, horizontal = words.anchor.split()
    axes.annotate(
        words.words, (words.x, words.y), xytext=(0, -4 if vertical == "upper" else 4),
        textcoords="offset points", color=words.colour, fontsize=TICK, ha=horizontal,
        va="top" if vertical == "upper" else "bottom",
    )  # fmt: skip


def _add_map(axes: Axes, one: chart.Map) -> None:
    low, high = one.scale
    axes.imshow(one.values, cmap="viridis", vmin=low, vmax=high, origin="lower", aspect="auto")
    axes.grid(visible=False)
    for (row, column), value in np.ndenumerate(one.values):
        if np.isfinite(value):
            dark = value < (low + high) / 2
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=TICK,
                      c="white" if dark else chart.INK)  # fmt: skip
    for row, column in one.framed:
        corner = (column - 0.47, row - 0.47)
        axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, ec=chart.ORANGE, lw=2.5))


_ADD: dict[type, Callable[[Axes, Any], None]] = {
    chart.Curve: _add_curve,
    chart.Band: _add_band,
    chart.Bars: _add_bars,
    chart.Rule: _add_rule,
    chart.Words: _add_words,
    chart.Map: _add_map,
}
