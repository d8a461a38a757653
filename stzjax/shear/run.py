"""Shear runs: what they are asked to do, how they can end, and what is kept of them."""

import dataclasses
import math

import numpy as np

from stzjax.core import loads
from stzjax.core.settings import check, setting
from stzjax.core.structure import Structure
from stzjax.mechanics import relax
from stzjax.mechanics.relax import RelaxConfig
from stzjax.shear import compiled_loop, events
from stzjax.shear.compiled_loop import Protocol

_MOST_STEPS = 1e7
"""Strain steps of a run; more are a slip of the pen."""


@dataclasses.dataclass(frozen=True)
class ShearConfig:
    """Settings of a shear run; hashable.

    Steps are tried from the extrapolated displacement by the minimizer. A step that is not quiet is
    repeated from the plain affine start by FIRE, so that events are those of the paper's protocol,
    which is "fire" without `extrapolate` throughout.
    """

    step: float = setting(
        1e-4, "Engineering strain per step.", limits="(0, inf)", flag="strain_step"
    )
    final: float = setting(
        4e-2, "Strain at which a run without event ends.", limits="(0, inf)", flag="final_strain"
    )
    # Above about 1e-5 the minimiser stops half-way and events come late; see BUILD_NOTES.md.
    force_tolerance: float = setting(
        1e-6, "Largest force after each relaxation [eV/Å].", limits="(0, inf)"
    )
    max_iterations: int = setting(
        20_000, "Force evaluations per relaxation, at most.", limits="[1, inf)"
    )
    d2min_cutoff: float = setting(3.8, "Bonds that count for D²min [Å].", limits="(0, inf)")
    d2min_reduction: str = setting("sum", "D²min over the bonds.", ("sum", "mean"))
    record_threshold: float = setting(
        0.01, "Keep D²min fields that exceed this [Å²].", limits="(0, inf)"
    )
    stop_threshold: float = setting(
        0.1,
        "End a run after the first step whose D²min exceeds this [Å²]; 0: never, as in the paper.",
        limits="[0, inf)",
    )
    extrapolate: bool = setting(
        True, "Start relaxations from the extrapolated non-affine displacement."
    )
    minimizer: str = setting(
        "lbfgs", "Minimiser of strain steps; events are by fire all the same.", ("lbfgs", "fire")
    )
    skin: float = 0.4
    """Margin of the neighbour list [Å]; it changes the speed and not the result."""

    @property
    def relaxation(self) -> RelaxConfig:
        """Settings of the relaxation in each step."""
        return RelaxConfig(force_tolerance=self.force_tolerance, max_iterations=self.max_iterations)

    @property
    def protocol(self) -> Protocol:
        """Settings of the compiled loop."""
        return Protocol(
            relaxation=self.relaxation,
            step=self.step,
            num_steps=self.num_steps,
            d2min_cutoff=self.d2min_cutoff,
            d2min_reduction=self.d2min_reduction,
            record_threshold=self.record_threshold,
            stop_threshold=self.stop_threshold or math.inf,
            extrapolate=self.extrapolate,
            minimizer=self.minimizer,
        )

    @property
    def num_steps(self) -> int:
        """Steps up to the final strain."""
        return round(self.final / self.step)

    def validate(self) -> None:
        """Raise ValueError for settings that make no sense, each by itself or together."""
        if self.minimizer == "anderson":
            raise ValueError("minimizer anderson was removed: one wrong event in 30; use lbfgs")
        check(self)
        if not self.final / self.step < _MOST_STEPS:
            raise ValueError(
                f"final_strain {self.final} takes too many steps of strain_step {self.step}"
            )
        if self.num_steps < 1:
            raise ValueError(
                f"final_strain {self.final} is less than one step: strain_step is {self.step}"
            )
        if self.stop_threshold and self.stop_threshold < self.record_threshold:
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
      direction: one of `loads.DIRECTIONS`.
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
