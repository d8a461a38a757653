"""Constant energy: conservation, order of the integrator, shortage of places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stzjax import io, potentials
from stzjax.core import units
from stzjax.dynamics import nve
from stzjax.mechanics import energetics
from stzjax.neighbors import lists
from stzjax.numerics import batching


@pytest.fixture(scope="module")
def potential():
    return potentials.compact(potentials.mendelev2019())


@pytest.fixture(scope="module")
def start(reference, potential):
    glass = io.structure_from(dict(np.load(reference / "glass.npz")))
    bonds = lists.allocate(glass, potential.cutoff, 0.5, inner=potential.inner_cutoff)
    return nve.init(jax.random.key(0), glass, potential, bonds, 600.0)


def kinetic_energy(state) -> float:
    return 0.5 * float(jnp.sum(state.momentum**2 / state.mass))


def total(state, potential) -> float:
    energy = energetics.energy(state.structure, potential, state.neighbors)
    return float(energy) + kinetic_energy(state)


@pytest.mark.slow
def test_energy_is_conserved_to_second_order(start, potential):
    first = total(start, potential)
    drift = []
    for steps, timestep in ((100, 0.004), (200, 0.002)):
        state, taken = nve.run(start, potential, steps, timestep)
        assert int(taken) == steps
        drift.append(abs(total(state, potential) - first) / 500)
    # Verlet's energy swings by (ω Δt)² / 8 of the kinetic energy: 8 THz, 2 fs, 0.078 eV.
    assert drift[1] < (2 * np.pi * 8 * 0.002) ** 2 / 8 * 0.078
    assert drift[1] < 0.4 * drift[0]


def test_momenta(start, potential):
    temperature = 2.0 * kinetic_energy(start) / (1500 * units.BOLTZMANN)
    assert temperature == pytest.approx(600.0, rel=0.1)  # 1,500 squares: 4 % at one sigma.
    np.testing.assert_allclose(jnp.sum(start.momentum, axis=0), 0.0, atol=1e-12)
    state, _ = nve.run(start, potential, 100, 0.002)
    np.testing.assert_allclose(jnp.sum(state.momentum, axis=0), 0.0, atol=1e-10)


def test_a_run_is_its_parts(start, potential):
    whole, _ = nve.run(start, potential, 30, 0.002)
    half, _ = nve.run(start, potential, 15, 0.002)
    again, _ = nve.run(half, potential, 15, 0.002)
    assert np.array_equal(whole.structure.fractional, again.structure.fractional)


@pytest.mark.slow
def test_batched_is_one_by_one(start, potential):
    """Two specimens with lists of their own, one of them hot; the same to rounding."""
    hot = start.replace(momentum=2.0 * start.momentum)
    both = nve.run_many(batching.stack([start, hot]), potential, jnp.array([40, 25]), 0.002)
    assert both.steps.tolist() == [40, 25]
    moved = both.neighbors.fractional[1] - start.neighbors.fractional
    assert float(jnp.abs(moved).max()) > 0.0  # The hot one needed a new list on the way.
    for place, (alone, steps) in enumerate(((start, 40), (hot, 25))):
        single, _ = nve.run(alone, potential, steps, 0.002)
        gap = np.asarray(both.structure.fractional[place] - single.structure.fractional)
        np.testing.assert_allclose(gap - np.round(gap), 0.0, atol=1e-11)


@pytest.mark.slow
def test_overflow_stops_before_a_wrong_force(start, potential):
    bonds = lists.allocate(start.structure, potential.cutoff, skin=0.2)
    used = int(np.sum(np.asarray(lists.table(bonds)) < 500, axis=0).max())
    tight = lists.make(bonds.spec._replace(near=(used,)), start.structure)
    assert not tight.overflow
    state, taken = nve.run(start.replace(neighbors=tight), potential, 400, 0.002)
    assert bool(state.neighbors.overflow) and 0 < int(taken) < 400
    wide = lists.allocate(state.structure, potential.cutoff)
    np.testing.assert_allclose(
        state.force, energetics.forces(state.structure, potential, wide), rtol=0, atol=1e-9
    )
