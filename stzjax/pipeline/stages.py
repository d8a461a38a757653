"""The stages that make a data set: melt, quench, shear, describe. None repeats finished work."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np

from stzjax import aqs, io, loading, potentials, quench, relax
from stzjax.descriptors import table
from stzjax.pipeline.folder import Folder, Purpose
from stzjax.pipeline.workers import Bar, Shared, each
from stzjax.potentials.eam import EAM
from stzjax.specimens import Saved, Trace
from stzjax.structure import Structure

_SAVE_EVERY = 120.0
"""Time between saves of an unfinished quench [s]."""


def load_potential(folder: Folder) -> EAM:
    """The potential of a run."""
    return potentials.load(folder.settings.potential)


def save(folder: Folder, path, stage: str, arrays: dict, **settings) -> None:
    """Write an archive with the settings of the stage that made it."""
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
            folder.key(Purpose.MELT),
            load_potential(folder),
            config,
            lambda done: bar.add(done * config.num_atoms),
        )
    drawn = quench.draw(folder.key(Purpose.DRAW), snapshots, config.num_specimens)
    arrays = {
        "fractional": np.stack([s.fractional for s in drawn]),
        "cell": np.stack([s.cell for s in drawn]),
        "species": np.stack([s.species for s in drawn]),
        "elements": np.array(config.elements),
    }
    save(folder, folder.melt, "melt", {**arrays, **_trace_arrays(trace)})


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
                [jax.random.fold_in(folder.key(Purpose.QUENCH), number) for number in numbers],
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
    save(folder, folder.unfinished(number), "quench", dict(state.arrays), saved=state.settings)


def _saved_quench(folder: Folder, number: int) -> Saved | None:
    """Where a quench was when it was interrupted."""
    path = folder.unfinished(number)
    if not folder.done(path, "quench"):
        return None
    arrays, settings = io.load_archive(path)
    return Saved(arrays, settings["saved"])


def _save_glass(folder: Folder, number: int, relaxed: relax.Relaxed, trace: Trace) -> None:
    save(
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


def shear_stage(folder: Folder, workers: int, lanes: int) -> None:
    """Shear every specimen in every direction."""
    config = folder.settings.shear_config()
    missing = [lane for lane in all_lanes(folder) if not folder.done(folder.shear(*lane), "shear")]
    if not missing:
        return
    potential = load_potential(folder)
    jobs = Shared(aqs.Job(glass(folder, lane[0]), lane[1], lane) for lane in missing)
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
    save(
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
                save(folder, folder.features(number, direction), "describe", arrays)
            bar.add()

        each(one, missing, workers)
