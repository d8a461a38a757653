"""Shear the glasses of a run again as the paper does, and compare the events.

    python experiments/check_events.py --out=runs/quickstart

Runs are made with attempts (extrapolation, L-BFGS) that are given up near events; the paper's
protocol starts every relaxation from the affine displacement and uses FIRE. Both must find the same
event step and the same atoms. Results go to `events.json` in the folder of the run.
"""

import options  # Before jax loads.

# isort: split
import dataclasses

import numpy as np
from absl import flags

from stzjax.io import archives
from stzjax.pipeline import stages
from stzjax.pipeline.stages import RunId
from stzjax.pipeline.work_queue import each
from stzjax.run_folder.folder import Folder
from stzjax.shear import aqs

_TOLERANCE = flags.DEFINE_float("tight", 0.0, "Force tolerance of the paper's runs; 0: the run's.")


def compare(folder: Folder, threads: int) -> list[dict]:
    """Event step and size by both protocols, a row for each stored run."""
    potential, rows = stages.load_potential(folder), []

    def again(run_id: RunId) -> None:
        stored = stages.read_run(folder, run_id)
        paper = dataclasses.replace(
            stored.config,
            extrapolate=False,
            minimizer="fire",
            force_tolerance=_TOLERANCE.value or stored.config.force_tolerance,
        )
        run = aqs.shear(stages.glass(folder, run_id[0]), potential, run_id[1], paper)
        rows.append(row(run_id, stored, run, folder.settings.labels.threshold))
        print(described(rows[-1]), flush=True)

    each(again, stages.run_ids(folder), threads)
    return sorted(rows, key=lambda found: (found["specimen"], found["direction"]))


def row(run_id: RunId, stored: aqs.Run, paper: aqs.Run, threshold: float) -> dict:
    """Events of both protocols in one run."""
    steps = [run.event_step(threshold) for run in (stored, paper)]
    found = [
        np.zeros(0, bool) if step is None else run.labels(threshold)
        for run, step in zip((stored, paper), steps, strict=True)
    ]
    same = steps[0] == steps[1] and np.array_equal(found[0], found[1])
    return {
        "specimen": run_id[0],
        "direction": run_id[1],
        "steps": steps,
        "atoms": [int(labels.sum()) for labels in found],
        "same": same,
        "calls": [int(run.iterations.sum()) for run in (stored, paper)],
    }


def described(found: dict) -> str:
    """A row as a line of text; the second number is that of the paper's protocol."""
    steps, atoms, calls = (found[name] for name in ("steps", "atoms", "calls"))
    verdict = "same" if found["same"] else f"not the same: step {steps[1]}, {atoms[1]} atoms"
    return (
        f"{found['specimen']:4d} {found['direction']}  step {steps[0]}  {atoms[0]} atoms  "
        f"{calls[0]} against {calls[1]} force evaluations: {verdict}"
    )


def _check(folder: Folder) -> None:
    rows = compare(folder, options.workers().threads)
    same = sum(found["same"] for found in rows)
    calls = [sum(found["calls"][k] for found in rows) for k in (0, 1)]
    archives.write_json(
        folder.path / "events.json", {"same": same, "runs": len(rows), "rows": rows}
    )
    print(f"same event and atoms in {same} of {len(rows)} runs; force evaluations {calls}")


if __name__ == "__main__":
    options.main(_check)
