"""The figures of a run as matplotlib figures: arrays in, a `Figure` out, no global state.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from stzjax.core import loads
from stzjax.evaluation import metrics
from stzjax.io import archives

BLUE, ORANGE, GREEN, SKY = "#0072B2", "#D55E00", "#009E73", "#56B4E9"
INK, GREY, FAINT = "#1f2933", "#7b8794", "#e4e7eb"

DIRECTION_COLOURS = {"xy": BLUE, "yz": ORANGE, "xz": GREEN}
"""One hue per shear plane; the sign is in the dash."""

ATOM_COLOURS = {"hit": ORANGE, "false": SKY, "missed": INK}
"""Atoms that moved and were predicted, were predicted only, or moved only."""

_DPI = 160
_LABEL, _TICK, _TITLE = 9.5, 8.5, 10.5

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


def thin(x, y, limit: int = 1500) -> np.ndarray:
    """Indices of at most `limit` points that keep the look of a long curve.

    Points lie evenly along the path (both axes count alike), the two ends are always in.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) <= limit:
        return np.arange(len(x))
    path = np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    return np.unique(np.searchsorted(path, np.linspace(0.0, path[-1], limit)).clip(0, len(x) - 1))


def stress_strain(
    directions: Sequence[str],
    strains: Sequence[np.ndarray],
    stresses: Sequence[np.ndarray],
    events: Sequence[int | None],
) -> Figure:
    """Shear stress against strain of every run, the stress drop of the first event marked.

    Args:
      directions: such as "+xy", one per run.
      strains: (S,) per run.
      stresses: (S,) per run [GPa].
      events: state after the first event, or None.
    """
    figure, (axes,) = panels(6.8, 4.2)
    opacity = float(np.clip(20 / max(len(directions), 1), 0.3, 0.9))
    for direction, strain, stress, event in zip(directions, strains, stresses, events, strict=True):
        colour, dash = direction_style(direction)
        line: dict[str, Any] = {"color": colour, "linestyle": dash, "alpha": opacity}
        axes.plot(100 * np.asarray(strain), stress, lw=1.1, **line)
        if event is not None:
            axes.plot(
                100 * strain[event], stress[event], "o", ms=4.5, mec="white", mew=0.6, c=colour
            )
    shown = [d for d in loads.DIRECTIONS if d in set(directions)]
    handles = []
    for direction in shown:
        colour, dash = direction_style(direction)
        style: dict[str, Any] = {"color": colour, "linestyle": dash}
        handles.append(Line2D([], [], label=direction, **style))
    handles.append(Line2D([], [], color=GREY, marker="o", ls="", ms=4.5, label="first event"))
    add_legend(axes, handles=handles, ncols=2)
    name_axes(axes, "shear strain (%)", "shear stress along the load (GPa)")
    return figure


def quench_trace(
    temperatures: Sequence[np.ndarray],
    energies: Sequence[np.ndarray],
    densities: Sequence[np.ndarray],
) -> Figure:
    """Energy and density against temperature, one line per specimen.

    Args:
      temperatures: (T,) per specimen [K].
      energies: (T,) per specimen [eV/atom].
      densities: (T,) per specimen [g/cm³].
    """
    figure, (left, right) = panels(8.6, 3.4, 2)
    opacity = float(np.clip(6 / max(len(temperatures), 1), 0.25, 0.9))
    for temperature, energy, density in zip(temperatures, energies, densities, strict=True):
        left.plot(temperature, energy, c=BLUE, lw=1.1, alpha=opacity)
        right.plot(temperature, density, c=GREEN, lw=1.1, alpha=opacity)
    name_axes(left, "temperature (K)", "potential energy (eV/atom)", "Energy along the quench")
    name_axes(right, "temperature (K)", "density (g/cm³)", "Density along the quench")
    return figure


