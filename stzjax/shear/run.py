"""Record of a shear run, and how a run can end."""

import dataclasses

import numpy as np

from stzjax.core import loads
from stzjax.core.structure import Structure
from stzjax.mechanics import fire
from stzjax.shear import compiled_loop, events
from stzjax.shear.config import ShearConfig

ENDED = {
    compiled_loop.FINAL: "final strain reached",
    compiled_loop.EVENT: "event",
    compiled_loop.OUT_OF_ITERATIONS: fire.OUTCOMES[fire.OUT_OF_ITERATIONS],
    compiled_loop.NOT_FINITE: fire.OUTCOMES[fire.NOT_FINITE],
    compiled_loop.CLUMPED: fire.OUTCOMES[fire.OVERFLOW],
    compiled_loop.TOO_THIN: "cell below twice the cut-off",
}
"""Ending of a run by the code of its lane."""

ENDINGS = tuple(ENDED.values())
"""Endings of a run; the first two are as they should be."""


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
        history = self.history_step, self.history_d2min
        found = events.first_event(self.max_d2min, *history, threshold, min_cluster, self.pairs)
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
