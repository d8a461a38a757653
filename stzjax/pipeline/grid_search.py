"""Grid search with cross-validation by specimen: one winner a metric, Table 1 of the paper.

The test specimens of the run take no part in the search. Each winner is trained anew on the run's
training specimens, its epoch chosen on validation, and judged on the test specimens once.
"""

import dataclasses
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stzjax.evaluation import metrics, verdict
from stzjax.evaluation.result_table import Table
from stzjax.io import archives
from stzjax.learning import checkpoints, splits, training
from stzjax.learning.splits import Fold, Split
from stzjax.pipeline import train_evaluate, trials
from stzjax.pipeline.dataset import Dataset
from stzjax.pipeline.work_queue import Bar, Crew, Queue, chunks, work_off
from stzjax.run_folder.folder import Folder, Purpose, same, set_aside_if_damaged

METRICS = ("recall", "precision", "f1", "mcc", "auc", "ap")
"""What winners are chosen by, each at threshold 0.5 where it needs one."""

GRIDS: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "paper": ((2, 4, 6, 8, 10, 12), (10, 15, 20, 25, 30, 35, 40), (6, 9, 12, 15)),
    "small": ((2, 4), (10, 20), (6, 9)),
}
"""L, M and N of each named grid."""

PAPER = (
    ("recall", 10, 25, 12, 0.7333, 0.0074, 0.0147, 0.0615, 0.8451, 0.0150),
    ("precision, f1", 6, 35, 9, 0.6821, 0.0089, 0.0175, 0.0668, 0.8488, 0.0160),
    ("mcc", 4, 40, 9, 0.6931, 0.0088, 0.0173, 0.0670, 0.8491, 0.0161),
    ("auc", 4, 15, 9, 0.7002, 0.0086, 0.0169, 0.0662, 0.8508, 0.0160),
    ("ap", 8, 20, 12, 0.7030, 0.0084, 0.0165, 0.0654, 0.8494, 0.0167),
)
"""Table 1 of Lee and Ryu (2022): optimised for, L, M, N, and `METRICS` on their test set."""

PAPER_PREVALENCE = (1134 + 486) / 900_000
"""Of their test set, from its confusion matrix."""


class Shape(NamedTuple):
    """One model of a grid, in the letters of the paper."""

    layers: int
    features_per_head: int
    heads: int

    @property
    def name(self) -> str:
        """Such as L4_M15_N9."""
        return f"L{self.layers}_M{self.features_per_head}_N{self.heads}"


def grid(layers: Iterable[int], features: Iterable[int], heads: Iterable[int]) -> list[Shape]:
    """All combinations."""
    return [Shape(*each) for each in itertools.product(layers, features, heads)]


