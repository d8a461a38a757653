"""The six stages of a run. Each reads files, calls the library, writes files; none repeats work."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from stzjax import aqs, io, loading, metrics, potentials, quench, relax, report, splits, training
from stzjax import graphs as graphs_
from stzjax.descriptors import table
from stzjax.pipeline.folder import Folder
from stzjax.potentials.eam import EAM
from stzjax.specimens import Saved, Trace
from stzjax.structure import Structure

_MELT, _DRAW, _QUENCH, _SPLIT = range(4)
PARTS = ("train", "validation", "test")
_SAVE_EVERY = 120.0
"""Time between saves of an unfinished quench [s]."""


class Bar:
    """A progress bar with rate and time left, shared by the workers of a stage."""

    def __init__(self, label: str, total: float, unit: str):
        """Start a bar of a known length."""
        self._bar = tqdm(total=total, desc=f"{label:9s}", unit=unit, smoothing=0.05)

    def __enter__(self) -> "Bar":
        """Enter."""
        return self

    def __exit__(self, *_) -> None:
        """Close the bar."""
        self._bar.close()

    def add(self, amount: float = 1) -> None:
        """Advance."""
        self._bar.update(amount)

    def note(self, text: str) -> None:
        """Say a line without tearing the bar."""
        self._bar.write(text)


def _key(folder: Folder, purpose: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(folder.settings.seed), purpose)


def load_potential(folder: Folder) -> EAM:
    """The potential of a run."""
    return potentials.load(folder.settings.potential)


def each(function: Callable[[Any], None], items: Iterable[Any], workers: int) -> None:
    """Do independent items in threads; JAX lets go of the interpreter while it computes."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _save(folder: Folder, path, stage: str, arrays: dict, **settings) -> None:
    io.save_archive(path, arrays, {**settings, "stage_settings": folder.stage_settings(stage)})


def melt_stage(folder: Folder) -> None:
    """Melt, and draw the snapshots to be quenched."""
    if folder.done(folder.melt, "melt"):
        return
    config = folder.settings.melt_config()
    steps = config.steps(config.equilibration_time) * (config.equilibration_time > 0)
    steps += config.num_snapshots * config.steps(config.snapshot_interval)
    with Bar("melt", steps * config.num_atoms, "atom-step") as bar:
        snapshots, trace = quench.melt(
            _key(folder, _MELT),
            load_potential(folder),
            config,
            lambda done: bar.add(done * config.num_atoms),
        )
    drawn = quench.draw(_key(folder, _DRAW), snapshots, config.num_specimens)
    arrays = {
        "fractional": np.stack([s.fractional for s in drawn]),
        "cell": np.stack([s.cell for s in drawn]),
        "species": np.stack([s.species for s in drawn]),
        "elements": np.array(config.elements),
    }
    _save(folder, folder.melt, "melt", {**arrays, **_trace_arrays(trace)})


def _trace_arrays(trace: Trace) -> dict[str, np.ndarray]:
    return {f"trace_{name}": values for name, values in trace._asdict().items()}


def _liquid(folder: Folder, number: int) -> Structure:
    arrays, _ = io.load_archive(folder.melt)
    picked = {name: arrays[name][number] for name in ("fractional", "cell", "species")}
    return io.structure_from({**picked, "elements": arrays["elements"]}, folder.melt)


