"""Athermal quasi-static shear: an affine step, a relaxation, D²min; until the first event.

Reference for the method: C. E. Maloney and A. Lemaître, Phys. Rev. E 74, 016118 (2006).
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from stzjax.potentials.eam import EAM
from stzjax.potentials.prepared import compact
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


class _Log:
    """Record of one run, as far as the host has collected it."""

    def __init__(self, job: Job):
        self.job = job
        self.rows: list[compiled_loop.Record] = []
        self.history: dict[int, np.ndarray] = {}
        self.pairs = np.zeros((0, 2), int)
        if job.saved is not None:
            self._resume(job.saved.arrays)

    @property
    def steps(self) -> int:
        return sum(len(rows.energy) for rows in self.rows)

    def collect(self, lane: Lane, config: ShearConfig) -> None:
        """Take the closed steps of a lane, the field of the last one if it is to be kept."""
        closed = int(lane.closed)
        if not closed:
            return
        if not self.steps:
            self.pairs = _bonded(_relaxed(lane, config), lane.bonds, config.d2min_cutoff)
        self.rows.append(jax.tree.map(lambda x: np.array(x)[:closed], lane.record))
        if self.rows[-1].max_d2min[-1] > config.record_threshold:
            self.history[self.steps - 1] = np.array(lane.d2min)

    def columns(self) -> dict[str, np.ndarray]:
        """Arrays of the record so far, by their names in `Run`."""
        num_atoms = self.job.structure.num_atoms
        return {
            **{
                name: np.concatenate([getattr(rows, name) for rows in self.rows])
                for name in compiled_loop.Record._fields
                if self.rows
            },
            "history_step": np.array(list(self.history), dtype=np.int64),
            "history_d2min": np.array(list(self.history.values())).reshape(-1, num_atoms),
            "pairs": self.pairs,
        }

    def saved_with(self, saved: Saved) -> Saved:
        """The state of the run with this log, to go on later."""
        log = {f"log.{name}": values for name, values in self.columns().items()}
        return saved._replace(arrays={**saved.arrays, **log})

    def _resume(self, arrays: Mapping[str, np.ndarray]) -> None:
        if f"log.{compiled_loop.Record._fields[0]}" in arrays:
            rows: Any = {name: arrays[f"log.{name}"] for name in compiled_loop.Record._fields}
            self.rows = [compiled_loop.Record(**rows)]
        history = zip(arrays["log.history_step"], arrays["log.history_d2min"], strict=True)
        self.history = {int(step): field for step, field in history}
        self.pairs = arrays["log.pairs"]

    def run(self, lane: Lane, config: ShearConfig) -> Run:
        """The run of a lane that has ended."""
        if not self.rows:
            self.rows.append(jax.tree.map(lambda x: np.array(x)[:0], lane.record))
        return Run(
            direction=self.job.direction,
            strain=np.arange(self.steps) * config.step,
            **self.columns(),
            final=_relaxed(lane, config),
            outcome=ENDED[int(lane.code)],
            config=config,
        )


def _relaxed(lane: Lane, config: ShearConfig) -> Structure:
    """Configuration at the end of the last closed step of a lane."""
    strain = max(int(lane.number) - 1, 0) * config.step
    cell = lane.cell + strain * lane.tilt @ lane.cell
    return lane.structure.replace(fractional=lane.before, cell=cell)


def shear(
    structure: Structure,
    potential: EAM,
    direction: str,
    config: ShearConfig | None = None,
) -> Run:
    """Shear one relaxed glass in one direction.

    Args:
      structure: N atoms; relaxed here to the tolerance of the run if they are not.
      potential: an embedded-atom potential.
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
    potential: EAM,
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
      potential: an embedded-atom potential.
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
    clock = Clock(save_every if save else math.inf)
    jobs = (job._replace(direction=loads.canonical(job.direction)) for job in jobs)
    batch = _ShearBatch(jobs, potential, config, num_lanes)
    yield from batch.runs(save, clock)


_SLACK = 1.03
"""Spare places of the neighbour lists, at first."""

_begin = jax.jit(compiled_loop.begin, static_argnums=4)


