"""Tables of bond weights against the potential they were made of."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases

from stzjax import io, potentials
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics
from stzjax.neighbors import lists


@pytest.fixture(scope="module")
def glass(reference):
    return io.structure_from(dict(np.load(reference / "glass.npz")))


@functools.cache
def potential(kind: str):
    analytic = potentials.mendelev2019()
    if kind == "analytic":
        return analytic
    # A coarse table: its spline bends at every one of 1,000 knots.
    return cases.resampled(analytic, 1000)


KINDS = ("analytic", "table")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_forces_and_trace_are_those_of_the_potential(kind, glass):
    base = potential(kind)
    compact = potentials.compact(base)
    found, trace = energetics.forces_and_trace(glass, compact)
    expected, exact = energetics.forces_and_trace(glass, base)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
    np.testing.assert_allclose(trace, exact, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        energetics.energy(glass, compact), energetics.energy(glass, base), rtol=0, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize(("num_pieces", "rounded"), [(990, 0), (991, -1), (992, 1), (999, -1)])
def test_empty_places_of_a_list_pull_nothing(num_pieces, rounded, glass):
    """Whatever the grid: (number of pieces / cut-off) × cut-off may round to below the number."""
    base = potential("analytic")
    assert np.sign(num_pieces / base.cutoff * base.cutoff - num_pieces) == rounded
    prepared = potentials.compact(base, num_pieces=num_pieces)
    tight, loose = (
        energetics.forces(glass, prepared, lists.allocate(glass, base.cutoff, slack=slack))
        for slack in (1.0, 1.5)
    )
    np.testing.assert_allclose(loose, tight, rtol=0, atol=1e-12)
    np.testing.assert_allclose(tight, energetics.forces(glass, base), rtol=0, atol=1e-6)


def test_a_table_keeps_its_own_grid():
    """Between its knots the spline is smooth, and a density one piece of it."""
    base = potential("table")
    prepared = potentials.compact(base)
    r = jnp.linspace(2.0, 7.5, 4001)
    species = jnp.ones(r.shape, jnp.int32)
    assert prepared._num_pieces == 2 * 999
    found, expected = (p.density(r, species, species) for p in (prepared, base))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_hessian_is_that_of_the_potential(kind, glass):
    """The pieces are cubic, so the derivative of a force is off by the cube of their size."""
    base = potential(kind)
    move = jnp.asarray(np.random.default_rng(0).normal(size=(500, 3)))
    found, expected = (
        energetics.hessian_vector_product(glass, p, move) for p in (potentials.compact(base), base)
    )
    # 1e-4 eV/Å² for each of some 150 bonds of an atom, added at random.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    assert np.sqrt(np.mean(np.square(found - expected))) < 1e-4


@pytest.mark.slow
def test_single_precision(glass):
    base = potential("analytic")
    compact = potentials.compact(base, precision="float32")
    assert {leaf.dtype for leaf in jax.tree.leaves(compact)} == {jnp.dtype("float32")}
    bonds = lists.allocate(glass, base.cutoff)
    half = [
        jax.tree.map(lambda x: x.astype("float32") if x.dtype == jnp.float64 else x, tree)
        for tree in (glass, bonds)
    ]
    found = energetics.forces(half[0], compact, half[1])
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, energetics.forces(glass, base), rtol=0, atol=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("elements", (("Cu", "Zr"), ("Zr", "Cu"), ("Zr",)))
def test_any_order_of_elements(elements, glass):
    species = np.asarray(glass.species) % len(elements)
    # Wide enough that no pair gets into the short-range branches, which have a step.
    atoms = Structure.create(glass.fractional, 1.15 * glass.cell, species, elements)
    base = potential("analytic")
    expected = energetics.forces(atoms, base)
    for order in (None, elements):
        found = energetics.forces(atoms, potentials.compact(base, order))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_a_finer_grid_is_chosen_for_a_tighter_tolerance():
    base = potential("analytic")
    loose, tight = (potentials.compact(base, tolerance=t) for t in (1e-4, 1e-7))
    assert loose.densities[0].size < tight.densities[0].size
    fixed = potentials.compact(base, num_pieces=500)
    assert fixed.densities[0].size == 4 * 501


def test_beyond_the_cutoff_and_not_a_number():
    compact = potentials.compact(potential("analytic"))
    r = jnp.array([7.6, 7.600001, 20.0, jnp.nan])
    kind = jnp.zeros(4, int)
    weights = compact.bond_weight(r, kind, kind, (1.0, 1.0))
    assert np.array_equal(weights[:3], np.zeros(3))
    assert np.isnan(weights[3]) and np.isnan(compact.density(r, kind, kind)[3])


def test_an_unknown_element():
    with pytest.raises(ValueError, match="knows Cu, Zr"):
        potentials.compact(potential("analytic"), ("Cu", "Al"))
