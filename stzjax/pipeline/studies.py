"""Three studies on a described run: thresholds of D²min, remedies for imbalance, baselines."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from stzjax.evaluation.result_table import Table
from stzjax.io import archives
from stzjax.learning import baselines
from stzjax.pipeline import comparisons, trials
from stzjax.pipeline.comparisons import Entrant
from stzjax.pipeline.dataset import Dataset
from stzjax.run_folder.folder import Folder

PAPER_TRAINING = "weighted"
"""The remedy of the paper, with which the others are compared."""

REMEDIES: dict[str, dict[str, Any]] = {
    "unweighted": {"loss": "weighted", "weight_power": 0.0},
    PAPER_TRAINING: {"loss": "weighted", "weight_power": 1.0},
    "square-root weights": {"loss": "weighted", "weight_power": 0.5},
    "focal": {"loss": "focal"},
    "class-balanced": {"loss": "balanced"},
    "logit-adjusted": {"loss": "adjusted"},
    "event-balanced": {"loss": "event"},
    "undersampled 1:1": {"loss": "weighted", "undersample": 1.0},
    "undersampled 1:10": {"loss": "weighted", "weight_power": 0.0, "undersample": 10.0},
    "oversampled graphs": {"loss": "weighted", "oversample": 1.0},
    "temperature": {"loss": "weighted", "calibration": "temperature"},
    "platt": {"loss": "weighted", "calibration": "platt"},
}
"""What each changes in the training; everything else, the epochs too, is the same."""

NETWORK, CONTROL = "network", "network, shuffled labels"


def remedies(
    folder: Folder, names: Sequence[str], seeds: Sequence[int], rotations: int, workers: int
) -> Table:
    """Train the network with each remedy under equal budgets and write `remedies/`.

    Raises:
      ValueError: an unknown remedy, or a split without an event in some part.
    """
    unknown = [name for name in names if name not in REMEDIES]
    if unknown:
        raise ValueError(f"unknown remedy {unknown[0]!r}; choose from {', '.join(REMEDIES)}")
    if PAPER_TRAINING not in names:
        names = [PAPER_TRAINING, *names]
    data = Dataset(folder)
    base = dataclasses.replace(folder.settings.train_config(), undersample=0.0, oversample=0.0)
    entrants = [
        comparisons.network(folder, data, name, dataclasses.replace(base, **REMEDIES[name]), seeds)
        for name in names
    ]
    return _contest(folder, "remedies", data, entrants, PAPER_TRAINING, rotations, workers)


def compare_baselines(
    folder: Folder, names: Sequence[str], seeds: Sequence[int], rotations: int, workers: int
) -> Table:
    """Fit baselines beside the network and its control with shuffled labels; write `baselines/`.

    Args:
      folder: a described run.
      names: of `baselines.names`; empty: all of them.
      seeds: of the networks.
      rotations: see `contests.choose_splits`.
      workers: trials at a time.

    Raises:
      ValueError: an unknown baseline, or a split without an event in some part.
    """
    data = Dataset(folder)
    known = baselines.names(data.columns)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown baseline {unknown[0]!r}; choose from {', '.join(known)}")
    names = list(names) or list(known)
    if "softness" in names:
        data.surround()
    config = folder.settings.train_config()
    entrants = [
        comparisons.network(folder, data, NETWORK, config, seeds),
        comparisons.network(folder, data, CONTROL, config, seeds, control=True),
        *(comparisons.baseline(folder, data, name) for name in names),
    ]
    return _contest(folder, "baselines", data, entrants, NETWORK, rotations, workers)


def _contest(
    folder: Folder,
    title: str,
    data: Dataset,
    entrants: Sequence[Entrant],
    reference: str,
    rotations: int,
    workers: int,
) -> Table:
    chosen = comparisons.choose_splits(folder, data, rotations)
    results = comparisons.hold(folder, title, entrants, chosen, workers)
    rows = comparisons.rows(folder, results, reference)
    found = comparisons.table(rows)
    out = folder.path / title
    trials.write_table(out, title, found)
    trials.write_table(out, f"{title}_by_size", comparisons.size_table(rows))
    record = {"reference": reference, "splits": [split._asdict() for split in chosen], "rows": rows}
    archives.write_json(out / f"{title}.json", record)
    return found


def thresholds(
    folder: Folder, values: Sequence[float], seeds: Sequence[int], rotations: int, workers: int
) -> Table:
    """Label anew with each threshold, train anew, judge; write `thresholds/` for Figure 4.

    Args:
      folder: a described run.
      values: thresholds of D²min [Å²].
      seeds: of the networks.
      rotations: see `contests.choose_splits`.
      workers: trials at a time.

    Raises:
      ValueError: a threshold for which the shear runs keep no labels, or without an event in some
        part of a split.
    """
    settings = folder.settings
    for value in values:
        dataclasses.replace(settings, threshold=value).validate()
    config = settings.train_config()
    found: list[dict[str, Any]] = []
    for value in sorted(values):
        data = Dataset(folder, value)
        own = Folder(folder.path, dataclasses.replace(settings, threshold=value))
        entrant = comparisons.network(own, data, f"{value:g}", config, seeds)
        chosen = comparisons.choose_splits(folder, data, rotations)
        results = comparisons.hold(own, "thresholds", [entrant], chosen, workers)
        row = comparisons.rows(folder, results, entrant.name)[0]
        average = row["average"]
        numbers = {**average["at_half"], **average["ranks"]}
        found.append(
            {
                "threshold": value,
                "events": len(data.events),
                "runs": data.runs,
                "class_ratio": class_ratio(data),
                "test": {name: number["estimate"] for name, number in numbers.items()},
                "interval": numbers,
            }
        )
    out = folder.path / "thresholds"
    archives.write_json(out / "thresholds.json", {"rows": found})
    table = _threshold_table(found)
    trials.write_table(out, "thresholds", table)
    return table


def class_ratio(data: Dataset) -> float:
    """Labelled atoms to all others, over all runs with an event."""
    labels = np.concatenate([graph.nodes.label for graph in data.graphs.values()])
    return float((labels == 1).sum() / (labels == 0).sum())


def _threshold_table(found: Sequence[dict[str, Any]]) -> Table:
    names = ("recall", "precision", "f1", "mcc", "auc", "ap", "ap_over_prevalence")
    rows = [
        [
            row["threshold"],
            f"{row['events']} of {row['runs']}",
            row["class_ratio"],
            *(row["test"][name] for name in names),
            comparisons.spanned(row["interval"]["ap_over_prevalence"]),
        ]
        for row in found
    ]
    return Table(
        ["D²min threshold (Å²)", "events", "class ratio", *names, "AP/prevalence, 95 %"], rows
    )