def quench_stage(folder: Folder, workers: int, lanes: int) -> None:
    """Quench every drawn snapshot and relax the glass; some at a time in one compiled loop."""
    settings = folder.settings
    config = settings.melt_config()
    numbers = range(settings.num_specimens)
    missing = [n for n in numbers if not folder.done(folder.specimen(n), "quench")]
    if not missing:
        return
    melt_stage(folder)
    potential = load_potential(folder)
    saved = {number: _saved_quench(folder, number) for number in missing}
    steps = sum(config.quench_steps - (one.steps if one else 0) for one in saved.values())
    with Bar("quench", steps * config.num_atoms, "atom-step") as bar:

        def together(numbers: Sequence[int]) -> None:
            quenched = quench.quench_many(
                [jax.random.fold_in(_key(folder, _QUENCH), number) for number in numbers],
                [_liquid(folder, number) for number in numbers],
                potential,
                config,
                lambda done: bar.add(done * config.num_atoms),
                saved=[saved[number] for number in numbers],
                save=lambda place, state: _save_quench(folder, numbers[place], state),
                save_every=_SAVE_EVERY,
            )
            for place, glass, trace in quenched:
                _save_glass(folder, numbers[place], _inherent(folder, glass, potential), trace)

        groups = [missing[first : first + lanes] for first in range(0, len(missing), lanes)]
        each(together, groups, workers)


def _save_quench(folder: Folder, number: int, state: Saved) -> None:
    _save(folder, folder.unfinished(number), "quench", dict(state.arrays), saved=state.settings)


def _saved_quench(folder: Folder, number: int) -> Saved | None:
    """Where a quench was when it was interrupted."""
    path = folder.unfinished(number)
    if not folder.done(path, "quench"):
        return None
    arrays, settings = io.load_archive(path)
    return Saved(arrays, settings["saved"])


def _save_glass(folder: Folder, number: int, relaxed: relax.Relaxed, trace: Trace) -> None:
    _save(
        folder,
        folder.specimen(number),
        "quench",
        {**io.structure_arrays(relaxed.structure), **_trace_arrays(trace)},
        residual=float(relaxed.residual),
        outcome=relax.OUTCOMES[int(relaxed.outcome)],
    )
    folder.unfinished(number).unlink(missing_ok=True)


def _inherent(folder: Folder, glass: Structure, potential: EAM) -> relax.Relaxed:
    settings = folder.settings
    config = relax.RelaxConfig(settings.force_tolerance, settings.max_iterations)
    relaxation = relax.relax_cell if settings.relax_cell else relax.relax
    relaxed = relaxation(glass, potential, config)
    if not relaxed.converged:
        raise ValueError(
            f"a quenched glass does not relax: {relax.OUTCOMES[int(relaxed.outcome)]}, largest "
            f"force {float(relaxed.residual):.2e} eV/Å; raise max_iterations or force_tolerance"
        )
    return relaxed


def glass(folder: Folder, number: int) -> Structure:
    """The relaxed, unsheared specimen of a run folder."""
    path = folder.specimen(number)
    if not folder.done(path, "quench"):
        raise ValueError(f"{path} is missing; run experiments/quench.py on this folder first")
    return io.structure_from(io.load_archive(path)[0], path)


def all_lanes(folder: Folder) -> list[tuple[int, str]]:
    """Specimen and direction of every shear run."""
    directions = [loading.canonical(d) for d in folder.settings.directions]
    return list(itertools.product(range(folder.settings.num_specimens), directions))


class _Shared:
    """An iterator that several threads may draw from."""

    def __init__(self, items: Iterable[Any]):
        self._items = iter(items)
        self._lock = threading.Lock()

    def __iter__(self) -> "_Shared":
        return self

    def __next__(self) -> Any:
        with self._lock:
            return next(self._items)


def shear_stage(folder: Folder, workers: int, lanes: int) -> None:
    """Shear every specimen in every direction."""
    config = folder.settings.shear_config()
    missing = [lane for lane in all_lanes(folder) if not folder.done(folder.shear(*lane), "shear")]
    if not missing:
        return
    potential = load_potential(folder)
    jobs = _Shared(aqs.Job(glass(folder, lane[0]), lane[1], lane) for lane in missing)
    with Bar("shear", len(missing), "run") as bar:

        def fly(_: int) -> None:
            for job, run in aqs.shear_many(jobs, potential, config, lanes):
                write_run(folder, job.name, run)
                if run.outcome not in aqs.ENDINGS[:2]:
                    bar.note(
                        f"specimen {job.name[0]} {run.direction}: {run.outcome} at "
                        f"{run.strain[-1]:g}"
                    )
                bar.add()

        each(fly, range(min(workers, len(missing))), workers)


