"""Faults of a shear run that came to its end all the same."""

import numpy as np

from stzjax.potentials.potential import METALS, Scales
from stzjax.shear import events
from stzjax.shear.run import ENDINGS, Run

RISE, SPANS = "energy rises", "the event spans the system"
"""Faults that no ending tells of."""

_STIFFEST = 1.0
"""No metal resists shear by more than this, in units of the potential's scales."""

_ROUNDING = 1e-6
"""Rounding of the energy of a relaxed configuration, in the same units."""


def of(run: Run, threshold: float | None = None, scales: Scales = METALS) -> list[str]:
    """Faults of a run in words, the first one each; none if all is well.

    A step that ends higher than an affine shear of the glass before it would is no minimum of that
    glass. An event whose atoms hang together around the periodic cell has no size: it would have
    gone on in a larger one.

    Args:
      run: a shear run.
      threshold: D²min of an event [Å²]; that at which the run stopped, or 0.1, by default.
      scales: those of the potential.
    """
    found = [] if run.outcome in ENDINGS[:2] else [run.outcome]
    rising = risen(run, scales)
    if len(rising):
        found.append(f"{RISE} at strain {run.strain[rising[0]]:g}")
    threshold = threshold or run.config.stop_threshold or 0.1
    passed = np.flatnonzero(run.max_d2min > threshold)
    if len(passed):
        marked = events.field(run.history_step, run.history_d2min, int(passed[0])) > threshold
        if events.spans(marked, run.pairs, np.asarray(run.final.fractional)):
            found.append(SPANS)
    return found


def risen(run: Run, scales: Scales = METALS) -> np.ndarray:
    """Steps that ended higher than the work done on the glass allows."""
    if len(run.strain) < 2:
        return np.zeros(0, int)
    volume, step = float(np.linalg.det(np.asarray(run.final.cell))), np.diff(run.strain)
    stress = np.maximum(run.shear_stress[1:], run.shear_stress[:-1])
    stiffest, rounding = _STIFFEST * scales.stress, _ROUNDING * scales.energy
    most = volume * (stress * step + 0.5 * stiffest * step**2) + rounding
    return 1 + np.flatnonzero(np.diff(run.energy) > most)
