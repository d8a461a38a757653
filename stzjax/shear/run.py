"""Shear runs: what they are asked to do, how they can end, and what is kept of them."""

import dataclasses
from typing import NamedTuple

import numpy as np

from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.mechanics import relax
from stzjax.mechanics.relax import RelaxConfig
from stzjax.shear import compiled_loop, events
from stzjax.shear.compiled_loop import Protocol

_MOST_STEPS = 1e7
"""Strain steps of a run; more are a slip of the pen."""


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
        if not self.final / self.step < _MOST_STEPS:
            raise ValueError(f"the final strain {self.final} takes too many steps of {self.step}")
        if self.num_steps < 1:
            raise ValueError(f"the final strain {self.final} is less than one step {self.step}")
        if self.d2min_reduction not in ("sum", "mean"):
            raise ValueError(f"d2min_reduction must be sum or mean, got {self.d2min_reduction!r}")
        if self.minimizer not in compiled_loop.MINIMIZERS:
            known = ", ".join(compiled_loop.MINIMIZERS)
            raise ValueError(f"minimizer must be one of {known}, got {self.minimizer!r}")
        if self.stop_threshold is not None and not self.stop_threshold >= self.record_threshold:
            raise ValueError(
                f"stop_threshold {self.stop_threshold} must be at least record_threshold "
                f"{self.record_threshold}, or the event's field would be lost"
            )


ENDED = {
    compiled_loop.FINAL: "final strain reached",
    compiled_loop.EVENT: "event",
    compiled_loop.OUT_OF_ITERATIONS: relax.OUTCOMES[relax.OUT_OF_ITERATIONS],
    compiled_loop.NOT_FINITE: relax.OUTCOMES[relax.NOT_FINITE],
    compiled_loop.CLUMPED: relax.OUTCOMES[relax.OVERFLOW],
    compiled_loop.TOO_THIN: "cell below twice the cut-off",
}
"""Ending of a lane by its code."""

ENDINGS = tuple(ENDED.values())
"""How a run can end; the first two as it should."""


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
      outcome: one of `ENDINGS`; a run that failed keeps the steps before the failure, which may be
        none.
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
        flow, gradient, sign = loads.axes(self.direction)
        return sign * self.stress[:, flow, gradient]

    def event_step(self, threshold: float = 0.1, min_cluster: int = 1) -> int | None:
        """Index of the first event in the arrays of the run; None if there is none.

        Raises:
          ValueError: the run ended before an event of that threshold could be ruled out.
        """
        found = events.first_event(
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
                f"no event above {threshold} Å² in {len(self.strain)} steps ({self.outcome}): "
                "the run has no labels"
            )
        return events.field(self.history_step, self.history_d2min, step) > threshold
