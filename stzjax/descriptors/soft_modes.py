"""Soft vibrational modes: the lowest eigenvectors of the dynamical matrix, and participation.

The matrix is not formed: a filtered Krylov space (`subspace`) needs products only. The
participation of the atoms in all soft modes together is that of a spectral projector, which stays
smooth where modes within it cross; its gradient follows from first-order perturbation of the
subspace, without the differences of eigenvalues inside it.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import Array

from stzjax.core import units
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics, hessians
from stzjax.mechanics.hessians import Hessian, Tiling
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.numerics import conjugate_gradient, eigensolver, precision
from stzjax.potentials.eam import EAM

METHODS = ("auto", "dense", "chebyshev")
"""How to find the lowest modes; "auto" takes the faster one for the size."""

_DENSE_UP_TO = 150
_ROUNDING = 1e-11
_SPARE, _SPARE_LEAST = 1.6, 6
"""Vectors of the block: a factor of the modes that are wanted, and more."""

_TOLERANCE, _PRECISE = 2e-5, 1e-8
"""Angles between the modes and the true ones; gradients, which divide by gaps, need the second."""

_GRADIENT_TOLERANCE, _GRADIENT_ITERATIONS = 1e-8, 20000


class Modes(NamedTuple):
    """The lowest vibrational modes, the three translations left out.

    Attributes:
      eigenvalues: (M,) ascending [eV/Å²/amu]; eV/Å² if not mass-weighted. Angular frequencies
        are sqrt(eigenvalues / units.AMU) [rad/ps].
      vectors: (M, N, 3) orthonormal eigenvectors; the sign is arbitrary.
      residuals: (M,) norms of D e - λ e, in the units of the eigenvalues; each eigenvalue is off
        by less.
    """

    eigenvalues: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray


class Shape(NamedTuple):
    """Static shape of the soft modes of a structure, for compiled code.

    Attributes:
      tiling: of the Hessian.
      num_modes: M.
      mass_weighted: eigenvectors of the dynamical matrix; else of the Hessian.
    """

    tiling: Tiling
    num_modes: int
    mass_weighted: bool


class Participation(NamedTuple):
    """Participation fractions, and whether they can be trusted.

    Attributes:
      fraction: (N,), one on average.
      lowest: smallest eigenvalue; not above zero where the structure is not at a minimum.
      converged: whether all modes are; if not, the fractions are NaN.
    """

    fraction: Array
    lowest: Array
    converged: Array


def shape(
    structure: Structure,
    neighbors: Neighbors,
    fraction: float = 0.01,
    mass_weighted: bool = True,
) -> Shape:
    """The static shape for a structure, on the host.

    Args:
      structure: N atoms; concrete arrays.
      neighbors: a valid list.
      fraction: share of the 3 N - 3 vibrations, rounded; one at least.
      mass_weighted: eigenvectors of the dynamical matrix; else of the Hessian.

    Raises:
      ValueError: a lone atom, or a fraction out of range.
    """
    tiling = hessians.tiling(structure, neighbors)
    return Shape(tiling, _count(structure, fraction), mass_weighted)


def _count(structure: Structure, fraction: float) -> int:
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"the fraction of modes must be in (0, 1], got {fraction}")
    vibrations = 3 * structure.num_atoms - 3
    if vibrations < 1:
        raise ValueError("one atom alone has no vibrations; use more atoms")
    return max(1, round(fraction * vibrations))


def modes(
    structure: Structure,
    potential: EAM,
    fraction: float = 0.01,
    mass_weighted: bool = True,
    method: str = "auto",
    neighbors: Neighbors | None = None,
) -> Modes:
    """The lowest modes of the dynamical matrix of a relaxed structure.

    Args:
      structure: N atoms at a minimum of the energy; concrete arrays.
      potential: an embedded-atom potential.
      fraction: share of the 3 N - 3 vibrations, rounded; one at least.
      mass_weighted: eigenvectors of the dynamical matrix; else of the Hessian.
      method: "dense" diagonalises a matrix of 8 (3 N)² bytes, "chebyshev" forms none; see
        `METHODS`.
      neighbors: as in `energetics.energy`.

    Raises:
      ValueError: not a minimum, modes that do not converge, or an argument out of range.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; choose from {', '.join(METHODS)}")
    count = _count(structure, fraction)
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    if method == "auto":
        # A block that is a good part of all vectors gains nothing over the whole matrix.
        small = structure.num_atoms <= _DENSE_UP_TO or fraction > 0.1
        method = "dense" if small else "chebyshev"
    if method == "dense":
        return _dense(structure, potential, neighbors, count, mass_weighted)
    tiles = shape(structure, neighbors, fraction, mass_weighted)
    pairs, stiffness = jax.device_get(_lowest(structure, potential, neighbors, tiles))
    _check(stiffness, pairs.values[0], pairs.residual[:count], np.all(pairs.converged[:count]))
    vectors = np.ascontiguousarray(pairs.vectors[:, :count].T).reshape(count, -1, 3)
    return Modes(pairs.values[:count], vectors, pairs.residual[:count])


