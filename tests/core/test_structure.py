"""Cells, images, wrapping, deformation and units."""

import itertools

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import cases

from stzjax.core import geometry, units
from stzjax.core.structure import Structure

CELL = np.array([[9.0, 1.5, -2.0], [0.0, 8.0, 2.5], [0.0, 0.0, 10.0]])


def make(**changes):
    """A valid structure of two atoms, or an invalid one by a change."""
    arguments = {
        "fractional": [[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]],
        "cell": CELL,
        "species": [0, 1],
        "elements": ("Cu", "Zr"),
    }
    return Structure.create(**(arguments | changes))


def test_create_keeps_what_it_is_given():
    atoms = make(fractional=[[0.1, 1.2, -0.3], [0.6, 0.7, 0.8]])
    assert atoms.num_atoms == 2
    assert atoms.fractional.dtype == atoms.cell.dtype == jnp.float64
    assert atoms.species.dtype == jnp.int32
    assert atoms.elements == ("Cu", "Zr")
    np.testing.assert_allclose(atoms.fractional, [[0.1, 0.2, 0.7], [0.6, 0.7, 0.8]], atol=1e-15)
    np.testing.assert_array_equal(atoms.cell, CELL)


@pytest.mark.parametrize(
    ("changes", "saying"),
    (
        ({"fractional": [0.1, 0.2, 0.3]}, r"shape \(N, 3\)"),
        ({"fractional": np.zeros((0, 3)), "species": np.zeros(0, int)}, r"shape \(N, 3\)"),
        ({"fractional": np.zeros((2, 2))}, r"shape \(N, 3\)"),
        ({"fractional": [[0, 0, 0], [0, np.nan, 0]]}, "atom 1 is not finite"),
        ({"fractional": [[0, np.inf, 0], [0, 0, 0]]}, "atom 0 is not finite"),
        ({"cell": np.eye(2)}, r"\(2, 2\)"),
        ({"cell": CELL.T}, "upper triangular"),
        ({"cell": -CELL}, "positive diagonal"),
        ({"cell": CELL * [1, 1, 0]}, "positive diagonal"),
        ({"cell": CELL * np.nan}, "upper triangular"),
        ({"species": [0]}, "there are 2 atoms"),
        ({"species": [0, 2]}, "from 0 to 1"),
        ({"species": [-1, 0]}, "from 0 to 1"),
        ({"species": [0.0, 1.0]}, "must be integers"),
        ({"elements": ("Cu",)}, "from 0 to 0"),
    ),
)
def test_create_refuses_what_is_wrong(changes, saying):
    with pytest.raises(ValueError, match=saying) as caught:
        make(**changes)
    assert "\n" not in str(caught.value)


def test_create_needs_double_precision():
    try:
        jax.config.update("jax_enable_x64", False)
        with pytest.raises(ValueError, match="jax_enable_x64"):
            make()
    finally:
        jax.config.update("jax_enable_x64", True)


coordinates = hnp.arrays(np.float64, (4, 3), elements=st.floats(-1e6, 1e6))


@settings(max_examples=200, deadline=None)
@given(coordinates)
def test_wrapped_positions_are_in_the_half_open_interval(fractional):
    wrapped = geometry.wrap(fractional)
    assert np.all((wrapped >= 0.0) & (wrapped < 1.0))
    whole = fractional - wrapped
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-9)
    np.testing.assert_array_equal(geometry.wrap(wrapped), wrapped)


@pytest.mark.parametrize("library", (np, jnp))
@pytest.mark.parametrize("value", (0.0, 1.0, -1e-17, -1e-300, 1.0 - 2**-53, -1.0, 3.0))
def test_wrapping_at_the_faces(library, value):
    wrapped = float(geometry.wrap(library.asarray(value)))
    assert 0.0 <= wrapped < 1.0


