"""Speed of dynamics, shear and neighbour lists beside LAMMPS, of the rest beside other tools.

    python experiments/benchmark.py --suite=md,npt,aqs,neighbors,descriptors,learning

Ours and the peer take turns, so that both see the same machine; medians are reported. A ratio
above 1 always means that ours is better. Without LAMMPS or another peer, ours is measured alone.
"""

import os

# XLA takes tuning hints for missing machine features and says so at error level. Before jax loads,
# which sets "1" for itself and whatever it starts.
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import dataclasses
import functools
import importlib
import itertools
import platform
import shlex
import statistics
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import descriptor_suite
import jax
import jax.numpy as jnp
import learning_suite
import numpy as np
from absl import app, flags
from timings import alternate, row, seconds, table

from stzjax import io, potentials
from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.dynamics import npt, nve, quench
from stzjax.io import archives
from stzjax.mechanics import relax
from stzjax.neighbors import lists
from stzjax.numerics import batching, native
from stzjax.numerics.batching import cast
from stzjax.potentials.potential import Potential
from stzjax.shear import aqs

import lammps_peer

PRECISIONS = ("float64", "float32")
_SUITE = flags.DEFINE_list("suite", ["md"], "md, npt, aqs, neighbors, descriptors, learning.")
_SIZES = flags.DEFINE_list("sizes", ["10000"], "Atom counts.")
_PRECISION = flags.DEFINE_list("precision", list(PRECISIONS), "Of ours; aqs is always float64.")
_POTENTIAL = flags.DEFINE_string("potential", "mendelev2019", "Built-in name or setfl file.")
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timed repeats of md and npt.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 200, "Time steps of a timed repeat.", lower_bound=1)
_DIRECTIONS = flags.DEFINE_list("directions", ["+xy"], "Of the shear runs.")
_STRAIN = flags.DEFINE_float("final", 0.04, "Strain at which a shear run is given up.")
_ELEMENTS = flags.DEFINE_list("elements", ["Cu", "Zr"], "Chemical symbols of what is made.")
_FRACTIONS = flags.DEFINE_list("fractions", ["0.64", "0.36"], "Share of each element.")
_MELT_TIME = flags.DEFINE_float("melt_time", 1.0, "Time at 2000 K before the quench [ps].")
_QUENCH_RATE = flags.DEFINE_float("quench_rate", 1e14, "Of the glass that is sheared [K/s].")
_GLASS = flags.DEFINE_string("glass", "", "Structure to use instead of those made.")
_CACHE = flags.DEFINE_string("cache", "runs/benchmark", "Folder of the structures made.")
_OUT = flags.DEFINE_string("out", "", "JSON file; empty: runs/benchmark/<suite>.json.")
_LAMMPS = flags.DEFINE_boolean("lammps", True, "Measure LAMMPS too.")
_LAMMPS_ENV = flags.DEFINE_string("lammps_env", "", "Folder with its bin/ and lib/.")
_RANKS = flags.DEFINE_integer("ranks", 2, "MPI ranks of LAMMPS.", lower_bound=1)
_SKIN = flags.DEFINE_float("lammps_skin", 0.4, "Skin of LAMMPS' lists in the shear runs [Å].")
_FIRE_STEP = flags.DEFINE_float("lammps_timestep", 0.001, "First time step of its FIRE [ps].")
_POINTS = flags.DEFINE_integer("table_points", 10_000, "Of the table written for LAMMPS.")
_PATIENCE = flags.DEFINE_float(
    "patience", 10.0, "ARPACK is stopped after so many times as long as ours.", lower_bound=0.0
)
_GRADIENTS = flags.DEFINE_multi_enum(
    "gradients",
    list(descriptor_suite.GRADIENTS[:-1]),
    descriptor_suite.GRADIENTS,
    "Descriptors whose gradients are timed; that of participation takes long.",
)
_TORCH_ENV = flags.DEFINE_string("torch_env", "", "Folder of an environment with torch_geometric.")
_TORCH_MODE = flags.DEFINE_enum("torch_mode", "eager", ["eager", "compile"], "Of its network.")
_KERNEL = flags.DEFINE_enum("kernel", "auto", native.CHOICES, "Forces of ours on a CPU.")
_THREADS = flags.DEFINE_integer(
    "threads", os.cpu_count() or 1, "Specimens in md and npt at once on a CPU, a thread each."
)
_BATCH = flags.DEFINE_list(
    "batch", ["1", "8", "64"], "Specimens at a time in md and npt, on a GPU."
)

