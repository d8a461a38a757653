"""Athermal shear of a Lennard-Jones glass against LAMMPS."""

import numpy as np
import pytest
from reference import pairs

from stzjax import potentials
from stzjax.shear import aqs

THRESHOLD = 0.02
CONFIG = aqs.ShearConfig(
    force_tolerance=1e-9,
    d2min_cutoff=1.5,
    record_threshold=0.002,
    stop_threshold=THRESHOLD,
    final=0.1,
)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ("-xz",))
def test_the_run_of_lammps(direction):
    """Energy, stress, event step and atoms of the same protocol with the same closed form.

    Both stop at 1e-9; errors of 4e-11 in the energy and 8e-10 in the stress are seen.
    """
    run = aqs.shear(pairs.glass(), potentials.kob_andersen(), direction, CONFIG)
    expected = {
        name: pairs.lammps()[f"{direction}_{name}"]
        for name in ("energy", "stress", "max_d2min", "event_d2min")
    }
    event = len(expected["energy"]) - 1
    assert run.event_step(THRESHOLD) == event
    assert np.array_equal(run.labels(THRESHOLD), expected["event_d2min"] > THRESHOLD)
    quiet = slice(0, event)
    np.testing.assert_allclose(run.energy[quiet], expected["energy"][quiet], rtol=0, atol=1e-9)
    stress = run.stress[quiet][..., (0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)]
    np.testing.assert_allclose(stress, expected["stress"][quiet], rtol=0, atol=1e-8)
    largest = run.max_d2min[1:event], expected["max_d2min"][1:event]
    np.testing.assert_allclose(*largest, rtol=1e-4)