def test_minimum_image_is_the_nearest_of_all_images():
    rng = np.random.default_rng(0)
    difference = rng.uniform(-1.0, 1.0, (500, 3))
    images = np.array(list(itertools.product(range(-3, 4), repeat=3)))
    distances = np.linalg.norm((difference[:, None] + images) @ CELL.T, axis=-1)
    nearest = distances.min(axis=1)
    within = nearest < geometry.heights(CELL).min() / 2
    found = np.linalg.norm(geometry.minimum_image(jnp.asarray(difference)) @ CELL.T, axis=-1)
    assert within.sum() > 50
    np.testing.assert_allclose(found[within], nearest[within], atol=1e-12)
    assert np.all(found >= nearest - 1e-12)


def test_minimum_image_differentiates_as_the_identity():
    slope = jax.jacfwd(geometry.minimum_image)(jnp.array([0.2, 0.9, -0.7]))
    np.testing.assert_array_equal(slope, np.eye(3))


def test_positions_are_sums_of_cell_vectors():
    atoms = make()
    a, b, c = CELL.T
    np.testing.assert_allclose(atoms.positions()[1], 0.6 * a + 0.7 * b + 0.8 * c)


def test_volume_heights_and_inverse():
    a, b, c = CELL.T
    assert float(geometry.volume(jnp.asarray(CELL))) == pytest.approx(np.dot(a, np.cross(b, c)))
    faces = [np.linalg.norm(np.cross(x, y)) for x, y in ((b, c), (c, a), (a, b))]
    np.testing.assert_allclose(geometry.heights(CELL), 720.0 / np.array(faces))
    np.testing.assert_allclose(
        geometry.inverse(jnp.asarray(CELL)), np.linalg.inv(CELL), rtol=0, atol=1e-16
    )
    batch = jnp.asarray(np.stack([CELL, 2.0 * CELL]))
    np.testing.assert_allclose(
        geometry.inverse(batch) @ batch, np.stack([np.eye(3)] * 2), atol=1e-15
    )
    assert geometry.volume(batch).shape == (2,)


def test_deforming_moves_every_atom_affinely():
    atoms = cases.small()
    gradient = np.array([[1.01, 0.2, -0.1], [0.0, 0.97, 0.05], [0.0, 0.0, 1.02]])
    deformed = atoms.deform(jnp.asarray(gradient))
    np.testing.assert_allclose(deformed.positions(), atoms.positions() @ gradient.T, atol=1e-12)
    assert not np.any(np.tril(deformed.cell, -1))


def test_a_structure_is_a_pytree_with_static_elements():
    atoms = cases.small()
    assert len(jax.tree.leaves(atoms)) == 3
    doubled = jax.jit(lambda s: s.replace(cell=2 * s.cell))(atoms)
    assert doubled.elements == atoms.elements
    batch = jax.tree.map(lambda x: jnp.stack([x, x]), atoms)
    assert batch.num_atoms == atoms.num_atoms
    assert jax.vmap(lambda one: one.positions())(batch).shape == (2, atoms.num_atoms, 3)


def test_units_are_consistent():
    # SI values of the 2019 definition and CODATA 2018.
    charge, boltzmann, dalton = 1.602176634e-19, 1.380649e-23, 1.66053906660e-27
    assert units.BOLTZMANN == pytest.approx(boltzmann / charge, rel=1e-9)
    assert pytest.approx(dalton * (1e-10 / 1e-12) ** 2 / charge, rel=1e-9) == units.AMU
    assert pytest.approx(charge / 1e-30 / 1e9, rel=1e-12) == units.GPA
    assert pytest.approx(dalton * 1e3 / 1e-24, rel=1e-10) == units.GRAM_PER_CM3


def test_masses_and_numbers():
    np.testing.assert_allclose(units.masses(("Zr", "Cu")), [91.224, 63.546], atol=2e-3)
    np.testing.assert_array_equal(units.atomic_numbers(("Zr", "Cu")), [40, 29])
    for wrong in ("Xx", "X", "copper", ""):
        with pytest.raises(ValueError, match="not chemical elements"):
            units.masses(("Cu", wrong))
