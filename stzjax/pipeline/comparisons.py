"""Comparisons of candidates that are trained or fitted on the same splits and judged alike."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stzjax.evaluation import averages, by_event_size, metrics
from stzjax.evaluation.averages import Trial
from stzjax.evaluation.result_table import ResultTable
from stzjax.learning import baselines, splits, training
from stzjax.learning.splits import Split
from stzjax.pipeline import stages, train_evaluate, trials, work_queue
from stzjax.pipeline.dataset import Dataset
from stzjax.pipeline.work_queue import Bar, Workers
from stzjax.run_folder.folder import Folder, Purpose


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A predictor that takes part in a comparison.

    Attributes:
      name: name in tables and, as `file_name` writes it, in file names.
      seeds: seeds of its trials, one trial for each.
      settings: from split and seed to all settings on which the outcome depends.
      make: from split, seed and the path of the trial to the trial.
    """

    name: str
    seeds: tuple[int, ...]
    settings: Callable[[Split, int], dict[str, Any]]
    make: Callable[[Split, int, Path], Trial]


def network(
    data: Dataset,
    name: str,
    config: training.TrainConfig,
    seeds: Sequence[int],
    control: bool = False,
) -> Candidate:
    """A network with given settings of the training.

    As a control all labels are distributed at random within their graph, also in the test. A
    control that beats chance has seen data that it should not see.
    """

    def settings(split: Split, seed: int) -> dict[str, Any]:
        own = dataclasses.replace(config, seed=seed)
        return trials.settings_of(data.folder, own, split, shuffled=control)

    def make(split: Split, seed: int, path: Path) -> Trial:
        own = dataclasses.replace(config, seed=seed)
        shown = data.shuffled(seed) if control else data
        return train_evaluate.trial(path, settings(split, seed), shown, split, own)[0]

    return Candidate(name, tuple(seeds), settings, make)


def baseline(data: Dataset, name: str) -> Candidate:
    """A simple predictor, one of `baselines.names`."""

    def settings(split: Split, seed: int) -> dict[str, Any]:
        config = data.folder.settings.train_config()
        return trials.settings_of(data.folder, config, split, baseline=name, baseline_seed=seed)

    def make(split: Split, seed: int, path: Path) -> Trial:
        parts = (split.validation, split.test)
        graphs = [data.of(part) for part in parts]
        fitted = baselines.fit_predict(
            name, data.of(split.train), graphs, columns=data.columns, seed=seed
        )
        validation, test = map(data.pooled, parts, fitted.confidences)
        return Trial(validation, test, {"fitted": fitted.numbers})

    return Candidate(name, (0,), settings, make)


def choose_splits(data: Dataset, rotations: int) -> tuple[Split, ...]:
    """The folder's own split, or as many splits as there are rotations.

    The rotations together test every specimen exactly once.
    """
    chosen: tuple[Split, ...] = (data.split,)
    if rotations:
        numbers = np.array(stages.specimens(data.folder))
        chosen = splits.rotations(numbers, rotations, key=data.folder.key(Purpose.SPLIT))
    for split in chosen:
        data.check(split)
    return chosen


def make_trials(
    folder: Folder,
    title: str,
    candidates: Sequence[Candidate],
    chosen: Sequence[Split],
    threads: int,
) -> dict[str, list[Trial]]:
    """All trials of all candidates on the chosen splits, by candidate, `threads` at a time.

    They are written to `<title>/trials/`; finished trials are read.
    """
    planned: dict[str, tuple[Candidate, Split, int]] = {}
    for candidate in candidates:
        for place, split in enumerate(chosen):
            own = "own" if len(chosen) == 1 else f"part{place}of{len(chosen)}"
            for seed in candidate.seeds:
                name = f"{file_name(candidate.name)}_{own}_seed{seed}.npz"
                planned[name] = candidate, split, seed

    def load(name: str) -> Trial | None:
        candidate, split, seed = planned[name]
        return trials.load(folder.path / title / "trials" / name, candidate.settings(split, seed))

    def work(bar: Bar, items: Iterator[str], lanes: int) -> Iterator[str]:
        for name in items:
            (candidate, split, seed), path = planned[name], folder.path / title / "trials" / name
            trials.make(
                path,
                candidate.settings(split, seed),
                functools.partial(candidate.make, split, seed, path),
            )
            folder.finish(path)
            bar.update()
            yield name

    def missing(name: str) -> bool:
        return load(name) is None

    work_queue.make_missing(folder.claims, title, "trial", planned, missing, work, Workers(threads))
    found: dict[str, list[Trial]] = {candidate.name: [] for candidate in candidates}
    for name, (candidate, *_) in planned.items():
        trial = load(name)
        assert trial is not None
        found[candidate.name].append(trial)
    return found


