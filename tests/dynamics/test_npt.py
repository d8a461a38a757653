"""Dynamics: conserved energy, mean temperature and pressure, Maxwell momenta, densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stzjax import io, potentials
from stzjax.core import units
from stzjax.dynamics import npt
from stzjax.neighbors import lists
from stzjax.numerics import batching, precision

TEMPERATURE = 2000.0


@pytest.fixture(scope="module")
def potential():
    return potentials.mendelev2019()


@pytest.fixture(scope="module")
def glass(reference):
    return io.structure_from(dict(np.load(reference / "glass.npz")))


def begin(glass, potential, ensemble, temperature=TEMPERATURE, dtype="float64"):
    bonds = lists.allocate(glass, potential.cutoff, skin=1.0)
    glass, bonds = precision.cast((glass, bonds), dtype)
    temperature = jnp.asarray(temperature, dtype)
    return npt.init(
        jax.random.key(0), glass, precision.cast(potential, dtype), bonds, temperature, ensemble
    )


def advance(state, potential, steps, ensemble, temperature=TEMPERATURE):
    potential = precision.cast(potential, state.md.position.dtype)
    state, done = npt.run(state, potential, steps, temperature, 0.0, ensemble)
    assert int(done) == steps
    return state


@pytest.fixture(scope="module")
def melted(glass, potential):
    """The glass after 3 ps at 2000 K."""
    ensemble = npt.Ensemble()
    return advance(begin(glass, potential, ensemble), potential, 1500, ensemble)


def test_initial_momenta(glass, potential):
    state = begin(glass, potential, npt.Ensemble())
    assert float(npt.temperature(state)) == pytest.approx(TEMPERATURE, rel=0.06)
    drift = np.asarray(state.md.momentum).sum(axis=0)
    assert np.abs(drift).max() < 1e-12
    light = np.asarray(state.species) == 0
    per_atom = np.asarray(state.md.momentum**2 / state.md.mass).mean(axis=1)
    share = per_atom[light].mean() / per_atom[~light].mean()
    assert share == pytest.approx(1.0, abs=0.2)


def test_conserved_energy(melted, potential):
    """Drift and error of the extended energy over 1 ps of the melt at two time steps.

    The error of a time-reversible integrator of second order falls fourfold when the step is
    halved; 2 fs keep it below 1e-4 eV/atom (measured 2e-5), a twentieth of a percent of kT.
    """
    errors = {}
    for timestep, steps in ((0.002, 500), (0.001, 1000)):
        ensemble = npt.Ensemble(timestep=timestep)
        state = melted
        values = [float(npt.invariant(state, potential, TEMPERATURE, ensemble))]
        for _ in range(10):
            state = advance(state, potential, steps // 10, ensemble)
            values.append(float(npt.invariant(state, potential, TEMPERATURE, ensemble)))
        errors[timestep] = np.ptp(values) / len(state.species)
    assert errors[0.002] < 1e-4
    assert errors[0.001] < 0.5 * errors[0.002]


def test_liquid_at_2000_K(melted, potential):
    """Mean temperature, pressure and density over 4 ps.

    Bounds are four standard errors of block means for 500 atoms; the density is the figure of
    LAMMPS for Cu64Zr36 liquids within what the two potentials differ (6.75 to 7.0 g/cm³).
    """
    ensemble, state = npt.Ensemble(), melted
    rows = []
    for _ in range(100):
        state = advance(state, potential, 20, ensemble)
        rows.append([npt.temperature(state), npt.pressure(state), npt.density(state.structure)])
    temperature, pressure, density = np.array(rows).mean(axis=0)
    assert temperature == pytest.approx(TEMPERATURE, rel=0.02)
    assert abs(pressure * units.GPA) < 0.25
    assert 6.6 < density < 7.15


def test_pressure_follows_the_barostat(glass, potential):
    """Under 10 GPa the cell shrinks, and the mean pressure is the one asked for."""
    ensemble = npt.Ensemble(pressure=10.0 / units.GPA, barostat_time=0.5)
    state = advance(begin(glass, potential, ensemble, 300.0), potential, 1000, ensemble, 300.0)
    rows = []
    for _ in range(50):
        state = advance(state, potential, 20, ensemble, 300.0)
        rows.append(npt.pressure(state))
    assert np.mean(rows) * units.GPA == pytest.approx(10.0, abs=0.5)
    assert float(npt.density(state.structure)) > 1.04 * float(npt.density(glass))


def test_single_precision_follows_double(glass, potential):
    """On the same tables, 50 steps in float32 stay within rounding of float64 (1e-4 Å)."""
    ensemble, tables = npt.Ensemble(), potentials.compact(potential)
    double = begin(glass, tables, ensemble, 300.0)
    single = begin(glass, precision.cast(tables, "float32"), ensemble, 300.0, "float32")
    momentum = double.md.momentum.astype("float32")
    single = single.replace(md=single.md.set(momentum=momentum, thermostat=double.md.thermostat))
    double = advance(double, tables, 50, ensemble, 300.0)
    single = advance(single, precision.cast(tables, "float32"), 50, ensemble, 300.0)
    assert single.md.position.dtype == jnp.float32
    gap = np.asarray(double.md.position) - np.asarray(single.md.position, np.float64)
    assert np.abs((gap - np.round(gap)) @ np.asarray(glass.cell)).max() < 1e-4


def test_batched_is_one_by_one(glass, potential):
    ensemble = npt.Ensemble()
    one = begin(glass, potential, ensemble, 900.0)
    other = begin(glass, potential, ensemble, 1500.0)
    args = jnp.asarray(900.0), jnp.asarray(-0.5), ensemble
    both = npt.run_many(batching.stack([one, other]), potential, jnp.array([2, 3]), *args)
    assert both.steps.tolist() == [2, 3]
    alone, _ = npt.run(other, potential, 3, *args)
    np.testing.assert_allclose(both.md.position[1], alone.md.position, atol=1e-13)
    np.testing.assert_allclose(both.md.momentum[1], alone.md.momentum, atol=1e-12)


def test_overflow_stops_before_a_wrong_force(glass, potential):
    """A list without spare places stops the run where it overflows; quench goes on from there."""
    ensemble = npt.Ensemble()
    state = begin(glass, potential, ensemble)
    tight = lists.allocate(glass, potential.cutoff, skin=0.2)
    used = int(np.sum(np.asarray(lists.table(tight)) < 500, axis=0).max())
    tight = lists.make(tight.spec._replace(near=(used,)), glass)
    assert not tight.overflow
    state = state.replace(neighbors=tight)
    state, done = npt.run(state, potential, 400, TEMPERATURE, 0.0, ensemble)
    assert bool(state.neighbors.overflow)
    assert 0 < int(done) < 400
    assert not lists.allocate(state.structure, potential.cutoff).overflow