_WARM_UP, _TIMESTEP = 100, 0.002
_SKINS = {"md": 0.4, "npt": 0.7}  # The best of those tried, for a solid and for a liquid.
_SOLID, _LIQUID = 600.0, 2000.0
"""Temperatures of the first velocities [K]."""
_EVENT = 0.1
"""D²min of an event [Å²]."""


class Plan(NamedTuple):
    """Settings of a benchmark, from the flags.

    Attributes:
      potential: a potential.
      name: name of the potential in the cache of structures.
      table: setfl file of the potential; empty if it is built in.
      peer: LAMMPS, or None.
      precisions: precisions of ours.
      repeats: timed repeats.
      steps: time steps of a repeat.
      directions: directions of the shear runs.
      shear: settings of the shear runs.
      quench: settings of melt and quench; its `num_atoms` is replaced.
      glass: a structure to use instead, or None.
      cache: folder of the structures made.
      lammps_skin: skin of the neighbour list in the peer's shear runs [Å].
      lammps_timestep: first time step of the peer's FIRE [ps].
      table_points: points of the table written for the peer.
      patience: largest time of ARPACK as a multiple of ours.
      gradients: descriptors whose gradients are timed.
      batch: batch sizes on a GPU.
      threads: specimens at once on a CPU, beside one alone.
      torch: PyTorch Geometric, or None.
    """

    potential: Potential
    name: str
    table: str
    peer: lammps_peer.Peer | None
    precisions: tuple[str, ...]
    repeats: int
    steps: int
    directions: tuple[str, ...]
    shear: aqs.ShearConfig
    quench: quench.QuenchConfig
    glass: Structure | None
    cache: Path
    lammps_skin: float
    lammps_timestep: float
    table_points: int
    patience: float
    gradients: tuple[str, ...]
    batch: tuple[int, ...]
    threads: int
    torch: learning_suite.Torch | None


def specimen(kind: str, num_atoms: int, plan: Plan) -> Structure:
    """The structure of the flag, or a structure that is made and kept in the cache.

    Args:
      kind: "liquid" at 2000 K; "solid", that liquid relaxed with its cell; or "glass", quenched
        from it and relaxed.
      num_atoms: N.
      plan: settings of the benchmark.
    """
    if plan.glass is not None:
        return plan.glass
    config = dataclasses.replace(plan.quench, num_atoms=num_atoms)
    mix = config.elements, config.fractions
    alloy = "".join(f"{e}{100 * x:g}" for e, x in zip(*mix, strict=True))
    made = f"{kind}-{alloy}-{num_atoms}-{plan.name}-{config.melt_time:g}ps"
    path = plan.cache / f"{made}{f'-{config.quench_rate:g}Ks' if kind == 'glass' else ''}.npz"
    if path.exists():
        return io.read(path)
    print(f"making {path}", file=sys.stderr)
    key = jax.random.key(0)
    if kind == "liquid":
        structure = quench.melt(key, plan.potential, config)[0][0]
    elif kind == "solid":
        rough = relax.RelaxConfig(force_tolerance=0.01)
        liquid = specimen("liquid", num_atoms, plan)
        structure = relax.relax_cell(liquid, plan.potential, rough, 1e-3).structure
    else:
        liquid = specimen("liquid", num_atoms, plan)
        cold = quench.quench(key, liquid, plan.potential, config)[0]
        structure = relax.relax(cold, plan.potential, plan.shear.relaxation).structure
    io.write(path, structure)
    return structure


