"""jax-md's integrator and FIRE as reference engine: the same melt, quench, minimum and event."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stzjax
from stzjax.core import loads
from stzjax.dynamics import quench
from stzjax.mechanics import relax
from stzjax.neighbors import lists
from stzjax.shear import nonaffine

CONFIG = quench.QuenchConfig(
    num_atoms=400,
    equilibration_time=0.02,
    melt_time=0.02,
    snapshot_interval=0.02,
    num_specimens=1,
    quench_rate=1e16,
)
ENGINES = ("own", "jax_md")


@pytest.fixture(scope="module")
def potential():
    return stzjax.potentials.mendelev2019()


@pytest.fixture(scope="module")
def glass(reference):
    return stzjax.io.structure_from(dict(np.load(reference / "glass.npz")))


def apart(one, other):
    """Largest distance of two configurations [Å]."""
    gap = np.asarray(one.fractional) - np.asarray(other.fractional)
    return float(np.abs((gap - np.round(gap)) @ np.asarray(one.cell).T).max())


@pytest.mark.slow
def test_melt_and_quench(potential):
    """20 and 85 steps from the same momenta.

    jax-md holds the time step and the periods in float32, 1e-8 off, so positions differ by 1e-8 of
    the path; collisions increase that a hundredfold in a fifth of a picosecond.
    """
    snapshots, glasses = [], []
    for engine in ENGINES:
        config = dataclasses.replace(CONFIG, engine=engine)
        (snapshot,), _ = quench.melt(jax.random.key(0), potential, config)
        snapshots.append(snapshot)
        glasses.append(quench.quench(jax.random.key(1), snapshot, potential, config))
    assert 0.0 < apart(*snapshots) < 1e-6
    (one, trace), (other, reference) = glasses
    assert apart(one, other) < 1e-4
    np.testing.assert_allclose(other.cell, one.cell, rtol=1e-6)
    np.testing.assert_allclose(trace.energy, reference.energy, rtol=1e-7)
    np.testing.assert_allclose(trace.kinetic_temperature, reference.kinetic_temperature, rtol=1e-4)


@pytest.mark.slow
def test_minimum(potential, glass):
    """Two ways down from atoms displaced by a tenth of an Ångström: the same minimum."""
    moved = glass.displace(0.02 * jax.random.normal(jax.random.key(0), (glass.num_atoms, 3)))
    found = [relax.relax(moved, potential, relax.RelaxConfig(1e-7, engine=e)) for e in ENGINES]
    assert all(one.converged for one in found)
    assert apart(found[0].structure, found[1].structure) < 1e-5
    assert int(found[1].iterations) > int(found[0].iterations)


@pytest.mark.slow
def test_event(potential, glass):
    """The last steps to the first event, each an affine strain and a descent by jax-md's FIRE."""
    config = stzjax.aqs.ShearConfig(step=1e-3, extrapolate=False, minimizer="fire")
    run = stzjax.aqs.shear(glass, potential, "+xy", config)
    event = run.event_step(0.1)
    start = dataclasses.replace(config, final=(event - 3) * config.step, stop_threshold=0.0)
    now = stzjax.aqs.shear(glass, potential, "+xy", start).final
    for number in range(event - 2, event + 1):
        strain = jnp.eye(3) + number * config.step * loads.generator("+xy")
        strained = now.replace(cell=strain @ glass.cell)
        relaxed = relax.relax(strained, potential, relax.RelaxConfig(1e-6, engine="jax_md"))
        assert relaxed.converged
        bonds = lists.allocate(now, config.d2min_cutoff)
        square = nonaffine.d2min(now, relaxed.structure, bonds, config.d2min_cutoff)
        assert bool(jnp.max(square) > 0.1) == (number == event)
        now = relaxed.structure
    np.testing.assert_array_equal(np.asarray(square) > 0.1, run.labels(0.1))
    np.testing.assert_allclose(np.max(square), run.max_d2min[event], rtol=1e-3)


def test_precision_of_the_reference():
    with pytest.raises(ValueError, match="engine jax_md takes precision float64 alone"):
        dataclasses.replace(CONFIG, engine="jax_md", precision="float32").validate()
