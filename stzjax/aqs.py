"""Athermal quasi-static shear: an affine step, a relaxation, D²min; until the first event.

Reference for the method: C. E. Maloney and A. Lemaître, Phys. Rev. E 74, 016118 (2006).
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stzjax import batches, labels, lanes, loading, nonaffine, relax
from stzjax import neighbors as lists
from stzjax.lanes import Lane, Protocol
from stzjax.neighbors import Neighbors, Spec
from stzjax.potentials.compact import compact
from stzjax.potentials.eam import EAM
from stzjax.relax import RelaxConfig
from stzjax.structure import Structure


class ShearConfig(NamedTuple):
    """Settings of a shear run; hashable.

    Attributes:
      step: engineering strain per step.
      final: strain at which a run ends.
      force_tolerance: largest force norm after each relaxation [eV/Å]. Above about 1e-5 the
        minimiser stops half-way and events come late; see BUILD_NOTES.md.
      max_iterations: force evaluations per relaxation before the run is given up.
      d2min_cutoff: bonds that count for D²min [Å].
      d2min_reduction: "sum" or "mean" over the bonds.
      record_threshold: the D²min field of a step is kept when its maximum exceeds this [Å²].
      stop_threshold: the run ends after the first step whose maximum exceeds this [Å²]; None runs
        on to the final strain, as in the paper.
      extrapolate: try each step from the linearly extrapolated non-affine displacement. A step
        that is not quiet is repeated from the plain affine start by FIRE, so that events are
        those of the paper's protocol.
      minimizer: one of `lanes.MINIMIZERS`, of the tries. The paper's protocol is "fire" without
        `extrapolate`.
      skin: of the neighbour list [Å].
    """

    step: float = 1e-4
    final: float = 4e-2
    force_tolerance: float = 1e-6
    max_iterations: int = 20_000
    d2min_cutoff: float = 3.8
    d2min_reduction: str = "sum"
    record_threshold: float = 0.01
    stop_threshold: float | None = 0.1
    extrapolate: bool = True
    minimizer: str = "lbfgs"
    skin: float = 0.4

    @property
    def relaxation(self) -> RelaxConfig:
        """Settings of the relaxation in each step."""
        return RelaxConfig(force_tolerance=self.force_tolerance, max_iterations=self.max_iterations)

    @property
    def protocol(self) -> Protocol:
        """Settings of the compiled loop."""
        stop = float("inf") if self.stop_threshold is None else self.stop_threshold
        return Protocol(
            relaxation=self.relaxation,
            step=self.step,
            num_steps=self.num_steps,
            d2min_cutoff=self.d2min_cutoff,
            d2min_reduction=self.d2min_reduction,
            record_threshold=self.record_threshold,
            stop_threshold=stop,
            extrapolate=self.extrapolate,
            minimizer=self.minimizer,
        )

    @property
    def num_steps(self) -> int:
        """Steps up to the final strain."""
        return round(self.final / self.step)

    def validate(self) -> None:
        """Raise ValueError for settings that make no sense."""
        for name in ("step", "final", "force_tolerance", "d2min_cutoff", "record_threshold"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.num_steps < 1:
            raise ValueError(f"the final strain {self.final} is less than one step {self.step}")
        if self.d2min_reduction not in ("sum", "mean"):
            raise ValueError(f"d2min_reduction must be sum or mean, got {self.d2min_reduction!r}")
        if self.minimizer not in lanes.MINIMIZERS:
            known = ", ".join(lanes.MINIMIZERS)
            raise ValueError(f"minimizer must be one of {known}, got {self.minimizer!r}")
        if self.stop_threshold is not None and not self.stop_threshold >= self.record_threshold:
            raise ValueError(
                f"stop_threshold {self.stop_threshold} must be at least record_threshold "
                f"{self.record_threshold}, or the event's field would be lost"
            )


ENDINGS = ("final strain reached", "event", *relax.OUTCOMES[1:])
"""How a run can end."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One shear run: S steps, the unsheared state first.

    Attributes:
      direction: one of `loading.DIRECTIONS`.
      strain: (S,) engineering strain.
      energy: (S,) potential energy [eV].
      stress: (S, 3, 3) [eV/Å³].
      max_d2min: (S,) largest D²min of the step [Å²].
      iterations: (S,) force evaluations of the step, those of tries given up included.
      residual: (S,) largest force norm after it [eV/Å].
      history_step: (H,) steps whose field was kept.
      history_d2min: (H, N) their D²min [Å²].
      pairs: (P, 2) atoms bonded within the D²min cut-off in the unsheared state.
      final: the last relaxed configuration.
      outcome: one of `ENDINGS`; a run that failed keeps the steps before the failure.
      config: settings of the run.
    """

    direction: str
    strain: np.ndarray
    energy: np.ndarray
    stress: np.ndarray
    max_d2min: np.ndarray
    iterations: np.ndarray
    residual: np.ndarray
    history_step: np.ndarray
    history_d2min: np.ndarray
    pairs: np.ndarray
    final: Structure
    outcome: str
    config: ShearConfig

    @property
    def shear_stress(self) -> np.ndarray:
        """Stress that resists the load, (S,) [eV/Å³]."""
        flow, gradient, sign = loading.axes(self.direction)
        return sign * self.stress[:, flow, gradient]

    def event_step(self, threshold: float = 0.1, min_cluster: int = 1) -> int | None:
        """Index of the first event in the arrays of the run; None if there is none.

        Raises:
          ValueError: the run ended before an event of that threshold could be ruled out.
        """
        found = labels.first_event(
            self.max_d2min,
            self.history_step,
            self.history_d2min,
            threshold,
            min_cluster,
            self.pairs,
        )
        if found is None and self.outcome == "event":
            raise ValueError(
                f"the run was stopped at strain {self.strain[-1]:g} by stop_threshold "
                f"{self.config.stop_threshold}, before D²min {threshold} was passed; shear again "
                "with a larger stop_threshold"
            )
        return found

    def labels(self, threshold: float = 0.1, min_cluster: int = 1) -> np.ndarray:
        """True for the atoms of the first event, (N,) bool.

        Raises:
          ValueError: there is no event.
        """
        step = self.event_step(threshold, min_cluster)
        if step is None:
            raise ValueError(
                f"no event above {threshold} Å² up to strain {self.strain[-1]:g} "
                f"({self.outcome}): the run has no labels"
            )
        return labels.field(self.history_step, self.history_d2min, step) > threshold


_ENDED = {
    lanes.FINAL: ENDINGS[0],
    lanes.EVENT: ENDINGS[1],
    lanes.OUT_OF_ITERATIONS: relax.OUTCOMES[relax.OUT_OF_ITERATIONS],
    lanes.NOT_FINITE: relax.OUTCOMES[relax.NOT_FINITE],
}


class Job(NamedTuple):
    """One run to be done.

    Attributes:
      structure: N atoms; relaxed here to the tolerance of the run if they are not.
      direction: one of `loading.DIRECTIONS`.
      name: whatever identifies the job to the caller.
    """

    structure: Structure
    direction: str
    name: Any = None


class _Log:
    """What the host has collected of one lane."""

    def __init__(self, job: Job):
        self.job = job
        self.rows: list[lanes.Record] = []
        self.history: dict[int, np.ndarray] = {}
        self.pairs = np.zeros((0, 2), int)

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
        self.rows.append(jax.tree.map(lambda x: np.array(x[:closed]), lane.record))
        if self.rows[-1].max_d2min[-1] > config.record_threshold:
            self.history[self.steps - 1] = np.array(lane.d2min)

    def run(self, lane: Lane, config: ShearConfig) -> Run:
        """The run of a lane that has ended."""
        columns = {
            name: np.concatenate([getattr(rows, name) for rows in self.rows])
            for name in lanes.Record._fields
        }
        return Run(
            direction=self.job.direction,
            strain=np.arange(self.steps) * config.step,
            **columns,
            history_step=np.array(list(self.history), dtype=np.int64),
            history_d2min=np.array(list(self.history.values())).reshape(
                -1, self.job.structure.num_atoms
            ),
            pairs=self.pairs,
            final=_relaxed(lane, config),
            outcome=_ENDED[int(lane.code)],
            config=config,
        )


def _relaxed(lane: Lane, config: ShearConfig) -> Structure:
    """Configuration at the end of the last closed step of a lane."""
    strain = (int(lane.number) - 1) * config.step
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
    return run


def shear_many(
    jobs: Iterable[Job],
    potential: EAM,
    config: ShearConfig | None = None,
    num_lanes: int = 1,
    on_step: Callable[[Job, int, float], None] | None = None,
) -> Iterator[tuple[Job, Run]]:
    """Shear many glasses of one size, some lanes at a time in one compiled loop.

    Each lane takes its own strain steps; one that has ended takes the next job at once, so that
    none waits for the slowest. Results come in the order in which runs end.

    Args:
      jobs: glasses with the same number of atoms and elements; taken one by one.
      potential: an embedded-atom potential.
      config: settings.
      num_lanes: runs at a time. On a GPU as many as its memory holds; on a CPU one lane for each
        thread that calls this is as fast as many and needs less memory.
      on_step: called now and then with a job, its last step and the largest D²min in it.

    Yields:
      A job and its run.

    Raises:
      ValueError: as `shear`.
    """
    config = config or ShearConfig()
    config.validate()
    yield from _Flight(iter(jobs), potential, config, num_lanes).runs(on_step)


_SLACK = 1.03
"""Spare places of the neighbour lists, at first."""


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
        specs = self._shapes(first[0].structure)
        self.state = batches.stack([self._lane(job, *specs) for job in first])

    def _checked(self, job: Job) -> Job:
        return job._replace(direction=loading.canonical(job.direction))

    def _shapes(self, structure: Structure) -> tuple[Spec, Spec]:
        """Of lists for forces and for D²min."""
        make = functools.partial(lists.allocate, structure, skin=self.config.skin, slack=_SLACK)
        forces = make(self.base.cutoff, inner=self.base.density_cutoff)
        return forces.spec, make(self.config.d2min_cutoff).spec

    def _lane(self, job: Job, spec: Spec, spec_near: Spec) -> Lane:
        found, near = (lists.make(one, job.structure) for one in (spec, spec_near))
        tilt = jnp.asarray(loading.generator(job.direction))
        lane = lanes.begin(job.structure, tilt, found, near, self.protocol)
        short = found.overflow | near.overflow
        return lane.replace(code=jnp.where(short, lanes.OVERFLOW, lanes.RUNNING))

    def runs(self, on_step) -> Iterator[tuple[Job, Run]]:
        """Fly until all jobs are done."""
        while any(self.logs):
            self.state = lanes.fly(self.state, self.potential, self.protocol, self.width)
            codes = np.asarray(self.state.code)
            if np.any(codes == lanes.OVERFLOW):
                self._widen()
            halted = (codes != lanes.RUNNING) & (codes != lanes.IDLE)
            for place in np.flatnonzero(halted).tolist():
                log = self.logs[place]
                if log is None or codes[place] == lanes.OVERFLOW:
                    continue
                lane = jax.tree.map(lambda x, place=place: x[place], self.state)
                log.collect(lane, self.config)
                if on_step is not None and log.steps:
                    on_step(log.job, log.steps - 1, float(log.rows[-1].max_d2min[-1]))
                if codes[place] == lanes.NOTED:
                    self._set(place, closed=0, code=lanes.RUNNING)
                    continue
                self._refuse_if_never_relaxed(lane)
                yield log.job, log.run(lane, self.config)
                self._refill(place)

    def _set(self, place: int, **values) -> None:
        """Change fields of one lane."""
        fields = {k: getattr(self.state, k).at[place].set(v) for k, v in values.items()}
        self.state = self.state.replace(**fields)

    def _refuse_if_never_relaxed(self, lane: Lane) -> None:
        if int(lane.number) == 0:
            raise ValueError(
                f"the unsheared structure does not relax: {_ENDED[int(lane.code)]}, "
                f"largest force {float(lane.residual):.2e} eV/Å"
            )

    def _refill(self, place: int) -> None:
        """The next job in the place of one that is done."""
        job = next(self.jobs, None)
        if job is None:
            self.logs[place] = None
            self._set(place, code=lanes.IDLE)
            return
        self.logs[place] = _Log(self._checked(job))
        lane = self._lane(job, self.state.neighbors.spec, self.state.bonds.spec)
        self.state = jax.tree.map(lambda x, new: x.at[place].set(new), self.state, lane)

    def _widen(self) -> None:
        """Longer lists for all lanes, until none overflows."""
        places = range(len(self.logs))
        lane = [jax.tree.map(lambda x, k=k: x[k], self.state) for k in places]
        now = [one.structure for one in lane]
        past = [_relaxed(one, self.config) for one in lane]
        short = int(np.flatnonzero(np.asarray(self.state.code) == lanes.OVERFLOW)[0])
        longer = []
        for old, glasses in ((self.state.neighbors, now), (self.state.bonds, past)):
            spec = lists.longer(old.spec, glasses[short])
            longer.append(batches.stack(lists.fitted(spec, glasses)))
        found, near = longer
        running = jnp.where(self.state.code == lanes.OVERFLOW, lanes.RUNNING, self.state.code)
        self.state = self.state.replace(code=running, neighbors=found, bonds=near)


def _bonded(structure: Structure, neighbors: Neighbors, cutoff: float) -> np.ndarray:
    """Pairs (P, 2) closer than the cut-off, each once."""
    near = np.asarray(nonaffine.near(structure, neighbors, cutoff))
    idx = np.asarray(lists.table(neighbors))
    atom = np.broadcast_to(np.arange(idx.shape[1]), idx.shape)
    pairs = np.stack([atom[near], idx[near]], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]]
