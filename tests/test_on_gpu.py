"""The same numbers on a GPU as on the CPU beside it; skipped where JAX sees no GPU."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import small_glass

import stzjax
from stzjax import io, potentials
from stzjax.descriptors import table
from stzjax.dynamics import npt
from stzjax.learning import graphs, training
from stzjax.learning.models import gat
from stzjax.mechanics import energetics
from stzjax.neighbors import lists
from stzjax.numerics import batching, platform
from stzjax.shear import aqs

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def glass(reference):
    return io.structure_from(dict(np.load(reference / "glass.npz")))


def both(function):
    """What a function of no arguments gives on the GPU and on the CPU, as NumPy arrays."""
    there = jax.tree.map(np.asarray, function())
    with jax.default_device(jax.devices("cpu")[0]), platform.compiling_for("cpu"):
        return there, jax.tree.map(np.asarray, function())


def _wave(num_atoms: int) -> np.ndarray:
    """A field of vectors of length one or so, (N, 3)."""
    return np.sin(np.arange(3.0 * num_atoms)).reshape(-1, 3)


@pytest.mark.parametrize("dtype, error", [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_forces(symmetric, dtype, error, reference):
    """Forces [eV/Å], the virial's trace [eV] and a product with the Hessian, of two lanes.

    A lone system is evaluated by array code.
    """
    rattled = small_glass.rough(small_glass.TILTED)
    potential = small_glass.potential()
    if symmetric:
        glass = io.structure_from(dict(np.load(reference / "glass.npz")))
        rattled = glass.displace(0.1 * _wave(glass.num_atoms))
        potential = potentials.mendelev2019()
    # Slopes of the pieces magnify the rounding of the functions that they are made of.
    potential = potentials.compact(potential, rattled.elements, dtype)
    rattled, potential = jax.tree.map(np.asarray, (rattled, potential))

    def evaluate():
        structure = jax.tree.map(jnp.asarray, rattled)
        bonds = lists.allocate(structure, potential.cutoff, 0.1, 1.1, potential.inner_cutoff)
        structure, bonds = batching.cast((structure, bonds), dtype)

        def every(atoms, bonds, field):
            product = energetics.hessian_vector_product(atoms, potential, field, bonds)
            return *energetics.forces_and_trace(atoms, potential, bonds), product

        field = jnp.asarray(_wave(structure.num_atoms), dtype)
        return jax.vmap(every)(*batching.stack([(structure, bonds, field)] * 2))

    (force, trace, product), (force_0, trace_0, product_0) = both(evaluate)
    scale = np.abs(force_0).max()
    np.testing.assert_allclose(force, force_0, atol=error * scale)
    np.testing.assert_allclose(trace, trace_0, atol=error * scale * force.size)
    np.testing.assert_allclose(product, product_0, atol=10 * error * np.abs(product_0).max())


def test_lanes_of_dynamics(glass):
    """Fifty steps of three lanes at 2000 K in float64; rounding grows tenfold in 25 steps."""

    def advance():
        potential = potentials.compact(potentials.mendelev2019(), glass.elements)
        bonds = lists.allocate(glass, potential.cutoff, 0.4, 1.2, potential.inner_cutoff)
        ensemble, temperature = npt.Ensemble(), jnp.asarray(2000.0)
        states = batching.stack(
            [
                npt.init(jax.random.key(n), glass, potential, bonds, temperature, ensemble)
                for n in range(3)
            ]
        )
        steps = jnp.array([50, 40, 50], jnp.int32)
        after = npt.run_many(states, potential, steps, temperature, jnp.asarray(0.0), ensemble)
        return after.md.position, after.md.box_position, after.virial, after.steps

    (position, box, virial, steps), (position_0, box_0, virial_0, steps_0) = both(advance)
    assert steps.tolist() == steps_0.tolist() == [50, 40, 50]
    np.testing.assert_allclose(position, position_0, atol=1e-11)
    np.testing.assert_allclose(box, box_0, atol=1e-12)
    np.testing.assert_allclose(virial, virial_0, atol=1e-7)


def test_lanes_of_shear(glass, reference):
    """Energies [eV/atom], event step and labels of LAMMPS in three lanes, as on a CPU."""
    lammps = np.load(reference / "shear.npz")
    directions = ["+xy", "-yz", "+xz"]
    jobs = (aqs.Job(glass, direction, direction) for direction in directions)
    runs = aqs.shear_many(jobs, potentials.mendelev2019(), aqs.ShearConfig(), num_lanes=3)
    found = {job.name: run for job, run in runs}
    assert sorted(found) == sorted(directions)
    for direction, run in found.items():
        energy = lammps[f"{direction}_energy"]
        event = len(energy) - 1
        assert run.event_step(0.1) == event
        np.testing.assert_allclose(run.energy[:event] / 500, energy[:event] / 500, atol=2e-8)
        labels = lammps[f"{direction}_event_d2min"] > 0.1
        assert np.array_equal(run.labels(0.1), labels)


def test_features(glass):
    """All 19 columns beside those of a CPU; cells by array code there and by Qhull here."""

    def describe():
        relaxed = stzjax.relax.relax(glass, potentials.mendelev2019()).structure
        specimen = table.describe(relaxed, potentials.mendelev2019())
        return table.rotate_to(specimen, "-xz")

    there, here = both(describe)
    scale = np.abs(here).max(axis=0)
    np.testing.assert_allclose(there / scale, here / scale, atol=1e-6)


def test_training():
    """Losses of ten epochs in float32; sums have another order."""

    def train():
        rng = np.random.default_rng(0)
        members = [_ring(rng) for _ in range(6)]
        config = training.TrainConfig(
            model=gat.Config(2, 8, 2, dense=(8,)), learning_rate=0.01, epochs=10, patience=0
        )
        config = dataclasses.replace(config, select_by="loss")
        # A GPU rounds the factors of products to ten bits unless it is told not to.
        with jax.default_matmul_precision("highest"):
            result = training.train(members[:4], members[4:], config)
        return [list(record.values()) for record in result.history]

    there, here = both(train)
    assert len(here) == 10
    np.testing.assert_allclose(there, here, rtol=2e-4)


def _ring(rng, num_atoms: int = 60):
    """A ring of atoms whose label follows the features around."""
    atoms = np.arange(num_atoms)
    pairs = np.concatenate([np.stack([atoms, (atoms + k) % num_atoms], 1) for k in (-2, -1, 1, 2)])
    features = rng.normal(size=(num_atoms, 4))
    labels = sum(np.roll(features[:, 0], k) for k in (-1, 0, 1)) > 1.0
    glass = stzjax.Structure.create(
        np.zeros((num_atoms, 3)), np.eye(3), np.zeros(num_atoms, int), ["Cu"]
    )
    return graphs.build(glass, features, labels, pairs)


def test_two_atoms_in_one_place():
    """Their forces are NaN, as on a CPU, so that every loop notices."""
    structure = small_glass.rough(small_glass.CUBIC)
    structure = structure.replace(
        fractional=structure.fractional.at[1].set(structure.fractional[0])
    )
    potential = potentials.compact(small_glass.potential(), structure.elements)
    bonds = lists.allocate(structure, potential.cutoff)
    lanes = batching.stack([(structure, bonds)] * 2)
    force = jax.vmap(lambda atoms, bonds: energetics.forces(atoms, potential, bonds))(*lanes)
    assert not np.isfinite(force[:, :2]).any() and np.isfinite(force[:, 2:]).all()
