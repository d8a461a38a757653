"""Born stiffness: against second differences of the energy under finite strain."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from reference import cases, small_glass

import stzjax
from stzjax.core.loads import VOIGT
from stzjax.descriptors import stiffness
from stzjax.mechanics.expansion import expand

# The second derivative of a spline of 10,000 points errs by 1e-8 of a fourth derivative, and
# second differences of step 1e-3 by about as much.
CURVATURE = 2e-6
ROUNDING = 1e-12


@pytest.fixture(scope="module")
def glass():
    structure, potential = small_glass.rough(small_glass.TILTED), small_glass.potential()
    return structure, potential, stzjax.neighbors.allocate(structure, potential.cutoff)


def unit_strain(voigt):
    """The symmetric strain whose work is that of one Voigt component."""
    a, b = VOIGT[voigt]
    strain = np.zeros((3, 3))
    strain[a, b] += 0.5
    strain[b, a] += 0.5
    return strain


def strained(cell, strain):
    """Cell under the Green-Lagrange strain, by the symmetric gradient F = √(1 + 2 η)."""
    return np.real(scipy.linalg.sqrtm(np.eye(3) + 2.0 * strain)) @ np.asarray(cell)


def second_difference(energy, first, second):
    def slope(x):
        return cases.derivative(lambda y: energy(x * unit_strain(first) + y * unit_strain(second)))

    return cases.derivative(slope)


def test_finite_differences_of_each_atom_agree(glass):
    """The oracle is the closed form behind the table, summed by NumPy: no code in common."""
    structure, potential, neighbors = glass

    def energy(strain):
        return cases.oracle(
            structure.replace(cell=strained(structure.cell, strain)), small_glass.TOY
        )

    found = stiffness.atomic_stiffness(expand(structure, potential, neighbors), jnp.ones(54))
    found = np.asarray(stiffness.to_voigt(found))
    tolerance = CURVATURE * np.abs(found).max()
    for a, b in itertools.combinations_with_replacement(range(6), 2):
        expected = second_difference(energy, a, b)
        np.testing.assert_allclose(found[:, a, b], expected, atol=tolerance, err_msg=f"C{a}{b}")


@pytest.mark.slow
def test_the_sum_over_atoms_is_the_curvature_of_the_energy():
    """With the built-in potential, and volumes that cancel."""
    structure, potential = cases.stored("glass", "tilted"), stzjax.potentials.mendelev2019()
    neighbors = stzjax.neighbors.allocate(structure, potential.cutoff)
    volume = 10.0 + np.arange(structure.num_atoms)
    atomic = stiffness.atomic_stiffness(expand(structure, potential, neighbors), volume)
    found = np.einsum("n,nab->ab", volume, stiffness.to_voigt(atomic))

    def energy(strain):
        # A turn, which the energy does not feel, makes the cell upper triangular again.
        cell = np.linalg.qr(strained(structure.cell, strain))[1]
        cell = np.triu(cell * np.sign(np.diag(cell))[:, None])
        return float(stzjax.energetics.energy(structure.replace(cell=cell), potential, neighbors))

    for a, b in ((0, 0), (3, 3), (0, 1), (1, 3), (4, 5), (5, 5)):
        expected = second_difference(energy, a, b)
        np.testing.assert_allclose(found[a, b], expected, atol=CURVATURE * np.abs(found).max())


def test_a_turned_glass_has_turned_stiffness(glass):
    """Lattice vectors in another order and made upper triangular again: a general rotation."""
    structure, potential, _ = glass
    order = [2, 0, 1]
    turn, cell = np.linalg.qr(np.asarray(structure.cell)[:, order])
    signs = np.sign(np.diag(cell))
    turn, cell = turn * signs, np.triu(cell * signs[:, None])
    assert np.linalg.det(turn) > 0 and np.abs(turn).max() < 0.999
    other = stzjax.Structure.create(
        np.asarray(structure.fractional)[:, order], cell, structure.species, structure.elements
    )
    expected = stiffness.atomic_stiffness(expand(structure, potential), jnp.ones(54))
    found = stiffness.atomic_stiffness(expand(other, potential), jnp.ones(54))
    turned = np.einsum("ai,bj,ck,dl,nabcd->nijkl", *(turn,) * 4, expected, optimize=True)
    np.testing.assert_allclose(found, turned, atol=1e-9)
    library = stzjax.loads.rotate(expected, turn.T)
    np.testing.assert_allclose(library, turned, atol=1e-9)


def test_symmetries_and_voigt_order(glass):
    structure, potential, neighbors = glass
    tensor = stiffness.atomic_stiffness(expand(structure, potential, neighbors), jnp.ones(54))
    for swap in ((0, 2, 1, 3, 4), (0, 1, 2, 4, 3), (0, 3, 4, 1, 2)):
        np.testing.assert_allclose(tensor, np.transpose(tensor, swap), atol=ROUNDING)
    assert [stiffness.PLACE[pair] for pair in VOIGT] == list(range(6))
    np.testing.assert_array_equal(stiffness.PLACE, stiffness.PLACE.T)
    marks = np.arange(81.0).reshape(1, 3, 3, 3, 3)
    voigt = stiffness.to_voigt(marks)
    assert voigt.shape == (1, 6, 6)
    assert voigt[0, 3, 5] == marks[0, 1, 2, 0, 1] and voigt[0, 4, 1] == marks[0, 2, 0, 1, 1]


@pytest.mark.slow
def test_it_differentiates_and_runs_under_jit(glass):
    structure, potential, neighbors = glass
    weight = np.random.default_rng(0).normal(size=(54, 3, 3, 3, 3))
    move = np.random.default_rng(1).normal(size=(54, 3))

    @jax.jit
    def total(fractional):
        moved = structure.replace(fractional=fractional)
        return jnp.sum(
            weight * stiffness.atomic_stiffness(expand(moved, potential, neighbors), jnp.ones(54))
        )

    found = float(jnp.sum(jax.grad(total)(structure.fractional) * move))
    forward = jax.jvp(total, (structure.fractional,), (jnp.asarray(move),))[1]
    np.testing.assert_allclose(found, forward, rtol=1e-10)
    # The third derivative of a cubic spline is a staircase: only about 1e-3 can be expected.
    step = 1e-4
    ahead, behind = (total(structure.fractional + s * move) for s in (step, -step))
    np.testing.assert_allclose(found, (ahead - behind) / (2 * step), rtol=1e-3)


def test_the_short_range_branch_counts():
    """Two atoms pushed into the repulsive core of the built-in potential."""
    potential = stzjax.potentials.mendelev2019()
    cell = np.eye(3) * 16.0
    r = 1.5
    pair = np.array([[0.1, 0.1, 0.1], [0.1, 0.1, 0.1 + r / 16.0]])
    structure = stzjax.Structure.create(pair, cell, [0, 0], ("Cu", "Zr"))
    found = stiffness.atomic_stiffness(expand(structure, potential), jnp.ones(2))

    def energy(strain):
        moved = structure.replace(cell=cell * np.array([[1, 1, np.sqrt(1 + 2 * strain)]]))
        return float(stzjax.energetics.energy(moved, potential))

    expected = cases.derivative(lambda x: cases.derivative(lambda y: energy(x + y)))
    np.testing.assert_allclose(2.0 * found[0, 2, 2, 2, 2], expected, rtol=1e-5)
    assert np.abs(np.asarray(found)).sum() == pytest.approx(2.0 * found[0, 2, 2, 2, 2])


def test_a_position_that_is_not_a_number_shows(glass):
    structure, potential, neighbors = glass
    broken = structure.replace(fractional=structure.fractional.at[3].set(np.nan))
    found = stiffness.atomic_stiffness(expand(broken, potential, neighbors), jnp.ones(54))
    assert np.isnan(found[3]).all()
