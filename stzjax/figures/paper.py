"""Figures 2, 3 and 4 of the paper.

J. Lee and S. Ryu, Evaluating the predictive power of machine learning model for shear
transformation in metallic glasses using metrics for an imbalanced dataset.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.collections import EllipseCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from stzjax.core import geometry
from stzjax.evaluation.called_by_d2min import OPERATING, Share
from stzjax.figures import atoms, d2min, picture, run
from stzjax.figures.atoms import Scene
from stzjax.figures.chart import GREY, INK, ORANGE, SKY, lettered

_COLOURS = "magma_r"
"""Perceptually uniform, safe for the colour-blind; on white paper the quiet atoms recede."""

_RADIUS = 1.25
"""Radius of the atoms in a cross-section, about half of a bond [Å]."""


def prediction(labels, confidence, scene: Scene) -> Figure:
    """Figure 2: the ROC curve of all test atoms (A,), and predicted and true atoms of one run."""
    figure = picture.blank(12.4, 4.6)
    parts: Any = figure.subfigures(1, 2, width_ratios=(1, 2.1))
    left, right = parts
    (panel,) = lettered([run.roc(labels, confidence)])
    picture.add_panel(left.add_subplot(), panel)
    for letter, space in zip("BC", atoms.add(right, scene, OPERATING), strict=True):
        title = f"{letter}  {space.get_title()} of {scene.name}"
        space.set_title(title, fontsize=picture.TITLE, color=INK, y=1.01)
    return figure


def correlation(
    found: Share,
    values,
    scene: Scene,
    threshold: float,
    section: float | None = None,
    thickness: float = 3.0,
) -> Figure:
    """Figure 3: what the confidence has to do with D²min.

    Args:
      found: of `called_by_d2min.by_d2min`.
      values: (A,) D²min of all test atoms in the step of the first event of their run [Å²].
      scene: run in space.
      threshold: D²min above which an atom is labelled 1 [Å²].
      section: height z of the cross-sections [Å]; through the most mobile atom by default.
      thickness: of the cross-sections [Å].

    Raises:
      ValueError: the cross-section lies outside of the cell, or has no thickness.
    """
    cut = _cut(scene, section, thickness)
    figure = picture.blank(9.6, 12.4)
    for number, panel in enumerate(lettered(d2min.shares(found, values, threshold).panels)):
        axes = figure.add_subplot(3, 2, number + 1)
        picture.add_panel(axes, panel)
        if number == 0 and found.atoms.any():
            picture.add_legend(axes, "upper left")
    moved, called = scene.label == 1, scene.confidence >= OPERATING
    scale = LogNorm(threshold / 100, np.nanmax(np.append(scene.d2min, 10 * threshold)))
    said = "C  Moved first", f"D²min at {cut.place}atoms that moved first outlined", d2min.LABEL
    _pair(figure, 3, scene, cut, moved, scene.d2min, scale, said)
    said = "D  Predicted", f"Confidence at {cut.place}predicted atoms outlined", "confidence"
    _pair(figure, 5, scene, cut, called, scene.confidence, Normalize(0, 1), said)
    return figure


class _Cut(NamedTuple):
    """A cross-section at constant z in the middle of the cell, by shifting the atoms.

    Attributes:
      positions: (N, 3) Cartesian, the most mobile atom or the chosen height in the middle [Å].
      inside: (n,) atoms of the slab, from below to above.
      outline: (5, 3) closed outline of the plane [Å].
      middle: (3,) of the cell [Å].
      centre: what lies there, in words.
      place: height and thickness of the slab, in words.
    """

    positions: np.ndarray
    inside: np.ndarray
    outline: np.ndarray
    middle: np.ndarray
    centre: str
    place: str


def _cut(scene: Scene, section: float | None, thickness: float) -> _Cut:
    cell, fractional = (np.asarray(x, float) for x in (scene.glass.cell, scene.glass.fractional))
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
        place=f"z = {core[2] * cell[2, 2]:.1f} Å, {thickness:g} Å thick;\n",
    )


def _pair(
    figure: Figure, number: int, scene: Scene, cut: _Cut, chosen, values, scale: Normalize, said
) -> None:
    """Chosen atoms in space, and all atoms of a cross-section, coloured by one quantity.

    `said` are the titles of both and the name of the quantity.
    """
    colours: dict[str, Any] = {"cmap": _COLOURS, "norm": scale}
    space = atoms.space(figure, (3, 2, number), scene.glass.cell)
    space.plot(*cut.outline.T, c=ORANGE, lw=1.0)
    space.scatter(
        *cut.positions[chosen].T, c=values[chosen], s=24, edgecolors="white", linewidths=0.3,
        depthshade=False, **colours,
    )  # fmt: skip
    title = f"{said[0]}: {chosen.sum()} atoms of {scene.name}"
    space.set_title(title, fontsize=picture.TITLE, color=INK, y=1.0)
    flat = figure.add_subplot(3, 2, number + 1)
    picture.style(flat)
    flat.grid(visible=False)
    size = np.full(len(cut.inside), 2 * _RADIUS)
    outlined = np.asarray(chosen)[cut.inside]
    discs = EllipseCollection(
        size, size, np.zeros(len(size)), units="xy", offset_transform=flat.transData,
        offsets=(cut.positions[cut.inside] - cut.middle)[:, :2],
        linewidths=np.where(outlined, 1.6, 0.3),
        edgecolors=np.where(outlined, SKY, GREY).tolist(), **colours,
    )  # fmt: skip
    discs.set_array(values[cut.inside])
    flat.add_collection(discs)
    flat.plot(*(cut.outline - cut.middle)[:, :2].T, c=ORANGE, lw=1.0)
    flat.set(aspect="equal")
    picture.name_axes(flat, f"x from the {cut.centre} (Å)", "y (Å)", said[1])
    extend = "min" if isinstance(scale, LogNorm) else "neither"
    bar = figure.colorbar(discs, ax=flat, shrink=0.85, extend=extend)
    bar.set_label(said[2], fontsize=picture.LABEL, color=INK)