def _check(stiffness: float, lowest: float, residuals: np.ndarray, converged=True) -> None:
    if not np.isfinite(stiffness):
        raise ValueError("the Hessian is not finite; do atoms coincide?")
    # Without any bond there is nothing to iterate with.
    lowest = lowest if stiffness != 0.0 else 0.0
    if lowest <= _ROUNDING * abs(stiffness):
        raise ValueError(
            f"not a minimum: the lowest mode has the eigenvalue {lowest:.3e}; relax the structure "
            "first, to a tighter force tolerance if it was relaxed already"
        )
    if not converged or not np.isfinite(lowest):
        raise ValueError(
            f"the soft modes did not converge (largest residual {np.max(residuals):.1e}); "
            'ask for more or fewer modes, or use method="dense"'
        )


def participation_fraction(vectors: np.ndarray) -> np.ndarray:
    """Share of each atom in the soft modes, (N,): N times the mean of |e_i|²; one on average.

    Args:
      vectors: (M, N, 3) normalised modes, such as the lowest 1 % from `modes`.
    """
    return vectors.shape[1] * np.mean(np.sum(np.asarray(vectors) ** 2, axis=-1), axis=0)


def participation(
    structure: Structure, potential: EAM, neighbors: Neighbors, shape: Shape
) -> Participation:
    """Participation fractions for compiled code; reverse mode differentiates them.

    The gradient, with respect to positions, cell and potential, is that of the projector onto the
    soft modes. It exists where the next eigenvalue is apart from them.

    Args:
      structure: N atoms at a minimum of the energy.
      potential: an embedded-atom potential.
      neighbors: a valid list.
      shape: from the function `shape`.
    """
    leaves = structure.fractional, structure.cell, potential
    return _participation(leaves, structure, neighbors, shape)


def _dynamical(data: tuple[Hessian, Array, Array], vectors: Array) -> Array:
    """The dynamical matrix times (3 N, M) vectors, translations moved up by `shift`."""
    hessian, root, shift = data
    scale = root[:, None, None]
    fields = vectors.reshape(len(root), 3, -1)
    image = hessians.apply(hessian, fields / scale) / scale
    still = scale / jnp.linalg.norm(root)
    image = image + shift * still * jnp.sum(still * fields, axis=0)
    return image.reshape(vectors.shape)


def _root_masses(structure: Structure, mass_weighted: bool) -> Array:
    if not mass_weighted:
        return jnp.ones(structure.num_atoms)
    return jnp.sqrt(jnp.asarray(units.masses(structure.elements)))[structure.species]


def _operator(
    structure: Structure, potential: EAM, neighbors: Neighbors, shape: Shape
) -> tuple[Hessian, Array, Array]:
    """What `_dynamical` takes."""
    hessian = hessians.assemble(structure, potential, neighbors, shape.tiling)
    root = _root_masses(structure, shape.mass_weighted)
    # Where nobody looks: the mean of the diagonal is the mean of the spectrum.
    diagonal = jnp.trace(hessian.diagonal, axis1=1, axis2=2) / (3.0 * root**2)
    return hessian, root, jnp.mean(diagonal)


@functools.partial(jax.jit, static_argnames=("shape", "precise"))
def _lowest(
    structure: Structure,
    potential: EAM,
    neighbors: Neighbors,
    shape: Shape,
    precise: bool = False,
) -> tuple[eigensolver.Pairs, Array]:
    """The soft modes and a few more, and the mean of the diagonal."""
    data = _operator(structure, potential, neighbors, shape)
    size = 3 * structure.num_atoms
    block = min(math.ceil(_SPARE * shape.num_modes) + _SPARE_LEAST, size)
    key = jax.random.key(0)
    rough = precision.cast(data, "float32")
    tolerance = _PRECISE if precise else _TOLERANCE
    pairs = eigensolver.lowest(
        _dynamical, data, rough, key, size, shape.num_modes, block, tolerance
    )
    return pairs._replace(converged=pairs.converged & ~data[0].overflow), data[2]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _participation(leaves, structure, neighbors, shape) -> Participation:
    return _measured(leaves, structure, neighbors, shape, False)[0]


def _placed(leaves, structure: Structure) -> tuple[Structure, EAM]:
    fractional, cell, potential = leaves
    return structure.replace(fractional=fractional, cell=cell), potential


def _measured(leaves, structure, neighbors, shape, precise: bool):
    structure, potential = _placed(leaves, structure)
    pairs, _ = _lowest(structure, potential, neighbors, shape, precise)
    inside = pairs.vectors[:, : shape.num_modes].reshape(structure.num_atoms, 3, shape.num_modes)
    fraction = structure.num_atoms * jnp.mean(jnp.sum(inside**2, axis=1), axis=1)
    converged = jnp.all(pairs.converged[: shape.num_modes])
    fraction = jnp.where(converged, fraction, jnp.nan)
    found = Participation(fraction, pairs.values[0], converged)
    return found, (leaves, structure, neighbors, pairs)


