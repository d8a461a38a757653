"""The folder of a run, read back: what of it exists, and None or nothing for the rest."""

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stzjax import io
from stzjax.core import loads, units
from stzjax.core.structure import Structure
from stzjax.evaluation.verdict import Predictions
from stzjax.io import archives
from stzjax.report import studies
from stzjax.report.studies import Studies
from stzjax.shear.events import first_event

GOOD = "converged"
"""Outcome of a specimen that was sheared."""

PAPER_THRESHOLD = 0.1
"""D²min above which the paper calls an atom transformed [Å²]."""

_TRACES = ("temperature", "energy", "density")
_SHEAR = re.compile(r"(\d+)_([+-](?:xy|yz|xz))\.npz")


@dataclasses.dataclass(frozen=True)
class Specimen:
    """One relaxed, unsheared glass and its way there.

    Attributes:
      structure: N atoms.
      trace: temperature [K], energy [eV/atom], density [g/cm³] along the quench, (T,) each; empty
        if not recorded.
      outcome: of quench and relaxation, in words.
    """

    structure: Structure
    trace: dict[str, np.ndarray]
    outcome: str = GOOD


@dataclasses.dataclass(frozen=True)
class Shear:
    """One athermal quasi-static shear run of S states, the unsheared one included.

    Attributes:
      specimen: number of the specimen.
      direction: such as "+xy".
      strain: (S,) engineering strain.
      stress: (S,) shear stress, positive along the load [GPa].
      event: state after the first event, or None.
      event_d2min: (N,) D²min of that state [Å²], or None.
      outcome: how the run ended, in words.
      faults: what looks wrong with it, in words.
    """

    specimen: int
    direction: str
    strain: np.ndarray
    stress: np.ndarray
    event: int | None
    event_d2min: np.ndarray | None
    outcome: str
    faults: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Results:
    """All that a run folder holds; the empty mapping, list or None where a stage has not run.

    Attributes:
      config: settings of all stages, flat, and "provenance".
      threshold: D²min above which an atom counts as transformed [Å²].
      specimens: by number.
      shears: in order of file name.
      test: predictions on the test specimens.
      metrics: the content of `metrics.json`.
      usage: time [s] and peak memory [MiB] of each stage.
      history: per-epoch lists of the training.
      studies: search, thresholds, remedies and baselines.
      pictures: names of the files in `figures/`.
    """

    config: dict[str, Any]
    threshold: float
    specimens: dict[int, Specimen]
    shears: list[Shear]
    test: Predictions | None
    metrics: dict[str, Any]
    usage: dict[str, dict[str, float]]
    history: dict[str, list]
    studies: Studies
    pictures: frozenset[str]

    def thresholds(self) -> dict[str, float]:
        """Operating points by name: 0.5, and the one chosen on validation if there is one."""
        points = {"threshold 0.5": 0.5}
        chosen = (self.metrics.get("test_at_validation_threshold") or {}).get("threshold")
        if chosen is not None:
            points["from validation"] = float(chosen)
        return points

    def events(self) -> dict[str, Any]:
        """Runs, triggered, strains and sizes as in `metrics.json`, or else from the shear runs."""
        recorded = self.metrics.get("events")
        if recorded:
            return {"strains": [], "sizes": [], **recorded}
        triggered = [(s, s.event) for s in self.shears if s.event is not None]
        fields = [s.event_d2min for s, _ in triggered if s.event_d2min is not None]
        return {
            "triggered": len(triggered),
            "runs": len(self.shears),
            "strains": [float(s.strain[event]) for s, event in triggered],
            "sizes": [int(np.sum(field > self.threshold)) for field in fields],
        }

    def test_d2min(self) -> np.ndarray:
        """D²min of the test atoms in the step of the first event of their run, (A,) [Å²].

        NaN for the runs of which it is not stored, or is not what they were labelled by.
        """
        assert self.test is not None
        fields = {(s.specimen, s.direction): s.event_d2min for s in self.shears}
        found = np.full(len(self.test.label), np.nan)
        for number, direction, span in self.test.runs():
            field, label = fields.get((number, direction)), self.test.label[span]
            if field is not None and np.array_equal(field > self.threshold, label == 1):
                found[span] = field
        return found

    def shown_runs(self) -> list[tuple[int, str, slice]]:
        """The test runs whose specimen is in the folder with the same number of atoms."""
        return [
            (number, direction, span)
            for number, direction, span in (self.test.runs() if self.test else [])
            if number in self.specimens
            and self.specimens[number].structure.num_atoms == span.stop - span.start
        ]


