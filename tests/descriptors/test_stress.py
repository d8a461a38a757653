"""Atomic stress: against the virial of a closed form, and its average against the energy."""

import jax
import numpy as np
import pytest
from reference import cases, small_glass

import stzjax
from stzjax.descriptors import stress, voronoi
from stzjax.mechanics.expansion import expand

# The splines of the table and the five-point formula both err below this, relatively.
TABLE = 1e-7


@pytest.fixture(scope="module")
def glass():
    structure, potential = small_glass.rough(small_glass.TILTED), small_glass.potential()
    neighbors = stzjax.neighbors.allocate(structure, potential.cutoff)
    return structure, potential, neighbors, voronoi.tessellate(structure).volume


def pair_by_pair(structure, toy):
    """Σ_j ½ r ⊗ dE/dr of each atom by a loop over pairs, slopes by finite differences [eV]."""
    species = np.asarray(structure.species)
    first, second, vectors = cases.pairs(structure.fractional, structure.cell, toy.cutoff)
    density = np.zeros(len(species))
    for i, j, vector in zip(first, second, vectors, strict=True):
        density[i] += toy.density(np.linalg.norm(vector), species[i], species[j])
    rise = [
        cases.derivative(lambda x, i=i: toy.embedding(density[i] + x, species[i]))
        for i in range(len(species))
    ]
    virial = np.zeros((len(species), 3, 3))
    for i, j, vector in zip(first, second, vectors, strict=True):
        r, a, b = np.linalg.norm(vector), species[i], species[j]
        pull = cases.derivative(
            lambda x, r=r, a=a, b=b, i=i, j=j: (
                toy.pair(r + x, a, b)
                + rise[i] * toy.density(r + x, a, b)
                + rise[j] * toy.density(r + x, b, a)
            )
        )
        virial[i] += 0.5 * pull / r * np.outer(vector, vector)
    return virial


def test_a_loop_over_pairs_agrees(glass):
    structure, potential, neighbors, volume = glass
    expected = pair_by_pair(structure, small_glass.TOY) / volume[:, None, None]
    found = stress.atomic_stress(expand(structure, potential, neighbors), volume)
    np.testing.assert_allclose(found, expected, atol=TABLE * np.abs(expected).max())


def test_the_average_is_the_derivative_of_the_energy_by_strain(glass):
    structure, potential, neighbors, volume = glass
    found = stress.atomic_stress(expand(structure, potential, neighbors), volume)
    average = np.einsum("n,nab->ab", volume, found) / volume.sum()

    def energy(strain):
        gradient = np.eye(3) + strain
        return cases.oracle(
            structure.replace(cell=gradient @ structure.cell), small_glass.TOY
        ).sum()

    for a in range(3):
        for b in range(3):
            unit = np.zeros((3, 3))
            unit[a, b] = 1.0
            expected = cases.derivative(lambda x, unit=unit: energy(x * unit)) / volume.sum()
            np.testing.assert_allclose(average[a, b], expected, atol=TABLE * np.abs(average).max())


def test_it_makes_its_own_list_and_runs_under_jit(glass):
    structure, potential, neighbors, volume = glass
    expected = stress.atomic_stress(expand(structure, potential, neighbors), volume)
    alone = stress.atomic_stress(expand(structure, potential), volume)
    jitted = jax.jit(stress.atomic_stress)(expand(structure, potential, neighbors), volume)
    np.testing.assert_allclose(alone, expected, atol=1e-12)
    np.testing.assert_allclose(jitted, expected, atol=1e-12)
