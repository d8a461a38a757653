"""Runs of the scripts that are killed, and what they leave behind.

    python tests/faults/harness.py --kills=100 --out=runs/faults

Each run of the smoke preset is killed (SIGKILL) at random moments and started again, until its
share of kills is used up; then it runs to its end. Every one must leave the same `metrics.json`,
the same features and the same labels as a run that nothing happened to.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from stzjax.io import archives

EXPERIMENTS = Path(__file__).parent.parent.parent / "experiments"
FLAGS = ("--preset=smoke", "--seed=3", "--save_every=2")
"""It saves so often that kills find something to go on from."""


def command(out: Path, *more: str, name: str = "reproduce") -> list[str]:
    """Command line of a script of the smoke preset."""
    return [sys.executable, str(EXPERIMENTS / f"{name}.py"), *FLAGS, f"--out={out}", *more]


def environment(**more: str) -> dict[str, str]:
    """That of the scripts: no GPU."""
    return {**os.environ, "JAX_PLATFORMS": "cpu", **more}


class Process(subprocess.Popen):
    """A run that goes on by itself. What it says goes to files: nobody empties a pipe meanwhile."""

    def __init__(self, line: list[str], variables: dict[str, str]):
        """Start it."""
        self._files = [tempfile.TemporaryFile("w+") for _ in range(2)]
        output, error = self._files
        super().__init__(line, env=variables, stdout=output, stderr=error, text=True)

    def ended(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; standard output and error.

        Raises:
          TimeoutExpired: it goes on.
        """
        self.wait(timeout)
        for file in self._files:
            file.seek(0)
        output, error = (file.read() for file in self._files)
        return output, error


def start(out: Path, *more: str, **variables: str) -> Process:
    """A run that goes on by itself."""
    return Process(command(out, *more), environment(**variables))


def finish(out: Path, *more: str, **variables: str) -> str:
    """Run to the end; standard error.

    Raises:
      AssertionError: it failed.
    """
    process = start(out, *more, **variables)
    _, said = process.ended(timeout=900)
    assert process.returncode == 0, said
    return said


def kill_after(out: Path, seconds: float) -> str | None:
    """Start a run and kill it after some time: the stage it was in, or None if it was done."""
    process = start(out)
    try:
        _, said = process.ended(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return stage(out)
    assert process.returncode == 0, said
    return None


def stage(out: Path) -> str:
    """The stage that an unfinished run is in."""
    if not (out / "melt.npz").exists():
        return "melt"
    for name, folder, number in (
        ("quench", "specimens", 3),
        ("shear", "shears", 6),
        ("describe", "features", 6),
    ):
        if len(list((out / folder).glob("*.npz"))) < number:
            return name
    return "evaluate" if (out / "model" / "stage.json").exists() else "train"


def assert_same(out: Path, reference: Path) -> None:
    """A run has led where the reference has, to the byte but for the shear runs.

    Those end alike in the same step with the same atoms; which lists they begin with depends on
    what their worker did before, and with the lists the order of sums.
    """
    found, wanted = (json.loads((path / "metrics.json").read_text()) for path in (out, reference))
    assert found == wanted
    assert (out / "metrics.json").read_bytes() == (reference / "metrics.json").read_bytes()
    for path in sorted(reference.glob("*/*.npz")):
        if path.parent.name in ("model", "predictions", "specimens", "features"):
            mine, _ = archives.load_archive(out / path.relative_to(reference))
            theirs, _ = archives.load_archive(path)
            for name, values in theirs.items():
                np.testing.assert_array_equal(mine[name], values, err_msg=f"{path.name} {name}")
    for path in sorted(reference.glob("shears/*.npz")):
        (mine, said), (theirs, wanted) = (
            archives.load_archive(place / "shears" / path.name) for place in (out, reference)
        )
        assert (said["outcome"], said["faults"]) == (wanted["outcome"], wanted["faults"])
        np.testing.assert_array_equal(mine["strain"], theirs["strain"])
        moved = [one["history_d2min"][-1] > 0.1 for one in (mine, theirs)]
        np.testing.assert_array_equal(*moved)
        np.testing.assert_allclose(mine["energy"][:-1], theirs["energy"][:-1], rtol=0, atol=1e-6)
    left = list((out / "unfinished").rglob("*.npz"))
    assert not left, left
    assert not list(out.rglob("*.damaged*"))


OUTPUTS = {
    "melt": "melt.npz",
    "quench": "specimens",
    "shear": "shears",
    "describe": "features",
    "train": "model",
    "evaluate": "predictions",
}
"""What each stage leaves, in their order."""


def begin(out: Path, reference: Path, name: str) -> None:
    """A run that has come to the beginning of a stage."""
    shutil.copytree(reference, out)
    (out / "metrics.json").unlink()
    for stage_name in list(OUTPUTS)[list(OUTPUTS).index(name) :]:
        path = out / OUTPUTS[stage_name]
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def campaign(out: Path, reference: Path, kills: int, longest: float, seed: int) -> dict[str, int]:
    """Kill one run so many times, let it end, compare. Returns the kills by stage."""
    rng, found = random.Random(seed), {}
    left = kills
    while left:
        where = kill_after(out, rng.uniform(0.0, longest))
        if where is None:  # It was quicker.
            break
        found[where] = found.get(where, 0) + 1
        left -= 1
    finish(out)
    assert_same(out, reference)
    return found


def main() -> None:
    """The whole harness, some runs after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--each", type=int, default=10, help="Kills of one run.")
    parser.add_argument("--longest", type=float, default=30.0, help="A run is killed before [s].")
    parser.add_argument(
        "--begin", nargs="*", default=["melt"], choices=list(OUTPUTS), help="Where runs begin."
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/faults"))
    given = parser.parse_args()
    reference = given.out / "reference"
    if not (reference / "metrics.json").exists():
        finish(reference)
    total: dict[str, int] = {}
    number = 0
    while sum(total.values()) < given.kills:
        where, started = given.begin[number % len(given.begin)], time.monotonic()
        out = given.out / f"{where}{number:03d}"
        begin(out, reference, where)
        share = min(given.each, given.kills - sum(total.values()))
        found = campaign(out, reference, share, given.longest, given.seed + number)
        total = {name: total.get(name, 0) + found.get(name, 0) for name in {*total, *found}}
        number += 1
        print(
            f"run {number}, from {where}: {sum(found.values())} kills {found}, same result, "
            f"{time.monotonic() - started:.0f} s; in all {sum(total.values())} kills {total}",
            flush=True,
        )


if __name__ == "__main__":
    main()
