"""The atoms of a run in space: on paper, and as the data that the page's 3D view turns.

The view is drawn by the page's own script, since it changes with its controls.
"""

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.colors
from matplotlib.figure import Figure, FigureBase

from stzjax.core.structure import Structure
from stzjax.figures import picture
from stzjax.figures.chart import GREY, INK, ORANGE, SKY

COLOURS = {"hit": ORANGE, "false": SKY, "missed": INK}
"""Colours of atoms that moved and were predicted, were predicted only, or moved only."""

MAX_VIEW_ATOMS = 1_000_000
"""Atoms of all runs in the view together; about 10 bytes of the page each."""

D2MIN_LOW, D2MIN_STEP = -16.0, 3e-4
"""Decimal logarithm of the D²min that has code 1 [Å²], and its increase from code to code."""

_CODES = 2**16


class Scene(NamedTuple):
    """A test run of N atoms in space.

    Attributes:
      specimen: number of the specimen.
      direction: of the load.
      glass: the unsheared specimen.
      label: (N,) 0 or 1.
      confidence: (N,).
      d2min: (N,) in the step of the first event [Å²]; NaN if there is none.
    """

    specimen: int
    direction: str
    glass: Structure
    label: np.ndarray
    confidence: np.ndarray
    d2min: np.ndarray

    @property
    def name(self) -> str:
        """Name of the run, that of its files."""
        return f"{self.specimen:04d}_{self.direction}"


def figure(scene: Scene, operating: float = 0.5) -> Figure:
    """Predicted and true atoms of one run in space, as Figure 2 B and C of the paper.

    An atom is predicted if its confidence is at least `operating`.
    """
    drawn = picture.blank(8.8, 4.6)
    add(drawn, scene, operating)
    return drawn


def add(drawn: FigureBase, scene: Scene, operating: float) -> list[Any]:
    """The two panels of `figure` on a figure or a part of one; returns their axes."""
    truth, predicted = scene.label == 1, scene.confidence >= operating
    panels = (
        (f"Predicted: {predicted.sum()} atoms", "false", predicted & ~truth),
        (f"Moved first: {truth.sum()} atoms", "missed", truth & ~predicted),
    )
    names = {"hit": "moved and predicted", "false": "predicted only", "missed": "moved only"}
    positions, both = np.asarray(scene.glass.positions()), []
    for number, (title, other, chosen) in enumerate(panels):
        axes = space(drawn, (1, 2, number + 1), scene.glass.cell)
        for group, members in ((other, chosen), ("hit", truth & predicted)):
            axes.scatter(
                *positions[members].T, s=14 if group == "false" else 26, c=COLOURS[group],
                edgecolors="white", linewidths=0.3, depthshade=False,
                alpha=0.55 if group == "false" else 1.0, label=f"{names[group]}: {members.sum()}",
            )  # fmt: skip
        axes.set_aspect("equal")
        axes.set_title(title, fontsize=picture.TITLE, color=INK, y=0.98)
        axes.legend(
            loc="lower center", ncols=2, fontsize=picture.TICK, frameon=False,
            bbox_to_anchor=(0.5, -0.04),
        )  # fmt: skip
        both.append(axes)
    return both


def space(drawn: FigureBase, place: tuple[int, int, int], cell) -> Any:
    """Axes in three dimensions [Å] with the edges of a cell (columns are vectors) and nothing else.

    The place is rows, columns and number of the panel.
    """
    axes: Any = drawn.add_subplot(*place, projection="3d", proj_type="ortho")
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


def view(runs: Sequence[Scene], thresholds: dict[str, float], moved_above: float) -> dict[str, Any]:
    """The data of the view, arrays in base64: 10 bytes for each atom of a specimen, 10 of a run.

    Runs beyond `MAX_VIEW_ATOMS` are left out. "start" is the first run with an event.

    Args:
      runs: of the test set.
      thresholds: operating points by name.
      moved_above: D²min above which an atom is labelled 1 [Å²].
    """
    total = np.cumsum([len(run.label) for run in runs])
    kept = [run for run, atoms in zip(runs, total, strict=True) if atoms <= MAX_VIEW_ATOMS]
    return {
        "runs": [_run(run) for run in kept],
        "start": next((n for n, run in enumerate(kept) if run.label.any()), 0),
        "specimens": {str(run.specimen): _atoms(run.glass) for run in kept},
        "thresholds": thresholds,
        "moved_above": moved_above,
        "d2min_low": D2MIN_LOW,
        "d2min_step": D2MIN_STEP,
        "colours": COLOURS,
        "colour_scale": plotly.colors.sequential.Magma_r,
    }


def _run(run: Scene) -> dict[str, Any]:
    known = np.isfinite(run.d2min).all()
    return {
        "specimen": run.specimen,
        "direction": run.direction,
        "label": _base64(run.label, "u1"),
        "confidence": _base64(run.confidence, "<f4"),
        "d2min": _base64(codes(run.d2min), "<u2") if known else None,
    }


def codes(d2min) -> np.ndarray:
    """D²min as 16-bit codes of its logarithm, to 0.04 %; 0 where it is zero or all but zero."""
    d2min = np.asarray(d2min, float)
    logarithm = np.log10(np.where(d2min > 0, d2min, 10.0**D2MIN_LOW))
    code = 1 + np.round((logarithm - D2MIN_LOW) / D2MIN_STEP)
    return np.where(d2min >= 10.0**D2MIN_LOW, code.clip(1, _CODES - 1), 0).astype(np.uint16)


def _atoms(glass: Structure) -> dict[str, Any]:
    # The last code and the first are neighbours: coordinates are periodic.
    fractional = np.round(np.asarray(glass.fractional) * _CODES).astype(int) % _CODES
    return {
        "fractional": _base64(fractional, "<u2"),
        "cell": np.asarray(glass.cell, float).round(4).tolist(),
        "species": _base64(glass.species, "u1"),
        "elements": list(glass.elements),
    }


def _base64(values, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, np.dtype(dtype)).tobytes()).decode()
