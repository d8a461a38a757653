"""Athermal quasi-static shear: an affine step, a relaxation, D²min; until the first event.

Reference for the method: C. E. Maloney and A. Lemaître, Phys. Rev. E 74, 016118 (2006).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from stzjax import energetics, labels, loading, nonaffine, relax
from stzjax import neighbors as lists
from stzjax.neighbors import Neighbors
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
      extrapolate: start each relaxation from the linearly extrapolated non-affine displacement.
        A step that does not stay quiet is repeated from the plain affine start, so that events
        are those of the plain protocol.
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
    skin: float = 0.4

    @property
    def relaxation(self) -> RelaxConfig:
        """Settings of the relaxation in each step."""
        return RelaxConfig(force_tolerance=self.force_tolerance, max_iterations=self.max_iterations)

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
      iterations: (S,) force evaluations of the relaxation.
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


class _Step(NamedTuple):
    structure: Structure
    neighbors: Neighbors
    energy: Array
    stress: Array
    d2min: Array
    iterations: Array
    residual: Array
    outcome: Array


@functools.partial(jax.jit, static_argnames="config")
def strain_step(
    before: Structure,
    start: Array,
    cell: Array,
    potential: EAM,
    neighbors: Neighbors,
    config: ShearConfig,
) -> _Step:
    """Relax in a new cell and compare with the previous relaxed configuration.

    Pure; under `vmap` too.

    Args:
      before: previous relaxed configuration.
      start: (N, 3) fractional positions to relax from; those of `before` for a plain affine step.
      cell: (3, 3) the new cell [Å].
      potential: an embedded-atom potential.
      neighbors: list that holds every bond up to the longer of the two cut-offs.
      config: settings of the run.
    """
    moved = before.replace(fractional=start, cell=cell)
    relaxed = relax.minimise(moved, potential, neighbors, config.relaxation)
    after = relaxed.structure
    field = nonaffine.d2min(
        before, after, relaxed.neighbors, config.d2min_cutoff, config.d2min_reduction
    )
    return _Step(
        structure=after,
        neighbors=relaxed.neighbors,
        energy=energetics.energy(after, potential, relaxed.neighbors),
        stress=energetics.stress(after, potential, relaxed.neighbors),
        d2min=field,
        iterations=relaxed.iterations,
        residual=relaxed.residual,
        outcome=relaxed.outcome,
    )


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
      on_step: called with the step and its largest D²min, for progress.

    Returns:
      The run; its `outcome` says how it ended.

    Raises:
      ValueError: unknown direction or element, wrong settings, a cell that is too small, or a
        structure that cannot be relaxed.
    """
    config = config or ShearConfig()
    config.validate()
    direction = loading.canonical(direction)
    cutoff = max(potential.cutoff, config.d2min_cutoff)
    new_list = functools.partial(
        lists.allocate, cutoff=cutoff, skin=config.skin, inner=potential.density_cutoff
    )
    neighbors = new_list(structure, slack=1.03)
    advance = functools.partial(_advance, potential=potential, new_list=new_list, config=config)
    first = advance(structure, structure.fractional, structure.cell, neighbors)
    if int(first.outcome) != relax.CONVERGED:
        raise ValueError(
            f"the unsheared structure does not relax: {relax.OUTCOMES[int(first.outcome)]}, "
            f"largest force {float(first.residual):.2e} eV/Å"
        )
    pairs = _bonded(first.structure, first.neighbors, config.d2min_cutoff)
    steps = [_record(first._replace(d2min=jnp.zeros_like(first.d2min)))]
    history: dict[int, np.ndarray] = {}
    outcome = ENDINGS[0]
    previous, current = first, first
    for number in range(1, config.num_steps + 1):
        gradient = loading.deformation_gradient(direction, number * config.step)
        cell = gradient @ first.structure.cell
        result = _quiet_or_plain(advance, previous, current, cell, config)
        if int(result.outcome) != relax.CONVERGED:
            outcome = relax.OUTCOMES[int(result.outcome)]
            break
        steps.append(_record(result))
        largest = steps[-1]["max_d2min"]
        if largest > config.record_threshold:
            history[number] = np.asarray(result.d2min)
        previous, current = current, result
        if on_step is not None:
            on_step(number, largest)
        if config.stop_threshold is not None and largest > config.stop_threshold:
            outcome = ENDINGS[1]
            break
    num_atoms = structure.num_atoms
    return Run(
        direction=direction,
        strain=np.arange(len(steps)) * config.step,
        **{name: np.array([step[name] for step in steps]) for name in steps[0]},
        history_step=np.array(list(history), dtype=np.int64),
        history_d2min=np.array(list(history.values())).reshape(-1, num_atoms),
        pairs=pairs,
        final=current.structure,
        outcome=outcome,
        config=config,
    )


def _quiet_or_plain(advance, previous: _Step, current: _Step, cell: Array, config: ShearConfig):
    """The next step: extrapolated while that stays quiet, the plain affine one otherwise."""
    before = current.structure
    if config.extrapolate and previous is not current:
        drift = before.fractional - previous.structure.fractional
        guess = before.fractional + (drift - jnp.round(drift))
        result = advance(before, guess, cell, current.neighbors)
        quiet = float(jnp.max(result.d2min)) <= config.record_threshold
        if quiet and int(result.outcome) == relax.CONVERGED:
            return result
    return advance(before, before.fractional, cell, current.neighbors)


def _advance(before, start, cell, neighbors, *, potential, new_list, config) -> _Step:
    """One strain step, repeated with a longer list as often as the list overflows."""
    slack = 1.1
    while True:
        result = strain_step(before, start, cell, potential, neighbors, config)
        if int(result.outcome) != relax.OVERFLOW:
            return result
        neighbors = new_list(before.replace(cell=cell), slack=slack)
        slack *= 1.2


def _record(step: _Step) -> dict:
    return {
        "energy": float(step.energy),
        "stress": np.asarray(step.stress),
        "max_d2min": float(jnp.max(step.d2min)),
        "iterations": int(step.iterations),
        "residual": float(step.residual),
    }


def _bonded(structure: Structure, neighbors: Neighbors, cutoff: float) -> np.ndarray:
    """Pairs (P, 2) closer than the cut-off, each once."""
    near = np.asarray(nonaffine.near(structure, neighbors, cutoff))
    idx = np.asarray(neighbors.idx)
    atom = np.broadcast_to(np.arange(idx.shape[1]), idx.shape)
    pairs = np.stack([atom[near], idx[near]], axis=1)
    return pairs[pairs[:, 0] < pairs[:, 1]]
