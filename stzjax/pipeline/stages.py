"""The stages that make a data set: melt, quench, shear, describe; finished work is skipped."""

import dataclasses
import functools
import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from stzjax import io, potentials
from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.descriptors import table
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.dynamics import quench
from stzjax.dynamics.npt_batch import Trace, steps_of
from stzjax.io.archives import Saved
from stzjax.mechanics import relax
from stzjax.pipeline import work_queue
from stzjax.pipeline.work_queue import Bar, Workers
from stzjax.potentials.potential import METALS, Potential, Scales
from stzjax.run_folder import contents
from stzjax.run_folder.contents import GOOD
from stzjax.run_folder.folder import Folder, Purpose
from stzjax.shear import aqs, sanity

_LOG = logging.getLogger(__name__)

RunId = tuple[int, str]
"""Specimen number and direction of a shear run."""


def load_potential(folder: Folder) -> Potential:
    """The potential of a run."""
    return potentials.load(folder.settings.run.potential)


def melt_stage(folder: Folder) -> None:
    """Melt, and draw the snapshots to be quenched."""

    def done() -> bool:
        return not folder.missing(folder.melt, "melt")

    work_queue.once(folder.claims, "melt", done, lambda: _melt(folder))


def _melt(folder: Folder) -> None:
    config = folder.settings.quench
    chosen = quench.drawn(folder.key(Purpose.DRAW), config.num_snapshots, config.num_specimens)
    begun = _begun_melt(folder)
    steps = config.steps(config.equilibration_time) * (config.equilibration_time > 0)
    steps += config.num_snapshots * config.steps(config.snapshot_interval)
    steps -= steps_of(begun.saved) if begun else 0
    with Bar("melt", steps * config.num_atoms, "atom-step") as bar:
        snapshots, trace = quench.melt(
            folder.key(Purpose.MELT),
            load_potential(folder),
            config,
            lambda done: bar.update(done * config.num_atoms),
            wanted=chosen,
            begun=begun,
            save=lambda melting: _suspend_melt(folder, melting),
            save_every=folder.save_every,
        )
    arrays = {**_stacked(snapshots), **_trace_arrays(trace)}
    folder.save(folder.melt, "melt", arrays)


def _stacked(structures: Sequence[Structure]) -> dict[str, np.ndarray]:
    """Structures of one composition as arrays with a leading axis."""
    return io.structure_arrays(jax.tree.map(lambda *leaves: np.stack(leaves), *structures))


def _unstacked(arrays: Mapping[str, np.ndarray], number: int, path: Path) -> Structure:
    picked = {name: arrays[name][number] for name in ("fractional", "cell", "species")}
    return io.structure_from({**picked, "elements": arrays["elements"]}, path)


def _suspend_melt(folder: Folder, melting: quench.Melting) -> None:
    arrays = dict(melting.saved.arrays)
    if melting.taken:
        taken = _stacked(list(melting.taken.values()))
        arrays |= {f"taken_{name}": value for name, value in taken.items()}
    settings = {**melting.saved.settings, "taken": list(melting.taken)}
    folder.suspend(folder.melt, "melt", Saved(arrays, settings))


def _begun_melt(folder: Folder) -> quench.Melting | None:
    """State of a melt that was interrupted; None if there is none."""
    saved = folder.saved(folder.melt, "melt")
    if saved is None:
        return None
    stacked = {name.removeprefix("taken_"): array for name, array in saved.arrays.items()}
    numbers = saved.settings["taken"]
    taken = {n: _unstacked(stacked, place, folder.melt) for place, n in enumerate(numbers)}
    return quench.Melting(saved, taken)


def _trace_arrays(trace: Trace) -> dict[str, np.ndarray]:
    return {f"trace_{name}": values for name, values in trace._asdict().items()}


def quench_stage(folder: Folder, workers: Workers) -> None:
    """Quench every drawn snapshot and relax the glass, as many at a time as there are lanes."""
    config, potential = folder.settings.quench, load_potential(folder)

    def missing(number: int) -> bool:
        return folder.missing(folder.specimen(number), "quench")

    def saved(number: int) -> Saved | None:
        return folder.saved(folder.specimen(number), "quench")

    def left(number: int) -> int:
        begun = saved(number)
        return (config.quench_steps - (steps_of(begun) if begun else 0)) * config.num_atoms

    numbers = list(filter(missing, range(config.num_specimens)))
    if not numbers:
        return
    melt_stage(folder)
    liquids, _ = folder.read(folder.melt, "melt")

    def work(bar: Bar, items: Iterator[int], lanes: int) -> Iterator[int]:
        for chunk in work_queue.chunks(items, lanes):
            quenched = quench.quench_many(
                [jax.random.fold_in(folder.key(Purpose.QUENCH), number) for number in chunk],
                [_unstacked(liquids, number, folder.melt) for number in chunk],
                potential,
                config,
                lambda done: bar.update(done * config.num_atoms),
                saved=list(map(saved, chunk)),
                save=functools.partial(_suspend_quench, folder, chunk),
                save_every=folder.save_every,
            )
            for found in quenched:
                _save_glass(folder, chunk[found.place], found, potential)
                yield chunk[found.place]

    work_queue.make_missing(
        folder.claims, "quench", "atom-step", numbers, missing, work, workers, size=left
    )


def _suspend_quench(folder: Folder, numbers: Sequence[int], place: int, state: Saved) -> None:
    folder.suspend(folder.specimen(numbers[place]), "quench", state)


