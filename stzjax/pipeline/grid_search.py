"""Grid search with cross-validation by specimen: a winner for each metric, Table 1 of the paper.

The test specimens of the folder take no part in the search. Each winner is trained anew on the
training specimens, its epoch chosen on validation, and judged on the test specimens once.
"""

import dataclasses
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stzjax.evaluation import metrics, verdict
from stzjax.evaluation.averages import Trial
from stzjax.evaluation.result_table import ResultTable
from stzjax.io import archives
from stzjax.learning import checkpoints, models, splits, training
from stzjax.learning.splits import Split
from stzjax.pipeline import train_evaluate, trials, work_queue
from stzjax.pipeline.dataset import Dataset
from stzjax.pipeline.trials import Planned
from stzjax.pipeline.work_queue import Bar, Workers
from stzjax.report import words
from stzjax.run_folder.folder import Folder, Purpose, same, unless_damaged

METRICS = ("recall", "precision", "f1", "mcc", "auc", "ap")
"""Metrics by which winners are chosen, at threshold 0.5 where a metric needs a threshold."""

GRIDS: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "paper": ((2, 4, 6, 8, 10, 12), (10, 15, 20, 25, 30, 35, 40), (6, 9, 12, 15)),
    "small": ((2, 4), (10, 20), (6, 9)),
}
"""Values of L, M and N of each named grid."""


class Shape(NamedTuple):
    """One model of a grid, in the letters of the paper."""

    layers: int
    features_per_head: int
    heads: int

    @property
    def name(self) -> str:
        """Name of the model, such as L4_M15_N9."""
        return f"L{self.layers}_M{self.features_per_head}_N{self.heads}"


TrialId = tuple[Shape, int, int]
"""Shape, largest number of epochs, and number of the fold of a trial."""


def grid(layers: Iterable[int], features: Iterable[int], heads: Iterable[int]) -> list[Shape]:
    """All combinations."""
    return [Shape(*each) for each in itertools.product(layers, features, heads)]


