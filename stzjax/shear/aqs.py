"""Athermal quasi-static shear: an affine step, a relaxation, D²min; until the first event.

Reference for the method: C. E. Maloney and A. Lemaître, Phys. Rev. E 74, 016118 (2006).
"""

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from stzjax.shear.run import ENDED, Run, ShearConfig


class Job(NamedTuple):
    """One run to be done.

    Attributes:
      structure: N atoms; relaxed here to the tolerance of the run if they are not.
      direction: one of `loading.DIRECTIONS`.
      name: whatever identifies the job to the caller.
      saved: where to go on, as `save` of `shear_many` was given it; None begins.
    """

    structure: Structure
    direction: str
    name: Any = None
    saved: Saved | None = None


class _Log:
    """What the host has collected of one lane."""

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
        """What has been collected so far, as `Run` has it."""
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

    def suspend(self, lane: Lane) -> Saved:
        """The lane and its log, to go on later."""
        saved = loop_state.suspend(lane, _LISTS)
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
    on_step: Callable[[int, float], None] | None = None,
) -> Run:
    """Shear one relaxed glass in one direction.

    Args:
      structure: N atoms; relaxed here to the tolerance of the run if they are not.
      potential: an embedded-atom potential.
      direction: one of `loading.DIRECTIONS`.
      config: settings.
      on_step: called now and then with the last step and its largest D²min, for progress.

    Returns:
      The run; its `outcome` says how it ended.

    Raises:
      ValueError: unknown direction or element, wrong settings, a cell that is too small, or a
        structure that cannot be relaxed.
    """
    tell = None if on_step is None else lambda job, step, largest: on_step(step, largest)
    job = Job(structure, direction)
    (_, run), *_ = shear_many([job], potential, config, num_lanes=1, on_step=tell)
    if not len(run.strain):
        raise ValueError(f"the unsheared structure does not relax: {run.outcome}")
    return run