class Search:
    """A grid search in the folder of a described run.

    Attributes:
      folder: of the run.
      data: its graphs.
      folds: of the training and validation specimens together.
      base: settings of all trainings but their shape.
    """

    def __init__(self, folder: Folder, num_folds: int = 4):
        """Read the data and draw the folds.

        Raises:
          ValueError: too few specimens, or a fold or part without an event.
        """
        self.folder = folder
        self.data = Dataset(folder)
        self.data.check(self.data.split)
        split = self.data.split
        specimens = np.sort(np.concatenate([split.train, split.validation]))
        self.folds = splits.folds(specimens, num_folds, key=folder.key(Purpose.FOLDS))
        for number, fold in enumerate(self.folds):
            for part, chosen in fold._asdict().items():
                if not self.data.lanes(chosen):
                    raise ValueError(
                        f"no event in the {part} part of fold {number} (specimens "
                        f"{list(map(int, chosen))}): use fewer folds or more specimens"
                    )
        self.base = folder.settings.train_config()

    def config(self, shape: Shape, epochs: int | None = None) -> training.TrainConfig:
        """Settings of a trial."""
        model = dataclasses.replace(self.base.model, **shape._asdict())
        return dataclasses.replace(self.base, model=model, epochs=epochs or self.base.epochs)

    def path(self, shape: Shape, epochs: int, fold: int) -> Path:
        """File of a trial."""
        name = f"{shape.name}_e{epochs}_fold{fold}.json"
        return self.folder.path / "search" / "trials" / name

    def settings(self, shape: Shape, epochs: int, fold: Fold) -> dict[str, Any]:
        """All on which the outcome of a trial depends."""
        split = Split(fold.train, fold.validation, np.array([], int))
        return trials.settings_of(self.folder, self.config(shape, epochs), split)

    def read(self, shape: Shape, epochs: int, fold: int) -> dict[str, Any] | None:
        """The record of a trial; None if it has not been made.

        Raises:
          ValueError: it was made with other settings.
        """
        path, found = self.path(shape, epochs, fold), {}

        def missing() -> bool:
            if not path.exists():
                return True
            found.update(archives.read_record(path))
            if not {"settings", "validation", "record"} <= set(found):
                raise archives.Damaged(path, "is no trial of this version")
            return False

        if set_aside_if_damaged(missing):
            return None
        same(path, found["settings"], self.settings(shape, epochs, self.folds[fold]))
        return found

    def missing(self, shapes: Iterable[Shape], epochs: int) -> list[tuple[Shape, int]]:
        """Trials that have not been made."""
        pairs = itertools.product(shapes, range(len(self.folds)))
        return [(shape, fold) for shape, fold in pairs if self.read(shape, epochs, fold) is None]

    def make(self, shapes: Sequence[Shape], epochs: int, workers: int, together: bool) -> None:
        """Train what is missing.

        Args:
          shapes: of the grid.
          epochs: of each training, at most.
          workers: trainings at a time, in threads.
          together: the folds of a shape in one compiled step, as suits a GPU.
        """
        missing = self.missing(shapes, epochs)
        if not missing:
            return

        def done(job: tuple[Shape, int]) -> bool:
            return self.read(job[0], epochs, job[1]) is not None

        with Bar("search", len(missing), "trial") as bar:

            def train(jobs: Iterator[tuple[Shape, int]], lanes: int) -> Iterator[tuple[Shape, int]]:
                for shape, group in itertools.groupby(jobs, key=lambda job: job[0]):
                    for some in chunks(group, lanes):
                        self._train(shape, [fold for _, fold in some], epochs)
                        bar.add(len(some))
                        yield from some

            queue = Queue(
                self.folder.claims,
                missing,
                lambda job: str(self.path(job[0], epochs, job[1]).relative_to(self.folder.path)),
                done,
                lambda job: bar.add(),
            )
            work_off(queue, Crew(workers, len(self.folds) if together else 1), train)

    def _train(self, shape: Shape, numbers: Sequence[int], epochs: int) -> None:
        """Train some folds of one shape and write their files."""
        folds = [self.folds[number] for number in numbers]
        tasks = [
            training.Task(self.data.of(f.train), self.data.of(f.validation), self.base.seed)
            for f in folds
        ]
        config = self.config(shape, epochs)
        settings = [self.settings(shape, epochs, fold) for fold in folds]
        path = self.path(shape, epochs, numbers[0])
        started = time.perf_counter()
        results = train_evaluate.fit_many(self.folder, path, {"tasks": settings}, tasks, config)
        seconds = (time.perf_counter() - started) / len(folds)
        for number, fold, own, result in zip(numbers, folds, settings, results, strict=True):
            pooled = train_evaluate.predicted(
                self.data, fold.validation, train_evaluate.network(result)
            )
            record = {
                "settings": own,
                "validation": metrics.evaluate(pooled.label, pooled.confidence),
                "record": {**trials.summary(result), "seconds": seconds},
            }
            archives.write_record(self.path(shape, epochs, number), record)
        self.folder.finish(path)

    def rows(self, shapes: Sequence[Shape], epochs: int) -> list[dict[str, Any]]:
        """Mean and spread over the folds of every metric, one row a shape.

        Raises:
          ValueError: a trial has not been made.
        """
        missing = self.missing(shapes, epochs)
        if missing:
            first = self.path(missing[0][0], epochs, missing[0][1])
            raise ValueError(
                f"{len(missing)} trials are missing, the first is {first}: run "
                "experiments/search.py with the same flags and without --collect"
            )
        return [self._row(shape, epochs) for shape in shapes]

    def _row(self, shape: Shape, epochs: int) -> dict[str, Any]:
        found = [self.read(shape, epochs, fold) for fold in range(len(self.folds))]
        row: dict[str, Any] = {"shape": shape, "epochs": epochs}
        for name in (*METRICS, "ap_over_prevalence"):
            values = [trial["validation"][name] for trial in found if trial]
            # JSON holds null where a metric is undefined.
            defined = np.array([v for v in values if v is not None], float)
            row[name] = float(defined.mean()) if len(defined) else math.nan
            row[f"{name}_deviation"] = float(defined.std(ddof=1)) if len(defined) > 1 else math.nan
        row["seconds"] = sum(trial["record"]["seconds"] for trial in found if trial)
        return row


