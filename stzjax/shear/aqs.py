"""Athermal quasi-static shear: an affine step, a relaxation, D²min; until the first event.

Reference for the method: C. E. Maloney and A. Lemaître, Phys. Rev. E 74, 016118 (2006).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.io import loop_state
from stzjax.io.archives import Clock, Saved
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors, Spec
from stzjax.numerics import batching
from stzjax.potentials.potential import Potential
from stzjax.potentials.prepared import prepare
from stzjax.shear import compiled_loop, nonaffine
from stzjax.shear.compiled_loop import Lane
from stzjax.shear.config import ShearConfig
from stzjax.shear.run import ENDED, Run


class Job(NamedTuple):
    """One run to be done.

    Attributes:
      structure: N atoms; relaxed here to the tolerance of the run if they are not.
      direction: one of `loads.DIRECTIONS`.
      name: name of the job for the caller, of any type.
      saved: state to go on from, as `save` of `shear_many` was given it; None begins.
    """

    structure: Structure
    direction: str
    name: Any = None
    saved: Saved | None = None


Log = dict[str, np.ndarray]
"""Record of a run as far as the host has collected it: arrays by their names in `Run`."""


def _begun(job: Job) -> Log:
    """What was saved of the record of a run, or an empty one."""
    if job.saved is not None:
        arrays = job.saved.arrays.items()
        return {n.removeprefix("log."): x for n, x in arrays if n.startswith("log.")}
    return {
        "history_step": np.zeros(0, np.int64),
        "history_d2min": np.zeros((0, job.structure.num_atoms)),
        "pairs": np.zeros((0, 2), np.int64),
    }


def _collect(log: Log, lane: Lane, config: ShearConfig) -> None:
    """Take the closed steps of a lane, the field of the last one if it is to be kept."""
    done, closed = len(log.get("energy", ())), int(lane.closed)
    more = {name: np.asarray(rows)[:closed] for name, rows in lane.record._asdict().items()}
    if closed and more["max_d2min"][-1] > config.record_threshold:
        more["history_step"] = np.array([done + closed - 1])
        more["history_d2min"] = np.asarray(lane.d2min)[None]
    if closed and not done:
        relaxed = compiled_loop.relaxed(lane, config)
        more["pairs"] = _bonded(relaxed, lane.bonds, config.d2min_cutoff)
    for name, rows in more.items():
        log[name] = np.concatenate([log[name], rows]) if name in log else np.array(rows)


def shear(
    structure: Structure, potential: Potential, direction: str, config: ShearConfig | None = None
) -> Run:
    """Shear one relaxed glass in one direction.

    Args:
      structure: N atoms; relaxed here to the tolerance of the run if they are not.
      potential: a potential.
      direction: one of `loads.DIRECTIONS`.
      config: settings.

    Returns:
      The run; its `outcome` says how it ended.

    Raises:
      ValueError: unknown direction or element, wrong settings, a cell that is too small, or a
        structure that cannot be relaxed.
    """
    job = Job(structure, direction)
    (_, run), *_ = shear_many([job], potential, config)
    if not len(run.strain):
        raise ValueError(f"the unsheared structure does not relax: {run.outcome}")
    return run


def shear_many(
    jobs: Iterable[Job],
    potential: Potential,
    config: ShearConfig | None = None,
    num_lanes: int = 1,
    save: Callable[[Job, Saved], None] | None = None,
    save_every: float = 120.0,
) -> Iterator[tuple[Job, Run]]:
    """Shear many glasses of one size, some lanes at a time in one compiled loop.

    Each lane takes its own strain steps; one that has ended takes the next job at once, so that
    none waits for the slowest. Results come in the order in which runs end. A run that goes on
    from what `save` was given ends with the same bits as one that was never interrupted, if its
    neighbour lists have the same shape, as they do with one lane.

    Args:
      jobs: glasses with the same number of atoms and elements; taken one by one.
      potential: a potential.
      config: settings.
      num_lanes: runs at a time. On a GPU as many as its memory holds; on a CPU one lane for each
        thread that calls this is as fast as many and needs less memory.
      save: called now and then with a job and where it is.
      save_every: time between saves [s].

    Yields:
      A job and its run. One that could not even be relaxed has no steps.

    Raises:
      ValueError: as `shear`, but for the relaxation; or what was saved is of another run.
    """
    config = config or ShearConfig()
    config.validate()
    jobs = (job._replace(direction=loads.canonical(job.direction)) for job in jobs)
    batch, clock = _ShearBatch(jobs, potential, config, num_lanes), Clock(save_every)
    keep = None if save is None else lambda lane, saved: save(batch.jobs[lane], saved)
    while batch.jobs:
        for lane in batch.advance():
            job, run = batch.jobs[lane], batch.collect(lane)
            if run is not None:
                yield job, run
                batch.refill(lane)
        batch.offer(keep, clock)


_SLACK = 1.03
"""Spare places of the neighbour lists, at first."""

_begin = jax.jit(compiled_loop.begin, static_argnames="config")


class _ShearBatch(loop_state.Batch[Lane]):
    """Shear runs, each in a lane of its own.

    Attributes:
      jobs: run in each lane; a lane that has no more to do is left out.
      logs: records of these runs.
    """

    list_names = "neighbors", "bonds"

    def __init__(
        self, waiting: Iterator[Job], potential: Potential, config: ShearConfig, num_lanes: int
    ):
        self.waiting, self.config, self.width = waiting, config, max(1, num_lanes // 8)
        self.jobs = dict(enumerate(itertools.islice(waiting, num_lanes)))
        self.logs = {lane: _begun(job) for lane, job in self.jobs.items()}
        if self.jobs:
            first = list(self.jobs.values())
            self.potential = prepare(potential, first[0].structure.elements)
            specs = self._shapes(first, potential)
            self.begin([self._lane(job, specs) for job in first])

    def _shapes(self, jobs: Sequence[Job], potential: Potential) -> tuple[Spec, ...]:
        """Shapes of the lists for forces and for D²min."""
        begun = [job.saved for job in jobs]
        form = lists.BOTH if self.potential.half_lists else lists.TABLES
        if any(begun):
            pairs, bonds = (loop_state.longest(begun, name) for name in self.list_names)
            return lists.suited(pairs, jobs[0].structure, form), bonds
        skin = self.config.skin * potential.scales.length
        first, places = jobs[0].structure, (skin, _SLACK)
        forces = lists.allocate(first, potential.cutoff, *places, potential.inner_cutoff, form)
        return forces.spec, lists.allocate(first, self.config.d2min_cutoff, *places).spec

    def _lane(self, job: Job, specs: Iterable[Spec]) -> Lane:
        searched = (loop_state.listed(job.structure, job.saved, n) for n in self.list_names)
        found, near = map(lists.make, specs, searched)
        tilt = jnp.asarray(loads.generator(job.direction))
        lane = _begin(job.structure, self.potential, tilt, found, near, config=self.config)
        lane = self.resumed(lane, job.saved)
        code = compiled_loop.OVERFLOW if found.overflow | near.overflow else compiled_loop.RUNNING
        return lane.replace(code=jnp.asarray(code, lane.code.dtype))

    @property
    def going(self) -> list[int]:
        """Numbers of the lanes that go on."""
        kept = (compiled_loop.RUNNING, compiled_loop.NOTED, compiled_loop.OVERFLOW)
        return np.flatnonzero(np.isin(self.states.code, kept)).tolist()

    def configuration(self, name: str, state: Lane) -> Structure:
        """Structure for which a list of a lane has to be valid."""
        return state.structure if name == "neighbors" else compiled_loop.relaxed(state, self.config)

    def refuse(self, lane: int, error: ValueError) -> None:
        """A run whose cell or atoms fit in no list ends."""
        thin = isinstance(error, lists.TooThin)
        self._set(lane, code=compiled_loop.TOO_THIN if thin else compiled_loop.CLUMPED)

    def advance(self) -> list[int]:
        """Advance the lanes for some seconds, or until some need the host; their numbers."""
        quick = self.call(
            lambda lanes, turns: compiled_loop.advance(
                lanes, self.potential, self.config, self.width, turns
            )
        )
        if quick and not self._halted:
            self.turns *= 2
        self.mend()
        for lane in np.flatnonzero(np.asarray(self.states.code) == compiled_loop.OVERFLOW).tolist():
            self._set(lane, code=compiled_loop.RUNNING)
        return self._halted

    @property
    def _halted(self) -> list[int]:
        """Numbers of the lanes that stand still and have a run."""
        code = np.asarray(self.states.code)
        return [lane for lane in self.jobs if code[lane] != compiled_loop.RUNNING]

    def log(self, lane: int) -> Log:
        """Record of the run in a lane, for a file."""
        return {f"log.{name}": values for name, values in self.logs[lane].items()}

    def collect(self, lane: int) -> Run | None:
        """Take the closed steps of a lane that stands still; its run if that has ended."""
        state, log = self.at(lane), self.logs[lane]
        _collect(log, state, self.config)
        if int(state.code) == compiled_loop.NOTED:
            self._set(lane, closed=0, code=compiled_loop.RUNNING)
            return None
        return Run(
            direction=self.jobs[lane].direction,
            strain=np.arange(len(log["energy"])) * self.config.step,
            **log,
            final=compiled_loop.relaxed(state, self.config),
            outcome=ENDED[int(state.code)],
            config=self.config,
        )

    def refill(self, lane: int) -> None:
        """Put the next job in the place of one that is done."""
        job = next(self.waiting, None)
        if job is None:
            del self.jobs[lane]
            self._set(lane, code=compiled_loop.IDLE)
            return
        self.jobs[lane], self.logs[lane] = job, _begun(job)
        specs = (getattr(self.states, name).spec for name in self.list_names)
        self.states = batching.put(self.states, lane, self._lane(job, specs))

    def _set(self, lane: int, **values) -> None:
        """Change fields of one lane."""
        fields = {name: getattr(self.states, name) for name in values}
        self.states = self.states.replace(**batching.put(fields, lane, values))


def _bonded(structure: Structure, neighbors: Neighbors, cutoff: float) -> np.ndarray:
    """Pairs (P, 2) closer than the cut-off, each once."""
    near = np.asarray(nonaffine.bonds(structure, neighbors, cutoff)[1])
    idx = np.asarray(lists.table(neighbors))
    atom = np.broadcast_to(np.arange(idx.shape[1]), idx.shape)
    pairs = np.stack([atom[near], idx[near]], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]]
