"""Figures 2, 3 and 4 of the paper from a finished run, and its test atoms as tables for OVITO."""

from typing import Any, NamedTuple

import numpy as np

from stzjax.core.structure import Structure
from stzjax.evaluation import called_by_d2min, metrics
from stzjax.evaluation.called_by_d2min import OPERATING
from stzjax.figures import chart, d2min, paper, picture
from stzjax.figures.atoms import Scene
from stzjax.pipeline import stages
from stzjax.run_folder import contents
from stzjax.run_folder.folder import Folder

_NOTHING = 1e-16
"""Stands for D²min = 0 in its logarithm [Å²]."""


class Drawn(NamedTuple):
    """A Matplotlib figure and the numbers in it, for a JSON file."""

    figure: Any
    numbers: dict[str, Any]


def judged(folder: Folder) -> list[Scene]:
    """All test runs of a run that has been evaluated.

    Raises:
      ValueError: it has not, or its shear runs are no longer those that were judged.
    """
    path, settings = folder.predictions("test"), folder.settings.labels
    pooled, found = contents.predictions(path, folder.read(path, "evaluate")[0]), []
    for specimen, direction, span in pooled.runs():
        sheared = folder.shear(specimen, direction)
        field = contents.sheared(sheared, settings.threshold, settings.min_cluster).event_d2min
        label = pooled.label[span]
        values = np.full(len(label), np.nan) if field is None else field
        if not np.array_equal(label == 1, values > settings.threshold):
            raise ValueError(
                f"{path} holds other labels than {sheared} gives; run experiments/evaluate.py on "
                "this folder again"
            )
        glass = stages.glass(folder, specimen)
        found.append(Scene(specimen, direction, glass, label, pooled.confidence[span], values))
    if not found:
        raise ValueError(f"{path} holds no test run; run experiments/evaluate.py again")
    return found


def pick(runs: list[Scene], name: str | None = None) -> Scene:
    """The run of a name, ValueError if there is none; by default the first with an event."""
    if name is None:
        return next((run for run in runs if run.label.any()), runs[0])
    named = {run.name: run for run in runs}
    if name not in named:
        raise ValueError(f"there is no test run {name}; choose from {', '.join(named)}")
    return named[name]


def figures(
    folder: Folder,
    runs: list[Scene],
    shown: Scene,
    section: float | None = None,
    thickness: float = 3.0,
) -> dict[str, Drawn]:
    """Figures 2 and 3, and 4 if the thresholds have been tried, by file name.

    Args:
      folder: folder of the run.
      runs: all test runs (`judged`).
      shown: the run that is drawn in space.
      section: height z of the cross-sections [Å]; through the most mobile atom by default.
      thickness: thickness of the cross-sections [Å].

    Raises:
      ValueError: the cross-section lies outside of the cell, or the table of thresholds is damaged.
    """
    names = ("label", "confidence", "d2min")
    label, confidence, values = (np.concatenate([getattr(r, n) for r in runs]) for n in names)
    specimen = np.repeat([run.specimen for run in runs], [len(run.label) for run in runs])
    threshold, seed = folder.settings.labels.threshold, folder.settings.run.seed
    share = called_by_d2min.at_operating(values, confidence, specimen, threshold, seed)
    outside = int(np.sum(np.isfinite(values)) - share.atoms.sum())
    drawn = {
        "figure2": Drawn(
            paper.prediction(label, confidence, shown),
            {"run": shown.name, "test": metrics.evaluate(label, confidence, OPERATING)},
        ),
        "figure3": Drawn(
            paper.correlation(share, values, shown, threshold, section, thickness),
            {"run": shown.name, "atoms_outside": outside, **share._asdict()},
        ),
    }
    rows = contents.thresholds(folder)
    if rows is not None:
        panels = d2min.thresholds(rows)
        figure = picture.draw(panels._replace(panels=chart.lettered(panels.panels)))
        drawn["figure4"] = Drawn(figure, {"rows": rows})
    return drawn


def table(folder: Folder, run: Scene) -> tuple[Structure, dict[str, np.ndarray]]:
    """The unsheared glass of a test run and what is known of its atoms, by column.

    The names are letters, digits and underscores, which extended XYZ and LAMMPS dumps both hold.
    `log10_d2min` is there because colour maps of viewers are linear, and because the eight decimals
    of extended XYZ cut quiet atoms short.
    """
    arrays = stages.read_features(folder, (run.specimen, run.direction))
    columns = {
        "label": run.label,
        "confidence": run.confidence,
        "d2min": run.d2min,
        "log10_d2min": np.log10(np.maximum(run.d2min, _NOTHING)),
    }
    features = zip(arrays["columns"], arrays["features"].T, strict=True)
    return run.glass, columns | {str(n): x for n, x in features}