class Dynamics(NamedTuple):
    """A molecular dynamics run of ours, compiled and warm.

    Attributes:
      state: first state of a timed run.
      advance: (state, steps) to (state, steps taken).
      advance_many: (states, steps of each, lists rebuilt at a time) to states.
    """

    state: Any
    advance: Callable[[Any, int], tuple[Any, Any]]
    advance_many: Callable[[Any, jax.Array, int], Any]


def begin(suite: str, structure: Structure, precision: str, plan: Plan) -> Dynamics:
    """Compile and warm up a run whose timed steps do not overflow the neighbour list.

    Raises:
      ValueError: they do with any list.
    """
    potential = potentials.prepare(plan.potential, structure.elements, precision)
    for slack in (1.02, 1.06, 1.1, 1.4, 2.0):
        neighbors = allocate(structure, potential, slack, _SKINS[suite])
        atoms, neighbors = cast((structure, neighbors), precision)
        run = _ensemble(suite, atoms, potential, neighbors)
        warm, _ = run.advance(run.state, _WARM_UP)
        _, taken = run.advance(warm, plan.steps)
        if int(taken) == plan.steps:
            return run._replace(state=warm)
    raise ValueError(f"the neighbour list of {structure.num_atoms} atoms overflows in {suite}")


def _ensemble(suite: str, structure, potential, neighbors) -> Dynamics:
    """A run before its first step."""
    key = jax.random.key(1)
    if suite == "md":
        return Dynamics(
            nve.init(key, structure, potential, neighbors, _SOLID),
            lambda state, steps: nve.run(state, potential, steps, _TIMESTEP),
            lambda states, steps, width: nve.run_many(states, potential, steps, _TIMESTEP, width),
        )
    ensemble = npt.Ensemble(timestep=_TIMESTEP)
    hot, still = jnp.asarray(_LIQUID), jnp.asarray(0.0)
    return Dynamics(
        npt.init(key, structure, potential, neighbors, hot, ensemble),
        lambda state, steps: npt.run(state, potential, steps, _LIQUID, 0.0, ensemble),
        lambda states, steps, width: npt.run_many(
            states, potential, steps, hot, still, ensemble, width
        ),
    )


def allocate(
    structure: Structure, potential: Potential, slack: float = 1.1, skin: float = _SKINS["md"]
) -> lists.Neighbors:
    """A neighbour list as the dynamics use it."""
    form = lists.HALF if potential.half_lists else lists.TABLES
    return lists.allocate(structure, potential.cutoff, skin, slack, potential.inner_cutoff, form)


def lammps_dynamics(integrator: str, structure: Structure, temperature: float, plan: Plan):
    """A function that runs LAMMPS and returns its timed loop; None without LAMMPS."""
    peer = plan.peer
    if peer is None:
        return None
    folder = tempfile.TemporaryDirectory()
    args = (Path(folder.name), structure, plan.potential, plan.table, plan.table_points)
    head = lammps_peer.prepare(*args)
    seeds = itertools.count(1)

    def measure(every_step: bool = False) -> lammps_peer.Loop:
        lengths = (2, 20) if every_step else (_WARM_UP, plan.steps)
        script = lammps_peer.dynamics(
            head, integrator, temperature, _TIMESTEP, lengths, next(seeds), every_step
        )
        return lammps_peer.loops(lammps_peer.run(peer, script, Path(folder.name)))[-1]

    return measure