def shear_many(
    jobs: Iterable[Job],
    potential: EAM,
    config: ShearConfig | None = None,
    num_lanes: int = 1,
    on_step: Callable[[Job, int, float], None] | None = None,
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
      on_step: called now and then with a job, its last step and the largest D²min in it.
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
    flight = _Flight(iter(jobs), potential, config, num_lanes)
    yield from flight.runs(on_step, save, clock)


_SLACK = 1.03
"""Spare places of the neighbour lists, at first."""

_begin = jax.jit(compiled_loop.begin, static_argnums=4)

_LISTS = ("neighbors", "bonds")
"""The neighbour lists among the fields of a lane."""

_FIRST_TURNS, _PATIENCE = 256, 10.0
"""Turns of the first call of the compiled loop; calls get longer until they take so long [s]."""


class _Flight:
    """The host's side of the compiled loop: fills lanes, collects steps, mends lists."""

    def __init__(self, jobs: Iterator[Job], potential: EAM, config: ShearConfig, num_lanes: int):
        self.jobs, self.config = jobs, config
        self.protocol = config.protocol
        self.width = max(1, num_lanes // 8)
        self.base = potential
        first = list(itertools.islice(jobs, num_lanes))
        if not first:
            self.logs: list[_Log | None] = []
            return
        self.potential = compact(potential, first[0].structure.elements)
        self.logs = [_Log(self._checked(job)) for job in first]
        self.turns = _FIRST_TURNS
        specs = self._shapes(first[0])
        self.state = batching.stack([self._lane(job, *specs) for job in first])

    def _checked(self, job: Job) -> Job:
        return job._replace(direction=loads.canonical(job.direction))

    def _shapes(self, job: Job) -> tuple[Spec, Spec]:
        """Of lists for forces and for D²min."""
        if job.saved is not None:
            return loop_state.spec(job.saved, _LISTS[0]), loop_state.spec(job.saved, _LISTS[1])
        structure = job.structure
        make = functools.partial(lists.allocate, structure, skin=self.config.skin, slack=_SLACK)
        forces = make(self.base.cutoff, inner=self.base.density_cutoff)
        return forces.spec, make(self.config.d2min_cutoff).spec

    def _lane(self, job: Job, spec: Spec, spec_near: Spec) -> Lane:
        listed = [job.structure] * 2
        if job.saved is not None:
            listed = [loop_state.listed(job.structure, job.saved, name) for name in _LISTS]
        found, near = map(lists.make, (spec, spec_near), listed)
        tilt = jnp.asarray(loads.generator(job.direction))
        lane = _begin(job.structure, tilt, found, near, self.protocol)
        if job.saved is not None:
            lane = loop_state.resume(lane, job.saved, _LISTS)
        short = found.overflow | near.overflow
        code = jnp.where(short, compiled_loop.OVERFLOW, compiled_loop.RUNNING).astype(
            lane.code.dtype
        )
        return lane.replace(code=code)

    def _fly(self) -> np.ndarray:
        """Fly until a lane needs the host, or for some seconds. Returns what they are up to."""
        began = time.monotonic()
        self.state = compiled_loop.fly(
            self.state, self.potential, self.protocol, self.width, self.turns
        )
        codes = np.asarray(self.state.code)
        if np.any(codes == compiled_loop.OVERFLOW):
            self._widen()
            codes = np.where(codes == compiled_loop.OVERFLOW, self.state.code, codes)
        elif np.all((codes == compiled_loop.RUNNING) | (codes == compiled_loop.IDLE)):
            self.turns *= 2 if time.monotonic() - began < 0.5 * _PATIENCE else 1
        return codes

    def runs(self, on_step, save, clock: Clock) -> Iterator[tuple[Job, Run]]:
        """Fly until all jobs are done."""
        while any(self.logs):
            codes = self._fly()
            halted = (codes != compiled_loop.RUNNING) & (codes != compiled_loop.IDLE)
            for place in np.flatnonzero(halted).tolist():
                log = self.logs[place]
                if log is None:
                    continue
                lane = self._lane_at(place)
                log.collect(lane, self.config)
                if on_step is not None and log.steps:
                    on_step(log.job, log.steps - 1, float(log.rows[-1].max_d2min[-1]))
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
                save(log.job, log.suspend(self._lane_at(place)))

    def _lane_at(self, place: int) -> Lane:
        return batching.pick(self.state, place)

    def _set(self, place: int, **values) -> None:
        """Change fields of one lane."""
        fields = {name: getattr(self.state, name) for name in values}
        self.state = self.state.replace(**batching.put(fields, place, values))

    def _refill(self, place: int) -> None:
        """The next job in the place of one that is done."""
        job = next(self.jobs, None)
        if job is None:
            self.logs[place] = None
            self._set(place, code=compiled_loop.IDLE)
            return
        self.logs[place] = _Log(self._checked(job))
        lane = self._lane(job, self.state.neighbors.spec, self.state.bonds.spec)
        self.state = batching.put(self.state, place, lane)

    def _widen(self) -> None:
        """Longer lists for all lanes, until none overflows; who fits in none ends."""
        places = range(len(self.logs))
        lane = [self._lane_at(k) for k in places]
        configurations = {
            "neighbors": [one.structure for one in lane],
            "bonds": [_relaxed(one, self.config) for one in lane],
        }
        code = np.array(self.state.code)
        for name, glasses in configurations.items():
            spec = getattr(self.state, name).spec
            for place in np.flatnonzero(code == compiled_loop.OVERFLOW).tolist():
                try:
                    spec = lists.longer(spec, glasses[place])
                    lists.fitted(spec, [glasses[place]])
                except lists.TooThin:
                    code[place] = compiled_loop.TOO_THIN
                except lists.Clumped:
                    code[place] = compiled_loop.CLUMPED
            fit = [
                place
                for place in places
                if code[place] in (compiled_loop.RUNNING, compiled_loop.OVERFLOW)
            ]
            found = batching.stack(lists.fitted(spec, glasses, fit))
            self.state = self.state.replace(**{name: found})
        code[code == compiled_loop.OVERFLOW] = compiled_loop.RUNNING
        self.state = self.state.replace(code=jnp.asarray(code))


def _bonded(structure: Structure, neighbors: Neighbors, cutoff: float) -> np.ndarray:
    """Pairs (P, 2) closer than the cut-off, each once."""
    near = np.asarray(nonaffine.near(structure, neighbors, cutoff))
    idx = np.asarray(lists.table(neighbors))
    atom = np.broadcast_to(np.arange(idx.shape[1]), idx.shape)
    pairs = np.stack([atom[near], idx[near]], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]]
