"""Settings of a shear run, for the host and for the compiled loop."""

import dataclasses
import math

from stzjax.core.settings import check, setting
from stzjax.mechanics.fire import RelaxConfig

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
    """Margin of the neighbour list, in units of the potential's length, for speed alone."""

    @property
    def relaxation(self) -> RelaxConfig:
        """Settings of the relaxation in each step."""
        return RelaxConfig(force_tolerance=self.force_tolerance, max_iterations=self.max_iterations)

    @property
    def stop(self) -> float:
        """D²min that ends a run [Å²]; infinite if none does."""
        return self.stop_threshold or math.inf

    @property
    def tries(self) -> bool:
        """Whether steps are tried before the paper's protocol is asked."""
        return self.extrapolate or self.minimizer != "fire"

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