def dynamics(suite: str, num_atoms: int, plan: Plan) -> list[dict[str, Any]]:
    """Rows of md (NVE of a solid) or npt (of a liquid): atom steps per second."""
    solid = suite == "md"
    structure = specimen("solid" if solid else "liquid", num_atoms, plan)
    integrator = "nve" if solid else f"npt temp {_LIQUID} {_LIQUID} 0.2 iso 0 0 2.0"
    peer = lammps_dynamics(integrator, structure, _SOLID if solid else _LIQUID, plan)
    work = structure.num_atoms * plan.steps / 1e6
    rows = []
    for precision in plan.precisions:
        run = begin(suite, structure, precision, plan)
        name = f"{suite} {structure.num_atoms} atoms {precision}"
        gpu = jax.default_backend() == "gpu"
        for count in (1,) if gpu or plan.threads < 2 else (1, plan.threads):
            ours = functools.partial(side_by_side, run, plan.steps, count)
            mine, other = alternate(ours, peer, plan.repeats)
            rate = count * work / statistics.median(mine)
            theirs = work / statistics.median(x.seconds for x in other) if other else None
            lanes = f", {count} specimens in threads" if count > 1 else ""
            rows.append(row(name + lanes, rate, theirs, "M atom-step/s", "more"))
        if gpu:
            rows += in_batches(name, run, plan)
    return rows


def side_by_side(run: Dynamics, steps: int, count: int) -> float:
    """Time in which as many threads advance a specimen each [s], as the workers of a run do."""

    def work(_) -> None:
        jax.block_until_ready(run.advance(run.state, steps))

    with ThreadPoolExecutor(count) as threads:
        return seconds(lambda: list(threads.map(work, range(count))))


