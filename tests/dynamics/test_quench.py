"""Melt and quench end to end on few atoms, their determinism, and the settings that are refused."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from stzjax import potentials
from stzjax.core import units
from stzjax.dynamics import npt_batch, quench
from stzjax.io import archives
from stzjax.mechanics import relax
from stzjax.neighbors import lists
from stzjax.numerics import native

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


@pytest.mark.slow
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


@pytest.mark.slow
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


def states_of(melt, potential, **change):
    """What `save` is given at every call of a quench of both snapshots."""
    kept = {}

    def save(place, state):
        kept.setdefault(place, []).append(state)

    keys = list(jax.random.split(jax.random.key(5)))
    args = keys, melt[0], potential, dataclasses.replace(CONFIG, **change)
    done = {one.place: one[1:3] for one in quench.quench_many(*args, save=save, save_every=0.0)}
    return args, done, kept


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_resumed_is_uninterrupted(melt, potential, precision, tmp_path):
    """Interrupted twice, through files: the same bits, and the same trace."""
    args, done, kept = states_of(melt, potential, precision=precision)
    moments = len(kept[0])
    assert moments > 10
    for moment in (moments // 3, moments - 1):
        saved = []
        for place in (0, 1):
            state = kept[place][moment]
            assert 0 < npt_batch.steps_of(state) < CONFIG.quench_steps
            path = tmp_path / f"{place}.npz"
            archives.save_archive(path, state.arrays, state.settings)
            saved.append(archives.Saved(*archives.load_archive(path)))
        steps = []
        again = quench.quench_many(*args, on_steps=steps.append, saved=saved)
        for place, structure, trace, _ in again:
            assert np.array_equal(structure.fractional, done[place][0].fractional)
            assert np.array_equal(structure.cell, done[place][0].cell)
            np.testing.assert_array_equal(trace, done[place][1])
        assert sum(steps) == 2 * (CONFIG.quench_steps - npt_batch.steps_of(saved[0]))


@pytest.mark.slow
def test_batched_is_one_by_one(melt, potential):
    """Forty steps; chaos doubles the rounding of 1e-16 every few of them."""
    config = dataclasses.replace(CONFIG, quench_rate=2.125e16)
    assert config.quench_steps == 40
    keys = list(jax.random.split(jax.random.key(5)))
    both = quench.quench_many(keys, melt[0], potential, config)
    for place, structure, trace, _ in both:
        alone, kept = quench.quench(keys[place], melt[0][place], potential, config)
        gap = np.asarray(structure.fractional - alone.fractional)
        np.testing.assert_allclose(gap - np.round(gap), 0.0, atol=1e-11)
        np.testing.assert_allclose(structure.cell, alone.cell, rtol=1e-11)
        np.testing.assert_allclose(trace, kept, rtol=1e-8)


@pytest.mark.slow
def test_a_specimen_that_blows_up_does_not_stop_the_others(melt, potential):
    keys = list(jax.random.split(jax.random.key(5)))
    config = dataclasses.replace(CONFIG, quench_rate=2.125e16)
    first = melt[0][0]
    broken = first.replace(fractional=first.fractional.at[0].set(np.nan))
    alone, _ = quench.quench(keys[1], melt[0][1], potential, config)
    quenched = quench.quench_many(keys, [broken, melt[0][1]], potential, config)
    place, structure, _, outcome = next(quenched)
    assert (place, outcome) == (1, quench.COOLED)
    gap = np.asarray(structure.fractional - alone.fractional)
    np.testing.assert_allclose(gap - np.round(gap), 0.0, atol=1e-11)
    assert next(quenched)[::3] == (0, npt_batch.NOT_FINITE)
    assert next(quenched, None) is None
    twins = first.replace(fractional=first.fractional.at[0].set(first.fractional[1]))
    with pytest.raises(
        ValueError, match=r"blew up below nan K \(not finite\); use a shorter timestep"
    ):
        quench.quench(keys[0], twins, potential, config)


@pytest.mark.slow
def test_a_cell_that_collapses_does_not_stop_the_others(melt, potential):
    """A pressure that no metal bears: an outcome, not an endless search for longer lists."""
    key, config = (
        jax.random.key(5),
        dataclasses.replace(CONFIG, pressure=600.0, barostat_time=0.2, skin=0.2),
    )
    small = melt[0][0].replace(cell=melt[0][0].cell * 0.85)
    (found,) = quench.quench_many([key], [small], potential, config)
    assert found.outcome == npt_batch.TOO_THIN
    assert 2 * potential.cutoff < np.diag(found.structure.cell).min()
    assert len(found.trace.energy) < 50


@pytest.mark.slow
def test_short_lists_are_mended_on_the_way(melt, potential, monkeypatch):
    """With no spare places at all the tables overflow, and the path stays the same."""
    monkeypatch.setattr(native, "_choice", "xla")
    args = jax.random.key(5), melt[0][0], potential, dataclasses.replace(CONFIG, quench_rate=8.5e15)
    spacious, _ = quench.quench(*args)
    widened = []
    slack = npt_batch.NptBatch.slack

    def count(self, place):
        widened.append(int(self.steps[0]))
        return slack(self, place)

    monkeypatch.setattr(npt_batch, "_SLACK", 1.0)
    monkeypatch.setattr(lists, "_round_up", lambda count, multiple: math.ceil(count))
    monkeypatch.setattr(npt_batch.NptBatch, "slack", count)
    narrow, _ = quench.quench(*args)
    assert widened and widened[0] > 0
    gap = np.asarray(narrow.fractional - spacious.fractional)
    np.testing.assert_allclose(gap - np.round(gap), 0.0, atol=1e-7)


def test_a_state_of_other_atoms_is_refused(melt, potential):
    args, _, kept = states_of(melt, potential, quench_rate=2.125e16)
    foreign = kept[0][0]._replace(arrays={**kept[0][0].arrays, "state.virial": np.zeros(3)})
    with pytest.raises(ValueError, match=r"does not fit this run \(state.virial\)"):
        next(quench.quench_many(*args, saved=[foreign, None]))


def test_draw_takes_different_snapshots(melt):
    assert quench.drawn(jax.random.key(0), 2, 2) == [0, 1]
    some = quench.drawn(jax.random.key(1), 100, 40)
    assert some == sorted(set(some)) and len(some) == 40 and max(some) < 100
    assert some != list(range(40))


def test_a_melt_goes_on_where_it_was(melt, potential, tmp_path):
    """Stopped anywhere, through a file: the same bits; only what is wanted is kept."""
    states = []
    args = jax.random.key(3), potential, CONFIG
    quench.melt(*args, wanted=[1], save=states.append, save_every=0.0)
    assert len(states) > 2
    for begun in (states[0], states[-1]):
        archives.save_archive(tmp_path / "m.npz", *begun.saved)
        again = begun._replace(saved=archives.Saved(*archives.load_archive(tmp_path / "m.npz")))
        snapshots, trace = quench.melt(*args, wanted=[1], begun=again)
        assert len(snapshots) == 1
        assert np.array_equal(snapshots[0].fractional, melt[0][1].fractional)
        np.testing.assert_array_equal(trace, melt[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quench_rate": -1e10}, "quench_rate must be positive"),
        ({"timestep": 0.0}, "timestep"),
        ({"final_temperature": 2500.0}, "below melt_temperature"),
        ({"fractions": (0.6, 0.5)}, "add up to 1"),
        ({"num_specimens": 9}, "lengthen melt_time"),
        ({"precision": "float16"}, "one of float32, float64"),
        ({"equilibration_time": -1.0}, "negative"),
    ],
)
def test_bad_settings(change, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(CONFIG, **change).validate()


def test_too_few_atoms(potential):
    with pytest.raises(ValueError, match="twice the cut-off"):
        quench.random_liquid(
            jax.random.key(0), potential, dataclasses.replace(CONFIG, num_atoms=100)
        )


def test_the_paper_is_the_default():
    config = quench.QuenchConfig()
    assert config.num_snapshots == 1000
    assert config.quench_steps == 85_000_000
