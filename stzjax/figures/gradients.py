"""Figures of derivatives."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from stzjax.figures import atoms, chart, picture
from stzjax.figures.chart import BLUE, GREY, INK, ORANGE, Axis, Chart, Curve, Panel, Rule

_STRONGEST, _LONGEST = 40, 3.0
"""Number of the atoms with an arrow, and length of the longest arrow [Å]."""


def confidence(distances, slopes, bonded, positions, cell, atom: int) -> Figure:
    """The dependence of the confidence of one atom on the position of each.

    Args:
      distances: (N,) from the atom [Å].
      slopes: (N, 3) derivatives of its confidence by the positions [1/Å].
      bonded: (N,) bool, whether an atom shares a Voronoi face with it.
      positions: (N, 3) Cartesian [Å].
      cell: (3, 3) cell vectors as columns [Å].
      atom: its number.
    """
    strength, distances = np.linalg.norm(np.asarray(slopes), axis=1), np.asarray(distances)
    others = (np.arange(len(strength)) != atom) & (strength > 0)
    series: list[chart.Series] = []
    for faces, colour, name in ((False, BLUE, "all others"), (True, ORANGE, "faces")):
        mine = others & (np.asarray(bonded) == faces)
        series.append(Curve(distances[mine], strength[mine], colour, "", "o", name=name))
    ends = [0.0, float(distances.max())]
    if strength[atom] > 0:
        own = [strength[atom]] * 2
        series.append(Curve(ends, own, GREY, "dash", name="its own position"))
    y, positive = Axis("|∂ confidence / ∂ position| [1/Å]"), strength[strength > 0]
    if positive.size:
        y = chart.log_axis(y.label, positive.min() / 2, positive.max() * 2)
    title = f"What moves the confidence of atom {atom}"
    figure = picture.blank(10.0, 4.4)
    axes = figure.add_subplot(1, 2, 1)
    picture.add_panel(axes, Panel(series, Axis("distance from the atom [Å]"), y, title))
    picture.add_legend(axes, "upper right")
    _strongest(figure, strength, np.asarray(slopes), np.asarray(positions), cell, atom)
    return figure


def _strongest(figure: Figure, strength, slopes, positions, cell, atom: int) -> None:
    """The atom in space, and those on which its confidence depends most."""
    space = atoms.space(figure, (1, 2, 2), cell)
    strongest = np.argsort(strength)[::-1][:_STRONGEST]
    share = strength[strongest] / strength.max()
    space.scatter(*positions[strongest].T, s=12 + 120 * share, c=BLUE, alpha=0.6, linewidths=0)
    space.scatter(*positions[atom], s=60, c=ORANGE, marker="*", depthshade=False)
    arrows = slopes[strongest] * (_LONGEST / (strength.max() or 1.0))
    space.quiver(*positions[strongest].T, *arrows.T, color=INK, lw=0.8)
    space.set_aspect("equal")
    title = f"The {len(strongest)} strongest; arrows raise it"
    space.set_title(title, fontsize=picture.TITLE, color=INK)


def agreement(names: Sequence[str], exact, differences, unit: str) -> Chart:
    """Derivatives (P,) by the implicit function theorem against differences of relaxed states.

    Each parameter has a name and a line; the unit is that of both.
    """
    exact, differences, place = np.asarray(exact), np.asarray(differences), np.arange(len(names))
    apart = np.abs(exact - differences)
    seen = apart[apart > 0]
    pair = [
        Curve(exact, place, BLUE, "", "o", size=6, name="implicit"),
        Curve(differences, place, ORANGE, "", "D", name="relaxed again, ±"),
        Rule(0.0, "x", GREY),
    ]
    x = Axis(f"|difference| [{unit}]")
    if seen.size:
        x = chart.log_axis(x.label, seen.min() / 2, seen.max() * 2)
    first, second = (
        chart.named_axis("coefficients", names, bare, down=True) for bare in (False, True)
    )
    title = "Derivative by the logarithm of coefficients"
    panels = [
        Panel(pair, Axis(unit), first, title),
        Panel([Curve(apart, place, INK, "", "o")], x, second, "Disagreement"),
    ]
    return Chart(panels, 2, (10.0, max(2.6, 1.1 + 0.28 * len(names))), legend="below")


def spread(found: Mapping[str, Sequence[float]], quantity: str, chance: float) -> Chart:
    """One column of points for each variant, its mean, and lines that join equal trials.

    Each variant has values (T,), trials in one order; `chance` is what guessing gives.
    """
    values = np.array([list(column) for column in found.values()], float)
    place, num = np.arange(len(found)), values.shape[1]
    mean, error = values.mean(axis=1), values.std(axis=1, ddof=1) if num > 1 else 0.0
    series: list[chart.Series] = [
        Curve(place, trial, GREY, width=0.6, opacity=0.6) for trial in values.T
    ]
    series += [
        Curve(np.tile(place, num), values.T.ravel(), BLUE, "", "o"),
        Curve(
            place + 0.14, mean, ORANGE, "", "s", size=6, low=mean - error, high=mean + error,
            name="mean, standard deviation",
        ),
        Curve([-0.5, len(found) - 0.5], [chance] * 2, INK, "dash", width=1, name="chance"),
    ]  # fmt: skip
    title = "Held-out specimens, one point a trial"
    panel = Panel(series, chart.named_axis("variant", list(found)), Axis(quantity), title)
    return Chart([panel], 1, (1.6 + 1.7 * len(found), 4.2), legend="below")