def file_name(name: str) -> str:
    """The name of a candidate with letters that suit a file name."""
    return re.sub(r"[^A-Za-z0-9+.]+", "_", name)


def rows(
    folder: Folder, results: Mapping[str, Sequence[Trial]], reference: str, num_samples: int = 1000
) -> list[dict[str, Any]]:
    """Results of each candidate and its paired difference from the reference, as plain values."""
    key = folder.key(Purpose.BOOTSTRAP)
    return [
        {
            "name": name,
            "repeats": len(own),
            "brier": float(np.mean([metrics.brier(t.test.label, t.test.confidence) for t in own])),
            "seconds": float(np.sum([trial.record.get("seconds", 0.0) for trial in own])),
            "average": averages.average(own, key, num_samples),
            "directions": _directions(own),
            "sizes": by_event_size.by_size(trial.test for trial in own),
            "minus_reference": None
            if name == reference
            else averages.contrast(own, results[reference], key, num_samples),
        }
        for name, own in results.items()
    ]


def _directions(own: Sequence[Trial]) -> dict[str, dict[str, float]]:
    """AUC, AP and AP/prevalence of each direction, averaged over the trials that hold it."""
    found = {}
    for direction in sorted({d for trial in own for d in trial.test.direction.tolist()}):
        parts = [trial.test.along(direction) for trial in own]
        judged = [metrics.evaluate(p.label, p.confidence) for p in parts if len(p.label)]
        found[direction] = {
            name: float(np.mean([values[name] for values in judged])) for name in metrics.RANKS
        }
    return found


def main_table(found: Sequence[Mapping[str, Any]]) -> ResultTable:
    """The main numbers of a comparison, with 95 % intervals over specimens."""
    shares = list(found[0]["average"]["hits"])
    columns = [
        *("", "Recall", "Precision", "F1", "MCC", "MCC at chosen threshold"),
        *("AUC", "95 %", "AP", "AP/prevalence", "95 %", "minus reference, 95 %"),
        *(f"hit in top {100 * float(share):g} %" for share in shares),
        "Brier",
    ]
    lines = []
    for row in found:
        average, apart = row["average"], row["minus_reference"]
        auc, ap, ratio = (average["ranks"][name] for name in ("auc", "ap", "ap_over_prevalence"))
        scores = [average["at_half"][name] for name in metrics.SCORES]
        scores.append(average["at_best_mcc"]["mcc"])
        minus = apart and interval_text(apart["ranks"]["ap_over_prevalence"])
        line = [row["name"], *(score["estimate"] for score in scores)]
        line += [auc["estimate"], interval_text(auc), ap["estimate"]]
        line += [ratio["estimate"], interval_text(ratio), minus or "reference"]
        line += [average["hits"][share]["estimate"] for share in shares]
        lines.append([*line, row["brier"]])
    return ResultTable(columns, lines, digits=3)


def size_table(found: Sequence[Mapping[str, Any]]) -> ResultTable:
    """Each candidate by size of the event: AUC within the glass, AP/prevalence, hits."""
    share = f"{100 * by_event_size.LOOKED_AT:g} %"
    columns = [""]
    for size in found[0]["sizes"]:
        title = f"{by_event_size.span(size)} atoms ({size['events']} events)"
        columns += [f"{title}: AUC", "±", "AP/prevalence, median", f"hit in top {share}"]
    names = ("auc", "auc_error", "ap_over_prevalence", "hit")
    lines = [[row["name"], *(size[n] for size in row["sizes"] for n in names)] for row in found]
    return ResultTable(columns, lines, digits=3)


def interval_text(value: Mapping[str, float]) -> str:
    """The interval of a number as text."""
    if np.isnan(value["low"]):
        return "undefined"
    return f"{value['low']:.3g} to {value['high']:.3g}"
