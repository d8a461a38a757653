"""Figures of derivatives: arrays in, a matplotlib `Figure` out, in the style of `figures`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from stzjax.figures import stages
from stzjax.figures.stages import BLUE, GREY, INK, ORANGE

_STRONGEST = 40


def confidence(distances, slopes, bonded, positions, cell, atom: int) -> Figure:
    """How much the confidence of one atom depends on the position of each.

    Args:
      distances: (N,) from the atom [Å].
      slopes: (N, 3) derivatives of its confidence by the positions [1/Å].
      bonded: (N,) bool, whether an atom shares a Voronoi face with it.
      positions: (N, 3) Cartesian [Å].
      cell: (3, 3) cell vectors as columns [Å].
      atom: its number.
    """
    figure, (axes, right) = stages.panels(10.0, 4.4, 2)
    right.remove()
    strength = np.linalg.norm(np.asarray(slopes), axis=1)
    others = (np.arange(len(strength)) != atom) & (strength > 0)
    far = others & ~np.asarray(bonded)
    near = others & np.asarray(bonded)
    axes.semilogy(distances[far], strength[far], ".", c=BLUE, ms=5, label="all others")
    axes.semilogy(distances[near], strength[near], "o", c=ORANGE, ms=6, mec="white", label="faces")
    if strength[atom] > 0:
        axes.axhline(strength[atom], c=GREY, lw=1, ls="--", label="its own position")
    stages.name_axes(
        axes, "distance from the atom [Å]", "|∂ confidence / ∂ position| [1/Å]",
        f"What moves the confidence of atom {atom}",
    )  # fmt: skip
    stages.add_legend(axes, loc="upper right")
    space: Any = figure.add_subplot(1, 2, 2, projection="3d", proj_type="ortho")
    for start, end in stages.box_edges(cell):
        space.plot(*np.stack([start, end], 1), c=GREY, lw=0.8)
    strongest = np.argsort(strength)[::-1][:_STRONGEST]
    positions = np.asarray(positions)
    share = strength[strongest] / strength.max()
    space.scatter(*positions[strongest].T, s=12 + 120 * share, c=BLUE, alpha=0.6, linewidths=0)
    space.scatter(*positions[atom], s=60, c=ORANGE, marker="*", depthshade=False)
    space.quiver(*positions[strongest].T, *_arrows(slopes[strongest]).T, color=INK, lw=0.8)
    space.set_axis_off()
    space.set_aspect("equal")
    space.set_title(f"The {len(strongest)} strongest; arrows raise it", fontsize=10.5, color=INK)
    return figure


def _arrows(slopes, longest: float = 3.0) -> np.ndarray:
    """Arrows along slopes (n, 3), the longest of a given length [Å]."""
    largest = np.linalg.norm(slopes, axis=1).max()
    return np.asarray(slopes) * (longest / largest if largest > 0 else 0.0)


def agreement(names: Sequence[str], exact, differences, unit: str) -> Figure:
    """Implicit derivatives against finite differences, one bar pair for each parameter.

    Args:
      names: (P,) of the parameters.
      exact: (P,) by the implicit function theorem.
      differences: (P,) by differences between relaxed states.
      unit: of both.
    """
    figure, (left, right) = stages.panels(10.0, max(2.4, 0.9 + 0.28 * len(names)), 2)
    exact, differences, place = np.asarray(exact), np.asarray(differences), np.arange(len(names))
    left.barh(place - 0.2, exact, 0.4, color=BLUE, label="implicit")
    left.barh(place + 0.2, differences, 0.4, color=ORANGE, label="relaxed again, ±")
    for axes in (left, right):
        axes.set_yticks(place, names if axes is left else [], fontsize=8)
        axes.set_ylim(len(names) - 0.4, -0.6)
    stages.name_axes(left, unit, "coefficients", "Derivative by the logarithm of coefficients")
    stages.add_legend(left)
    right.semilogx(np.abs(exact - differences), place, "o", c=INK, ms=5)
    stages.name_axes(right, f"|difference| [{unit}]", "coefficients", "Disagreement")
    return figure


def spread(found: Mapping[str, Sequence[float]], quantity: str, chance: float) -> Figure:
    """One column of points for each variant, its mean, and lines that join equal trials.

    Args:
      found: (T,) values of each variant, trials in one order.
      quantity: what they are.
      chance: what guessing gives.
    """
    figure, (axes,) = stages.panels(1.6 + 1.7 * len(found), 4.0, 1)
    values = np.array([list(column) for column in found.values()], float)
    place = np.arange(len(found))
    axes.plot(place, values, c=GREY, lw=0.6, alpha=0.6)
    axes.plot(place, values, "o", c=BLUE, ms=4.5, mec="white")
    axes.errorbar(
        place + 0.14, values.mean(axis=1), values.std(axis=1, ddof=1) if values.shape[1] > 1 else 0,
        fmt="s", c=ORANGE, capsize=4, label="mean, standard deviation",
    )  # fmt: skip
    axes.axhline(chance, c=INK, lw=1, ls=":", label="chance")
    axes.set_xticks(place, list(found))
    axes.set_xlim(-0.5, len(found) - 0.5)
    stages.name_axes(axes, "variant", quantity, "Held-out specimens, one point a trial")
    stages.add_legend(axes)
    return figure
