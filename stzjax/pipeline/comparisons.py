"""Contests: entrants trained or fitted on the same splits, judged on the same test specimens."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stzjax.evaluation import averages, by_event_size, metrics
from stzjax.evaluation.averages import Repeat
from stzjax.evaluation.result_table import Table
from stzjax.learning import baselines, splits, training
from stzjax.learning.splits import Split
from stzjax.pipeline import stages, train_evaluate, trials, work_queue
from stzjax.pipeline.dataset import Dataset
from stzjax.pipeline.trials import Trial
from stzjax.pipeline.work_queue import Bar, Crew, Queue
from stzjax.run_folder.folder import Folder, Purpose


@dataclasses.dataclass(frozen=True)
class Entrant:
    """Somebody who predicts.

    Attributes:
      name: in tables and file names.
      seeds: one trial for each.
      settings: from split and seed to all on which the outcome depends.
      make: from split, seed and the path of the trial to the trial.
    """

    name: str
    seeds: tuple[int, ...]
    settings: Callable[[Split, int], dict[str, Any]]
    make: Callable[[Split, int, Path], Trial]


def network(
    folder: Folder,
    data: Dataset,
    name: str,
    config: training.TrainConfig,
    seeds: Sequence[int],
    control: bool = False,
) -> Entrant:
    """The graph attention network with some training.

    As a control with labels dealt out anew, those of the test too: whatever beats chance there
    has seen what it should not.
    """

    def settings(split: Split, seed: int) -> dict[str, Any]:
        own = dataclasses.replace(config, seed=seed)
        return trials.settings_of(folder, own, split, shuffled=control)

    def make(split: Split, seed: int, path: Path) -> Trial:
        own = dataclasses.replace(config, seed=seed)
        shown = data.shuffled(seed) if control else data
        result = train_evaluate.fit(folder, path, settings(split, seed), shown, split, own)
        predicted = train_evaluate.parts(shown, split, train_evaluate.network(result))
        return Trial(*predicted, trials.summary(result))

    return Entrant(name, tuple(seeds), settings, make)


def baseline(folder: Folder, data: Dataset, name: str) -> Entrant:
    """One of `baselines.names`."""

    def settings(split: Split, seed: int) -> dict[str, Any]:
        config = folder.settings.train_config()
        return trials.settings_of(folder, config, split, baseline=name, baseline_seed=seed)

    def make(split: Split, seed: int, path: Path) -> Trial:
        graphs = [data.of(part) for part in (split.validation, split.test)]
        fitted = baselines.fit_predict(
            name, data.of(split.train), graphs, columns=data.columns, seed=seed
        )
        validation, test = fitted.confidences
        return Trial(
            train_evaluate.predicted(data, split.validation, lambda _: validation),
            train_evaluate.predicted(data, split.test, lambda _: test),
            {"fitted": fitted.numbers},
        )

    return Entrant(name, (0,), settings, make)


def choose_splits(folder: Folder, data: Dataset, rotations: int) -> tuple[Split, ...]:
    """The run's own split, or as many in which every specimen is tested once."""
    chosen: tuple[Split, ...] = (data.split,)
    if rotations:
        numbers = np.array(stages.specimens(folder))
        chosen = splits.rotations(numbers, rotations, key=folder.key(Purpose.SPLIT))
    for split in chosen:
        data.check(split)
    return chosen


def hold(
    folder: Folder,
    title: str,
    entrants: Sequence[Entrant],
    chosen: Sequence[Split],
    workers: int,
) -> dict[str, list[Trial]]:
    """All trials of all entrants; what is finished is read.

    Args:
      folder: of the run; trials go to `<title>/trials/`.
      title: of the contest.
      entrants: who takes part.
      chosen: splits.
      workers: trials at a time, in threads.
    """
    jobs = [
        (entrant, place, seed)
        for entrant in entrants
        for place in range(len(chosen))
        for seed in entrant.seeds
    ]

    def file(job: tuple[Entrant, int, int]) -> tuple[Path, dict[str, Any]]:
        entrant, place, seed = job
        own = "own" if len(chosen) == 1 else f"part{place}of{len(chosen)}"
        name = f"{file_name(entrant.name)}_{own}_seed{seed}.npz"
        return folder.path / title / "trials" / name, entrant.settings(chosen[place], seed)

    def done(job: tuple[Entrant, int, int]) -> bool:
        return trials.load(*file(job)) is not None

    missing = [job for job in jobs if not done(job)]
    with Bar(title, len(missing), "trial") as bar:

        def make(some: Iterator[tuple[Entrant, int, int]], lanes: int) -> Iterator[Any]:
            for job in some:
                entrant, place, seed = job
                path, settings = file(job)
                work = functools.partial(entrant.make, chosen[place], seed, path)
                trials.make(path, settings, work)
                folder.finish(path)
                bar.add()
                yield job

        def name(job: tuple[Entrant, int, int]) -> str:
            return str(file(job)[0].relative_to(folder.path))

        queue = Queue(folder.claims, missing, name, done, lambda job: bar.add())
        work_queue.work_off(queue, Crew(workers), make)
    found: dict[str, list[Trial]] = {entrant.name: [] for entrant in entrants}
    for job in jobs:
        trial = trials.load(*file(job))
        assert trial is not None
        found[job[0].name].append(trial)
    return found


