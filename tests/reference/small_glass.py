"""A potential of short range and 54 atoms that are stable under it, for the descriptor tests."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from reference import cases, tables

import stzjax
from stzjax.mechanics import relax

TOY = tables.Toy(
    elements=("Cu", "Zr"),
    hard=((200.0, 260.0), (260.0, 420.0)),
    soft=((15.0, 17.0), (17.0, 16.0)),
    weight=((9.0, 2.5), (24.0, 14.0)),
    bend=((0.5, 2.0), (-0.5, 1.0)),
    depth=(1.1, 1.7),
    rise=(0.002, 0.001),
    cutoff=4.2,
    max_density=60.0,
)
"""Asymmetric: copper gives zirconium far more density than it receives."""

NUM_ATOMS = 54
CUBIC = 10.0 * np.eye(3)
TILTED = 9.9 * np.array([[1.0, 0.10, -0.08], [0.0, 0.97, 0.12], [0.0, 0.0, 1.04]])


def rough(cell, seed: int = 0, jitter: float = 0.03) -> stzjax.Structure:
    """A strongly perturbed bcc lattice in a cell, its atoms of either element at random."""
    rng = np.random.default_rng(seed)
    corner = np.array(list(itertools.product(range(3), repeat=3))) / 3
    fractional = np.concatenate([corner, corner + 1 / 6])
    species = rng.integers(0, 2, NUM_ATOMS)
    kick = rng.normal(scale=jitter, size=fractional.shape)
    return stzjax.Structure.create(fractional + kick, cell, species, TOY.elements)


def potential() -> stzjax.potentials.EAM:
    """The splines of `TOY`."""
    return cases.potential(TOY)


def hessian(structure, potential, neighbors=None) -> np.ndarray:
    """Second derivative of the energy by the positions, (3 N, 3 N) [eV/Å²], from the forces alone.

    By forward derivatives of the forces along every coordinate: nothing of `hessians` is in it.
    """
    if neighbors is None:
        neighbors = stzjax.neighbors.allocate(structure, potential.cutoff)
    size = 3 * structure.num_atoms
    unit = jnp.eye(size).reshape(size, -1, 3)
    along = jax.vmap(stzjax.energetics.hessian_vector_product, in_axes=(None, None, 0, None))
    return np.asarray(along(structure, potential, unit, neighbors)).reshape(size, size).T


def relaxed(cell, seed: int = 0, tolerance: float = 1e-8) -> stzjax.Structure:
    """The minimum of the energy below `rough`."""
    result = relax.relax(
        rough(cell, seed), potential(), relax.RelaxConfig(force_tolerance=tolerance)
    )
    assert result.converged
    return result.structure