def curves(labels, confidence, thresholds: Mapping[str, float] | None = None) -> Figure:
    """ROC curve, and precision against recall with the prevalence, which chance would give.

    Args:
      labels: (A,) 0 or 1.
      confidence: (A,).
      thresholds: operating points to mark, name to threshold.
    """
    figure, (left, right) = panels(8.6, 4.0, 2)
    roc(left, labels, confidence)
    precision, recall, _ = metrics.precision_recall_curve(labels, confidence)
    prevalence = float(np.mean(labels))
    keep = thin(recall, precision)
    right.axhline(prevalence, c=GREY, lw=1, ls="--")
    right.plot(recall[keep], precision[keep], c=BLUE, lw=1.6)
    right.annotate(
        f"chance = prevalence {prevalence:.4g}", (1.0, prevalence), xytext=(0, -4), color=GREY,
        fontsize=_TICK, ha="right", va="top", textcoords="offset points",
    )  # fmt: skip
    for (name, value), mark in zip((thresholds or {}).items(), "osD^", strict=False):
        point = metrics.evaluate(labels, confidence, value)
        counts = point["confusion"]
        x = counts["fp"] / max(counts["fp"] + counts["tn"], 1)
        style: dict[str, Any] = {"marker": mark, "color": ORANGE, "mec": "white", "ms": 7, "ls": ""}
        left.plot(x, point["recall"], label=name, **style)
        right.plot(point["recall"], point["precision"], label=name, **style)
    if thresholds:
        add_legend(left, loc="lower right")
    right.set(ylim=(max(prevalence, 1e-6) / 2, 1.3), xlim=(-0.02, 1.02))
    logarithmic(right, "y")
    score = metrics.evaluate(labels, confidence)["ap"]
    name_axes(right, "recall", "precision, log scale", f"Precision–recall, AP {score:.3g}")
    return figure


def roc(axes: Axes, labels, confidence) -> None:
    """The ROC curve beside that of chance, and its area.

    Args:
      axes: to draw on.
      labels: (A,) 0 or 1.
      confidence: (A,).
    """
    fpr, tpr, _ = metrics.roc_curve(labels, confidence)
    keep = thin(fpr, tpr)
    axes.plot([0, 1], [0, 1], c=GREY, lw=1, ls="--")
    axes.plot(fpr[keep], tpr[keep], c=BLUE, lw=1.6)
    axes.text(0.62, 0.57, "chance", color=GREY, fontsize=_TICK, ha="left", va="top")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    area = metrics.evaluate(labels, confidence)["auc"]
    name_axes(axes, "false positive rate", "recall", f"ROC, AUC {area:.3f}")


def events(strains, sizes, prevalence: float | None = None) -> Figure:
    """Histograms of the strain and size of the first events, and the class ratio.

    Args:
      strains: (E,) strain of each event.
      sizes: (E,) atoms above the threshold in each event.
      prevalence: fraction of atoms labelled 1; left out if None.
    """
    figure, row = panels(9.6, 3.2, 2 if prevalence is None else 3)
    bins = int(np.clip(np.sqrt(max(len(strains), 1)) * 2, 5, 30))
    style: dict[str, Any] = {"ec": "white", "lw": 0.6}
    row[0].hist(100 * np.asarray(strains, float), bins=bins, color=BLUE, **style)
    row[1].hist(sizes, bins=log_bins(sizes, bins), color=GREEN, **style)
    logarithmic(row[1], "x")
    for axes in row[:2]:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    name_axes(row[0], "strain of the first event (%)", "runs", "When")
    name_axes(row[1], "atoms in the first event", "runs", "How large")
    if prevalence is not None:
        _ratio_bars(row[2], prevalence)
    return figure


def _ratio_bars(axes: Axes, prevalence: float) -> None:
    axes.bar([0, 1], [1 - prevalence, prevalence], color=[GREY, ORANGE], width=0.62)
    for x, value in ((0, 1 - prevalence), (1, prevalence)):
        axes.text(
            x, value, f"{100 * value:.3g} %", ha="center", va="bottom", fontsize=_LABEL, c=INK
        )
    axes.set_xticks([0, 1], ["others", "first movers"])
    axes.set_ylim(0, 1.15)
    name_axes(axes, "", "fraction of atoms", "Class ratio")


