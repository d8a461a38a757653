"""Soft modes: the closed-form Hessian and its spectrum against finite differences and SciPy."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from reference import cases, small_glass

import stzjax
from stzjax.core import units
from stzjax.descriptors import participation, soft_modes
from stzjax.mechanics import allocation, expansion, hessians
from stzjax.numerics import eigensolver

# Relative to the largest entry: five-point differences and splines err by less.
CURVATURE = 2e-6
ROUNDING = 1e-10
ELEMENTS = ("Cu", "Zr")


@pytest.fixture(scope="module")
def glass():
    """54 atoms at a minimum of an asymmetric potential, in a tilted cell."""
    structure, potential = small_glass.relaxed(small_glass.TILTED), small_glass.potential()
    return structure, potential, stzjax.neighbors.allocate(structure, potential.cutoff)


@pytest.fixture(scope="module")
def around(glass):
    """The expansion of the energy of the glass, with its Hessian."""
    return allocation.expand(*glass)


@pytest.fixture(scope="module")
def spectrum(glass):
    """All modes by SciPy from finite differences of the forces; translations dropped."""
    structure, potential, neighbors = glass
    positions = np.asarray(structure.positions())
    back = np.linalg.inv(structure.cell).T
    matrix = np.zeros((162, 162))
    for column in range(162):

        def force(x, column=column):
            moved = positions.copy()
            moved.flat[column] += x
            moved = structure.replace(fractional=moved @ back)
            return np.asarray(stzjax.energetics.forces(moved, potential, neighbors)).ravel()

        matrix[:, column] = -cases.derivative(force)
    mass = np.repeat(np.array([63.546, 91.224])[np.asarray(structure.species)], 3)
    weighted = 0.5 * (matrix + matrix.T) / np.sqrt(np.outer(mass, mass))
    eigenvalues, vectors = scipy.linalg.eigh(weighted)
    still = np.sort(np.argsort(np.abs(eigenvalues))[3:])
    return matrix, eigenvalues[still], vectors[:, still].T.reshape(-1, 54, 3)


def dense(around) -> np.ndarray:
    """The operator as a matrix."""
    unit = np.eye(162).reshape(54, 3, 162)
    return np.asarray(hessians.apply(around.operator(), unit)).reshape(162, 162)


def test_the_hessian_is_the_slope_of_the_forces(around, spectrum):
    found = dense(around)
    np.testing.assert_allclose(found, spectrum[0], atol=CURVATURE * np.abs(found).max())
    np.testing.assert_allclose(found, found.T, atol=1e-12 * np.abs(found).max())


@pytest.mark.parametrize("seed", range(3))
def test_the_hessian_is_the_curvature_of_a_closed_form(glass, around, seed):
    """Second differences of the NumPy oracle's energy along two random fields."""
    structure = glass[0]
    first, second = np.random.default_rng(seed).normal(size=(2, 54, 3)) / 9.0
    back = np.linalg.inv(structure.cell).T

    def energy(x, y):
        move = (x * first + y * second) @ back
        moved = structure.replace(fractional=np.asarray(structure.fractional) + move)
        return cases.oracle(moved, small_glass.TOY).sum()

    expected = cases.derivative(lambda x: cases.derivative(lambda y: energy(x, y)))
    found = first.ravel() @ dense(around) @ second.ravel()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_the_hessian_of_the_built_in_potential_is_that_of_its_forces():
    structure, potential = cases.stored("glass", "tilted"), stzjax.potentials.mendelev2019()
    neighbors = stzjax.neighbors.allocate(structure, potential.cutoff)
    around = allocation.expand(structure, potential, neighbors)
    move = np.random.default_rng(0).normal(size=(structure.num_atoms, 3))
    product = stzjax.energetics.hessian_vector_product(structure, potential, move, neighbors)
    found = hessians.apply(around.operator(), move[..., None])[..., 0]
    np.testing.assert_allclose(found, product, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "chebyshev"])
def test_modes_agree_with_scipy(around, spectrum, method):
    found = soft_modes.modes(around, fraction=0.1, method=method)
    eigenvalues, vectors = spectrum[1][:16], spectrum[2][:16]
    assert found.eigenvalues.shape == (16,) and found.vectors.shape == (16, 54, 3)
    np.testing.assert_allclose(found.eigenvalues, eigenvalues, atol=CURVATURE * spectrum[1].max())
    overlap = np.einsum("mia,mia->m", found.vectors, vectors)
    np.testing.assert_allclose(np.abs(overlap), 1.0, atol=1e-6)


