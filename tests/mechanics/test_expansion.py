"""The expansion of the energy: its parts against finite differences of energies and forces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases, small_glass

import stzjax
from stzjax.core import loads
from stzjax.mechanics import allocation, expansion, hessians, strain

# Third derivatives of a spline jump at its knots; five-point differences of short steps and
# splines of 10,000 points err by less than these shares of the largest number.
FIRST, SECOND, THIRD = 1e-7, 2e-6, 2e-3


@pytest.fixture(scope="module")
def around():
    """54 atoms at a minimum of an asymmetric potential, in a tilted cell."""
    structure, potential = small_glass.relaxed(small_glass.TILTED), small_glass.potential()
    neighbors = stzjax.neighbors.allocate(structure, potential.cutoff, skin=0.3)
    return allocation.expand(structure, potential, neighbors)


@pytest.fixture(scope="module")
def fields():
    return jnp.asarray(np.random.default_rng(0).normal(size=(54, 3, 4)))


def moved(around, move):
    return around.replace(structure=around.structure.displace(move))


def close(found, expected, share):
    np.testing.assert_allclose(found, expected, atol=share * np.abs(expected).max())


def test_forces_are_the_slope_of_a_closed_form(around):
    rough = expansion.expand(small_glass.rough(small_glass.TILTED, jitter=0.01), around.potential)
    move = np.random.default_rng(1).normal(size=(54, 3))

    def energy(x):
        return cases.oracle(moved(rough, x * move).structure, small_glass.TOY).sum()

    expected = cases.derivative(energy)
    np.testing.assert_allclose(-np.sum(expansion.forces(rough) * move), expected, rtol=FIRST)


def test_products_are_the_slope_of_the_forces_and_those_of_the_operator(around, fields):
    found = np.asarray(expansion.products(around, fields))
    for column in range(fields.shape[-1]):
        move = fields[..., column]
        expected = -cases.derivative(
            lambda x, move=move: np.asarray(expansion.forces(moved(around, x * move)))
        )
        close(found[..., column], expected, SECOND)
    np.testing.assert_allclose(hessians.apply(around.operator(), fields), found, atol=1e-10)


@pytest.mark.parametrize("place", range(6))
def test_affine_forces_are_the_slope_of_the_forces_by_strain(around, place):
    """Along the symmetric strain, whose cell is turned back to an upper triangular one."""
    first, second = loads.VOIGT[place]
    tensor = np.zeros((3, 3))
    tensor[first, second] += 0.5
    tensor[second, first] += 0.5

    def forces(strain):
        turn, cell = np.linalg.qr((np.eye(3) + strain * tensor) @ around.structure.cell)
        signs = np.sign(np.diag(cell))
        structure = around.structure.replace(cell=np.triu(cell * signs[:, None]))
        return np.asarray(expansion.forces(around.replace(structure=structure))) @ (turn * signs).T

    found = np.asarray(expansion.affine_forces(around))
    np.testing.assert_allclose(
        found[..., place], cases.derivative(forces), atol=SECOND * np.abs(found).max()
    )


def test_third_order_is_the_slope_of_the_products(around, fields):
    """Against differences of the dense Hessian, which is made of the forces alone."""
    move = np.random.default_rng(2).normal(size=(54, 3))
    flat = np.asarray(fields).reshape(162, -1)

    def products(x):
        there = moved(around, x * move)
        return small_glass.hessian(there.structure, there.potential, there.neighbors) @ flat

    found = jax.jit(expansion.third_order)(around, move, fields)
    expected = cases.derivative(products, 1e-5)
    close(np.asarray(found).reshape(162, -1), expected, THIRD)


@pytest.mark.slow
def test_third_order_is_symmetric_and_blind_to_translation(around, fields):
    """Σ ∂³E u v w does not depend on the order of the three, and a common move is none."""
    first, second, third = (fields[..., k] for k in range(3))

    def contracted(u, v, w):
        return float(jnp.sum(w * expansion.third_order(around, u, v[..., None])[..., 0]))

    expected = contracted(first, second, third)
    assert abs(expected) > 1.0
    np.testing.assert_allclose(contracted(third, first, second), expected, rtol=1e-9)
    np.testing.assert_allclose(contracted(second, third, first), expected, rtol=1e-9)
    still = expansion.third_order(around, jnp.ones((54, 3)), fields)
    np.testing.assert_allclose(still, 0.0, atol=1e-9)


def test_a_batch_is_one_by_one(around, fields):
    """Made under `vmap` from static shapes, as on the host."""
    structure = around.structure
    tiling = allocation.tiling(structure, around.neighbors)
    batch = jax.tree.map(
        lambda *x: jnp.stack(x), structure, moved(around, 0.01 * fields[..., 0]).structure
    )

    def work(structure):
        made = expansion.expand(structure, around.potential, around.neighbors, tiling)
        curvature = strain.curvature(structure, made.potential, made.neighbors)
        return hessians.apply(made.operator(), fields), curvature

    together = jax.vmap(work)(batch)
    for found, expected in zip(together, work(structure), strict=True):
        np.testing.assert_allclose(found[0], expected, atol=1e-10)


def test_under_jit_a_list_is_needed_and_a_hessian_is_asked_for(around):
    structure, potential = around.structure, around.potential
    with pytest.raises(ValueError, match=r"neighbors\.allocate"):
        jax.jit(lambda s: expansion.expand(s, potential).structure)(structure)
    with pytest.raises(ValueError, match="has no Hessian"):
        expansion.expand(structure, potential).operator()