def log_bins(values, num: int) -> list[float]:
    """Edges of `num` bins of equal width in the logarithm, around positive values."""
    values = np.asarray(values, float)
    values = values[values > 0]
    low, high = (values.min(), values.max()) if len(values) else (1.0, 10.0)
    return np.geomspace(low / 1.1, high * 1.1, num + 1).tolist()


def d2min_histogram(values, threshold: float) -> Figure:
    """Distribution of D²min in the steps of the first events, on two logarithmic axes.

    Args:
      values: (A,) D²min [Å²].
      threshold: above it an atom counts as transformed [Å²].
    """
    figure, (axes,) = panels(5.6, 3.6)
    values = np.asarray(values, float)
    # Rounding noise of atoms that did not move spans decades of no interest.
    values = values[values > 1e-10]
    if len(values):
        axes.hist(values, bins=log_bins(values, 60), color=BLUE, alpha=0.85)
        axes.set_xscale("log")
        logarithmic(axes, "y")
    axes.axvline(threshold, c=ORANGE, lw=1.4)
    axes.text(
        threshold, 0.97, f" threshold {threshold:g} Å²", color=ORANGE, fontsize=_TICK, va="top",
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip
    name_axes(axes, "D²min in the step of the first event (Å²)", "atoms")
    return figure


def training(history: Mapping[str, Sequence[float]]) -> Figure:
    """Losses and the validation score against the epoch.

    Args:
      history: lists under epoch, train_loss, validation_loss and validation_score; any of the
        last three may be absent.
    """
    figure, (left, right) = panels(8.6, 3.4, 2)
    epoch = history["epoch"]
    lines: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("train_loss", "training", {"color": ORANGE, "ls": "--"}),
        ("validation_loss", "validation", {"color": BLUE, "ls": "-"}),
    )
    for key, name, style in lines:
        if history.get(key):
            left.plot(epoch, finite(history[key]), lw=1.5, label=name, **style)
    if left.lines:
        add_legend(left)
    if history.get("validation_score"):
        score = finite(history["validation_score"])
        right.plot(epoch, score, c=GREEN, lw=1.4)
        if np.isfinite(score).any():
            best = int(np.nanargmax(score))
            right.plot(epoch[best], score[best], "o", c=GREEN, mec="white", ms=7)
            right.annotate(
                f"best {score[best]:.3g}", (epoch[best], score[best]), xytext=(0, -9),
                textcoords="offset points", fontsize=_TICK, color=GREEN, ha="right", va="top",
            )  # fmt: skip
    name_axes(left, "epoch", "weighted cross-entropy", "Loss")
    name_axes(right, "epoch", "score", "Score on the validation specimens")
    return figure


def finite(values: Sequence[float | None]) -> np.ndarray:
    """Floats with NaN where JSON has null."""
    return np.array([np.nan if v is None else v for v in values], float)


def atoms(positions, cell, labels, confidence, threshold: float = 0.5) -> Figure:
    """Predicted and true atoms of one cell in space, as Figure 2 B and C of the paper.

    Args:
      positions: (N, 3) Cartesian [Å].
      cell: (3, 3) cell vectors as columns [Å].
      labels: (N,) 0 or 1.
      confidence: (N,).
      threshold: an atom is predicted if its confidence is at least this.
    """
    figure = blank(8.8, 4.6)
    add_atoms(figure, positions, cell, labels, confidence, threshold)
    return figure