def test_every_vibration_and_no_translation(glass, around, spectrum):
    structure = glass[0]
    found = soft_modes.modes(around, fraction=1.0)
    assert found.eigenvalues.shape == (159,)
    np.testing.assert_allclose(found.eigenvalues, spectrum[1], atol=CURVATURE * spectrum[1].max())
    flat = found.vectors.reshape(159, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(159), atol=ROUNDING)
    mass = units.masses(structure.elements)[np.asarray(structure.species)]
    drift = np.einsum("mia,i->ma", found.vectors, np.sqrt(mass))
    np.testing.assert_allclose(drift, 0.0, atol=1e-8)


def test_without_masses_the_modes_are_those_of_the_hessian(around, spectrum):
    found = soft_modes.modes(around, fraction=1.0, mass_weighted=False)
    expected = scipy.linalg.eigvalsh(spectrum[0])
    expected = np.delete(expected, np.argsort(np.abs(expected))[:3])
    np.testing.assert_allclose(found.eigenvalues, expected, atol=CURVATURE * expected.max())


@pytest.mark.slow
def test_the_methods_agree_on_a_glass(around):
    dense, chebyshev = (soft_modes.modes(around, 0.05, method=m) for m in ("dense", "chebyshev"))
    np.testing.assert_allclose(dense.eigenvalues, chebyshev.eigenvalues, rtol=1e-7)
    share = [soft_modes.participation_fraction(m.vectors) for m in (dense, chebyshev)]
    np.testing.assert_allclose(share[0], share[1], atol=1e-4)
    # Each eigenvalue is within its residual of a true one.
    assert np.all(np.abs(dense.eigenvalues - chebyshev.eigenvalues) <= chebyshev.residuals)


def test_the_soft_subspace_is_as_close_as_promised(around):
    """The sine of each mode's angle to the dense eigenspace of all that lies below the edge."""
    count = participation.num_modes(54, 0.05)
    pairs, _ = participation.lowest(around, count)
    every = soft_modes.modes(around, 1.0, method="dense")
    below = every.vectors[: len(pairs.values)].reshape(len(pairs.values), -1)
    soft = np.asarray(pairs.vectors[:, :count])
    outside = np.linalg.norm(soft - below.T @ (below @ soft), axis=0)
    assert np.all(pairs.converged[:count])
    assert outside.max() < participation._TOLERANCE