class _ShearBatch(loop_state.Batch[Lane]):
    """Shear runs, each in a lane of its own: fills lanes, collects steps.

    Attributes:
      logs: record of the run in each lane; None where there is no more to do.
    """

    list_names = "neighbors", "bonds"

    def __init__(self, jobs: Iterator[Job], potential: EAM, config: ShearConfig, num_lanes: int):
        self.jobs, self.config = jobs, config
        self.width = max(1, num_lanes // 8)
        first = list(itertools.islice(jobs, num_lanes))
        self.logs: list[_Log | None] = [_Log(job) for job in first]
        if first:
            self.potential = compact(potential, first[0].structure.elements)
            specs = self._shapes(first, potential)
            self.begin([self._lane(job, specs) for job in first])

    def _shapes(self, jobs: Sequence[Job], potential: EAM) -> tuple[Spec, ...]:
        """Shapes of the lists for forces and for D²min."""
        begun = [job.saved for job in jobs]
        if any(begun):
            return tuple(loop_state.longest(begun, name) for name in self.list_names)
        make = functools.partial(
            lists.allocate, jobs[0].structure, skin=self.config.skin, slack=_SLACK
        )
        forces = make(potential.cutoff, inner=potential.density_cutoff)
        return forces.spec, make(self.config.d2min_cutoff).spec

    def _lane(self, job: Job, specs: Iterable[Spec]) -> Lane:
        searched = (loop_state.listed(job.structure, job.saved, n) for n in self.list_names)
        found, near = map(lists.make, specs, searched)
        tilt = jnp.asarray(loads.generator(job.direction))
        lane = _begin(job.structure, tilt, found, near, self.config)
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
        return state.structure if name == "neighbors" else _relaxed(state, self.config)

    def refuse(self, lane: int, error: ValueError) -> None:
        """A run whose cell or atoms fit in no list ends."""
        thin = isinstance(error, lists.TooThin)
        self._set(lane, code=compiled_loop.TOO_THIN if thin else compiled_loop.CLUMPED)

    def _advance(self) -> np.ndarray:
        """Codes of the lanes, once one of them needs the host or some seconds have passed."""
        quick = self.call(
            lambda lanes, turns: compiled_loop.advance(
                lanes, self.potential, self.config, self.width, turns
            )
        )
        codes = np.asarray(self.states.code)
        if quick and np.all((codes == compiled_loop.RUNNING) | (codes == compiled_loop.IDLE)):
            self.turns *= 2
        self.mend()
        for lane in np.flatnonzero(np.asarray(self.states.code) == compiled_loop.OVERFLOW).tolist():
            self._set(lane, code=compiled_loop.RUNNING)
        return np.asarray(self.states.code)

    def runs(self, save, clock: Clock) -> Iterator[tuple[Job, Run]]:
        """Advance until all jobs are done."""
        while any(self.logs):
            codes = self._advance()
            halted = (codes != compiled_loop.RUNNING) & (codes != compiled_loop.IDLE)
            for place in np.flatnonzero(halted).tolist():
                log = self.logs[place]
                if log is None:
                    continue
                lane = self.at(place)
                log.collect(lane, self.config)
                if codes[place] == compiled_loop.NOTED:
                    self._set(place, closed=0, code=compiled_loop.RUNNING)
                    continue
                yield log.job, log.run(lane, self.config)
                self._refill(place)
            if save is not None and clock.struck():
                clock.saving(lambda: self._save(save))

    def _save(self, save: Callable[[Job, Saved], None]) -> None:
        for place, log in enumerate(self.logs):
            if log is not None:
                save(log.job, log.saved_with(self.saved(place)))

    def _set(self, place: int, **values) -> None:
        """Change fields of one lane."""
        fields = {name: getattr(self.states, name) for name in values}
        self.states = self.states.replace(**batching.put(fields, place, values))

    def _refill(self, place: int) -> None:
        """The next job in the place of one that is done."""
        job = next(self.jobs, None)
        self.logs[place] = None if job is None else _Log(job)
        if job is None:
            self._set(place, code=compiled_loop.IDLE)
            return
        specs = (getattr(self.states, name).spec for name in self.list_names)
        self.states = batching.put(self.states, place, self._lane(job, specs))


def _bonded(structure: Structure, neighbors: Neighbors, cutoff: float) -> np.ndarray:
    """Pairs (P, 2) closer than the cut-off, each once."""
    near = np.asarray(nonaffine.near(structure, neighbors, cutoff))
    idx = np.asarray(lists.table(neighbors))
    atom = np.broadcast_to(np.arange(idx.shape[1]), idx.shape)
    pairs = np.stack([atom[near], idx[near]], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]]
