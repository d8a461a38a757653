"""Figures 2, 3 and 4 of the paper from a finished run, and its test atoms as tables for OVITO."""

from typing import Any, NamedTuple

import jax
import numpy as np

from stzjax.core.structure import Structure
from stzjax.evaluation import called_by_d2min, metrics
from stzjax.figures import chart, d2min, paper, picture
from stzjax.io import archives
from stzjax.pipeline import stages
from stzjax.run_folder import contents
from stzjax.run_folder.folder import Folder
from stzjax.shear import events

OPERATING = 0.5
"""Confidence from which the paper calls an atom positive."""

_NOTHING = 1e-16
"""Stands for D²min = 0 in its logarithm [Å²]."""


class Judged(NamedTuple):
    """The predictions on one test run of N atoms.

    Attributes:
      name: such as "0003_+xy", that of its files.
      specimen: its number.
      direction: of the load.
      label: (N,) 0 or 1.
      confidence: (N,).
      d2min: (N,) in the step of the first event [Å²]; NaN if the run has none.
    """

    name: str
    specimen: int
    direction: str
    label: np.ndarray
    confidence: np.ndarray
    d2min: np.ndarray


class Drawn(NamedTuple):
    """A matplotlib figure and the numbers in it, for a JSON file."""

    figure: Any
    numbers: dict[str, Any]


def judged(folder: Folder) -> list[Judged]:
    """All test runs of a run that has been evaluated.

    Raises:
      ValueError: it has not, or its shear runs are no longer those that were judged.
    """
    path = folder.predictions("test")
    if not folder.done(path, "evaluate"):
        raise ValueError(f"{path} is missing; run experiments/evaluate.py on this folder first")
    pooled, found = contents.predictions(path), []
    for specimen, direction, span in pooled.runs():
        label, confidence = pooled.label[span], pooled.confidence[span]
        d2min = _event_field(folder, specimen, direction)
        if d2min is None:
            d2min = np.full(len(label), np.nan)
        if not np.array_equal(label == 1, d2min > folder.settings.labels.threshold):
            raise ValueError(
                f"{path} holds other labels than {folder.shear(specimen, direction)} gives; run "
                "experiments/evaluate.py on this folder again"
            )
        name = folder.shear(specimen, direction).stem
        found.append(Judged(name, specimen, direction, label, confidence, d2min))
    if not found:
        raise ValueError(f"{path} holds no test run; run experiments/evaluate.py again")
    return found


def _event_field(folder: Folder, specimen: int, direction: str) -> np.ndarray | None:
    run, settings = stages.read_run(folder, (specimen, direction)), folder.settings
    step = run.event_step(settings.labels.threshold, settings.labels.min_cluster)
    if step is None:
        return None
    return events.field(run.history_step, run.history_d2min, step)


def pick(runs: list[Judged], name: str | None = None) -> Judged:
    """The run of a name; by default the first one with an event.

    Raises:
      ValueError: there is no such test run.
    """
    if name is None:
        return next((run for run in runs if run.label.any()), runs[0])
    for run in runs:
        if run.name == name:
            return run
    known = ", ".join(run.name for run in runs)
    raise ValueError(f"there is no test run {name}; choose from {known}")


def figures(
    folder: Folder,
    runs: list[Judged],
    shown: Judged,
    section: float | None = None,
    thickness: float = 3.0,
) -> dict[str, Drawn]:
    """Figures 2 and 3, and 4 if the thresholds have been tried, by file name.

    Args:
      folder: of the run.
      runs: all test runs, of `judged`.
      shown: the one that is drawn in space.
      section: height z of the cross-sections [Å]; through the most mobile atom by default.
      thickness: of the cross-sections [Å].

    Raises:
      ValueError: the cross-section lies outside of the cell, or the table of thresholds is damaged.
    """
    scene = _scene(folder, shown)
    label = np.concatenate([run.label for run in runs])
    confidence = np.concatenate([run.confidence for run in runs])
    drawn = {
        "figure2": Drawn(
            paper.prediction(label, confidence, scene, OPERATING),
            {"run": shown.name, "test": metrics.evaluate(label, confidence, OPERATING)},
        ),
        "figure3": _correlation(folder, runs, scene, section, thickness),
    }
    rows = contents.thresholds(folder)
    if rows is not None:
        panels = d2min.thresholds(rows)
        figure = picture.draw(panels._replace(panels=chart.lettered(panels.panels)))
        drawn["figure4"] = Drawn(figure, {"rows": rows})
    return drawn


def _scene(folder: Folder, run: Judged) -> paper.Scene:
    glass = stages.glass(folder, run.specimen)
    return paper.Scene(
        name=run.name,
        fractional=np.asarray(glass.fractional),
        cell=np.asarray(glass.cell),
        label=run.label,
        confidence=run.confidence,
        d2min=run.d2min,
    )


def _correlation(
    folder: Folder,
    runs: list[Judged],
    scene: paper.Scene,
    section: float | None,
    thickness: float,
) -> Drawn:
    threshold = folder.settings.labels.threshold
    values = np.concatenate([run.d2min for run in runs])
    called = np.concatenate([run.confidence for run in runs]) >= OPERATING
    specimen = np.repeat([run.specimen for run in runs], [len(run.label) for run in runs])
    edges = called_by_d2min.bins(values, threshold)
    key = jax.random.key(folder.settings.run.seed)
    found = called_by_d2min.by_d2min(values, called, specimen, edges, key=key)
    figure = paper.correlation(
        found,
        values,
        scene,
        threshold,
        operating=OPERATING,
        section=section,
        thickness=thickness,
    )
    outside = int(np.sum(np.isfinite(values)) - found.atoms.sum())
    return Drawn(figure, {"run": scene.name, "atoms_outside": outside, **found._asdict()})


def table(folder: Folder, run: Judged) -> tuple[Structure, dict[str, np.ndarray]]:
    """The unsheared glass of a test run and what is known of its atoms, by column.

    The names are letters, digits and underscores, which extended XYZ and LAMMPS dumps both hold.
    `log10_d2min` is there because colour maps of viewers are linear, and because the eight decimals
    of extended XYZ cut quiet atoms short.

    Raises:
      ValueError: the features are missing.
    """
    path = folder.features(run.specimen, run.direction)
    if not folder.done(path, "describe"):
        raise ValueError(f"{path} is missing; run experiments/describe.py on this folder first")
    arrays, _ = archives.load_archive(path)
    columns = {
        "label": run.label,
        "confidence": run.confidence,
        "d2min": run.d2min,
        "log10_d2min": np.log10(np.maximum(run.d2min, _NOTHING)),
    }
    features = zip(arrays["columns"], arrays["features"].T, strict=True)
    return stages.glass(folder, run.specimen), columns | {str(n): x for n, x in features}
