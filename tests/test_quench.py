"""Melt and quench end to end on few atoms, their determinism, and the settings that are refused."""

import jax
import numpy as np
import pytest

from stzjax import potentials, quench, relax, units

CONFIG = quench.QuenchConfig(
    num_atoms=400,
    equilibration_time=0.4,
    melt_time=0.4,
    snapshot_interval=0.2,
    num_specimens=2,
    quench_rate=2e15,
)


@pytest.fixture(scope="module")
def potential():
    return potentials.mendelev2019()


@pytest.fixture(scope="module")
def melt(potential):
    return quench.melt(jax.random.key(3), potential, CONFIG)


def test_composition_and_start(potential):
    start = quench.random_liquid(jax.random.key(0), potential, CONFIG)
    assert np.bincount(np.asarray(start.species)).tolist() == [256, 144]
    other = quench.random_liquid(jax.random.key(1), potential, CONFIG)
    assert not np.allclose(start.fractional, other.fractional)


def test_snapshots_are_liquids(melt):
    snapshots, trace = melt
    assert len(snapshots) == 2 == len(trace.energy)
    moved = np.asarray(snapshots[1].fractional) - np.asarray(snapshots[0].fractional)
    moved = (moved - np.round(moved)) @ np.asarray(snapshots[0].cell)
    # Diffusion of about 0.5 Å²/ps per axis in the melt; a solid would rattle by a tenth of it.
    assert np.sqrt((moved**2).sum(axis=1).mean()) > 0.5
    assert np.all(trace.temperature == 2000.0)


def test_quench_cools(melt, potential):
    seen = []
    glass, trace = quench.quench(
        jax.random.key(1), melt[0][0], potential, CONFIG, seen.append, num_records=10
    )
    assert sum(seen) == CONFIG.quench_steps == 425
    assert trace.temperature[-1] == pytest.approx(300.0)
    assert np.all(np.diff(trace.temperature) < 0)
    # A harmonic solid gives 3/2 k ΔT of potential energy back; so fast a quench, half of it.
    released = 1.5 * units.BOLTZMANN * (trace.temperature[0] - trace.temperature[-1])
    assert trace.energy[0] - trace.energy[-1] > 0.5 * released
    relaxed = relax.relax(glass, potential, relax.RelaxConfig(1e-4))
    assert relaxed.converged


def test_same_key_same_bytes(melt, potential):
    again, _ = quench.melt(jax.random.key(3), potential, CONFIG)
    assert np.array_equal(again[1].fractional, melt[0][1].fractional)


def test_draw_takes_different_snapshots(melt):
    drawn = quench.draw(jax.random.key(0), melt[0], 2)
    assert drawn[0] is melt[0][0]
    assert drawn[1] is melt[0][1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quench_rate": -1e10}, "quench_rate must be positive"),
        ({"timestep": 0.0}, "timestep"),
        ({"final_temperature": 2500.0}, "below melt_temperature"),
        ({"fractions": (0.6, 0.5)}, "add up to 1"),
        ({"num_specimens": 9}, "lengthen melt_time"),
        ({"precision": "float16"}, "float32 or float64"),
        ({"equilibration_time": -1.0}, "negative"),
    ],
)
def test_bad_settings(change, said):
    with pytest.raises(ValueError, match=said):
        CONFIG._replace(**change).validate()


def test_too_few_atoms(potential):
    with pytest.raises(ValueError, match="twice the cut-off"):
        quench.random_liquid(jax.random.key(0), potential, CONFIG._replace(num_atoms=100))


def test_the_paper_is_the_default():
    config = quench.QuenchConfig()
    assert config.num_snapshots == 1000
    assert config.quench_steps == 85_000_000
