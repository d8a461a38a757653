"""Derivatives through relaxation, descriptors and network against differences of the whole path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases, small_glass

import stzjax
from stzjax.descriptors import table
from stzjax.descriptors.feature_config import FeatureConfig
from stzjax.learning import sensitivity
from stzjax.learning.models import gat
from stzjax.mechanics import allocation
from stzjax.mechanics.relax import RelaxConfig

# Differences of relaxed states and of soft modes see tolerances of 1e-9.
RELAXED = 1e-4
TIGHT = RelaxConfig(force_tolerance=1e-10, max_iterations=100_000)


@pytest.fixture(scope="module")
def glass():
    """54 atoms at a minimum of an asymmetric potential, in a tilted cell."""
    structure, potential = small_glass.relaxed(small_glass.TILTED), small_glass.potential()
    return structure, potential, stzjax.neighbors.allocate(structure, potential.cutoff)


@pytest.mark.slow
def test_the_stiffness_of_the_relaxed_glass_by_the_potential(glass):
    structure, potential, neighbors = glass
    tiling = allocation.tiling(structure, neighbors, 1.5)

    @jax.jit
    def modulus(potential):
        args = potential, structure, neighbors, tiling
        return sensitivity.mean_stiffness(*args, config=TIGHT)

    gradient = jax.jit(jax.grad(modulus))(potential)
    which = sensitivity.coefficients(potential)
    assert {some.name for some in which} == {"pair_table", "density_table", "embedding_table"}
    exact = [sensitivity.logarithmic_slope(potential, gradient, some) for some in which]

    def differences(some):
        return cases.derivative(
            lambda x: float(modulus(sensitivity.scaled(potential, some, 1.0 + x))), 3e-6
        )

    found = [differences(some) for some in which]
    np.testing.assert_allclose(exact, found, atol=RELAXED * np.abs(found).max())
    assert np.abs(exact).min() > 10 * RELAXED * np.abs(exact).max()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["analytic", "table"])
def test_the_energy_is_linear_in_the_coefficients_of_pairs(kind):
    """So the slopes by their logarithms add up to the pair energy: energy without embedding."""
    structure = cases.stored("glass", "tilted")
    potential = stzjax.potentials.mendelev2019()
    if kind == "table":
        potential = cases.resampled(potential, 500)
    neighbors = stzjax.neighbors.allocate(structure, potential.cutoff)
    gradient = jax.grad(lambda p: stzjax.energetics.energy(structure, p, neighbors))(potential)
    name = "pair_coefficients" if kind == "analytic" else "pair_table"
    which = [some for some in sensitivity.coefficients(potential) if some.name == name]
    assert len(which) == 3
    total = sum(sensitivity.logarithmic_slope(potential, gradient, some) for some in which)
    bonds = stzjax.energetics.bonds(structure, potential, neighbors)
    inside = (bonds.idx < structure.num_atoms) & (bonds.r < potential.cutoff)
    if kind == "analytic":
        # Closer than that the bridge to the screened nuclei takes over.
        inside &= bonds.r >= potential.pair_switch[bonds.own + bonds.other]
    pairs = jnp.where(inside, potential.pair(bonds.r, bonds.own, bonds.other), 0.0)
    np.testing.assert_allclose(total, 0.5 * pairs.sum(), rtol=1e-10)
    for some in which:
        twice = sensitivity.scaled(potential, some, 2.0)
        before, after = (stzjax.energetics.energy(structure, p) for p in (potential, twice))
        expected = sensitivity.logarithmic_slope(potential, gradient, some)
        np.testing.assert_allclose(after - before, expected, rtol=1e-8)


@pytest.mark.slow
def test_the_confidence_by_the_positions(glass):
    structure, potential, neighbors = glass
    shape = table.allocate(structure, neighbors, FeatureConfig(mode_fraction=0.05))
    x = np.asarray(table.features(structure, potential, "-xy", neighbors=neighbors, shape=shape))
    graph = stzjax.graphs.build(structure, x, np.arange(54) % 6 == 0)
    model = gat.Config(2, 3, 2)
    config = stzjax.training.TrainConfig(model=model, epochs=2, select_by="loss")
    params = stzjax.training.train([graph], [graph], config).params
    args = params, model, structure, potential, neighbors, shape, graph, "-xy"
    everyone, slopes = sensitivity.confidence_gradient(*args, 7)
    predicted = stzjax.training.predict(params, config, [graph])[0]
    np.testing.assert_allclose(everyone, predicted, atol=1e-5)
    move = np.random.default_rng(0).normal(size=(54, 3))
    move -= move.mean(axis=0)

    @jax.jit
    def confidence(x):
        moved = structure.displace(x * move)
        return sensitivity.confidence(
            params, model, moved, potential, neighbors, shape, graph, "-xy"
        )[7]

    expected = cases.derivative(lambda x: float(confidence(x)), 2e-5)
    # The contributions of the atoms nearly cancel.
    np.testing.assert_allclose(
        np.sum(slopes * move), expected, atol=RELAXED * np.linalg.norm(slopes * move)
    )
    # A translation changes nothing.
    np.testing.assert_allclose(slopes.sum(axis=0), 0.0, atol=1e-6 * np.abs(slopes).max())


def test_bad_input(glass):
    structure, potential, neighbors = glass
    model = gat.Config(radial=2)
    with pytest.raises(ValueError, match="without symmetry functions"):
        sensitivity.confidence(None, model, structure, potential, neighbors, None, None, "-xy")
