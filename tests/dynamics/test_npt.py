"""Dynamics: conserved energy, mean temperature and pressure, Maxwell momenta, densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import cases

from stzjax import io, potentials
from stzjax.core import units
from stzjax.dynamics import npt
from stzjax.mechanics import energetics
from stzjax.neighbors import lists
from stzjax.numerics import batching

TEMPERATURE = 2000.0


@pytest.fixture(scope="module")
def potential():
    """Prepared, as a quench prepares it."""
    return potentials.compact(potentials.mendelev2019())


@pytest.fixture(scope="module")
def glass(reference):
    return io.structure_from(dict(np.load(reference / "glass.npz")))


def begin(glass, potential, ensemble, temperature=TEMPERATURE, dtype="float64"):
    bonds = lists.allocate(glass, potential.cutoff, skin=1.0)
    glass, bonds = batching.cast((glass, bonds), dtype)
    temperature = jnp.asarray(temperature, dtype)
    return npt.init(
        jax.random.key(0), glass, batching.cast(potential, dtype), bonds, temperature, ensemble
    )


def advance(state, potential, steps, ensemble, temperature=TEMPERATURE):
    potential = batching.cast(potential, state.md.position.dtype)
    state, done = npt.run(state, potential, steps, temperature, 0.0, ensemble)
    assert int(done) == steps
    return state


def kinetic_energy(md):
    return 0.5 * jnp.sum(md.momentum**2 / md.mass)


def pressure(state):
    """Kinetic part minus virial [eV/Å³]."""
    volume = jnp.linalg.det(state.md.box)
    return (2.0 * kinetic_energy(state.md) - state.virial) / (3.0 * volume)


def invariant(state, potential, ensemble, temperature=TEMPERATURE):
    """Energy of the extended system [eV], conserved at constant temperature and pressure."""
    md, kT = state.md, units.BOLTZMANN * temperature
    total = energetics.energy(state.structure, potential, state.neighbors) + kinetic_energy(md)
    total += ensemble.pressure * jnp.linalg.det(md.box) + 0.5 * md.box_momentum**2 / md.box_mass
    for chain in (md.thermostat, md.barostat):
        total += jnp.sum(chain.momentum**2 / (2.0 * chain.mass))
        total += kT * (chain.degrees_of_freedom * chain.position[0] + jnp.sum(chain.position[1:]))
    return float(total)


@pytest.fixture(scope="module")
def melted(glass, potential):
    """The glass after 3 ps at 2000 K."""
    ensemble = npt.Ensemble()
    return advance(begin(glass, potential, ensemble), potential, 1500, ensemble)


@pytest.mark.slow
def test_initial_momenta(glass, potential):
    state = begin(glass, potential, npt.Ensemble())
    assert float(npt.temperature(state)) == pytest.approx(TEMPERATURE, rel=0.06)
    drift = np.asarray(state.md.momentum).sum(axis=0)
    assert np.abs(drift).max() < 1e-12
    light = np.asarray(state.species) == 0
    per_atom = np.asarray(state.md.momentum**2 / state.md.mass).mean(axis=1)
    share = per_atom[light].mean() / per_atom[~light].mean()
    assert share == pytest.approx(1.0, abs=0.2)


@pytest.mark.slow
def test_conserved_energy(melted, potential):
    """Drift and error of the extended energy over 1 ps of the melt at two time steps.

    The error of a time-reversible integrator of second order falls fourfold when the step is
    halved; 2 fs keep it below 1e-4 eV/atom (measured 2e-5), a twentieth of a percent of kT.
    """
    errors = {}
    for timestep, steps in ((0.002, 500), (0.001, 1000)):
        ensemble = npt.Ensemble(timestep=timestep)
        state = melted
        values = [invariant(state, potential, ensemble)]
        for _ in range(10):
            state = advance(state, potential, steps // 10, ensemble)
            values.append(invariant(state, potential, ensemble))
        errors[timestep] = np.ptp(values) / len(state.species)
    assert errors[0.002] < 1e-4
    assert errors[0.001] < 0.5 * errors[0.002]


@pytest.mark.slow
def test_liquid_at_2000_K(melted, potential):
    """Mean temperature, pressure and density over 4 ps.

    Bounds are four standard errors of block means for 500 atoms; the density is the figure of
    LAMMPS for Cu64Zr36 liquids within what the two potentials differ (6.75 to 7.0 g/cm³).
    """
    ensemble, state = npt.Ensemble(), melted
    rows = []
    for _ in range(100):
        state = advance(state, potential, 20, ensemble)
        rows.append([npt.temperature(state), pressure(state), npt.density(state)])
    temperature, mean_pressure, density = np.array(rows).mean(axis=0)
    assert temperature == pytest.approx(TEMPERATURE, rel=0.02)
    assert abs(mean_pressure * units.GPA) < 0.25
    assert 6.6 < density < 7.15


@pytest.mark.slow
def test_pressure_follows_the_barostat(glass, potential):
    """Under 10 GPa the cell shrinks, and the mean pressure is the one asked for."""
    ensemble = npt.Ensemble(pressure=10.0 / units.GPA, barostat_time=0.5)
    state = advance(begin(glass, potential, ensemble, 300.0), potential, 1000, ensemble, 300.0)
    rows = []
    for _ in range(50):
        state = advance(state, potential, 20, ensemble, 300.0)
        rows.append(pressure(state))
    assert np.mean(rows) * units.GPA == pytest.approx(10.0, abs=0.5)
    assert np.linalg.det(glass.cell) > 1.04 * np.linalg.det(state.md.box)


@pytest.mark.slow
def test_single_precision_follows_double(glass, potential):
    """On the same tables, 50 steps in float32 stay within rounding of float64 (1e-4 Å)."""
    ensemble, tables = npt.Ensemble(), potential
    double = begin(glass, tables, ensemble, 300.0)
    single = begin(glass, batching.cast(tables, "float32"), ensemble, 300.0, "float32")
    momentum = double.md.momentum.astype("float32")
    single = single.replace(md=single.md.set(momentum=momentum, thermostat=double.md.thermostat))
    double = advance(double, tables, 50, ensemble, 300.0)
    single = advance(single, batching.cast(tables, "float32"), 50, ensemble, 300.0)
    assert single.md.position.dtype == jnp.float32
    gap = np.asarray(double.md.position) - np.asarray(single.md.position, np.float64)
    assert np.abs((gap - np.round(gap)) @ np.asarray(glass.cell)).max() < 1e-4


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_the_trajectory_of_jax_md():
    """`jax_md.simulate.npt_nose_hoover` with the same energy, 40 steps in a cell that swells.

    There positions are Cartesian and scale with the cell, forces and virial are derivatives of the
    energy, and the list is made anew for each of them. The chains take one Trotter step here as
    well, and time step and periods are powers of two, because jax-md holds them in float32. Then
    nothing but rounding is left: 1e-15 Å a step, which collisions increase a hundredfold at most
    in 80 fs.
    """
    from jax_md import simulate, space

    start, potential = cases.small(), cases.potential(cases.SMALL)
    ensemble = npt.Ensemble(2.0**-9, pressure=0.05, thermostat_time=0.125, barostat_time=2.0)
    bonds = lists.allocate(start, potential.cutoff, slack=1.5)
    ours = npt.init(jax.random.key(0), start, potential, bonds, jnp.asarray(900.0), ensemble)

    def energy(positions, box, perturbation=1.0):
        fractional = positions @ jnp.linalg.inv(box).T
        atoms = start.replace(fractional=fractional, cell=perturbation * box)
        found = lists.make(bonds.spec._replace(skin=0.0), jax.lax.stop_gradient(atoms))
        energy = energetics.energy(atoms, potential, found)
        return jnp.where(found.overflow, jnp.nan, energy)

    chains = [
        {"chain_length": 3, "chain_steps": 1, "sy_steps": 1, "tau": tau}
        for tau in (ensemble.barostat_time, ensemble.thermostat_time)
    ]
    _, shift = space.periodic_general(start.cell, fractional_coordinates=False)
    kT = jnp.asarray(units.BOLTZMANN * 900.0, jnp.float64)
    begin, step = simulate.npt_nose_hoover(
        energy, shift, ensemble.timestep, ensemble.pressure, kT, *chains
    )
    at = start.fractional @ start.cell.T
    theirs = begin(None, at, start.cell, ours.md.mass, ours.md.momentum)
    theirs = jax.jit(lambda state: jax.lax.fori_loop(0, 40, lambda _, s: step(s), state))(theirs)
    ours = advance(ours, potential, 40, ensemble, 900.0).md
    assert 0.01 < float(ours.box_position) < 0.05
    gap = ours.position - theirs.position @ jnp.linalg.inv(theirs.box).T
    np.testing.assert_allclose((gap - jnp.round(gap)) @ ours.box.T, 0.0, atol=1e-12)
    for name in ("box", "momentum", "box_momentum", "force"):
        np.testing.assert_allclose(
            getattr(ours, name), getattr(theirs, name), rtol=1e-10, atol=1e-11
        )
    for chain in ("thermostat", "barostat"):
        for name in ("position", "momentum", "mass"):
            expected = getattr(getattr(theirs, chain), name)
            np.testing.assert_allclose(getattr(getattr(ours, chain), name), expected, rtol=1e-9)
