"""Relaxation: known minima, LAMMPS, and an outcome for everything that can go wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from reference import cases

import stzjax
from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics, fire, relax
from stzjax.neighbors import lists

TIGHT = relax.RelaxConfig(force_tolerance=1e-7)
"""One setting for most tests, so that few loops are compiled."""

minimise = jax.jit(fire.minimise, static_argnames="config")


@pytest.fixture(scope="module")
def potential():
    return cases.potential(cases.SMALL)


@pytest.fixture(scope="module")
def relaxed(potential):
    return relax.relax(cases.small(), potential, TIGHT)


def dimer(distance: float, length: float = 12.0):
    """A copper and a zirconium atom across the periodic boundary."""
    fractional = [[0.95, 0.3, 0.4], [0.95 + distance / length, 0.3, 0.4]]
    return Structure.create(fractional, length * np.eye(3), [0, 1], cases.ELEMENTS)


def dimer_energy(r: float) -> float:
    toy = cases.SMALL
    densities = (toy.density(r, 0, 1), toy.density(r, 1, 0))
    return float(toy.pair(r, 0, 1) + sum(toy.embedding(d, a) for a, d in enumerate(densities)))


@pytest.mark.slow
@pytest.mark.parametrize("start", (2.7, 3.3))
def test_two_atoms_find_the_bottom_of_their_well(potential, start):
    expected = scipy.optimize.minimize_scalar(
        dimer_energy, bounds=(2.6, 3.8), method="bounded", options={"xatol": 1e-10}
    )
    result = relax.relax(dimer(start), potential, TIGHT)
    assert result.converged and float(result.residual) <= 1e-7
    _, _, vectors = cases.pairs(result.structure.fractional, result.structure.cell, 4.1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), expected.x, rtol=0, atol=1e-6)
    energy = float(energetics.energy(result.structure, potential))
    assert energy == pytest.approx(expected.fun, abs=1e-9)
    # The centre of mass stays: equal and opposite forces on equal masses.
    middle = np.asarray(result.structure.fractional).sum(axis=0) % 1.0
    started = np.asarray(dimer(start).fractional).sum(axis=0) % 1.0
    np.testing.assert_allclose(middle, started, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_a_crystal_heals():
    # Copper on the fcc lattice is at a minimum by symmetry, whatever the lattice constant.
    corner = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    perfect = ((corner + basis).reshape(-1, 3) + 0.25) / 5
    kick = np.random.default_rng(0).normal(scale=0.005, size=perfect.shape)
    kick -= kick.mean(axis=0)
    atoms = Structure.create(perfect + kick, 18.2 * np.eye(3), np.zeros(500, int), cases.ELEMENTS)
    result = relax.relax(atoms, stzjax.potentials.mendelev2019())
    assert result.converged
    moved = np.asarray(geometry.minimum_image(result.structure.fractional - perfect))
    # A residual force of 1e-6 eV/Å over a stiffness of about 1 eV/Å².
    np.testing.assert_allclose(18.2 * moved, 0.0, atol=1e-5)


@pytest.mark.slow
def test_agrees_with_lammps():
    # FIRE in LAMMPS from the same start to 1e-7 eV/Å, on the table of the same potential.
    result = relax.relax(
        cases.stored("start"),
        stzjax.potentials.mendelev2019(),
        relax.RelaxConfig(force_tolerance=1e-6),
    )
    assert result.converged
    found = energetics.energy(result.structure, stzjax.potentials.mendelev2019())
    expected = float(cases.lammps()["relaxed_energy"])
    assert float(found) / 600 == pytest.approx(expected / 600, abs=1e-9)


def test_the_outcome_tells_the_truth(potential, relaxed):
    start = cases.small()
    assert relaxed.converged
    assert relax.OUTCOMES[int(relaxed.outcome)] == "converged"
    force = energetics.forces(relaxed.structure, potential)
    residual = float(fire.largest_force(force))
    assert residual <= 1e-7 * (1 + 1e-6)
    assert float(relaxed.residual) == pytest.approx(residual, abs=1e-11)
    assert energetics.energy(relaxed.structure, potential) < energetics.energy(start, potential)
    assert jnp.array_equal(relaxed.structure.cell, start.cell)
    assert jnp.array_equal(relaxed.structure.species, start.species)
    inside = relaxed.structure.fractional
    assert bool(jnp.all((inside >= 0) & (inside < 1)))


def test_a_minimum_stays_where_it_is(potential, relaxed):
    again = relax.relax(relaxed.structure, potential, TIGHT)
    assert again.converged and int(again.iterations) == 1
    assert jnp.array_equal(again.structure.fractional, relaxed.structure.fractional)


def test_the_minimum_is_one(potential, relaxed):
    # No negative curvature: 96 eigenvalues, of which three translations vanish.
    atoms = relaxed.structure
    pairs = lists.allocate(atoms, potential.cutoff)
    inverse = np.linalg.inv(atoms.cell).T

    def force(shift):
        fractional = atoms.fractional + shift.reshape(-1, 3) @ inverse
        return energetics.forces(atoms.replace(fractional=fractional), potential, pairs).ravel()

    hessian = -np.asarray(jax.jit(jax.jacfwd(force))(jnp.zeros(3 * atoms.num_atoms)))
    values = np.linalg.eigvalsh(0.5 * (hessian + hessian.T))
    np.testing.assert_allclose(values[:3], 0.0, atol=1e-8)
    assert values[3] > 1e-4


@pytest.mark.parametrize("skin", (0.01, 0.1))
def test_the_skin_changes_nothing(potential, relaxed, skin):
    start = cases.small()
    pairs = lists.allocate(start, potential.cutoff, skin=skin, slack=1.5)
    result = relax.relax(start, potential, TIGHT, pairs)
    assert result.converged
    # The same path up to the order of sums, so the same minimum.
    energies = [float(energetics.energy(r.structure, potential)) for r in (result, relaxed)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)
    apart = geometry.minimum_image(result.structure.fractional - relaxed.structure.fractional)
    np.testing.assert_allclose(apart, 0.0, atol=1e-6)


def test_too_few_iterations_are_reported(potential):
    config = relax.RelaxConfig(force_tolerance=1e-12, max_iterations=7)
    result = relax.relax(cases.small(), potential, config)
    assert int(result.outcome) == fire.OUT_OF_ITERATIONS and not result.converged
    assert relax.OUTCOMES[int(result.outcome)] == "out of iterations"
    assert int(result.iterations) == 7
    assert float(result.residual) > 1e-12


@pytest.mark.parametrize("wrong", (np.nan, np.inf))
@pytest.mark.parametrize("what", ("position", "cell", "potential"))
def test_numbers_that_are_not_finite_end_the_loop(potential, what, wrong):
    start = cases.small()
    pairs = lists.allocate(start, potential.cutoff)
    if what == "position":
        start = start.replace(fractional=start.fractional.at[5, 1].set(wrong))
    elif what == "cell":
        start = start.replace(cell=start.cell.at[1, 1].set(wrong))
    else:
        potential = potential.replace(density_table=potential.density_table * wrong)
    result = minimise(start, potential, pairs, TIGHT)
    assert int(result.outcome) in (fire.NOT_FINITE, fire.OVERFLOW)
    assert int(result.iterations) == 1


@pytest.mark.parametrize("with_list", (True, False))
def test_a_nan_is_named_and_does_not_hang(potential, with_list):
    # A list made of NaN positions holds no pairs, so that the forces look perfect.
    start = cases.small()
    start = start.replace(fractional=start.fractional.at[5, 1].set(np.nan))
    pairs = lists.allocate(cases.small(), potential.cutoff) if with_list else None
    result = relax.relax(start, potential, TIGHT, pairs)
    assert int(result.outcome) == fire.NOT_FINITE and not result.converged


@pytest.mark.slow
@pytest.mark.parametrize("prepared", (False, True))
def test_coinciding_atoms_end_the_loop(potential, prepared):
    start = cases.small()
    start = start.replace(fractional=start.fractional.at[1].set(start.fractional[0]))
    potential = stzjax.potentials.compact(potential) if prepared else potential
    result = relax.relax(start, potential, TIGHT)
    assert int(result.outcome) == fire.NOT_FINITE


def test_an_overflow_is_seen_and_mended(potential, relaxed):
    start = cases.small()
    pairs = lists.allocate(start, potential.cutoff)
    short = lists.make(pairs.spec._replace(near=(8,)), start)
    assert short.overflow
    assert int(minimise(start, potential, short, TIGHT).outcome) == fire.OVERFLOW
    result = relax.relax(start, potential, TIGHT, short)
    assert result.converged and result.neighbors.spec.capacity > 8
    energies = [float(energetics.energy(r.structure, potential)) for r in (result, relaxed)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)


def test_a_cell_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="twice the cut-off"):
        relax.relax(cases.small(), stzjax.potentials.mendelev2019())


@pytest.mark.slow
def test_batched_is_one_by_one(potential):
    batch = [cases.small(seed, jitter=0.02) for seed in range(2)]
    template = lists.allocate(batch[0], potential.cutoff, slack=1.5)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batch)

    def run(atoms):
        return fire.minimise(atoms, potential, lists.rebuild(template, atoms), TIGHT)

    together = jax.jit(jax.vmap(run))(stacked)
    for k, atoms in enumerate(batch):
        alone = jax.jit(run)(atoms)
        assert int(together.outcome[k]) == int(alone.outcome) == relax.CONVERGED
        energies = [
            float(energetics.energy(s, potential))
            for s in (jax.tree.map(lambda x, k=k: x[k], together.structure), alone.structure)
        ]
        assert energies[0] == pytest.approx(energies[1], abs=1e-9)


def test_single_precision_keeps_its_type(potential):
    start = cases.small()
    arguments = (start, potential, lists.allocate(start, potential.cutoff))
    half = jax.tree.map(
        lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, arguments
    )
    result = minimise(*half, relax.RelaxConfig(force_tolerance=1e-2))
    assert int(result.outcome) == relax.CONVERGED
    assert result.structure.fractional.dtype == jnp.float32


def test_displace_moves_by_cartesian_vectors():
    atoms = cases.small()
    move = np.random.default_rng(0).normal(size=(atoms.num_atoms, 3))
    moved = atoms.displace(jnp.asarray(move))
    change = geometry.minimum_image(moved.fractional - atoms.fractional) @ atoms.cell.T
    np.testing.assert_allclose(change, move, rtol=0, atol=1e-12)
    assert bool(jnp.all((moved.fractional >= 0) & (moved.fractional < 1)))


@pytest.mark.slow
def test_a_relaxed_cell_carries_no_stress(potential, relaxed):
    """From a strained start the stress goes, positions stay relaxed and the energy falls."""
    strain = jnp.array([[1.01, 0.01, -0.005], [0.0, 0.99, 0.008], [0.0, 0.0, 1.005]])
    strained = relaxed.structure.deform(strain)
    result = relax.relax_cell(strained, potential, TIGHT, stress_tolerance=1e-6)
    assert result.converged
    stress = energetics.stress(result.structure, potential)
    assert float(jnp.abs(stress).max()) <= 1e-6
    assert float(result.residual) <= 1e-7
    assert not np.any(np.tril(result.structure.cell, -1))
    before = relax.relax(strained, potential, TIGHT).structure
    assert energetics.energy(result.structure, potential) < energetics.energy(before, potential)
