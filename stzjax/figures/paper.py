"""Figures 2, 3 and 4 of the paper: arrays in, a matplotlib `Figure` out, in the style of `figures`.

J. Lee and S. Ryu, Evaluating the predictive power of machine learning model for shear
transformation in metallic glasses using metrics for an imbalanced dataset.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from stzjax.core import geometry
from stzjax.evaluation import called_by_d2min
from stzjax.evaluation.called_by_d2min import Share
from stzjax.figures import stages
from stzjax.figures.stages import BLUE, GREY, INK, ORANGE, SKY

FEW = 20
"""Bins with fewer atoms are drawn hollow."""

_COLOURS = "magma_r"
"""Perceptually uniform, safe for the colour-blind; on white paper the quiet atoms recede."""

_RADIUS = 1.25
"""Of the atoms in a cross-section, about half of a bond [Å]."""

_PANELS = {
    "class_ratio": ("A", "class ratio", "Event atoms to others"),
    "recall": ("B", "recall", "Recall"),
    "precision": ("C", "precision", "Precision"),
    "auc": ("D", "AUC", "Area under the ROC curve"),
    "ap": ("E", "AP", "Average precision"),
    "f1": ("F", "F1", "F1"),
    "mcc": ("G", "MCC", "Matthews correlation"),
    "ap_over_prevalence": ("H", "AP / prevalence", "AP over that of chance"),
}
_CHANCE = {"auc": 0.5, "mcc": 0.0, "ap_over_prevalence": 1.0}


class Scene(NamedTuple):
    """One test run in space.

    Attributes:
      name: of the run.
      fractional: (N, 3) positions of the unsheared glass.
      cell: (3, 3) cell vectors as columns, upper triangular [Å].
      label: (N,) 0 or 1.
      confidence: (N,).
      d2min: (N,) in the step of the first event [Å²]; NaN if there is none.
    """

    name: str
    fractional: np.ndarray
    cell: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    d2min: np.ndarray


def prediction(labels, confidence, scene: Scene, operating: float = 0.5) -> Figure:
    """Figure 2: the ROC curve of the test set, and predicted and true atoms of one run.

    Args:
      labels: (A,) 0 or 1, of all test atoms.
      confidence: (A,).
      scene: the run in space.
      operating: an atom is called positive if its confidence is at least this.
    """
    figure = stages.blank(12.4, 4.6)
    parts: Any = figure.subfigures(1, 2, width_ratios=(1, 2.1))
    left, right = parts
    (axes,) = stages.style([left.add_subplot()])
    if 0 < np.mean(labels) < 1:
        stages.roc(axes, labels, confidence)
    else:
        positive = f"{int(np.sum(labels)):,} of {np.size(labels):,}"
        _say(axes, f"ROC undefined:\n{positive} test atoms are positive")
        stages.name_axes(axes, "false positive rate", "recall", "ROC")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_title(f"A  {axes.get_title('left')}", loc="left", fontsize=10.5, color=INK)
    positions = scene.fractional @ np.asarray(scene.cell).T
    spaces = stages.add_atoms(
        right, positions, scene.cell, scene.label, scene.confidence, operating
    )
    for letter, space in zip("BC", spaces, strict=True):
        title = f"{letter}  {space.get_title()} of {scene.name}"
        space.set_title(title, fontsize=10.5, color=INK, y=1.01)
    return figure


def _say(axes: Axes, words: str) -> None:
    """What an empty panel is empty for."""
    axes.text(
        0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=9.5, c=GREY
    )


def correlation(
    found: Share,
    d2min,
    scene: Scene,
    threshold: float,
    *,
    operating: float = 0.5,
    section: float | None = None,
    thickness: float = 3.0,
) -> Figure:
    """Figure 3: what the confidence has to do with D²min.

    Args:
      found: share of atoms called positive, of `shares.by_d2min`.
      d2min: (A,) of all test atoms in the step of the first event of their run [Å²].
      scene: the run in space.
      threshold: above it an atom is labelled 1 [Å²].
      operating: an atom is called positive if its confidence is at least this.
      section: height z of the cross-sections [Å]; through the most mobile atom by default.
      thickness: of the cross-sections [Å].

    Raises:
      ValueError: the cross-section lies outside of the cell, or has no thickness.
    """
    cut = _cut(scene, section, thickness)
    figure = stages.blank(9.6, 12.4)
    left, right = stages.style([figure.add_subplot(3, 2, number) for number in (1, 2)])
    _share_panel(left, found, threshold, operating)
    _density_panel(right, np.asarray(d2min, float), threshold)
    moved, called = scene.label == 1, scene.confidence >= operating
    largest = np.nanmax(np.append(scene.d2min, 10 * threshold))
    colours: dict[str, Any] = {"cmap": _COLOURS, "norm": LogNorm(threshold / 100, largest)}
    titles = (
        f"C  Moved first: {moved.sum()} atoms of {scene.name}",
        "D²min",
        "atoms that moved first",
    )
    bar = _pair(figure, 3, scene, cut, moved, scene.d2min, colours, titles)
    bar.set_label("D²min in the step of the first event (Å²)", fontsize=9.5, color=INK)
    colours = {"cmap": _COLOURS, "norm": Normalize(0, 1)}
    titles = (
        f"D  Predicted: {called.sum()} atoms of {scene.name}",
        "Confidence",
        "predicted atoms",
    )
    bar = _pair(figure, 5, scene, cut, called, scene.confidence, colours, titles)
    bar.set_label("confidence", fontsize=9.5, color=INK)
    return figure


def _share_panel(axes: Axes, found: Share, threshold: float, operating: float) -> None:
    if found.atoms.any():
        _share_curve(axes, found)
    else:
        _say(axes, "no D²min in the test set")
    axes.set(xscale="log", xlim=(found.edges[0], found.edges[-1]), ylim=(-0.02, 1.02))
    _mark(axes, threshold)
    stages.name_axes(
        axes, "D²min in the step of the first event (Å²)",
        f"share with confidence ≥ {operating:g}", "A  Called positive",
    )  # fmt: skip


def _share_curve(axes: Axes, found: Share) -> None:
    centre = np.sqrt(found.edges[1:] * found.edges[:-1])
    behind = "one specimen" if found.specimens < 2 else f"{found.specimens} specimens"
    axes.fill_between(
        centre, found.low, found.high, color=BLUE, alpha=0.2, lw=0, label=f"95 %, {behind}"
    )
    axes.vlines(centre, found.low, found.high, color=BLUE, alpha=0.35, lw=1)
    axes.plot(centre, found.share, c=BLUE, lw=1.4)
    many, few = found.atoms >= FEW, (found.atoms > 0) & (found.atoms < FEW)
    axes.plot(centre[many], found.share[many], "o", c=BLUE, ms=5)
    if few.any():
        axes.plot(
            centre[few], found.share[few], "o", mfc="white", mec=BLUE, ms=5,
            label=f"fewer than {FEW} atoms",
        )  # fmt: skip
    overall = np.nansum(found.share * found.atoms) / found.atoms.sum()
    axes.axhline(overall, c=GREY, lw=1, ls="--", label=f"all atoms: {overall:.3g}")
    stages.add_legend(axes)


def _mark(axes: Axes, threshold: float) -> None:
    """The threshold on an axis of D²min; decades alone are named on it."""
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axvline(threshold, c=ORANGE, lw=1.2)
    axes.text(
        threshold, 0.02, f"{threshold:g} Å² ", color=ORANGE, fontsize=8.5, ha="right", va="bottom",
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip


def _density_panel(axes: Axes, d2min: np.ndarray, threshold: float) -> None:
    values = d2min[np.isfinite(d2min)]
    edges = called_by_d2min.bins(values, threshold, 8)
    count = np.histogram(values, edges)[0]
    density = count / (max(len(values), 1) * np.diff(edges))
    if count.any():
        axes.stairs(np.where(count > 0, density, np.nan), edges, baseline=None, color=BLUE, lw=1.5)
        axes.set_yscale("log")
    else:
        _say(axes, "no D²min in the test set")
    axes.set(xscale="log", xlim=(edges[0], edges[-1]))
    _mark(axes, threshold)
    stages.name_axes(
        axes, "D²min in the step of the first event (Å²)", "probability density (1/Å²)",
        f"B  Histogram of {len(values):,} atoms",
    )  # fmt: skip


class _Cut(NamedTuple):
    """A cross-section at constant z in the middle of the cell, by shifting the atoms.

    Attributes:
      positions: (N, 3) Cartesian, the most mobile atom or the chosen height in the middle [Å].
      inside: (n,) atoms of the slab, from below to above.
      outline: (5, 3) closed outline of the plane [Å].
      middle: (3,) of the cell [Å].
      centre: what lies there, in words.
      height: z of the plane in the coordinates of the specimen [Å].
      thickness: of the slab [Å].
    """

    positions: np.ndarray
    inside: np.ndarray
    outline: np.ndarray
    middle: np.ndarray
    centre: str
    height: float
    thickness: float


def _cut(scene: Scene, section: float | None, thickness: float) -> _Cut:
    cell, fractional = np.asarray(scene.cell, float), np.asarray(scene.fractional, float)
    if not 0 < thickness <= cell[2, 2]:
        raise ValueError(
            f"the thickness of the cross-section must lie between 0 and the height of the cell "
            f"{cell[2, 2]:.2f} Å, got {thickness}"
        )
    if section is not None and not 0 <= section <= cell[2, 2]:
        raise ValueError(
            f"the cross-section must lie between z = 0 and {cell[2, 2]:.2f} Å, got {section}"
        )
    known = np.isfinite(scene.d2min).any()
    core = fractional[np.nanargmax(scene.d2min if known else scene.confidence)].copy()
    if section is not None:
        core[2] = section / cell[2, 2]
    shifted = geometry.wrap(fractional - core + 0.5)
    away = (shifted[:, 2] - 0.5) * cell[2, 2]
    inside = np.flatnonzero(np.abs(away) <= thickness / 2)
    corners = np.array([[0, 0, 0.5], [1, 0, 0.5], [1, 1, 0.5], [0, 1, 0.5], [0, 0, 0.5]])
    return _Cut(
        positions=shifted @ cell.T,
        inside=inside[np.argsort(away[inside], kind="stable")],
        outline=corners @ cell.T,
        middle=cell.sum(axis=1) / 2,
        centre="most mobile atom" if known else "most confident atom",
        height=float(core[2] * cell[2, 2]),
        thickness=thickness,
    )


def _pair(
    figure: Figure, number: int, scene: Scene, cut: _Cut, chosen, values, colours, titles
) -> Any:
    """Chosen atoms in space, and all atoms of a cross-section, coloured by one quantity."""
    space = stages.space(figure, (3, 2, number), scene.cell)
    space.plot(*cut.outline.T, c=ORANGE, lw=1.0)
    space.scatter(
        *cut.positions[chosen].T, c=values[chosen], s=24, edgecolors="white", linewidths=0.3,
        depthshade=False, **colours,
    )  # fmt: skip
    space.set_title(titles[0], fontsize=10.5, color=INK, y=1.0)
    (flat,) = stages.style([figure.add_subplot(3, 2, number + 1)])
    flat.grid(visible=False)
    size = np.full(len(cut.inside), 2 * _RADIUS)
    outlined = np.asarray(chosen)[cut.inside]
    atoms = EllipseCollection(
        size, size, np.zeros(len(size)), units="xy", offset_transform=flat.transData,
        offsets=(cut.positions[cut.inside] - cut.middle)[:, :2],
        linewidths=np.where(outlined, 1.6, 0.3),
        edgecolors=np.where(outlined, SKY, GREY).tolist(), **colours,
    )  # fmt: skip
    atoms.set_array(values[cut.inside])
    flat.add_collection(atoms)
    flat.plot(*(cut.outline - cut.middle)[:, :2].T, c=ORANGE, lw=1.0)
    flat.set(aspect="equal")
    stages.name_axes(
        flat, f"x from the {cut.centre} (Å)", "y (Å)",
        f"{titles[1]} at z = {cut.height:.1f} Å, {cut.thickness:g} Å thick;\n{titles[2]} outlined",
    )  # fmt: skip
    extend = "min" if isinstance(atoms.norm, LogNorm) else "neither"
    return figure.colorbar(atoms, ax=flat, shrink=0.85, extend=extend)


def thresholds(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Figure 4: the class ratio and the metrics against the D²min threshold.

    Args:
      rows: one for each threshold, in any order: threshold [Å²]; class_ratio; test, the metrics
        by name; interval, low and high by metric, or None. None and NaN are gaps.
    """
    rows = sorted(rows, key=lambda row: row["threshold"])
    place = np.array([row["threshold"] for row in rows], float)
    figure = stages.blank(13.2, 6.5)
    grid = stages.style(figure.subplots(2, 4, sharex=True).ravel())
    for axes, (name, (letter, short, title)) in zip(grid, _PANELS.items(), strict=True):
        values = _column(rows, name) if name == "class_ratio" else _column(rows, "test", name)
        for chance in _chance(name, rows):
            axes.plot(place, chance, c=GREY, lw=1, ls="--", label="chance")
        ends = [_column(rows, "interval", name, end) for end in ("low", "high")]
        low, high = np.where(np.isfinite(values), ends, np.nan)
        if np.isfinite(low).any():
            axes.fill_between(place, low, high, color=BLUE, alpha=0.18, lw=0, label="interval")
            axes.vlines(place, low, high, color=BLUE, alpha=0.4, lw=1)
        axes.plot(place, values, "o-", c=BLUE, lw=1.4, ms=4.5, label="test specimens")
        if not np.isfinite(values).any():
            _say(axes, "undefined at every threshold")
            axes.tick_params(axis="y", left=False, labelleft=False)
        elif name == "class_ratio" and (positive := values[values > 0]).size:
            axes.set_ylim(positive.min() / 1.5, positive.max() * 1.5)
            stages.logarithmic(axes, "y")
        axes.tick_params(labelbottom=True)
        stages.name_axes(axes, "D²min threshold (Å²)", short, f"{letter}  {title}")
    figure.legend(
        handles=grid[3].get_legend_handles_labels()[0], loc="outside lower center", ncols=3,
        fontsize=9.5, labelcolor=INK, frameon=False,
    )  # fmt: skip
    if len(place) == 1:
        grid[0].set_xticks(place)
    elif place[-1] >= 5 * place[0]:
        stages.logarithmic(grid[0], "x")
        if place[-1] < 1000 * place[0]:
            grid[0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    return figure


def _column(rows: Sequence[Mapping[str, Any]], *path: str) -> np.ndarray:
    """One number of each row, NaN where any part of the path is missing or None."""
    found = []
    for row in rows:
        value: Any = row
        for name in path:
            value = None if value is None else value.get(name)
        found.append(value)
    return stages.finite(found)


def _chance(name: str, rows: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """What guessing gives; nothing for metrics in which that depends on how one guesses."""
    if name in ("precision", "ap"):
        return [_column(rows, "test", "prevalence")]
    return [np.full(len(rows), _CHANCE[name])] if name in _CHANCE else []
