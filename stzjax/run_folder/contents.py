"""Reader of the files of a run folder; None or nothing stands for a file that is not there."""

import csv
import dataclasses
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stzjax import io
from stzjax.core import units
from stzjax.core.structure import Structure
from stzjax.evaluation.verdict import Predictions
from stzjax.io import archives
from stzjax.mechanics import relax
from stzjax.run_folder.folder import Archive, Folder
from stzjax.run_folder.settings import PRESETS
from stzjax.shear import aqs, events

GOOD = relax.OUTCOMES[relax.CONVERGED]
"""Outcome of a specimen that can be sheared."""

RUN_ARRAYS = (
    "strain energy stress max_d2min iterations residual history_step history_d2min pairs"
).split()
"""Arrays that are stored of a shear run, beside its last configuration."""

_SHEAR = re.compile(r"(\d+)_([+-](?:xy|yz|xz))\.npz")

Row = Mapping[str, Any]


class Specimen(NamedTuple):
    """One relaxed, unsheared glass and its way there.

    Attributes:
      structure: N atoms.
      trace: temperature [K], energy [eV/atom], density [g/cm³] along the quench, (T,) each, where
        recorded.
      outcome: end of quench and relaxation, in words.
    """

    structure: Structure
    trace: dict[str, np.ndarray]
    outcome: str


def specimen(path: Path, archive: Archive) -> Specimen:
    """The specimen of a file, from its content."""
    arrays, settings = archive
    names = ("temperature", "energy", "density")
    trace = {n: arrays[f"trace_{n}"] for n in names if f"trace_{n}" in arrays}
    return Specimen(io.structure_from(arrays, path), trace, str(settings.get("outcome", GOOD)))


def run(path: Path, archive: Archive) -> tuple[aqs.Run, tuple[str, ...]]:
    """The shear run of a file, from its content, and what looks wrong with it, in words."""
    arrays, settings = archive
    final = {k.removeprefix("final_"): v for k, v in arrays.items() if k.startswith("final_")}
    found = aqs.Run(
        direction=settings["direction"],
        **_take(arrays, RUN_ARRAYS, path),
        final=io.structure_from(final, path),
        outcome=settings["outcome"],
        config=aqs.ShearConfig(**settings["config"]),
    )
    return found, tuple(map(str, settings.get("faults", ())))


def predictions(path: Path, arrays: Mapping[str, np.ndarray], prefix: str = "") -> Predictions:
    """The predictions of a file, from its arrays, whose names may have a prefix."""
    names = [field.name for field in dataclasses.fields(Predictions)]
    try:
        return Predictions(**_take(arrays, names, path, prefix))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _take(
    arrays: Mapping[str, np.ndarray], names: list[str], path: Path, prefix: str = ""
) -> dict[str, np.ndarray]:
    missing = [f"{prefix}{name}" for name in names if f"{prefix}{name}" not in arrays]
    if missing:
        raise archives.Damaged(path, f"lacks {', '.join(missing)}")
    return {name: arrays[f"{prefix}{name}"] for name in names}


class Sheared(NamedTuple):
    """A shear run of S states (see `aqs.Run`) in short.

    Attributes:
      specimen: number of the specimen.
      direction: such as "+xy".
      strain: (S,) engineering strain.
      stress: (S,) shear stress, positive along the load [GPa].
      event: state after the first event, or None.
      event_d2min: (N,) D²min of that state [Å²]; None if it is not stored.
      outcome: end of the run, in words.
      faults: what looks wrong with it, in words.
    """

    specimen: int
    direction: str
    strain: np.ndarray
    stress: np.ndarray
    event: int | None
    event_d2min: np.ndarray | None
    outcome: str
    faults: tuple[str, ...]


def sheared(path: Path, threshold: float, min_cluster: int) -> Sheared:
    """The run of a file, with its first event for a threshold of D²min [Å²]."""
    found, faults = run(path, archives.load_archive(path))
    history = found.history_step, found.history_d2min
    try:
        event = events.first_event(found.max_d2min, *history, threshold, min_cluster, found.pairs)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    kept = event is not None and event in found.history_step
    return Sheared(
        specimen=int(path.stem.split("_")[0]),
        direction=found.direction,
        strain=found.strain,
        stress=units.GPA * found.shear_stress,
        event=event,
        event_d2min=events.field(*history, event) if event is not None and kept else None,
        outcome=found.outcome,
        faults=faults,
    )


def comparison(folder: Folder, title: str) -> dict[str, Any] | None:
    """The remedies or the baselines: reference, a name; splits; and a row for each candidate."""
    return _load(folder.path / title / f"{title}.json", {"rows": "name", "splits": "test"})


def thresholds(folder: Folder) -> list[Row] | None:
    """One row for each threshold of D²min, in ascending order."""
    found = _load(folder.path / "thresholds" / "thresholds.json", {"rows": "threshold"})
    return found and sorted(found["rows"], key=lambda row: row["threshold"])