def _known(size: int, num_soft: int, seed: int):
    """A matrix with some soft eigenvalues apart from the others; its eigenvalues and vectors."""
    soft = np.linspace(1e-3, 3e-3, num_soft)
    stiff = 3.2e-3 + 0.3 * np.linspace(0.0, 1.0, size - num_soft) ** 1.5
    exact = np.concatenate([soft, stiff])
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    return jnp.asarray(turn * exact @ turn.T), exact, turn


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tolerance", [2e-5, 1e-8])
def test_subspaces_are_as_close_as_promised(tolerance, seed):
    """The second tolerance is below what a filter in float32 gives without the residuals."""
    matrix, exact, turn = _known(300, 12, seed)
    found = eigensolver.lowest(jnp.matmul, matrix, jax.random.key(0), 300, 12, 23, tolerance)
    assert np.all(found.converged[:12])
    outside = np.linalg.norm(turn[:, 23:].T @ np.asarray(found.vectors[:, :12]), axis=0)
    assert outside.max() < tolerance
    # The error of an eigenvalue goes as the square of the angle.
    np.testing.assert_allclose(found.values[:12], exact[:12], atol=exact[-1] * tolerance**2 + 1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("tolerance", [2e-5, 1e-8])
def test_no_copy_of_a_degenerate_value_is_missed(tolerance):
    """48 equal eigenvalues, where a block of the Krylov space has 16 vectors."""
    size, copies = 900, 48
    rng = np.random.default_rng(0)
    exact = np.full(size, 1e-3)
    exact[copies:] = 1.5e-3 + 0.3 * np.linspace(0.0, 1.0, size - copies) ** 1.5
    turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
    matrix = jnp.asarray(turn * exact @ turn.T)
    found = eigensolver.lowest(jnp.matmul, matrix, jax.random.key(0), size, 50, 86, tolerance)
    assert np.all(found.converged[:50])
    np.testing.assert_allclose(found.values[:50], exact[:50], atol=1e-9)
    outside = np.linalg.norm(turn[:, copies:].T @ np.asarray(found.vectors[:, :copies]), axis=0)
    assert outside.max() < tolerance


@pytest.mark.parametrize("size", [30, 97])
def test_a_matrix_as_small_as_the_krylov_space(size):
    """It would be larger than the smaller one, and is all but one vector of the other."""
    matrix, exact, _ = _known(size, 6, 0)
    found = eigensolver.lowest(jnp.matmul, matrix, jax.random.key(0), size, 6, 16, 1e-8)
    assert np.all(found.converged[:6])
    np.testing.assert_allclose(found.values[:6], exact[:6], atol=1e-14)


@pytest.mark.slow
def test_two_threads_do_not_wait_for_each_other(tmp_path):
    """A batch of LAPACK calls waits for XLA's threads in one of them: two such never end."""
    program = """
import jax, sys
jax.config.update("jax_enable_x64", True)
from concurrent.futures import ThreadPoolExecutor
from reference import small_glass
from stzjax.descriptors import soft_modes
from stzjax.mechanics import allocation
glass, potential = small_glass.relaxed(small_glass.TILTED), small_glass.potential()
around = allocation.expand(glass, potential)
def soft(_): return soft_modes.modes(around, 0.05, method="chebyshev").eigenvalues[0]
soft(0)
with ThreadPoolExecutor(2) as pool:
    assert len(set(pool.map(soft, range(24)))) == 1
"""
    tests = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    command = [sys.executable, "-c", program]
    subprocess.run(command, env=environment, cwd=tmp_path, timeout=300, check=True)


@pytest.mark.slow
def test_compiled_participation_is_that_of_the_modes(glass, around):
    structure, potential, neighbors = glass
    tiling = allocation.tiling(structure, neighbors)
    dense = soft_modes.modes(around, 0.05, method="dense")
    expected = soft_modes.participation_fraction(dense.vectors)
    one = jax.jit(participation.participation, static_argnums=1)(around, 0.05)
    assert bool(one.converged)
    np.testing.assert_allclose(one.fraction, expected, atol=1e-4)
    np.testing.assert_allclose(one.lowest, dense.eigenvalues[0], rtol=1e-7)
    batch = jax.tree.map(lambda x: jnp.stack([x, x]), structure)

    def soft(structure):
        expanded = expansion.expand(structure, potential, neighbors, tiling)
        return participation.participation(expanded, 0.05)

    many = jax.vmap(soft)(batch)
    np.testing.assert_allclose(many.fraction[1], expected, atol=1e-4)


# The third derivative of a spline jumps at its knots: short steps pass few of them.
SHORT = 1e-5


def _share(structure, potential, neighbors, weight, fraction=0.05) -> float:
    """Σ w p from all eigenvectors of the dense matrix."""
    around = allocation.expand(structure, potential, neighbors)
    soft = soft_modes.modes(around, fraction, method="dense")
    return float(weight @ soft_modes.participation_fraction(soft.vectors))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_the_gradient_of_participation(glass, seed):
    """Against central differences along random moves, of the cell too, within the 1e-4 asked."""
    structure, potential, neighbors = glass
    tiling = allocation.tiling(structure, neighbors)
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=54)
    move, strain = rng.normal(size=(54, 3)) / 300.0, rng.normal(size=(3, 3)) / 100.0

    def moved(x):
        return structure.replace(
            fractional=structure.fractional + x * move, cell=structure.cell + x * strain
        )

    def value(x):
        around = expansion.expand(moved(x), potential, neighbors, tiling)
        return jnp.asarray(weight) @ participation.participation(around, 0.05).fraction

    expected = cases.derivative(lambda x: _share(moved(x), potential, neighbors, weight), SHORT)
    np.testing.assert_allclose(jax.grad(value)(0.0), expected, rtol=1e-4)