def in_batches(name: str, run: Dynamics, plan: Plan) -> list[dict[str, Any]]:
    """Rows of md or npt against the batch size, and their share of the bandwidth."""
    neighbors = run.state.neighbors
    num_atoms, limit = len(neighbors.fractional), bandwidth()
    rows = []
    for batch in plan.batch:
        counts, width, times = jnp.full(batch, plan.steps, jnp.int32), max(1, batch // 8), []
        for _ in range(1 + plan.repeats):
            # A run gives its states up.
            states = jax.block_until_ready(batching.stack([run.state] * batch))
            times.append(seconds(run.advance_many, states, counts, width))
        spent = statistics.median(times[1:])
        rate = batch * num_atoms * plan.steps / spent
        share = 100.0 * rate * bytes_per_atom_step(neighbors) / limit
        rows.append(row(f"{name} batch {batch}", rate / 1e6, None, "M atom-step/s"))
        rows.append(row(f"{name} batch {batch} share of bandwidth", share, None, "%"))
    return rows


def bytes_per_atom_step(neighbors: lists.Neighbors) -> float:
    """Least traffic with the device's memory for one time step of one atom [bytes].

    (4 + s) (2 n + f) + 21 w: densities and forces each read the n places of the near zone of the
    list and forces alone the f of the far zone, 4 bytes for the neighbour and s for its species,
    padding too; of w bytes are position, momentum and force (each read and written, 18), density
    (written), and the slope of the embedding energy (written and read). Neighbours' positions are
    taken to come from the cache.
    """
    width = neighbors.fractional.dtype.itemsize
    near, *far = (sum(b.idx.nbytes + b.other.nbytes for b in z.blocks) for z in neighbors.zones)
    return (2 * near + sum(far)) / len(neighbors.fractional) + 21 * width


def bandwidth(size: int = 2**28) -> float:
    """Bandwidth of the device's memory, measured by reading and writing an array [bytes/s]."""
    values = jnp.zeros(size // 4, jnp.float32)
    copy = jax.jit(lambda x: x + 1.0)
    jax.block_until_ready(copy(values))
    return 2.0 * size / min(seconds(copy, values) for _ in range(10))


def shear(num_atoms: int, plan: Plan) -> list[dict[str, Any]]:
    """Rows of aqs: time and force evaluations to the first event, and whether it is the same."""
    structure = specimen("glass", num_atoms, plan)
    rows = []
    for direction in map(loads.canonical, plan.directions):
        # The first run compiles all programs of the run, those of longer neighbour lists too.
        args = structure, plan.potential, direction, plan.shear
        run = aqs.shear(*args)
        spent = seconds(lambda args=args: aqs.shear(*args).final)
        event = run.event_step(_EVENT)
        if event is None:
            raise ValueError(f"no event in {direction} ({run.outcome}); raise --final")
        peer = lammps_shear(structure, direction, event, plan)
        rows += compare(f"aqs {structure.num_atoms} atoms {direction}", run, event, spent, peer)
    return rows


def lammps_shear(
    structure: Structure, direction: str, event: int, plan: Plan
) -> lammps_peer.Sheared | None:
    """The same run by LAMMPS, two steps beyond our event; None without it."""
    if plan.peer is None:
        return None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Never the user's file: on a coarse grid LAMMPS' minimiser stops half-way.
        head = lammps_peer.prepare(folder, structure, plan.potential, "", plan.table_points)
        settings = lammps_peer.Fire(plan.lammps_skin, plan.lammps_timestep)
        script = lammps_peer.quasistatic(
            head, np.asarray(structure.cell), direction, event + 2, plan.shear, settings
        )
        return lammps_peer.shear(plan.peer, script, folder, structure.elements, plan.shear)


def compare(
    name: str, run: aqs.Run, event: int, spent: float, peer: lammps_peer.Sheared | None
) -> list[dict[str, Any]]:
    """Rows of one shear run; each side is counted up to its own event, without the first state."""
    calls = int(run.iterations[1 : event + 1].sum())
    labels = run.labels(_EVENT)
    there = None if peer is None else peer.event_step
    time_there = calls_there = labelled = both = None
    if peer is not None and peer.stalled:
        print(f"{name}: LAMMPS ended {peer.stalled} minimisations above the force tolerance")
    if peer is not None and peer.labels is not None and there is not None:
        time_there = float(peer.seconds[1 : there + 1].sum())
        calls_there = int(peer.force_evaluations[1 : there + 1].sum())
        labelled, both = int(peer.labels.sum()), int((labels & peer.labels).sum())
    elif peer is not None:
        print(f"{name}: LAMMPS has no event up to two steps after ours")
    each = 1e3 * time_there / calls_there if time_there and calls_there else None
    rows = [
        row(f"{name} time to the event", spent, time_there, "s", "less"),
        row(f"{name} force evaluations", calls, calls_there, "1", "less"),
        row(f"{name} time per evaluation", 1e3 * spent / calls, each, "ms", "less"),
        row(f"{name} event", event, there, "step"),
        row(f"{name} labelled", int(labels.sum()), labelled, "atoms"),
    ]
    if both is not None:
        rows.append(row(f"{name} labelled by both", both, both, "atoms"))
    return rows


def neighbor_lists(num_atoms: int, plan: Plan) -> list[dict[str, Any]]:
    """Rows of neighbors: time of one list, and its share of a molecular dynamics run."""
    structure = specimen("solid", num_atoms, plan)
    peer = lammps_dynamics("nve", structure, _SOLID, plan)
    build = functools.partial(peer, every_step=True) if peer else None
    share = statistics.median(_share(peer()) for _ in range(plan.repeats)) if peer else None
    allocate(structure, plan.potential)
    spent = [seconds(allocate, structure, plan.potential) for _ in range(plan.repeats)]
    size = f"{structure.num_atoms} atoms"
    rows = [row(f"allocate {size}", 1e3 * statistics.median(spent), None, "ms")]
    rebuild = jax.jit(lists.rebuild)
    for precision in plan.precisions:
        run = begin("md", structure, precision, plan)
        now = (run.state.neighbors, run.state.structure)
        jax.block_until_ready(rebuild(*now))
        mine, other = alternate(functools.partial(seconds, rebuild, *now), build, plan.repeats)
        own = 1e3 * statistics.median(mine)
        per_build = [1e3 * x.neighbor_seconds / x.neighbor_builds for x in other]
        theirs = statistics.median(per_build) if other else None
        rows.append(row(f"rebuild {size} {precision}", own, theirs, "ms", "less"))
        percent = own / 1e3 * _rebuilds_per_second(run, plan.steps) * 100.0
        rows.append(row(f"rebuilds {size} {precision}, share of md", percent, share, "%", "less"))
        rows += other_lists(f"rebuild {size} {precision}", own, structure, plan)
    return rows


def _share(loop: lammps_peer.Loop) -> float:
    return 100.0 * loop.neighbor_seconds / loop.seconds


def _rebuilds_per_second(run: Dynamics, steps: int) -> float:
    """Lists made per second of a run, counted one step at a time and timed in one piece."""
    spent = seconds(run.advance, run.state, steps)
    state, count = run.state, 0
    for _ in range(steps):
        before = np.asarray(state.neighbors.fractional)
        state, _ = run.advance(state, 1)
        count += not np.array_equal(before, state.neighbors.fractional)
    return count / spent


def other_lists(name: str, own: float, structure: Structure, plan: Plan) -> list[dict[str, Any]]:
    """Rows against vesin and matscipy, where installed: full lists within cut-off and skin."""
    positions = np.asarray(structure.positions())
    cell, reach = np.asarray(structure.cell).T.copy(), plan.potential.cutoff + _SKINS["md"]

    def vesin(module):
        search = module.NeighborList(cutoff=reach, full_list=True)
        return search.compute(positions, cell, periodic=True, quantities="ij")

    def matscipy(module):
        return module.neighbour_list(
            "ij", positions=positions, cell=cell, pbc=(1, 1, 1), cutoff=reach
        )

    rows = []
    for package, path, search in (
        ("vesin", "vesin", vesin),
        ("matscipy", "matscipy.neighbours", matscipy),
    ):
        try:
            module = importlib.import_module(path)
        except ImportError:
            continue
        search(module)
        spent = [seconds(search, module) for _ in range(plan.repeats)]
        theirs = 1e3 * statistics.median(spent)
        rows.append(row(f"{name} against {package}", own, theirs, "ms", "less"))
    return rows


def descriptors(num_atoms: int, plan: Plan) -> list[dict[str, Any]]:
    """Rows of descriptors of a glass, beside the tools of the field."""
    glass = specimen("glass", num_atoms, plan)
    settings = plan.repeats, plan.peer, plan.table_points, plan.patience
    found = descriptor_suite.rows(glass, plan.potential, *settings)
    print(table(found), flush=True)  # Half an hour's work, which an error below must not lose.
    return found + descriptor_suite.gradients(glass, plan.potential, plan.repeats, plan.gradients)


def learning(num_atoms: int, plan: Plan) -> list[dict[str, Any]]:
    """Rows of training on the graph of a glass, beside PyTorch Geometric."""
    return learning_suite.rows(specimen("glass", num_atoms, plan), plan.repeats, plan.torch)


SUITES: dict[str, Callable[[int, Plan], list[dict[str, Any]]]] = {
    "md": functools.partial(dynamics, "md"),
    "npt": functools.partial(dynamics, "npt"),
    "aqs": shear,
    "neighbors": neighbor_lists,
    "descriptors": descriptors,
    "learning": learning,
}


def quench_from_flags() -> quench.QuenchConfig:
    """Settings of a short melt with a single snapshot, and of its quench."""
    return quench.QuenchConfig(
        elements=tuple(_ELEMENTS.value),
        fractions=tuple(map(float, _FRACTIONS.value)),
        equilibration_time=0.0,
        melt_time=_MELT_TIME.value,
        snapshot_interval=_MELT_TIME.value,
        num_specimens=1,
        quench_rate=_QUENCH_RATE.value,
        melt_temperature=_LIQUID,
        precision="float32",
    )


def plan_from_flags() -> Plan:
    """The settings of the flags.

    Raises:
      ValueError: a flag makes no sense, or a file cannot be read.
    """
    wrong = [p for p in _PRECISION.value if p not in PRECISIONS]
    if wrong:
        raise ValueError(f"--precision takes {', '.join(PRECISIONS)}, got {', '.join(wrong)}")
    config = quench_from_flags()
    file = Path(_POTENTIAL.value)
    potential, is_file = potentials.load(_POTENTIAL.value), file.is_file()
    peer = lammps_peer.find(_LAMMPS_ENV.value, _RANKS.value) if _LAMMPS.value else None
    if _LAMMPS.value and peer is None:
        print(lammps_peer.MISSING)
    learns = "learning" in _SUITE.value
    torch = learning_suite.find(_TORCH_ENV.value, _TORCH_MODE.value) if learns else None
    if learns and torch is None:
        print(learning_suite.MISSING)
    return Plan(
        potential=potential,
        name=f"{file.stem}-{zlib.crc32(file.read_bytes()):08x}" if is_file else file.name,
        table=str(file) if is_file else "",
        peer=peer,
        precisions=tuple(_PRECISION.value),
        repeats=_REPEATS.value,
        steps=_STEPS.value,
        directions=tuple(_DIRECTIONS.value),
        shear=aqs.ShearConfig(final=_STRAIN.value, stop_threshold=_EVENT),
        quench=config,
        glass=io.read(_GLASS.value, config.elements) if _GLASS.value else None,
        cache=Path(_CACHE.value),
        lammps_skin=_SKIN.value,
        lammps_timestep=_FIRE_STEP.value,
        table_points=_POINTS.value,
        patience=_PATIENCE.value,
        gradients=tuple(_GRADIENTS.value),
        batch=tuple(map(int, _BATCH.value)),
        threads=_THREADS.value,
        torch=torch,
    )


def machine() -> dict[str, Any]:
    """Processor, cores and devices, and the load on them when the benchmark began."""
    name = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = (x for x in cpuinfo.read_text().splitlines() if x.startswith("model name"))
        name = next(models, f":{name}").split(":", 1)[1].strip()
    devices = [device.device_kind for device in jax.devices()]
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    if load > 0.25 * cores:
        print(f"the load average is {load:.1f} on {cores} cores: others will disturb the timings")
    return {"processor": name, "cores": cores, "devices": devices, "load": load}


def main(argv: Sequence[str]) -> None:
    """Measure the suites asked for; one table and one file each."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    unknown = [s for s in _SUITE.value if s not in SUITES]
    if unknown or not _SUITE.value:
        raise app.UsageError(f"--suite takes {', '.join(SUITES)}, got {', '.join(unknown)}")
    if _OUT.value and len(_SUITE.value) > 1:
        raise app.UsageError("--out names one file: give it with one --suite")
    jax.config.update("jax_enable_x64", True)
    try:
        native.choose(_KERNEL.value)
        plan = plan_from_flags()
        sizes = [plan.glass.num_atoms] if plan.glass is not None else map(int, _SIZES.value)
        measure(_SUITE.value, list(sizes), plan)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def measure(suites: Sequence[str], sizes: Sequence[int], plan: Plan) -> None:
    """Print the table of each suite and write its file."""
    versions, where = {**archives.provenance()}, machine()
    if plan.peer:
        versions["lammps"] = lammps_peer.version(plan.peer)
    if plan.torch:
        versions |= plan.torch.versions
    for suite in suites:
        rows = [entry for size in sizes for entry in SUITES[suite](size, plan)]
        # A shear run takes as long as many repeats of the others.
        repeats = 1 if suite == "aqs" else plan.repeats
        print(f"\n{suite}: medians of {repeats} repeats" if repeats > 1 else f"\n{suite}: 1 repeat")
        print(table(rows))
        record = {
            "suite": suite,
            "rows": rows,
            "repeats": repeats,
            "ranks": plan.peer.ranks if plan.peer else None,
            "machine": where,
            "versions": versions,
            "command": shlex.join(sys.argv),
        }
        archives.write_json(_OUT.value or f"runs/benchmark/{suite}.json", record)


if __name__ == "__main__":
    app.run(main)
