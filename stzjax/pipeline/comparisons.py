"""Comparisons of candidates that are trained or fitted on the same splits and judged alike."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stzjax.evaluation import averages, by_event_size, metrics
from stzjax.evaluation.averages import Trial
from stzjax.evaluation.result_table import ResultTable
from stzjax.learning import baselines, splits, training
from stzjax.learning.splits import Split
from stzjax.pipeline import stages, train_evaluate, trials, work_queue
from stzjax.pipeline.dataset import Dataset
from stzjax.pipeline.trials import Planned
from stzjax.pipeline.work_queue import Bar, Workers
from stzjax.run_folder.folder import Folder, Purpose


class Candidate(NamedTuple):
    """A predictor that takes part in a comparison.

    Attributes:
      name: name in tables and, as `file_name` writes it, in file names.
      seeds: seeds of its trials, one trial for each.
      plan: function from split, seed and path to a trial.
    """

    name: str
    seeds: Sequence[int]
    plan: Callable[[Split, int, Path], Planned]


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

    def plan(split: Split, seed: int, path: Path) -> Planned:
        own = dataclasses.replace(config, seed=seed)
        settings = trials.settings_of(data.folder, own, split, shuffled=control)

        def work() -> Trial:
            shown = data.shuffled(seed) if control else data
            return train_evaluate.trial(path, settings, shown, split, own)[0]

        return Planned(path, settings, work)

    return Candidate(name, seeds, plan)


def baseline(data: Dataset, name: str) -> Candidate:
    """A simple predictor, one of `baselines.names`."""
    config = data.folder.settings.train_config()

    def plan(split: Split, seed: int, path: Path) -> Planned:
        more = {"baseline": name, "baseline_seed": seed}
        settings, parts = trials.settings_of(data.folder, config, split, **more), split[1:]

        def work() -> Trial:
            train, graphs = data.of(split.train), [data.of(part) for part in parts]
            fitted = baselines.fit_predict(name, train, graphs, columns=data.columns, seed=seed)
            validation, test = map(data.pooled, parts, fitted.confidences)
            return Trial(validation, test, {"fitted": fitted.numbers})

        return Planned(path, settings, work)

    return Candidate(name, (0,), plan)


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
    planned: dict[str, Planned] = {}
    names: dict[str, list[str]] = {}
    for candidate in candidates:
        own = [(place, seed) for place in range(len(chosen)) for seed in candidate.seeds]
        for place, seed in own:
            part = "own" if len(chosen) == 1 else f"part{place}of{len(chosen)}"
            name = f"{file_name(candidate.name)}_{part}_seed{seed}.npz"
            path = folder.path / title / "trials" / name
            planned[name] = candidate.plan(chosen[place], seed, path)
            names.setdefault(candidate.name, []).append(name)

    def work(bar: Bar, items: Iterator[str], lanes: int) -> Iterator[str]:
        for name in items:
            planned[name].make()
            folder.finish(planned[name].path)
            bar.update()
            yield name

    def missing(name: str) -> bool:
        return planned[name].load() is None

    work_queue.make_missing(folder.claims, title, "trial", planned, missing, work, Workers(threads))
    return {name: [planned[own].read() for own in names[name]] for name in names}


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