def file_name(name: str) -> str:
    """The name of an entrant as a file may carry it."""
    return re.sub(r"[^A-Za-z0-9+.]+", "_", name)


def rows(
    folder: Folder, results: Mapping[str, Sequence[Trial]], reference: str, num_samples: int = 1000
) -> list[dict[str, Any]]:
    """What each entrant reached, and its paired difference from the reference; plain values."""
    key = folder.key(Purpose.BOOTSTRAP)
    sides = {
        name: [Repeat(trial.validation, trial.test) for trial in own]
        for name, own in results.items()
    }
    return [
        {
            "name": name,
            "repeats": len(sides[name]),
            "brier": float(
                np.mean([metrics.brier(r.test.label, r.test.confidence) for r in sides[name]])
            ),
            "seconds": float(np.sum([trial.record.get("seconds", 0.0) for trial in own])),
            "average": averages.average(sides[name], key, num_samples),
            "directions": directions(sides[name]),
            "sizes": by_event_size.by_size(repeat.test for repeat in sides[name]),
            "minus_reference": None
            if name == reference
            else averages.contrast(sides[name], sides[reference], key, num_samples),
        }
        for name, own in results.items()
    ]


def directions(side: Sequence[Repeat]) -> dict[str, dict[str, float]]:
    """AUC, AP and AP/prevalence of each direction, averaged over the repeats that hold it."""
    found: dict[str, dict[str, list[float]]] = {}
    for repeat in side:
        for direction in sorted(set(repeat.test.direction.tolist())):
            mine = repeat.test.along(direction)
            judged = metrics.evaluate(mine.label, mine.confidence)
            for name in metrics.RANKS:
                found.setdefault(direction, {}).setdefault(name, []).append(judged[name])
    return {
        direction: {name: float(np.mean(values)) for name, values in own.items()}
        for direction, own in found.items()
    }


def table(found: Sequence[Mapping[str, Any]]) -> Table:
    """The main numbers of a contest, with 95 % intervals over specimens."""
    lines = []
    for row in found:
        average = row["average"]
        ranks, best = average["ranks"], average["at_best_mcc"]
        apart = row["minus_reference"]
        lines.append(
            [
                row["name"],
                *(average["at_half"][name]["estimate"] for name in metrics.SCORES),
                best["mcc"]["estimate"],
                ranks["auc"]["estimate"],
                spanned(ranks["auc"]),
                ranks["ap"]["estimate"],
                ranks["ap_over_prevalence"]["estimate"],
                spanned(ranks["ap_over_prevalence"]),
                "reference" if apart is None else spanned(apart["ranks"]["ap_over_prevalence"]),
                *(average["hits"][share]["estimate"] for share in average["hits"]),
                row["brier"],
            ]
        )
    shares = [f"hit in top {100 * float(share):g} %" for share in found[0]["average"]["hits"]]
    return Table(
        [
            "",
            *("Recall", "Precision", "F1", "MCC", "MCC at chosen threshold"),
            *("AUC", "95 %", "AP", "AP/prevalence", "95 %", "minus reference, 95 %"),
            *shares,
            "Brier",
        ],
        lines,
        digits=3,
    )


def size_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Each entrant by size of the event: AUC within the glass, AP/prevalence, hits."""
    share = f"{100 * by_event_size.LOOKED_AT:g} %"
    columns = [""]
    for one in found[0]["sizes"]:
        title = f"{by_event_size.span(one)} atoms ({one['events']} events)"
        columns += [f"{title}: AUC", "±", "AP/prevalence, median", f"hit in top {share}"]
    names = ("auc", "auc_error", "ap_over_prevalence", "hit")
    lines = [[row["name"], *(one[n] for one in row["sizes"] for n in names)] for row in found]
    return Table(columns, lines, digits=3)


def spanned(value: Mapping[str, float]) -> str:
    """The interval of a number as text."""
    if np.isnan(value["low"]):
        return "undefined"
    return f"{value['low']:.3g} to {value['high']:.3g}"
