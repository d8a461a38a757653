"""The kernels for GPUs, evaluated as array code, beside the passes over a neighbour list."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import pairs, small_glass

from stzjax import io, potentials
from stzjax.mechanics import energetics
from stzjax.neighbors import lists
from stzjax.numerics import batching, platform
from stzjax.potentials import eam_gpu, eam_kernels


@pytest.fixture
def interpreted(monkeypatch):
    """Programs for a GPU whose kernels are evaluated here."""
    kernels = eam_gpu.forces_and_trace

    def interpret(*args):
        return kernels(*args, tile=eam_gpu.Tile(32, 3), interpret=True)

    monkeypatch.setattr(eam_gpu, "forces_and_trace", interpret)


def symmetric(reference):
    """Short and long range apart: densities end at 6.0 Å, pairs at 7.6 Å."""
    glass = io.structure_from(dict(np.load(reference / "glass.npz")))
    rattled = glass.displace(0.1 * np.sin(np.arange(1500.0)).reshape(-1, 3))
    return rattled, potentials.mendelev2019()


def asymmetric(reference):
    """Densities that depend on who gives and who receives, in a tilted cell."""
    return small_glass.rough(small_glass.TILTED), small_glass.potential()


def pairwise(reference):
    """Pair terms alone, whose densities are summed nowhere."""
    return pairs.small(), potentials.kob_andersen()


def lanes_of(structure, potential, dtype):
    """The forces and their inputs in two lanes that differ."""
    potential = potentials.compact(potential, structure.elements, dtype)
    bonds = lists.allocate(structure, potential.cutoff, 0.1, 1.0, potential.inner_cutoff)
    moved = structure.displace(0.01 * np.cos(np.arange(3.0 * structure.num_atoms)).reshape(-1, 3))
    lanes = batching.cast(batching.stack([(structure, bonds), (moved, bonds)]), dtype)

    def every(atoms, bonds):
        def forces(fractional):
            return energetics.forces_and_trace(
                atoms.replace(fractional=fractional), potential, bonds
            )

        field = jnp.sin(atoms.fractional)
        return *forces(atoms.fractional), jax.jvp(forces, (atoms.fractional,), (field,))[1][0]

    return lambda: jax.tree.map(np.asarray, jax.jit(jax.vmap(every))(*lanes))


@pytest.mark.parametrize(
    "system, dtype, error",
    [
        (asymmetric, "float64", 1e-13),
        pytest.param(pairwise, "float64", 1e-13, marks=pytest.mark.slow),
        pytest.param(symmetric, "float32", 1e-5, marks=pytest.mark.slow),
    ],
)
def test_forces_of_two_lanes(system, dtype, error, reference, interpreted):
    """Forces, trace, and the derivative of the forces, which is that of the passes."""
    evaluate = lanes_of(*system(reference), dtype)
    with platform.compiling_for("gpu"):
        force, trace, slope = evaluate()
    with platform.compiling_for("cpu"):
        force_0, trace_0, slope_0 = evaluate()
    assert np.abs(force_0[0] - force_0[1]).max() > 1e-3
    scale = np.abs(force_0).max()
    np.testing.assert_allclose(force, force_0, rtol=0, atol=error * scale)
    np.testing.assert_allclose(trace, trace_0, rtol=0, atol=error * scale * force[0].size)
    np.testing.assert_allclose(slope, slope_0, rtol=0, atol=10 * error * np.abs(slope_0).max())


@pytest.mark.slow
def test_two_atoms_in_one_place(interpreted):
    """NaN for both, so that every loop notices, and for no other atom."""
    structure = small_glass.rough(small_glass.CUBIC)
    place = structure.fractional.at[1].set(structure.fractional[0])
    lanes = lanes_of(structure.replace(fractional=place), small_glass.potential(), "float64")
    with platform.compiling_for("gpu"):
        force = lanes()[0][0]
    assert not np.isfinite(force[:2]).any()


def test_a_jax_without_triton(monkeypatch, reference, caplog):
    """Forces come from array code, and one line says so."""
    monkeypatch.setitem(__import__("sys").modules, "jax.experimental.pallas.triton", None)
    monkeypatch.delattr("jax.experimental.pallas.triton", raising=False)
    eam_gpu.available.cache_clear()
    potential = potentials.compact(small_glass.potential())
    with platform.compiling_for("gpu"):
        assert not eam_kernels._has_kernels(potential)
        assert not eam_kernels._has_kernels(potential)
    assert [record.message for record in caplog.records] == [
        "this JAX has no Pallas for Triton: forces are evaluated as array code"
    ]
    eam_gpu.available.cache_clear()
