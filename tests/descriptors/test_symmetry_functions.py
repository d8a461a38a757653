"""Symmetry functions against a NumPy loop over neighbours and pairs of them; invariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases, small_glass

import stzjax
from stzjax.descriptors import symmetry_functions, symmetry_places
from stzjax.learning.models import gat

# Rounding of sums of a few hundred terms of order one.
ROUNDING = 1e-11
CUTOFF, ANGULAR = 4.5, 3.6


@pytest.fixture(scope="module")
def glass():
    """54 atoms in a tilted cell."""
    return small_glass.relaxed(small_glass.TILTED)


BASIS = symmetry_functions.Basis(
    centre=jnp.array([2.4, 3.1, 4.0]),
    width=jnp.array([0.3, 0.5, 0.2]),
    reach=jnp.array([3.0, 5.0]),
    exponent=jnp.array([1.0, 3.5]),
    sign=jnp.array([1.0, -1.0]),
)


def around(structure, shape=None):
    shape = shape or symmetry_places.allocate([structure], CUTOFF, ANGULAR)
    neighbors = stzjax.neighbors.allocate(structure, CUTOFF)
    return symmetry_functions.surroundings(structure, neighbors, shape)


def loop(structure, basis):
    """The definition, pair by pair and triple by triple."""
    x = np.asarray(structure.positions())
    cell, species = np.asarray(structure.cell), np.asarray(structure.species)
    images = [cell @ np.array(n) for n in np.ndindex(3, 3, 3)]
    images = [v - cell @ np.ones(3) for v in images]
    basis = [np.asarray(p) for p in basis]
    radial = np.zeros((len(x), 2, 3))
    angular = np.zeros((len(x), 3, 2))
    for i in range(len(x)):
        near = []
        for j in range(len(x)):
            for shift in images:
                d = x[j] + shift - x[i]
                r = np.linalg.norm(d)
                if 0 < r < CUTOFF:
                    near.append((r, d, species[j]))
        for r, _, s in near:
            fade = 0.5 * (1 + np.cos(np.pi * r / CUTOFF))
            radial[i, s] += fade * np.exp(-((r - basis[0]) ** 2) / (2 * basis[1] ** 2))
        inner = [n for n in near if n[0] < ANGULAR]
        for a, (r, d, s) in enumerate(inner):
            for q, e, t in inner[a + 1 :]:
                fade = 0.25 * np.prod([1 + np.cos(np.pi * y / ANGULAR) for y in (r, q)])
                cosine = d @ e / (r * q)
                value = 2 ** (1 - basis[3]) * (1 + basis[4] * cosine) ** basis[3]
                value = value * np.exp(-(r**2 + q**2) / basis[2] ** 2)
                angular[i, s + t] += fade * value
    return np.concatenate([radial.reshape(len(x), -1), angular.reshape(len(x), -1)], axis=1)


def test_the_definition(glass):
    found = symmetry_functions.functions(BASIS, around(glass))
    np.testing.assert_allclose(found, loop(glass, BASIS), atol=ROUNDING)
    assert np.abs(found).min(axis=0).max() > 0.01


def test_spare_places_change_nothing(glass):
    shape = symmetry_places.allocate([glass], CUTOFF, ANGULAR)
    loose = shape._replace(places=shape.places + 40, angular_places=shape.angular_places + 5)
    found, padded = (symmetry_functions.functions(BASIS, around(glass, s)) for s in (shape, loose))
    np.testing.assert_allclose(found, padded, atol=ROUNDING)


@pytest.mark.parametrize("name", ["places", "angular_places"])
def test_too_few_places_are_not_silent(glass, name):
    shape = symmetry_places.allocate([glass], CUTOFF, ANGULAR)
    short = around(glass, shape._replace(**{name: 4}))
    assert np.isnan(short.weight).all()
    with pytest.raises(ValueError, match="weight of the surroundings is not finite"):
        stzjax.graphs.build(glass, np.zeros((54, 1)), surroundings=short)


@pytest.mark.slow
def test_rotated_and_relabelled(glass):
    """Quarter turn of a cubic cell, another order of the atoms."""
    cubic = glass.replace(cell=10.5 * jnp.eye(3))
    order = np.random.default_rng(0).permutation(54)
    s = np.asarray(cubic.fractional)[order]
    turned = np.stack([1.0 - s[:, 1], s[:, 0], s[:, 2]], axis=1) % 1.0
    other = stzjax.Structure.create(
        turned, cubic.cell, np.asarray(cubic.species)[order], cubic.elements
    )
    found = symmetry_functions.functions(BASIS, around(cubic))
    np.testing.assert_allclose(
        symmetry_functions.functions(BASIS, around(other)), found[order], atol=ROUNDING
    )


@pytest.mark.slow
def test_derivatives_by_positions_and_parameters(glass):
    shape = symmetry_places.allocate([glass], CUTOFF, ANGULAR)
    neighbors = stzjax.neighbors.allocate(glass, CUTOFF)
    rng = np.random.default_rng(1)
    weight, move = rng.normal(size=(54, 12)), rng.normal(size=(54, 3))
    change = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), BASIS)
    change = change._replace(sign=jnp.zeros(2))

    def value(x, y):
        moved = glass.replace(fractional=glass.fractional + 0.01 * x * move)
        basis = jax.tree.map(lambda p, d: p + y * d, BASIS, change)
        return jnp.sum(weight * symmetry_functions.functions(basis, symmetry_functions.surroundings(
            moved, neighbors, shape
        )))  # fmt: skip

    for which in (0, 1):
        slope = jax.grad(value, argnums=which)(0.0, 0.0)
        expected = cases.derivative(lambda t, w=which: float(value(*np.eye(2)[w] * t)), 1e-3)
        np.testing.assert_allclose(slope, expected, rtol=1e-6)


@pytest.mark.slow
def test_a_network_learns_the_parameters_or_leaves_them(glass):
    features = np.random.default_rng(0).normal(size=(54, 3))
    labels = np.arange(54) % 5 == 0
    graph = stzjax.graphs.build(glass, features, labels, surroundings=around(glass))
    start = symmetry_functions.initial(4, 2).centre.astype("float32")
    found = {}
    for learn in (True, False):
        shape = gat.Config(1, 4, 2, radial=4, angular=2, learn_functions=learn)
        config = stzjax.training.TrainConfig(model=shape, epochs=3, select_by="loss")
        result = stzjax.training.train([graph], [graph], config)
        fitted = result.params.network["SymmetryFunctions_0"]
        found[learn] = np.abs(fitted["centre"] - start).max()
        assert len(stzjax.training.predict(result.params, config, [graph])[0]) == 54
    assert found[False] == 0.0 and found[True] > 1e-4


def test_padding_atoms_do_not_count(glass):
    graph = stzjax.graphs.build(glass, np.zeros((54, 1)), surroundings=around(glass))
    module = gat.SymmetryFunctions(4, 2)
    nodes = graph.nodes
    variables = module.init(jax.random.key(0), nodes.surroundings, nodes.mask)
    plain = module.apply(variables, nodes.surroundings, nodes.mask)
    padded = stzjax.graphs.pad(graph, 80, 2000).nodes
    found = module.apply(variables, padded.surroundings, padded.mask)
    np.testing.assert_allclose(found[:54], plain, atol=1e-5)
    np.testing.assert_array_equal(found[54:], 0.0)


def test_bad_input(glass):
    graph = stzjax.graphs.build(glass, np.zeros((54, 1)), np.arange(54) % 2)
    config = stzjax.training.TrainConfig(model=gat.Config(1, 2, 2, radial=2), select_by="loss")
    with pytest.raises(ValueError, match="graphs built with surroundings"):
        stzjax.training.train([graph], [graph], config)
    with pytest.raises(ValueError, match="0 < angular ≤ radial"):
        symmetry_places.allocate([glass], 3.0, 3.5)
    with pytest.raises(ValueError, match="radial must not be negative"):
        gat.Config(radial=-1)
    with pytest.raises(ValueError, match="surroundings of 54 atoms"):
        some = glass.fractional[:50], glass.cell, glass.species[:50], glass.elements
        half = stzjax.Structure.create(*some)
        stzjax.graphs.build(half, np.zeros((50, 1)), surroundings=around(glass))