_RUN_ARRAYS = (
    "strain energy stress max_d2min iterations residual history_step history_d2min pairs"
).split()


def write_run(folder: Folder, lane: tuple[int, str], run: aqs.Run) -> None:
    """Store a shear run; the last configuration goes with it."""
    arrays = {name: getattr(run, name) for name in _RUN_ARRAYS}
    arrays |= {f"final_{k}": v for k, v in io.structure_arrays(run.final).items()}
    _save(
        folder,
        folder.shear(*lane),
        "shear",
        arrays,
        direction=run.direction,
        outcome=run.outcome,
        config=run.config._asdict(),
    )


def read_run(folder: Folder, lane: tuple[int, str]) -> aqs.Run:
    """A stored shear run."""
    path = folder.shear(*lane)
    if not folder.done(path, "shear"):
        raise ValueError(f"{path} is missing; run experiments/shear.py on this folder first")
    arrays, settings = io.load_archive(path)
    final = {k.removeprefix("final_"): v for k, v in arrays.items() if k.startswith("final_")}
    return aqs.Run(
        direction=settings["direction"],
        **{name: arrays[name] for name in _RUN_ARRAYS},
        final=io.structure_from(final, path),
        outcome=settings["outcome"],
        config=aqs.ShearConfig(**settings["config"]),
    )


def describe_stage(folder: Folder, workers: int) -> None:
    """Features of every specimen in every direction."""
    settings = folder.settings
    directions = [loading.canonical(d) for d in settings.directions]

    def unfinished(number: int) -> list[str]:
        paths = {d: folder.features(number, d) for d in directions}
        return [d for d in directions if not folder.done(paths[d], "describe")]

    missing = {n: unfinished(n) for n in range(settings.num_specimens)}
    missing = {number: names for number, names in missing.items() if names}
    if not missing:
        return
    potential = load_potential(folder)
    with Bar("describe", len(missing), "specimen") as bar:

        def one(number: int) -> None:
            structure = glass(folder, number)
            radii = np.array(settings.radii)[structure.species] if settings.radii else None
            described = table.describe(
                structure,
                potential,
                mode_fraction=settings.mode_fraction,
                mass_weighted=settings.mass_weighted,
                edge_threshold=settings.edge_threshold,
                radii=radii,
                voronoi_method=settings.voronoi,
                with_response=settings.response,
            )
            columns = table.COLUMNS + (table.RESPONSE_COLUMNS if settings.response else ())
            for direction in missing[number]:
                arrays = {
                    "features": table.rotate_to(described, direction),
                    "pairs": described.pairs,
                    "columns": np.array(columns),
                }
                _save(folder, folder.features(number, direction), "describe", arrays)
            bar.add()

        each(one, missing, workers)


class Dataset:
    """Graphs of the runs that had an event, by part of the split.

    Attributes:
      split: specimens of each part.
      lanes: (specimen, direction) of each graph, by part.
      graphs: the graphs, by part; raw features, labels of the first event.
      events: strain and number of labelled atoms of each event.
      runs: runs in all.
    """

    def __init__(self, folder: Folder):
        """Read features and runs, make labels and graphs."""
        settings = folder.settings
        numbers = np.arange(settings.num_specimens)
        self.split = splits.by_specimen(numbers, key=_key(folder, _SPLIT))
        self.lanes: dict[str, list[tuple[int, str]]] = {part: [] for part in PARTS}
        self.graphs: dict[str, list] = {part: [] for part in PARTS}
        self.events: list[dict[str, Any]] = []
        self.runs = 0
        for lane in all_lanes(folder):
            run = read_run(folder, lane)
            self.runs += 1
            step = run.event_step(settings.threshold, settings.min_cluster)
            if step is None:
                continue
            labels = run.labels(settings.threshold, settings.min_cluster)
            self.events.append({"strain": float(run.strain[step]), "size": int(labels.sum())})
            part = next(p for p in PARTS if lane[0] in getattr(self.split, p))
            self.lanes[part].append(lane)
            self.graphs[part].append(self._graph(folder, lane, labels))

    @staticmethod
    def _graph(folder: Folder, lane: tuple[int, str], labels: np.ndarray):
        path = folder.features(*lane)
        if not folder.done(path, "describe"):
            raise ValueError(f"{path} is missing; run experiments/describe.py on this folder first")
        arrays, _ = io.load_archive(path)
        structure = glass(folder, lane[0])
        return graphs_.build(structure, arrays["features"], labels, arrays["pairs"])