class Search:
    """A grid search in a described run folder.

    Attributes:
      folder: the run folder.
      data: its graphs.
      folds: folds of the training and validation specimens together.
      base: settings of all trainings, apart from the shape of the network.
    """

    def __init__(self, folder: Folder, num_folds: int = 4):
        """Read the data and draw the folds.

        Raises:
          ValueError: too few specimens, or a fold or part without an event.
        """
        self.folder, self.data = folder, Dataset(folder)
        split = self.data.split
        self.data.check(split)
        specimens = np.sort(np.concatenate([split.train, split.validation]))
        self.folds = splits.folds(specimens, num_folds, key=folder.key(Purpose.FOLDS))
        for number, fold in enumerate(self.folds):
            self.data.check(fold, f" of fold {number}")
        self.base = folder.settings.train_config()

    def config(self, shape: Shape, epochs: int) -> training.TrainConfig:
        """Settings of a training."""
        model = models.reshaped(self.base.model, shape._asdict())
        return dataclasses.replace(self.base, model=model, epochs=epochs)

    def path(self, shape: Shape, epochs: int, fold: int) -> Path:
        """File of a trial."""
        return self.folder.path / f"search/trials/{shape.name}_e{epochs}_fold{fold}.json"

    def settings(self, shape: Shape, epochs: int, fold: int) -> dict[str, Any]:
        """All settings on which the outcome of a trial depends."""
        split = Split(*self.folds[fold], np.array([], int))
        return trials.settings_of(self.folder, self.config(shape, epochs), split)

    def read(self, shape: Shape, epochs: int, fold: int) -> dict[str, Any] | None:
        """The record of a trial; None if it has not been made, or is damaged and then set aside.

        Raises:
          ValueError: it was made with other settings.
        """
        path, settings = self.path(shape, epochs, fold), self.settings(shape, epochs, fold)

        def record() -> dict[str, Any]:
            found = archives.read_record(path)
            if not {"settings", "validation", "record"} <= set(found):
                raise archives.Damaged(path, "is no trial of this version")
            same(path, found["settings"], settings)
            return found

        return unless_damaged(path, record)

    def make(self, shapes: Sequence[Shape], epochs: int, workers: Workers) -> None:
        """Train the missing trials."""

        def work(bar: Bar, items: Iterator[TrialId], lanes: int) -> Iterator[TrialId]:
            for shape, group in itertools.groupby(items, key=lambda item: item[0]):
                for chunk in work_queue.chunks(group, lanes):
                    self._train(shape, epochs, [fold for _, _, fold in chunk])
                    bar.update(len(chunk))
                    yield from chunk

        work_queue.make_missing(
            self.folder.claims,
            "search",
            "trial",
            itertools.product(shapes, [epochs], range(len(self.folds))),
            missing=lambda item: self.read(*item) is None,
            work=work,
            workers=workers,
        )

    def _train(self, shape: Shape, epochs: int, folds: Sequence[int]) -> None:
        """Train the given folds of a shape and write their files."""
        tasks = [self.data.task(self.folds[fold], self.base.seed) for fold in folds]
        settings = [self.settings(shape, epochs, fold) for fold in folds]
        path, started = self.path(shape, epochs, folds[0]), time.perf_counter()
        results = train_evaluate.fit(
            self.folder, path, {"tasks": settings}, tasks, self.config(shape, epochs)
        )
        seconds = (time.perf_counter() - started) / len(folds)
        for fold, own, result in zip(folds, settings, results, strict=True):
            pooled = train_evaluate.predict(result, self.data, self.folds[fold].validation)
            record = {
                "settings": own,
                "validation": metrics.evaluate(pooled.label, pooled.confidence),
                "record": {**trials.summary(result), "seconds": seconds},
            }
            archives.write_record(self.path(shape, epochs, fold), record)
        self.folder.finish(path)

    def rows(self, shapes: Sequence[Shape], epochs: int) -> list[dict[str, Any]]:
        """Mean and spread over the folds of every metric, a row for each shape.

        Raises:
          ValueError: a trial has not been made.
        """
        rows, missing = [], []
        for shape in shapes:
            records = [self.read(shape, epochs, fold) for fold in range(len(self.folds))]
            missing += [self.path(shape, epochs, n) for n, one in enumerate(records) if one is None]
            own = _averaged([record for record in records if record])
            rows.append({"shape": shape, "epochs": epochs, **own})
        if missing:
            raise ValueError(
                f"{len(missing)} trials are missing, the first is {missing[0]}: run "
                "experiments/search.py with the same flags and without --collect"
            )
        return rows