def _forward(leaves, structure, neighbors, shape):
    return _measured(leaves, structure, neighbors, shape, True)


def _backward(shape, kept, cotangent):
    """Gradient of Σ w_i p_i = (N / M) tr(W P): -2 Σ_p y_p·dD v_p, (D - λ_p) y_p = Q W v_p N / M."""
    leaves, structure, neighbors, pairs = kept
    num_atoms, count = structure.num_atoms, shape.num_modes
    data = _operator(structure, leaves[2], neighbors, shape)
    inside, outside = pairs.vectors[:, :count], pairs.vectors[:, count:]
    values, beyond = pairs.values[:count], pairs.values[count:]

    def project(fields: Array) -> Array:
        flat = fields.reshape(inside.shape)
        return (flat - inside @ (inside.T @ flat)).reshape(fields.shape)

    def operator(fields: Array) -> Array:
        flat = fields.reshape(inside.shape)
        return project((_dynamical(data, flat) - values * flat).reshape(fields.shape))

    weight = cotangent.fraction[:, None, None] * (num_atoms / count)
    sides = weight * inside.reshape(num_atoms, 3, count)
    # Most of the solution lies along the other vectors of the block, which are nearly modes.
    along = outside.T @ project(sides).reshape(inside.shape)
    start = outside @ (along / (beyond[:, None] - values))
    found = conjugate_gradient.solve(
        operator,
        sides,
        _GRADIENT_TOLERANCE,
        _GRADIENT_ITERATIONS,
        precondition=lambda x: x,
        project=project,
        start=start.reshape(sides.shape),
    )
    good = jnp.all(found.outcome == conjugate_gradient.CONVERGED)
    scale = data[1][:, None, None]
    left, right = found.fields / scale, inside.reshape(sides.shape) / scale

    def bilinear(leaves, pair) -> Array:
        placed, potential = _placed(leaves, structure)
        first, second = pair
        product = energetics.hessian_vector_product(placed, potential, second, neighbors)
        return -2.0 * jnp.sum(first * product)

    def add(total, pair):
        return jax.tree.map(jnp.add, total, jax.grad(bilinear)(leaves, pair)), None

    fields = jnp.moveaxis(left, -1, 0), jnp.moveaxis(right, -1, 0)
    total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, leaves), fields)
    return jax.tree.map(lambda x: jnp.where(good, x, jnp.nan), total), None, None


_participation.defvjp(_forward, _backward)


def hessian(structure: Structure, potential: EAM, neighbors: Neighbors | None = None) -> np.ndarray:
    """Second derivative of the energy by the positions, (3 N, 3 N) [eV/Å²], on the host.

    Row 3 i + a belongs to atom i and axis a. Arguments as `energetics.energy`.
    """
    neighbors = lists.ensure(neighbors, structure, potential.cutoff)
    bonds = jax.device_get(_bond_curvature(structure, potential, neighbors))
    size = structure.num_atoms
    idx = np.asarray(lists.table(neighbors))
    place, atom = np.nonzero(idx < size)
    other = idx[place, atom]
    # The cell is at least two cut-offs across, so a pair has one bond at most.
    many = np.zeros((size, size, 3))
    many[atom, other] = bonds.given[:, place, atom].T
    each = np.arange(size)
    many[each, each] = -many.sum(axis=1)
    rows = many.reshape(size, 3 * size)
    matrix = rows.T @ (bonds.bend[:, None] * rows)
    view = matrix.reshape(size, 3, size, 3)
    pair = np.moveaxis(bonds.blocks[:, :, place, atom], -1, 0)
    view[atom, :, other, :] -= pair
    view[each, :, each, :] += np.moveaxis(bonds.blocks.sum(axis=2), -1, 0)
    return matrix


_bond_curvature = jax.jit(hessians.bond_curvature)


def _dense(structure, potential, neighbors, count: int, mass_weighted: bool) -> Modes:
    root = np.asarray(_root_masses(structure, mass_weighted))
    matrix = hessian(structure, potential, neighbors)
    matrix /= np.repeat(root, 3)[:, None]
    matrix /= np.repeat(root, 3)
    if not np.isfinite(matrix).all():
        raise ValueError("the Hessian is not finite; do atoms coincide?")
    stiffness = matrix.diagonal().mean()
    # Translations, exact eigenvectors of any translation-invariant energy, go above every other.
    shift = np.abs(matrix).sum(axis=0).max()
    direction = root / np.linalg.norm(root)
    view = matrix.reshape(len(root), 3, len(root), 3)
    for axis in range(3):
        view[:, axis, :, axis] += shift * np.outer(direction, direction)
    eigenvalues, vectors = scipy.linalg.eigh(
        matrix, subset_by_index=(0, count - 1), check_finite=False
    )
    residuals = np.linalg.norm(matrix @ vectors - vectors * eigenvalues, axis=0)
    _check(stiffness, eigenvalues[0], residuals)
    return Modes(eigenvalues, np.ascontiguousarray(vectors.T).reshape(count, -1, 3), residuals)