def read(out: str | os.PathLike) -> Results:
    """Read a run folder, finished or not.

    Raises:
      ValueError: not a folder, or a file in it is damaged.
    """
    out = Path(out)
    if not out.is_dir():
        raise ValueError(f"{out} is not a folder with the results of a run")
    config = _json(out / "config.json")
    threshold = float(config.get("threshold", PAPER_THRESHOLD))
    min_cluster = int(config.get("min_cluster", 1))
    files = sorted(path for path in out.glob("shears/*.npz") if _SHEAR.fullmatch(path.name))
    return Results(
        config=config,
        threshold=threshold,
        specimens={
            int(path.stem): _specimen(path)
            for path in sorted(out.glob("specimens/*.npz"))
            if path.stem.isdigit()
        },
        shears=[_shear(path, threshold, min_cluster) for path in files],
        test=_predictions(out / "predictions" / "test.npz"),
        metrics=_json(out / "metrics.json"),
        usage=_json(out / "usage.json"),
        history=_history(_json(out / "model" / "history.json")),
        studies=studies.read(out),
        pictures=frozenset(path.name for path in out.glob("figures/*.png")),
    )


def _json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    return archives.read_record(path)


def _history(recorded: Mapping[str, Any]) -> dict[str, list]:
    """The training's records as one list per quantity."""
    names = {
        "epoch": "epoch",
        "train_loss": "train_loss",
        "validation_loss": "validation_loss",
        "score": "validation_score",
    }
    rows = recorded.get("epochs", [])
    return {new: [row.get(old) for row in rows] for old, new in names.items()} if rows else {}


def _take(arrays: Mapping[str, np.ndarray], names: tuple[str, ...], path: Path) -> list[np.ndarray]:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; delete it and run again")
    return [arrays[name] for name in names]


def _specimen(path: Path) -> Specimen:
    arrays, settings = archives.load_archive(path)
    trace = {n: arrays[f"trace_{n}"] for n in _TRACES if f"trace_{n}" in arrays}
    outcome = str(settings.get("outcome", GOOD))
    return Specimen(io.structure_from(arrays, path), trace, outcome)


def _shear(path: Path, threshold: float, min_cluster: int) -> Shear:
    arrays, settings = archives.load_archive(path)
    strain, stress, largest = _take(arrays, ("strain", "stress", "max_d2min"), path)
    number, named = path.stem.split("_")
    direction = loads.canonical(str(settings.get("direction", named)))
    flow, gradient, sign = loads.axes(direction)
    steps = fields = pairs = np.zeros(0)  # A cluster of one atom needs none of them.
    if min_cluster > 1:
        names = ("history_step", "history_d2min", "pairs")
        steps, fields, pairs = _take(arrays, names, path)
    try:
        event = first_event(largest, steps, fields, threshold, min_cluster, pairs)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Shear(
        specimen=int(number),
        direction=direction,
        strain=strain,
        stress=sign * stress[:, flow, gradient] * units.GPA,
        event=event,
        event_d2min=_field(arrays, event),
        outcome=str(settings.get("outcome", "")),
        faults=tuple(map(str, settings.get("faults", ()))),
    )


def _field(arrays: Mapping[str, np.ndarray], step: int | None) -> np.ndarray | None:
    """Stored D²min of one step; the history is sparse, so it may not be there."""
    if step is None or "history_step" not in arrays or "history_d2min" not in arrays:
        return None
    row = np.flatnonzero(arrays["history_step"] == step)
    return arrays["history_d2min"][row[0]] if len(row) else None


def _predictions(path: Path) -> Predictions | None:
    if not path.exists():
        return None
    arrays, _ = archives.load_archive(path)
    columns = _take(arrays, ("label", "confidence", "specimen", "direction"), path)
    try:
        return Predictions(*columns)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