def _averaged(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean and spread of every metric, and the sum of the times."""
    row = {}
    for name in (*METRICS, "ap_over_prevalence"):
        values = [trial["validation"][name] for trial in records]
        # JSON holds null where a metric is undefined.
        defined = np.array([v for v in values if v is not None], float)
        row[name] = float(defined.mean()) if len(defined) else math.nan
        row[f"{name}_deviation"] = float(defined.std(ddof=1)) if len(defined) > 1 else math.nan
    return row | {"seconds": sum(trial["record"]["seconds"] for trial in records)}


def halving(num_shapes: int, epochs: int, factor: int = 3) -> list[tuple[int, int]]:
    """Rounds of successive halving: number of shapes and number of epochs of each round.

    Jamieson and Talwalkar, AISTATS 2016. Every round keeps one shape in `factor` and trains it
    anew for `factor` times as long; the last round has all epochs.
    """
    counts = [num_shapes]
    while counts[-1] > factor:
        counts.append(-(-counts[-1] // factor))
    last = len(counts) - 1
    return [(n, max(1, epochs // factor ** (last - place))) for place, n in enumerate(counts)]


def winners(rows: Sequence[Mapping[str, Any]]) -> dict[str, Shape | None]:
    """The best shape by each metric; None where a metric is undefined for all."""
    best = {name: ranked(rows, name)[0] for name in METRICS}
    return {name: None if math.isnan(row[name]) else row["shape"] for name, row in best.items()}


def ranked(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """The rows from the best to the worst by a metric; last those where it is undefined."""
    return [rows[place] for place in np.argsort([-row[name] for row in rows], kind="stable")]


def judge(search: Search, shape: Shape) -> dict[str, Any]:
    """A winner trained on the folder's own split and judged on its test specimens."""
    folder, data, config = search.folder, search.data, search.config(shape, search.base.epochs)
    settings = trials.settings_of(folder, config, data.split)
    path = folder.path / "search" / "winners" / f"{shape.name}.npz"

    def work() -> Trial:
        trial, result = train_evaluate.trial(path, settings, data, data.split, config)
        checkpoints.save(path.with_suffix(""), result)
        return trial

    plan = Planned(path, settings, work)
    name = str(path.relative_to(folder.path))
    work_queue.once(folder.claims, name, lambda: plan.load() is not None, plan.make)
    trial = plan.read()
    folder.finish(path)
    key = folder.key(Purpose.BOOTSTRAP)
    return {"record": trial.record, "verdict": verdict.judge(trial.validation, trial.test, key)}


def table_1(
    chosen: Mapping[str, Shape | None], judged: Mapping[Shape, dict[str, Any]]
) -> ResultTable:
    """Table 1 of the paper: winners on the test set, and below them the paper's own rows."""
    rows: list[list[Any]] = []
    for shape, found in judged.items():
        names = ", ".join(name for name, best in chosen.items() if best == shape)
        test = found["verdict"]["pooled"]["at_half"]
        scores = [test[name] for name in (*METRICS, "ap_over_prevalence")]
        rows.append(["this run", names, *shape, *scores])
    paper = [["paper", *row, row[-1] / words.PREVALENCE] for row in words.TABLE_1]
    columns = ["", "optimised for", "L", "M", "N", "Recall", "Precision", "F1", "MCC", "AUC", "AP"]
    return ResultTable([*columns, "AP/prevalence"], [*rows, *paper], rules=(len(rows),))


def grid_table(rows: Sequence[Mapping[str, Any]]) -> ResultTable:
    """All shapes with the mean of each metric over the folds."""
    names = [*METRICS, "ap_over_prevalence", "ap_over_prevalence_deviation", "seconds"]
    return ResultTable(
        ["L", "M", "N", "epochs", *names],
        [[*row["shape"], row["epochs"], *(row[name] for name in names)] for row in rows],
    )


def run(
    folder: Folder,
    shapes: Sequence[Shape],
    *,
    num_folds: int = 4,
    factor: int = 0,
    workers: Workers | None = None,
    collect: bool = False,
) -> ResultTable:
    """Search, judge the winners and write `search/`; Table 1.

    Args:
      folder: a described run folder.
      shapes: the grid.
      num_folds: folds of the cross-validation.
      factor: factor of `halving`; 0 trains every shape for all epochs.
      workers: threads, and folds of a shape that share a compiled step; a single one by default.
      collect: train nothing of the grid and make the tables of the trials that are there.
    """
    search = Search(folder, num_folds)
    epochs, metric = search.base.epochs, search.base.select_by.replace("loss", "ap")
    rounds = halving(len(shapes), epochs, factor) if factor else [(len(shapes), epochs)]
    kept, everything = list(shapes), []
    for count, budget in rounds:
        if not collect:
            search.make(kept[:count], budget, workers or Workers())
        last = search.rows(kept[:count], budget)
        kept = [row["shape"] for row in ranked(last, metric)]
        everything += last
    chosen = winners(last)
    judged = {shape: judge(search, shape) for shape in dict.fromkeys(chosen.values()) if shape}
    out, table = folder.path / "search", table_1(chosen, judged)
    trials.write_table(out, "table1", table)
    trials.write_table(out, "grid", grid_table(everything))
    record = {
        "winners": {name: shape and shape.name for name, shape in chosen.items()},
        "judged": {shape.name: found for shape, found in judged.items()},
        "folds": [fold._asdict() for fold in search.folds],
    }
    archives.write_json(out / "search.json", record)
    return table