def _save_glass(folder: Folder, number: int, found: quench.Quenched, potential: Potential) -> None:
    """Relax a quenched glass and write it, or the reason why it failed."""
    structure, outcome, residual = found.structure, found.outcome, math.nan
    if outcome == quench.COOLED:
        settings = folder.settings
        limits = settings.shear.force_tolerance, settings.shear.max_iterations
        config = relax.RelaxConfig(*limits, engine=settings.quench.engine)
        relaxation = relax.relax_cell if settings.quench.relax_cell else relax.relax
        relaxed = relaxation(structure, potential, config)
        structure, residual = relaxed.structure, float(relaxed.residual)
        outcome = relax.OUTCOMES[int(relaxed.outcome)]
    path = folder.specimen(number)
    arrays = {**io.structure_arrays(structure), **_trace_arrays(found.trace)}
    folder.save(path, "quench", arrays, residual=residual, outcome=outcome)
    if outcome == GOOD:
        _LOG.info("specimen %d: quenched and relaxed, largest force %.1e eV/Å", number, residual)
    else:
        _LOG.warning("specimen %d: %s; it is left out from here on", number, outcome)


def glass(folder: Folder, number: int) -> Structure:
    """The relaxed, unsheared specimen of a run folder."""
    return _specimen(folder, number).structure


def _specimen(folder: Folder, number: int) -> contents.Specimen:
    path = folder.specimen(number)
    return contents.specimen(path, folder.read(path, "quench"))


def specimens(folder: Folder) -> list[int]:
    """Numbers of the specimens that were quenched and relaxed successfully.

    Raises:
      ValueError: a specimen is missing, or there are too few to train and judge on.
    """
    numbers = range(folder.settings.quench.num_specimens)
    found = [_specimen(folder, number).outcome for number in numbers]
    good = [number for number, outcome in enumerate(found) if outcome == GOOD]
    if len(good) < 3:
        raise ValueError(
            f"only {len(good)} of {len(found)} specimens could be quenched and relaxed: see "
            "their outcomes in the log; use a shorter timestep, precision float64, or more "
            "max_iterations, in another --out"
        )
    return good


def run_ids(folder: Folder) -> list[RunId]:
    """Specimen and direction of every shear run."""
    directions = [loads.canonical(d) for d in folder.settings.labels.directions]
    return list(itertools.product(specimens(folder), directions))


def shear_stage(folder: Folder, workers: Workers) -> None:
    """Shear every specimen in every direction."""
    config, potential = folder.settings.shear, load_potential(folder)

    def job(run_id: RunId) -> aqs.Job:
        saved = folder.saved(folder.shear(*run_id), "shear")
        return aqs.Job(glass(folder, run_id[0]), run_id[1], run_id, saved)

    def keep(job: aqs.Job, saved: Saved) -> None:
        folder.suspend(folder.shear(*job.name), "shear", saved)

    def work(bar: Bar, items: Iterator[RunId], lanes: int) -> Iterator[RunId]:
        runs = aqs.shear_many(
            map(job, items), potential, config, lanes, save=keep, save_every=folder.save_every
        )
        for done, run in runs:
            write_run(folder, done.name, run, potential.scales)
            bar.update()
            yield done.name

    def missing(run_id: RunId) -> bool:
        return folder.missing(folder.shear(*run_id), "shear")

    work_queue.make_missing(folder.claims, "shear", "run", run_ids(folder), missing, work, workers)


def write_run(folder: Folder, run_id: RunId, run: aqs.Run, scales: Scales = METALS) -> None:
    """Store a shear run; the last configuration goes with it."""
    arrays = {name: getattr(run, name) for name in contents.RUN_ARRAYS}
    arrays |= {f"final_{k}": v for k, v in io.structure_arrays(run.final).items()}
    path, found = folder.shear(*run_id), sanity.of(run, scales=scales)
    folder.save(
        path,
        "shear",
        arrays,
        direction=run.direction,
        outcome=run.outcome,
        faults=found,
        config=dataclasses.asdict(run.config),
    )
    last = run.strain[-1] if len(run.strain) else 0.0
    said = f"specimen {run_id[0]} {run.direction}: {run.outcome} at strain {last:g}"
    _LOG.log(logging.WARNING if found else logging.INFO, "%s", "; ".join([said, *found]))


def read_run(folder: Folder, run_id: RunId) -> aqs.Run:
    """A stored shear run."""
    path = folder.shear(*run_id)
    return contents.run(path, folder.read(path, "shear"))[0]


def read_features(folder: Folder, run_id: RunId) -> dict[str, np.ndarray]:
    """The stored features of a specimen under a load: features, columns, and pairs of atoms."""
    return folder.read(folder.features(*run_id), "describe")[0]


def feature_config(folder: Folder) -> FeatureConfig:
    """Settings of the features of a run, with columns for the elements of its alloy."""
    settings = folder.settings
    return dataclasses.replace(settings.features, elements=settings.quench.elements)


def describe_stage(folder: Folder, workers: Workers) -> None:
    """Features of every specimen in every direction."""
    directions = [loads.canonical(d) for d in folder.settings.labels.directions]
    potential, config = load_potential(folder), feature_config(folder)

    def unfinished(number: int) -> list[str]:
        return [d for d in directions if folder.missing(folder.features(number, d), "describe")]

    def work(bar: Bar, items: Iterator[int], lanes: int) -> Iterator[int]:
        for number in items:
            described = table.describe(glass(folder, number), potential, config)
            left = unfinished(number)
            for direction in left:
                arrays = {
                    "features": table.rotate_to(described, direction),
                    "pairs": described.pairs,
                    "columns": np.array(described.columns()),
                }
                folder.save(folder.features(number, direction), "describe", arrays)
            _LOG.info("specimen %d: described in %d directions", number, len(left))
            bar.update()
            yield number

    def missing(number: int) -> bool:
        return bool(unfinished(number))

    workers = workers._replace(lanes=1)
    work_queue.make_missing(
        folder.claims, "describe", "specimen", specimens(folder), missing, work, workers
    )