@pytest.mark.slow
def test_degenerate_modes_have_a_finite_gradient():
    """The twelve lowest modes of an fcc crystal are one eigenvalue: their projector is smooth."""
    basis = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    fractional = np.concatenate([(basis + shift) / 3 for shift in np.ndindex(3, 3, 3)])
    crystal = stzjax.Structure.create(fractional, 9.6 * np.eye(3), np.zeros(108, int), ELEMENTS)
    potential = small_glass.potential()
    neighbors = stzjax.neighbors.allocate(crystal, potential.cutoff, skin=0.3)
    share = 12 / (3 * 108 - 3)
    soft = soft_modes.modes(
        allocation.expand(crystal, potential, neighbors), 2 * share, method="dense"
    )
    eigenvalues = soft.eigenvalues / soft.eigenvalues[0]
    assert np.ptp(eigenvalues[:12]) < 1e-9 and eigenvalues[12] > 1.5
    tiling = allocation.tiling(crystal, neighbors)
    rng = np.random.default_rng(0)
    weight, move = rng.normal(size=108), rng.normal(size=(108, 3)) / 300.0

    def moved(x):
        return crystal.replace(fractional=crystal.fractional + x * move)

    def value(x):
        around = expansion.expand(moved(x), potential, neighbors, tiling)
        return jnp.asarray(weight) @ participation.participation(around, share).fraction

    def expected(x):
        return _share(moved(x), potential, neighbors, weight, share)

    np.testing.assert_allclose(jax.grad(value)(0.0), cases.derivative(expected, SHORT), rtol=1e-4)


def test_one_mode_at_least_and_the_fraction_is_rounded(around):
    for fraction, count in ((1e-6, 1), (0.01, 2), (0.02, 3)):
        found = soft_modes.modes(around, fraction)
        assert len(found.eigenvalues) == count


def test_participation_of_plane_waves_and_of_one_atom():
    wave = np.exp(2j * np.pi * 3 * np.arange(20) / 20)
    modes = np.zeros((2, 20, 3))
    modes[0, :, 1], modes[1, :, 1] = wave.real / np.sqrt(10), wave.imag / np.sqrt(10)
    np.testing.assert_allclose(soft_modes.participation_fraction(modes), 1.0)
    alone = np.zeros((4, 20, 3))
    alone[:, 7, 0] = 1.0
    expected = np.zeros(20)
    expected[7] = 20.0
    np.testing.assert_allclose(soft_modes.participation_fraction(alone), expected)


def test_participation_is_one_on_average(around):
    soft = soft_modes.modes(around, 0.05)
    share = soft_modes.participation_fraction(soft.vectors)
    assert share.shape == (54,) and share.min() >= 0.0
    np.testing.assert_allclose(share.sum(), 54.0, rtol=ROUNDING)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "chebyshev"])
def test_a_saddle_is_refused_with_its_eigenvalue(glass, method):
    _, potential, _ = glass
    rough = small_glass.rough(small_glass.TILTED, jitter=0.05)
    matrix = small_glass.hessian(rough, potential)
    mass = np.repeat(units.masses(rough.elements)[np.asarray(rough.species)], 3)
    lowest = scipy.linalg.eigvalsh(matrix / np.sqrt(np.outer(mass, mass)))[0]
    assert lowest < 0
    with pytest.raises(ValueError, match=re.escape(f"the eigenvalue {lowest:.3e}; relax")):
        soft_modes.modes(allocation.expand(rough, potential), method=method)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "chebyshev"])
def test_atoms_without_bonds_are_no_minimum(method):
    potential = small_glass.potential()
    gas = stzjax.Structure.create(
        [[0.1, 0.1, 0.1], [0.4, 0.4, 0.4], [0.7, 0.7, 0.7]], np.eye(3) * 20.0, [0, 1, 0], ELEMENTS
    )
    with pytest.raises(ValueError, match="not a minimum"):
        soft_modes.modes(allocation.expand(gas, potential), method=method)


def test_bad_input_is_refused(glass, around):
    structure, potential, neighbors = glass
    for fraction in (0.0, -0.1, 1.5, np.nan):
        with pytest.raises(ValueError, match=r"must be in \(0, 1\]"):
            soft_modes.modes(around, fraction)
    with pytest.raises(ValueError, match="unknown method 'fast'; choose from auto, dense"):
        soft_modes.modes(around, method="fast")
    broken = structure.replace(fractional=structure.fractional.at[0].set(np.nan))
    with pytest.raises(ValueError, match="not finite"):
        soft_modes.modes(allocation.expand(broken, potential, neighbors))
    with pytest.raises(ValueError, match="has no Hessian: give `expand` the tiling"):
        soft_modes.modes(expansion.expand(structure, potential, neighbors))