def train_stage(folder: Folder) -> None:
    """Train the network on the training specimens; validation chooses the epoch."""
    marker = folder.model / "stage.json"
    if marker.exists():
        folder.check(marker, io.read_json(marker), "train")
        return
    data = Dataset(folder)
    config = folder.settings.train_config()
    for part in PARTS:
        if not data.graphs[part]:
            raise ValueError(
                f"no event in the {part} part (specimens {list(getattr(data.split, part))}): "
                "shear further (final_strain), add specimens, or take another seed"
            )

    def score(labels: np.ndarray, confidence: np.ndarray) -> float:
        return metrics.evaluate(labels, confidence)[config.select_by]

    with Bar("train", config.epochs, "epoch") as bar:
        result = training.train(
            data.graphs["train"],
            data.graphs["validation"],
            config,
            score=None if config.select_by == "loss" else score,
            on_epoch=lambda epoch, record: bar.add(),
        )
    training.save(folder.model, result)
    io.write_json(folder.model / "split.json", data.split._asdict())
    io.write_json(marker, folder.stage_settings("train"))


def evaluate_stage(folder: Folder, timings: dict[str, float]) -> dict[str, Any]:
    """Predict, judge and report; cheap, so it is done anew every time."""
    marker = folder.model / "stage.json"
    if not marker.exists():
        raise ValueError(f"{marker} is missing; run experiments/train.py on this folder first")
    folder.check(marker, io.read_json(marker), "train")
    started = time.perf_counter()
    data = Dataset(folder)
    result = training.load(folder.model)
    found = {part: _predict(folder, data, result, part) for part in ("validation", "test")}
    judged = _judge(found)
    judged["events"] = {
        "triggered": len(data.events),
        "runs": data.runs,
        "strains": [event["strain"] for event in data.events],
        "sizes": [event["size"] for event in data.events],
    }
    judged["timings_s"] = {**timings, "evaluate": time.perf_counter() - started}
    io.write_json(folder.metrics, judged)
    report.write(folder.path)
    return judged


def _predict(folder: Folder, data: Dataset, result: training.TrainResult, part: str):
    graphs, lanes = data.graphs[part], data.lanes[part]
    sizes = [int(graph.n_node[0]) for graph in graphs]
    confidence = training.predict(result.params, result.config, graphs)
    arrays = {
        "label": np.concatenate([np.asarray(g.nodes.label) for g in graphs]),
        "confidence": np.concatenate(confidence),
        "specimen": np.repeat([number for number, _ in lanes], sizes),
        "direction": np.repeat([direction for _, direction in lanes], sizes),
    }
    _save(folder, folder.predictions(part), "evaluate", arrays)
    return arrays["label"], arrays["confidence"]


def _judge(found: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    judged: dict[str, Any] = {part: metrics.evaluate(*pair) for part, pair in found.items()}
    try:
        chosen = metrics.best_threshold(*found["validation"], metric="mcc")
    except ValueError:
        return judged  # One class alone in validation: no threshold can be chosen there.
    judged["test_at_validation_threshold"] = metrics.evaluate(*found["test"], chosen)
    return judged