def halving(num_shapes: int, epochs: int, factor: int = 3) -> list[tuple[int, int]]:
    """Rounds of successive halving: how many shapes, for how many epochs.

    Jamieson and Talwalkar, AISTATS 2016. Every round keeps one shape in `factor` and trains it
    anew for `factor` times as long; the last one has all epochs.
    """
    counts = [num_shapes]
    while counts[-1] > factor:
        counts.append(-(-counts[-1] // factor))
    last = len(counts) - 1
    return [(n, max(1, epochs // factor ** (last - place))) for place, n in enumerate(counts)]


def winners(rows: Sequence[dict[str, Any]]) -> dict[str, Shape | None]:
    """The best shape by each metric; None where a metric is undefined for all."""
    found: dict[str, Shape | None] = {}
    for name in METRICS:
        ranked = [row for row in rows if not math.isnan(row[name])]
        best = max(ranked, key=lambda row: row[name], default=None)
        found[name] = None if best is None else best["shape"]
    return found


def judge(search: Search, shape: Shape) -> dict[str, Any]:
    """A winner trained on the run's own split and judged on its test specimens."""
    split, config = search.data.split, search.config(shape)
    settings = trials.settings_of(search.folder, config, split)
    path = search.folder.path / "search" / "winners" / f"{shape.name}.npz"

    def make() -> trials.Trial:
        data = search.data
        result = train_evaluate.fit(search.folder, path, settings, data, split, config)
        checkpoints.save(search.folder.path / "search" / "winners" / shape.name, result)
        pooled = train_evaluate.parts(data, split, train_evaluate.network(result))
        return trials.Trial(*pooled, trials.summary(result))

    trial = trials.once(search.folder, path, settings, make)
    search.folder.finish(path)
    key = search.folder.key(Purpose.BOOTSTRAP)
    return {"record": trial.record, "verdict": verdict.judge(trial.validation, trial.test, key)}


def table_1(chosen: dict[str, Shape | None], judged: dict[Shape, dict[str, Any]]) -> Table:
    """Table 1 of the paper: winners on the test set, and below them the paper's own rows."""
    rows: list[list[Any]] = []
    for shape in dict.fromkeys(shape for shape in chosen.values() if shape is not None):
        names = [name for name, one in chosen.items() if one == shape]
        test = judged[shape]["verdict"]["pooled"]["at_half"]
        scores = [test[name] for name in (*METRICS, "ap_over_prevalence")]
        rows.append(["this run", ", ".join(names), *shape, *scores])
    ours = len(rows)
    for name, *shape_and_scores in PAPER:
        row = [*shape_and_scores, shape_and_scores[-1] / PAPER_PREVALENCE]
        rows.append(["paper", name, *row])
    columns = ["", "optimised for", "L", "M", "N", "Recall", "Precision", "F1", "MCC", "AUC", "AP"]
    return Table([*columns, "AP/prevalence"], rows, rules=(ours,))


def grid_table(rows: Sequence[dict[str, Any]]) -> Table:
    """All shapes with the mean of each metric over the folds."""
    names = [*METRICS, "ap_over_prevalence", "ap_over_prevalence_deviation", "seconds"]
    return Table(
        ["L", "M", "N", "epochs", *names],
        [[*row["shape"], row["epochs"], *(row[name] for name in names)] for row in rows],
    )


def run(
    folder: Folder,
    shapes: Sequence[Shape],
    *,
    num_folds: int = 4,
    factor: int = 0,
    workers: int = 1,
    together: bool = False,
    collect: bool = False,
) -> Table:
    """Search, judge the winners and write `search/`.

    Args:
      folder: a described run.
      shapes: the grid.
      num_folds: of the cross-validation.
      factor: of successive halving; 0 trains every shape for all epochs.
      workers: trainings at a time.
      together: the folds of a shape in one compiled step.
      collect: train nothing of the grid, make the tables of what is there.

    Returns:
      Table 1.
    """
    search = Search(folder, num_folds)
    epochs, metric = search.base.epochs, search.base.select_by
    metric = "ap" if metric == "loss" else metric
    rounds = halving(len(shapes), epochs, factor) if factor else [(len(shapes), epochs)]
    kept = list(shapes)
    everything: list[list[dict[str, Any]]] = []
    for count, budget in rounds:
        if len(kept) > count:
            ranked = sorted(everything[-1], key=lambda row: _rank(row[metric]))
            kept = [row["shape"] for row in ranked[:count]]
        if not collect:
            search.make(kept, budget, workers, together)
        everything.append(search.rows(kept, budget))
    chosen = winners(everything[-1])
    judged = {shape: judge(search, shape) for shape in dict.fromkeys(chosen.values()) if shape}
    out = folder.path / "search"
    table = table_1(chosen, judged)
    trials.write_table(out, "table1", table)
    trials.write_table(out, "grid", grid_table([row for rows in everything for row in rows]))
    record = {
        "winners": {name: shape and shape.name for name, shape in chosen.items()},
        "judged": {shape.name: one for shape, one in judged.items()},
        "folds": [fold._asdict() for fold in search.folds],
    }
    archives.write_json(out / "search.json", record)
    return table


def _rank(value: float) -> float:
    return math.inf if math.isnan(value) else -value
