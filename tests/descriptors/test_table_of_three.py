"""The feature table of a mixture of three species, two of which are the same by another name."""

import jax.numpy as jnp
import numpy as np
import pytest
from reference import pairs

import stzjax
from stzjax.descriptors import table
from stzjax.mechanics import relax


@pytest.mark.slow
def test_a_third_species_is_one_more_column():
    """Every second A is called C: nothing but the one-hot columns and the icosahedra change."""
    two = stzjax.potentials.kob_andersen()
    glass = relax.relax(pairs.small(), two, relax.RelaxConfig(1e-9)).structure
    kind = np.array([0, 1, 0])
    tables = {name: getattr(two, name)[np.ix_(kind, kind)] for name in ("depth", "size")}
    masses = tuple(np.array(two.masses)[kind])
    three = two.replace(elements=("A", "B", "C"), masses=masses, **tables)
    species = 1 - np.array(glass.species)  # There B is the first.
    glass = glass.replace(species=jnp.asarray(species), elements=two.elements)
    called = np.flatnonzero(species == 0)[::2]
    species = species.copy()
    species[called] = 2
    mixture = glass.replace(species=jnp.asarray(species), elements=three.elements)
    names = table.columns(elements=three.elements)
    assert names[:4] == ("A", "B", "C", "icosahedron") and len(names) == 20
    before = np.asarray(table.features(glass, two, "+xz"))
    after = np.asarray(table.features(mixture, three, "+xz"))
    assert after.shape == (108, 20)
    np.testing.assert_array_equal(after[:, :3], species[:, None] == np.arange(3))
    np.testing.assert_allclose(after[:, 5:], before[:, 4:], rtol=1e-7, atol=1e-7)
    # Icosahedra are those around the first element.
    np.testing.assert_array_equal(after[:, 3], before[:, 2] * (species == 0))
    np.testing.assert_array_equal(after[:, 3] + after[:, 4], 1.0)
