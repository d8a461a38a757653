"""Soft vibrational modes: the Hessian in closed form, its lowest eigenvectors, participation.

With F' frozen an EAM is a pair potential ψ = φ + F'_i ρ_ij + F'_j ρ_ji, whose Hessian is one 3×3
block per bond; the change of F' adds Σ_i F''_i ∇ρ_i ⊗ ∇ρ_i.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from jax import Array

from stzjax import energetics, units
from stzjax import neighbors as lists
from stzjax.neighbors import Neighbors
from stzjax.potentials.eam import EAM, slope, value_and_slope
from stzjax.structure import Structure

METHODS = ("auto", "dense", "lanczos")
"""How to find the lowest modes; "auto" takes the faster one for the size."""

_DENSE_UP_TO = 300
_ROUNDING = 1e-11


class Modes(NamedTuple):
    """The lowest vibrational modes, the three translations left out.

    Attributes:
      eigenvalues: (M,) ascending [eV/Å²/amu]; eV/Å² if not mass-weighted. Angular frequencies
        are sqrt(eigenvalues / units.AMU) [rad/ps].
      vectors: (M, N, 3) orthonormal eigenvectors; the sign is arbitrary.
    """

    eigenvalues: np.ndarray
    vectors: np.ndarray


def modes(
    structure: Structure,
    potential: EAM,
    fraction: float = 0.01,
    mass_weighted: bool = True,
    method: str = "auto",
    neighbors: Neighbors | None = None,
) -> Modes:
    """The lowest modes of the dynamical matrix of a relaxed structure.

    The matrix is dense, 8 (3 N)² bytes, and about twice that in passing.

    Args:
      structure: N atoms at a minimum of the energy.
      potential: an embedded-atom potential.
      fraction: share of the 3 N - 3 vibrations, rounded; one at least.
      mass_weighted: eigenvectors of the dynamical matrix; else of the Hessian.
      method: "dense" tridiagonalises, "lanczos" iterates with the inverse; see `METHODS`.
      neighbors: as in `energetics.energy`.

    Raises:
      ValueError: not a minimum, or an argument out of range.
    """
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"the fraction of modes must be in (0, 1], got {fraction}")
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    vibrations = 3 * structure.num_atoms - 3
    if vibrations < 1:
        raise ValueError("one atom alone has no vibrations; use more atoms")
    count = max(1, round(fraction * vibrations))
    mass = _masses(structure) if mass_weighted else np.ones(structure.num_atoms)
    matrix = _without_translations(hessian(structure, potential, neighbors), mass)
    if method == "auto":
        few = count < vibrations // 10
        method = "lanczos" if few and structure.num_atoms > _DENSE_UP_TO else "dense"
    floor = _ROUNDING * matrix.diagonal().max()
    eigenvalues, vectors = (_dense if method == "dense" else _lanczos)(matrix, count)
    if eigenvalues[0] <= floor:
        raise _not_a_minimum(eigenvalues[0])
    return Modes(eigenvalues, np.ascontiguousarray(vectors.T).reshape(count, -1, 3))


def participation_fraction(vectors: np.ndarray) -> np.ndarray:
    """Share of each atom in the soft modes, (N,): N times the mean of |e_i|²; one on average.

    Args:
      vectors: (M, N, 3) normalised modes, such as the lowest 1 % from `modes`.
    """
    return vectors.shape[1] * np.mean(np.sum(np.asarray(vectors) ** 2, axis=-1), axis=0)


def _masses(structure: Structure) -> np.ndarray:
    return units.masses(structure.elements)[np.asarray(structure.species)]


def hessian(structure: Structure, potential: EAM, neighbors: Neighbors | None = None) -> np.ndarray:
    """Second derivative of the energy by the positions, (3 N, 3 N) [eV/Å²], on the host.

    Row 3 i + a belongs to atom i and axis a. Arguments as `energetics.energy`.
    """
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    blocks, gradients, bend = map(np.asarray, _derivatives(structure, potential, neighbors))
    size = structure.num_atoms
    idx = np.asarray(neighbors.idx)
    place, atom = np.nonzero(idx < size)
    other = idx[place, atom]
    # The cell is at least two cut-offs across, so a pair has one bond at most.
    many = np.zeros((size, size, 3))
    many[atom, other] = gradients[:, place, atom].T
    each = np.arange(size)
    many[each, each] = -many.sum(axis=1)
    rows = many.reshape(size, 3 * size)
    matrix = rows.T @ (bend[:, None] * rows)
    view = matrix.reshape(size, 3, size, 3)
    pair = np.moveaxis(blocks[:, :, place, atom], -1, 0)
    view[atom, :, other, :] -= pair
    view[each, :, each, :] += np.moveaxis(blocks.sum(axis=2), -1, 0)
    return matrix


@jax.jit
def _derivatives(structure: Structure, potential: EAM, neighbors: Neighbors):
    """Bond blocks (3, 3, K, N) [eV/Å²], ∂ρ_i/∂x_j (3, K, N) [1/Å] and F'' (N,) [eV]."""
    bonds = energetics.bonds(structure, potential, neighbors)
    r, own, other = bonds.r, bonds.own, bonds.other
    # A table's last slope need not vanish exactly at the cut-off, where padding sits; written so
    # that a distance that is not a number counts, and shows in the result.
    inside = ~(r >= potential.cutoff)
    density, given = value_and_slope(lambda r: potential.density(r, own, other), r)
    total = jnp.sum(jnp.where(inside, density, 0.0), axis=0)
    rise, bend = value_and_slope(
        lambda d: slope(lambda d: potential.embedding(d, own[0]), d), total
    )
    there = jnp.take(rise, neighbors.idx, mode="clip")

    def energy(r: Array) -> Array:
        shared = rise * potential.density(r, own, other) + there * potential.density(r, other, own)
        return potential.pair(r, own, other) + shared

    tension, stiffness = value_and_slope(lambda r: slope(energy, r), r)
    tension = jnp.where(inside, tension / r, 0.0)
    stiffness = jnp.where(inside, stiffness, 0.0)
    unit = jnp.where(inside, bonds.vectors / r, 0.0)
    along = unit[:, None] * unit[None]
    blocks = (stiffness - tension) * along + tension * jnp.eye(3)[:, :, None, None]
    return blocks, jnp.where(inside, given, 0.0) * unit, bend


def _without_translations(matrix: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """The mass-weighted matrix, its three translations moved above every other mode; in place."""
    root = np.sqrt(np.repeat(mass, 3))
    matrix /= root[:, None]
    matrix /= root
    if not np.isfinite(matrix).all():
        raise ValueError("the Hessian is not finite; do atoms coincide?")
    shift = np.abs(matrix).sum(axis=0).max()
    # Exact eigenvectors of any translation-invariant energy.
    direction = np.sqrt(mass / mass.sum())
    view = matrix.reshape(len(mass), 3, len(mass), 3)
    for axis in range(3):
        view[:, axis, :, axis] += shift * np.outer(direction, direction)
    return matrix


def _dense(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    return scipy.linalg.eigh(
        matrix, subset_by_index=(0, count - 1), overwrite_a=True, check_finite=False
    )


def _lanczos(matrix: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Shift-invert Lanczos at zero, with the Cholesky factor of the matrix as the inverse.

    The factor is dense because the many-body term couples atoms up to two cut-offs apart: a
    sparse one fills up at the sizes where it would be worth having.
    """
    size = len(matrix)
    diagonal = matrix.diagonal().copy()
    # The transpose of the symmetric matrix is in Fortran order: LAPACK works on it in place.
    fortran = matrix.T
    try:
        factor = scipy.linalg.cho_factor(fortran, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError:
        # The upper triangle is untouched.
        np.fill_diagonal(fortran, diagonal)
        lowest = scipy.linalg.eigh(
            fortran, lower=False, subset_by_index=(0, 0), eigvals_only=True, check_finite=False
        )
        raise _not_a_minimum(lowest[0]) from None
    inverse = scipy.sparse.linalg.LinearOperator(
        (size, size), lambda x: scipy.linalg.cho_solve(factor, x, check_finite=False), dtype=float
    )
    # Shift-invert never applies the matrix itself, only asks for its shape.
    eigenvalues, vectors = scipy.sparse.linalg.eigsh(
        inverse, count, sigma=0.0, OPinv=inverse, v0=np.cos(np.arange(size))
    )
    order = np.argsort(eigenvalues)
    return eigenvalues[order], vectors[:, order]


def _not_a_minimum(lowest: float) -> ValueError:
    return ValueError(
        f"not a minimum: the lowest mode has the eigenvalue {lowest:.3e}; relax the structure "
        "first, to a tighter force tolerance if it was relaxed already"
    )
