"""The protocol of a potential: its general forms beside the fast paths of one, and messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases, small_glass
from reference.general import general

import stzjax
from stzjax.descriptors import soft_modes
from stzjax.mechanics import allocation, energetics, expansion, hessians, relax, strain
from stzjax.potentials import Bonds, Potential, Scales


class Messages(Potential):
    """Each atom sums what its neighbours sum over their own bonds: two hops, angles and all."""

    strength: jax.Array

    def energies(self, bonds: Bonds) -> jax.Array:
        """All that is given."""
        near = jnp.where(bonds.inside, (1.0 - bonds.r / self.cutoff) ** 4, 0.0)
        first = jnp.sum(near * (1.0 + bonds.other), axis=0)
        there = bonds.of_neighbors(first)
        field = bonds.total(near * there * bonds.vectors)
        return self.strength * (jnp.sum(field**2, axis=0) + bonds.total(near * there))


@pytest.fixture(scope="module")
def around():
    """A minimum of a potential with asymmetric densities, for the fast and the general forms."""
    potential = small_glass.potential()
    structure = small_glass.relaxed(small_glass.TILTED)
    neighbors = stzjax.neighbors.allocate(structure, potential.cutoff, inner=3.5)
    return structure, potential, neighbors


KINDS = (
    "energy forces atomic_energy atomic_virial stress energy_and_virial forces_and_trace".split()
)


@pytest.mark.parametrize("kind", KINDS)
def test_fast_paths_are_the_general_ones(kind):
    """Equal to rounding, at atoms far from a minimum."""
    potential, structure = cases.potential(cases.SMALL), cases.small()
    evaluate = getattr(energetics, kind)
    fast, slow = evaluate(structure, potential), evaluate(structure, general(potential))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), fast, slow)


@pytest.mark.slow
def test_second_derivatives_are_the_general_ones(around):
    structure, potential, neighbors = around
    fields = jax.random.normal(jax.random.key(1), (structure.num_atoms, 3, 5))
    found = []
    for form in (potential, general(potential)):
        here = allocation.expand(structure, form, neighbors)
        found.append(
            (
                hessians.apply(here.operator(), fields),
                expansion.affine_forces(here),
                expansion.third_order(here, fields[..., 0], fields[..., 1:]),
                strain.gradient(structure, form, neighbors),
                strain.curvature(structure, form, neighbors),
            )
        )
    for fast, slow in zip(*found, strict=True):
        np.testing.assert_allclose(slow, fast, rtol=1e-9, atol=1e-9 * float(np.abs(fast).max()))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "chebyshev"])
def test_soft_modes_and_response_of_a_general_potential(around, method):
    """Its Hessian is an operator by derivatives of the forces."""
    structure, potential, neighbors = around
    fast = allocation.expand(structure, potential, neighbors)
    slow = allocation.expand(structure, general(potential), neighbors)
    assert isinstance(slow.operator(), hessians.MatrixFree)
    expected = soft_modes.modes(fast, 0.05, method="dense")
    found = soft_modes.modes(slow, 0.05, method=method)
    np.testing.assert_allclose(found.eigenvalues, expected.eigenvalues, rtol=1e-7)
    sides = expansion.affine_forces(fast)
    np.testing.assert_allclose(
        hessians.solve(slow.operator(), sides).fields,
        hessians.solve(fast.operator(), sides).fields,
        atol=1e-6,
    )


@pytest.mark.slow
def test_a_general_potential_relaxes_and_shears_alike(around):
    structure, potential, _ = around
    config = relax.RelaxConfig(1e-7)
    moved = structure.displace(0.02 * jax.random.normal(jax.random.key(2), (54, 3)))
    shear = stzjax.aqs.ShearConfig(step=1e-3, final=0.3, d2min_cutoff=3.8)
    ends = []
    for form in (potential, general(potential)):
        relaxed = relax.relax(moved, form, config)
        assert relaxed.converged
        run = stzjax.aqs.shear(relaxed.structure, form, "+xy", shear)
        ends.append((relaxed.structure.fractional, run))
    np.testing.assert_allclose(ends[0][0], ends[1][0], atol=1e-7)
    (_, fast), (_, slow) = ends
    assert fast.outcome == slow.outcome
    assert fast.event_step(0.1) == slow.event_step(0.1) is not None
    np.testing.assert_array_equal(fast.labels(0.1), slow.labels(0.1))


def test_messages_beyond_the_neighbours(around):
    """Forces by differences, virials by strain: bonds of bonds are differentiated, too."""
    structure, _, neighbors = around
    potential = Messages(elements=structure.elements, cutoff=4.2, strength=jnp.asarray(0.1))
    forces = energetics.forces(structure, potential, neighbors)
    step = 1e-5
    for atom, axis in ((0, 0), (17, 1), (53, 2)):
        move = jnp.zeros((54, 3)).at[atom, axis].set(step)
        up, down = (
            float(energetics.energy(structure.displace(m), potential, neighbors))
            for m in (move, -move)
        )
        assert forces[atom, axis] == pytest.approx(-(up - down) / (2 * step), rel=1e-6, abs=1e-8)
    virial = np.sum(energetics.atomic_virial(structure, potential, neighbors), axis=0)
    strained = [structure.deform(jnp.eye(3).at[0, 1].add(e)) for e in (step, -step)]
    up, down = (float(energetics.energy(s, potential, neighbors)) for s in strained)
    assert virial[0, 1] == pytest.approx((up - down) / (2 * step), rel=1e-6)
    np.testing.assert_allclose(
        energetics.energy_and_virial(structure, potential, neighbors)[1], virial, rtol=1e-10
    )
    slope = jax.grad(lambda p: energetics.energy(structure, p, neighbors))(potential).strength
    energy = energetics.energy(structure, potential, neighbors)
    np.testing.assert_allclose(slope, energy / 0.1, rtol=1e-12)


def test_a_list_of_other_species_is_refused(around):
    """Swapped atoms under an old list: an error on the host, NaN in compiled code, a new list."""
    structure, potential, neighbors = around
    first = int(np.argmin(structure.species))
    second = int(np.argmax(structure.species))
    swapped = structure.species.at[jnp.array([first, second])].set(jnp.array([1, 0], jnp.int32))
    other = structure.replace(species=swapped)
    with pytest.raises(ValueError, match="other species"):
        energetics.energy(other, potential, neighbors)
    evaluate = jax.jit(energetics.energy)
    assert np.isnan(evaluate(other, potential, neighbors))
    with pytest.raises(ValueError, match="other species"):
        jax.grad(lambda p: energetics.energy(other, p, neighbors))(potential)
    assert np.isfinite(jax.jit(lambda p: energetics.energy(structure, p, neighbors))(potential))
    updated = stzjax.neighbors.update(neighbors, other)
    expected = energetics.energy(other, potential)
    np.testing.assert_allclose(evaluate(other, potential, updated), expected, rtol=1e-13)
    assert evaluate(structure, potential, neighbors) != pytest.approx(float(expected), rel=1e-6)


def test_labels_masses_and_scales():
    """Species need no chemical name where the potential has their masses."""
    named = Messages(elements=("A", "B"), cutoff=2.0, strength=jnp.asarray(1.0), masses=(1.0, 3.0))
    np.testing.assert_array_equal(named.masses_of(("B", "A")), [3.0, 1.0])
    assert Scales(0.4, 3.0).time == pytest.approx(0.4 / np.sqrt(3.0))
    with pytest.raises(ValueError, match="knows A, B, but the elements are C"):
        named.masses_of(("C",))
    with pytest.raises(ValueError, match="not chemical"):
        named.replace(masses=None).masses_of(("A",))


class Total(Messages):
    """A mistake: the sum instead of a number for each atom."""

    def energies(self, bonds: Bonds) -> jax.Array:
        """All that is given."""
        return jnp.sum(super().energies(bonds))


def test_energies_of_the_wrong_kind_are_refused(around):
    structure, _, _ = around
    settings = {"elements": structure.elements, "strength": jnp.asarray(1.0)}
    with pytest.raises(
        ValueError, match=r"Total.energies must give .* 54 atoms, got the shape \(\)"
    ):
        energetics.forces(structure, Total(cutoff=4.2, **settings))
    with pytest.raises(ValueError, match="must be a positive length, got -1"):
        energetics.forces(structure, Messages(cutoff=-1.0, **settings))
    with pytest.raises(ValueError, match="less than twice the cut-off 7"):
        energetics.forces(structure, Messages(cutoff=7.0, **settings))
    broken = Messages(cutoff=4.2, **settings).replace(strength=jnp.asarray(jnp.nan))
    relaxed = relax.relax(structure, broken, relax.RelaxConfig(max_iterations=5))
    assert relax.OUTCOMES[int(relaxed.outcome)] == "not finite"


def test_a_potential_without_energies_says_so(around):
    structure, _, neighbors = around
    with pytest.raises(NotImplementedError, match="Potential gives no energies"):
        energetics.energy(structure, Potential(elements=("Cu", "Zr"), cutoff=4.0), neighbors)