def search(folder: Folder) -> dict[str, Any] | None:
    """The content of `search.json`, and of the tables beside it.

    These are columns and table of Table 1, as text, empty where undefined; and grid, a row for each
    shape and budget, NaN where undefined.
    """
    path = folder.path / "search" / "search.json"
    found = _load(path, {"folds": "validation"})
    if found is None:
        return None
    if not all(isinstance(found.get(name), dict) for name in ("judged", "winners")):
        raise archives.Damaged(path, "lacks winners and how they were judged")
    tables = (_csv(path.with_name(f"{name}.csv")) for name in ("table1", "grid"))
    (columns, *table), (names, *rows) = tables
    grid = [dict(zip(names, map(parse, row), strict=True)) for row in rows]
    return {**found, "columns": columns, "table": table, "grid": grid}


def _load(path: Path, lists: Mapping[str, str]) -> Any:
    """An object with some lists, none of them empty, of objects that hold a certain key."""
    if not path.exists():
        return None
    content = archives.read_json(path)
    for name, key in lists.items():
        rows = content.get(name) if isinstance(content, dict) else None
        found = rows if isinstance(rows, list) else []
        if not found or not all(isinstance(row, dict) and key in row for row in found):
            raise archives.Damaged(path, f"holds no {name}, each with a {key}")
    return content


def _csv(path: Path) -> list[list[str]]:
    """Header and rows of a table, all of one length."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = list(csv.reader(text.splitlines()))
    if not rows or len({len(row) for row in rows}) > 1:
        raise ValueError(f"{path} is missing or damaged; run experiments/search.py again")
    return rows


def parse(value: str) -> float:
    """A number of a CSV file; NaN if nothing is written there."""
    return float(value) if value else math.nan


@dataclasses.dataclass(frozen=True)
class Contents:
    """All that a run folder holds; the empty mapping, list or None where a stage has not run.

    Attributes:
      config: settings of all stages, flat, and "provenance".
      threshold: D²min above which an atom counts as transformed [Å²].
      specimens: specimens by number.
      shears: shear runs in order of file name.
      test: predictions on the test specimens.
      metrics: the content of `metrics.json`.
      usage: time [s] and peak memory [MiB] of each stage.
      history: a row for each epoch of the training.
      search, thresholds, remedies, baselines: see the functions of these names, or `comparison`.
      pictures: names of the files in `figures/`.
    """

    config: dict[str, Any]
    threshold: float
    specimens: dict[int, Specimen]
    shears: list[Sheared]
    test: Predictions | None
    metrics: dict[str, Any]
    usage: dict[str, dict[str, float]]
    history: list[Row]
    search: dict[str, Any] | None
    thresholds: list[Row] | None
    remedies: dict[str, Any] | None
    baselines: dict[str, Any] | None
    pictures: frozenset[str]

    def operating(self) -> dict[str, float]:
        """Operating points by name: 0.5, and the one chosen on validation if there is one."""
        points = {"threshold 0.5": 0.5}
        chosen = (self.metrics.get("test_at_validation_threshold") or {}).get("threshold")
        return points if chosen is None else points | {"from validation": float(chosen)}

    def events(self) -> dict[str, Any]:
        """Runs, triggered, strains and sizes as in `metrics.json`, or else from the shear runs."""
        if recorded := self.metrics.get("events"):
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


def read(out: str | os.PathLike) -> Contents:
    """Read a run folder, finished or not, whatever its settings.

    Raises:
      ValueError: not a folder, or a file in it is damaged.
    """
    folder = Folder(Path(out), PRESETS["paper"])
    if not folder.path.is_dir():
        raise ValueError(f"{out} is not a folder with the results of a run")
    load, test = archives.load_archive, folder.predictions("test")
    config = _record(folder.path / "config.json")
    threshold = float(config.get("threshold", folder.settings.labels.threshold))
    min_cluster = int(config.get("min_cluster", 1))
    shears = sorted(folder.path.glob("shears/*.npz"))
    specimens = sorted(folder.path.glob("specimens/*.npz"))
    return Contents(
        config=config,
        threshold=threshold,
        specimens={int(p.stem): specimen(p, load(p)) for p in specimens if p.stem.isdigit()},
        shears=[sheared(p, threshold, min_cluster) for p in shears if _SHEAR.fullmatch(p.name)],
        test=predictions(test, load(test)[0]) if test.exists() else None,
        metrics=_record(folder.path / "metrics.json"),
        usage=_record(folder.path / "usage.json"),
        history=_record(folder.model / "history.json").get("epochs", []),
        search=search(folder),
        thresholds=thresholds(folder),
        remedies=comparison(folder, "remedies"),
        baselines=comparison(folder, "baselines"),
        pictures=frozenset(path.name for path in folder.path.glob("figures/*.png")),
    )


def _record(path: Path) -> dict[str, Any]:
    return archives.read_record(path) if path.exists() else {}