def add_atoms(
    figure: FigureBase, positions, cell, labels, confidence, threshold: float = 0.5
) -> list[Any]:
    """The two panels of `atoms` on a figure or a part of one; returns their axes."""
    drawn = []
    truth, predicted = np.asarray(labels) == 1, np.asarray(confidence) >= threshold
    panels = (
        (f"Predicted: {predicted.sum()} atoms", (("false", predicted & ~truth),)),
        (f"Moved first: {truth.sum()} atoms", (("missed", truth & ~predicted),)),
    )
    names = {"hit": "moved and predicted", "false": "predicted only", "missed": "moved only"}
    positions = np.asarray(positions)
    for number, (title, groups) in enumerate(panels):
        axes = space(figure, (1, 2, number + 1), cell)
        for group, chosen in (*groups, ("hit", truth & predicted)):
            axes.scatter(
                *positions[chosen].T, s=14 if group == "false" else 26, c=ATOM_COLOURS[group],
                edgecolors="white", linewidths=0.3, depthshade=False,
                alpha=0.55 if group == "false" else 1.0,
                label=f"{names[group]}: {chosen.sum()}",
            )  # fmt: skip
        axes.set_aspect("equal")
        axes.set_title(title, fontsize=_TITLE, color=INK, y=0.98)
        axes.legend(
            loc="lower center", ncols=2, fontsize=_TICK, frameon=False, bbox_to_anchor=(0.5, -0.04)
        )
        drawn.append(axes)
    return drawn


def space(figure: FigureBase, place: tuple[int, int, int], cell) -> Any:
    """Axes in three dimensions [Å] with the edges of a cell and nothing else.

    Args:
      figure: to draw on.
      place: rows, columns and number of the panel.
      cell: (3, 3) cell vectors as columns [Å].
    """
    axes: Any = figure.add_subplot(*place, projection="3d", proj_type="ortho")
    for start, end in box_edges(cell):
        axes.plot(*np.stack([start, end], 1), c=GREY, lw=0.8)
    axes.set_axis_off()
    axes.set_aspect("equal")
    return axes


def box_edges(cell) -> np.ndarray:
    """The twelve edges of the parallelepiped of a cell, (12, 2, 3) [Å]; columns are vectors."""
    cell = np.asarray(cell, float)
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    edges = [(a, b) for a in corners for b in corners if (b - a).sum() == 1 and (b - a).min() == 0]
    return np.array(edges) @ cell.T


def direction_style(direction: str) -> tuple[str, str]:
    """Colour and dash ("-" or "--") of a shear direction."""
    signed = loads.canonical(direction)
    return DIRECTION_COLOURS[signed[1:]], "-" if signed[0] == "+" else "--"


def blank(width: float, height: float) -> Figure:
    """An empty figure [inches] that no global state knows of."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panels(width: float, height: float, num: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """A figure [inches] with a row of axes in the style of all others."""
    figure = blank(width, height)
    return figure, style(figure.subplots(1, num, squeeze=False)[0])


def style(panels: Sequence[Axes]) -> Sequence[Axes]:
    """The same axes in the style of all others."""
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
        axes.tick_params(labelsize=_TICK, colors=INK, color=GREY, which="both")
        axes.grid(color=FAINT, lw=0.7)
        axes.set_axisbelow(True)
    return panels


def name_axes(axes: Axes, x: str, y: str, title: str = "") -> None:
    """Names of both axes, and a title."""
    axes.set_xlabel(x, fontsize=_LABEL, color=INK)
    axes.set_ylabel(y, fontsize=_LABEL, color=INK)
    axes.set_title(title, fontsize=_TITLE, color=INK, loc="left")


def logarithmic(axes: Axes, name: str) -> None:
    """Make the x or y axis logarithmic, ticked at 1, 2, 5 if short and at the decades if long."""
    getattr(axes, f"set_{name}scale")("log")
    low, high = getattr(axes, f"get_{name}lim")()
    axis = getattr(axes, f"{name}axis")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def add_legend(axes: Axes, handles=None, loc: Any = "best", ncols: int = 1) -> None:
    """A legend of what has a label, or of the handles given."""
    axes.legend(
        handles=axes.get_legend_handles_labels()[0] if handles is None else handles,
        loc=loc, ncols=ncols, fontsize=_TICK, labelcolor=INK, framealpha=0.85, edgecolor="none",
    )  # fmt: skip
