"""Three studies on a described run folder: thresholds of D²min, remedies, baselines.

Each trains a network for each of some seeds and on splits in rotation, see
`comparisons.choose_splits`, as many trials at a time as there are threads, and writes tables. All
raise ValueError for an unknown name and for a split with a part that holds no event.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from stzjax.evaluation import averages
from stzjax.evaluation.result_table import ResultTable
from stzjax.io import archives
from stzjax.learning import baselines
from stzjax.pipeline import comparisons, trials
from stzjax.pipeline.comparisons import Candidate
from stzjax.pipeline.dataset import Dataset
from stzjax.run_folder.folder import Folder, Purpose

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
"""Remedies for rare classes: the settings that each changes; the others, epochs too, are equal."""

NETWORK, CONTROL = "network", "network, shuffled labels"


def remedies(
    folder: Folder, names: Sequence[str], seeds: Sequence[int], rotations: int, threads: int
) -> ResultTable:
    """Train the network with each remedy under equal budgets and write `remedies/`.

    The names are keys of `REMEDIES`; the remedy of the paper is added.
    """
    _check_known("remedy", names, REMEDIES)
    if PAPER_TRAINING not in names:
        names = [PAPER_TRAINING, *names]
    data = Dataset(folder)
    base = dataclasses.replace(folder.settings.train_config(), undersample=0.0, oversample=0.0)
    candidates = [
        comparisons.network(data, name, dataclasses.replace(base, **REMEDIES[name]), seeds)
        for name in names
    ]
    return _compare("remedies", data, candidates, PAPER_TRAINING, rotations, threads)


def compare_baselines(
    folder: Folder, names: Sequence[str], seeds: Sequence[int], rotations: int, threads: int
) -> ResultTable:
    """Fit baselines beside the network and its control with shuffled labels; write `baselines/`.

    The names are from `baselines.names`; empty for all of them.
    """
    data = Dataset(folder)
    known = baselines.names(data.columns)
    _check_known("baseline", names, known)
    names = list(names) or list(known)
    if "softness" in names:
        data.surround()
    config = folder.settings.train_config()
    candidates = [
        comparisons.network(data, NETWORK, config, seeds),
        comparisons.network(data, CONTROL, config, seeds, control=True),
        *(comparisons.baseline(data, name) for name in names),
    ]
    return _compare("baselines", data, candidates, NETWORK, rotations, threads)


def _check_known(kind: str, names: Sequence[str], known) -> None:
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"unknown {kind} {unknown[0]!r}; choose from {', '.join(known)}")


def _compare(
    title: str,
    data: Dataset,
    candidates: Sequence[Candidate],
    reference: str,
    rotations: int,
    threads: int,
) -> ResultTable:
    folder, chosen = data.folder, comparisons.choose_splits(data, rotations)
    results = comparisons.make_trials(folder, title, candidates, chosen, threads)
    rows = comparisons.rows(folder, results, reference)
    table, out = comparisons.main_table(rows), folder.path / title
    trials.write_table(out, title, table)
    trials.write_table(out, f"{title}_by_size", comparisons.size_table(rows))
    record = {"reference": reference, "splits": [split._asdict() for split in chosen], "rows": rows}
    archives.write_json(out / f"{title}.json", record)
    return table


def thresholds(
    folder: Folder, values: Sequence[float], seeds: Sequence[int], rotations: int, threads: int
) -> ResultTable:
    """Label and train anew with each threshold of D²min [Å²]; write `thresholds/` for Figure 4.

    ValueError for a threshold for which the shear runs keep no labels.
    """
    changed = [folder.settings.changed(threshold=value) for value in sorted(values)]
    for settings in changed:
        settings.validate()
    folders = [dataclasses.replace(folder, settings=settings) for settings in changed]
    rows = [_threshold_row(own, seeds, rotations, threads) for own in folders]
    out, table = folder.path / "thresholds", _threshold_table(rows)
    archives.write_json(out / "thresholds.json", {"rows": rows})
    trials.write_table(out, "thresholds", table)
    return table


def _threshold_row(
    folder: Folder, seeds: Sequence[int], rotations: int, threads: int
) -> dict[str, Any]:
    """Results with the threshold of the settings, averaged over seeds and splits."""
    data, value = Dataset(folder), folder.settings.labels.threshold
    candidate = comparisons.network(data, f"{value:g}", folder.settings.train_config(), seeds)
    chosen = comparisons.choose_splits(data, rotations)
    [made] = comparisons.make_trials(folder, "thresholds", [candidate], chosen, threads).values()
    average = averages.average(made, folder.key(Purpose.BOOTSTRAP))
    numbers = {**average["at_half"], **average["ranks"]}
    return {
        "threshold": value,
        "events": len(data.events),
        "runs": data.num_runs,
        "class_ratio": class_ratio(data),
        "test": {name: number["estimate"] for name, number in numbers.items()},
        "interval": numbers,
    }


def class_ratio(data: Dataset) -> float:
    """Labelled atoms to all others, over all runs with an event."""
    labels = np.concatenate([graph.nodes.label for graph in data.graphs.values()])
    return float((labels == 1).sum() / (labels == 0).sum())


def _threshold_table(rows: Sequence[dict[str, Any]]) -> ResultTable:
    names = ("recall", "precision", "f1", "mcc", "auc", "ap", "ap_over_prevalence")
    lines = [
        [
            row["threshold"],
            f"{row['events']} of {row['runs']}",
            row["class_ratio"],
            *(row["test"][name] for name in names),
            comparisons.interval_text(row["interval"]["ap_over_prevalence"]),
        ]
        for row in rows
    ]
    columns = ["D²min threshold (Å²)", "events", "class ratio", *names, "AP/prevalence, 95 %"]
    return ResultTable(columns, lines)
