"""D²min against NumPy least squares, closed cases and invariances; OVITO stands in test_aqs.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.neighbors import lists
from stzjax.shear import nonaffine

CUTOFF = 3.8


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(5)
    cell = np.array([[13.0, 1.0, -0.8], [0.0, 12.5, 0.6], [0.0, 0.0, 12.0]])
    before = Structure.create(rng.random((100, 3)), cell, np.zeros(100, int), ("Cu",))
    moved = np.asarray(before.fractional) + rng.normal(scale=0.01, size=(100, 3))
    shear = np.eye(3) + np.array([[0, 0.03, 0], [0, 0, 0.01], [0, 0, 0.0]])
    after = Structure.create(moved, shear @ cell, np.zeros(100, int), ("Cu",))
    return before, after, lists.allocate(before, CUTOFF, skin=1.0)


def by_least_squares(before, after):
    """A loop over atoms with numpy.linalg.lstsq over all bonds within the cut-off."""
    values = []
    s0, s1 = np.asarray(before.fractional), np.asarray(after.fractional)
    h0, h1 = np.asarray(before.cell), np.asarray(after.cell)
    for i in range(len(s0)):
        gap0, gap1 = s0 - s0[i], s1 - s1[i]
        d0, d1 = (gap0 - np.round(gap0)) @ h0.T, (gap1 - np.round(gap1)) @ h1.T
        near = np.linalg.norm(d0, axis=1) < CUTOFF
        near[i] = False
        maps, *_ = np.linalg.lstsq(d0[near], d1[near], rcond=None)
        values.append(((d1[near] - d0[near] @ maps) ** 2).sum())
    return np.array(values)


def test_against_least_squares(pair):
    found = nonaffine.d2min(*pair, CUTOFF)
    np.testing.assert_allclose(found, by_least_squares(*pair[:2]), rtol=1e-9, atol=1e-12)
    assert found.max() > 0.01


def test_mean_is_the_sum_over_the_coordination(pair):
    total = nonaffine.d2min(*pair, CUTOFF)
    mean = nonaffine.d2min(*pair, CUTOFF, reduction="mean")
    coordination = nonaffine.bonds(pair[0], pair[2], CUTOFF)[1].sum(axis=0)
    np.testing.assert_allclose(mean * coordination, total, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_zero_under_any_affine_map(pair, seed):
    before, _, bonds = pair
    upper = np.triu(np.random.default_rng(seed).normal(scale=0.05, size=(3, 3))) + np.eye(3)
    after = before.deform(jnp.asarray(upper))
    assert nonaffine.d2min(before, after, bonds, CUTOFF).max() < 1e-20


def test_one_moved_atom_of_an_octahedron():
    """A single atom moved by u from the centre of six bonds leaves 6 u² there: no map fits that."""
    cell = np.eye(3) * 12.0
    arms = np.concatenate([np.eye(3), -np.eye(3)]) * 2.0
    positions = np.concatenate([np.zeros((1, 3)), arms]) + 6.0
    before = Structure.create(positions / 12.0, cell, np.zeros(7, int), ("Cu",))
    positions[0] += [0.3, 0.0, 0.0]
    after = Structure.create(positions / 12.0, cell, np.zeros(7, int), ("Cu",))
    bonds = lists.allocate(before, 2.5, skin=0.5)
    assert nonaffine.d2min(before, after, bonds, 2.5)[0] == pytest.approx(6 * 0.09, rel=1e-10)


def test_lonely_atoms_are_zero():
    before = Structure.create(np.array([[0.1] * 3, [0.6] * 3]), np.eye(3) * 12, [0, 0], ("Cu",))
    after = before.replace(fractional=before.fractional + jnp.array([[0.01, 0, 0], [0, 0, 0]]))
    bonds = lists.allocate(before, CUTOFF)
    assert nonaffine.d2min(before, after, bonds, CUTOFF).tolist() == [0.0, 0.0]


def test_crossing_the_boundary_changes_nothing(pair):
    before, after, bonds = pair
    shift = jnp.array([0.37, 0.81, 0.55])
    moved = [s.replace(fractional=geometry.wrap(s.fractional + shift)) for s in (before, after)]
    np.testing.assert_allclose(
        nonaffine.d2min(*moved, bonds, CUTOFF), nonaffine.d2min(*pair, CUTOFF), rtol=1e-9
    )


@pytest.mark.slow
def test_batched_is_one_by_one_and_differentiable(pair):
    before, after, bonds = pair
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), (before, after, bonds))
    both = jax.vmap(lambda b, a, n: nonaffine.d2min(b, a, n, CUTOFF))(*stacked)
    np.testing.assert_allclose(both[1], nonaffine.d2min(*pair, CUTOFF), rtol=1e-12)

    def total(s):
        return jnp.sum(nonaffine.d2min(before, after.replace(fractional=s), bonds, CUTOFF))

    slope = jax.grad(total)(after.fractional)
    step = 1e-6 * jnp.zeros_like(slope).at[3, 1].set(1.0)
    numeric = (total(after.fractional + step) - total(after.fractional - step)) / 2e-6
    assert slope[3, 1] == pytest.approx(float(numeric), rel=1e-6)
