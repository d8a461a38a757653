"""Participation of the atoms in soft vibrational modes, as array code.

The dynamical matrix is not formed: a filtered Krylov space (`eigensolver`) needs products only. The
participation of the atoms in all soft modes together is that of a spectral projector, which stays
smooth where modes within it cross; its gradient follows from first-order perturbation of the
subspace, without the differences of eigenvalues inside it.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from stzjax.descriptors.family import Family
from stzjax.mechanics import energetics, hessians
from stzjax.mechanics.expansion import Expansion
from stzjax.mechanics.hessians import Operator
from stzjax.numerics import conjugate_gradient, eigensolver

_SPARE, _SPARE_LEAST = 1.6, 6
"""Vectors of the block: a factor of the modes that are wanted, and more."""

_TOLERANCE, _PRECISE = 2e-5, 1e-8
"""Angles between the modes and the true ones; gradients, which divide by gaps, need the second."""

_GRADIENT_TOLERANCE, _GRADIENT_ITERATIONS = 1e-8, 20000


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


def num_modes(num_atoms: int, fraction: float) -> int:
    """Number of the soft modes: a share of the 3 N - 3 vibrations, rounded; one at least.

    Raises:
      ValueError: a lone atom, or a fraction out of range.
    """
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"the fraction of modes must be in (0, 1], got {fraction}")
    if num_atoms < 2:
        raise ValueError("one atom alone has no vibrations; use more atoms")
    return max(1, round(fraction * (3 * num_atoms - 3)))


def participation(
    expansion: Expansion, fraction: float = 0.01, mass_weighted: bool = True
) -> Participation:
    """Participation fractions of the atoms for compiled code, under `vmap` too.

    The gradient, with respect to positions, cell and potential, is that of the projector onto the
    soft modes. It exists where the next eigenvalue is apart from them.

    Args:
      expansion: that of N atoms at a minimum of the energy, with its Hessian.
      fraction: share of the vibrations that count as soft; see `num_modes`; static.
      mass_weighted: modes of the dynamical matrix; else of the Hessian; static.
    """
    structure = expansion.structure
    leaves = structure.fractional, structure.cell, expansion.potential
    count = num_modes(structure.num_atoms, fraction)
    return _participation(leaves, expansion, count, mass_weighted)


def dynamical(data: tuple[Operator, Array, Array], vectors: Array) -> Array:
    """The dynamical matrix times (3 N, M) vectors, translations moved up by `shift`."""
    hessian, root, shift = data
    scale = root[:, None, None]
    fields = vectors.reshape(len(root), 3, -1)
    image = hessians.apply(hessian, fields / scale) / scale
    still = scale / jnp.linalg.norm(root)
    image = image + shift * still * jnp.sum(still * fields, axis=0)
    return image.reshape(vectors.shape)


def operator(expansion: Expansion, mass_weighted: bool) -> tuple[Operator, Array, Array]:
    """The arguments of `dynamical`: the Hessian, square roots of the masses, mean eigenvalue."""
    hessian, structure = expansion.operator(), expansion.structure
    root = jnp.ones(structure.num_atoms)
    if mass_weighted:
        root = jnp.sqrt(jnp.asarray(expansion.potential.masses_of(structure.elements)))[
            structure.species
        ]
    # Translations go where nobody looks: the mean of the diagonal is the mean of the spectrum.
    diagonal = jnp.trace(hessian.diagonal, axis1=1, axis2=2) / (3.0 * root**2)
    return hessian, root, jnp.mean(diagonal)


@functools.partial(jax.jit, static_argnames=("count", "mass_weighted", "precise"))
def lowest(
    expansion: Expansion, count: int, mass_weighted: bool = True, precise: bool = False
) -> tuple[eigensolver.Pairs, Array]:
    """The soft modes and a few more, as precise as gradients need it if asked for.

    With them the mean of the diagonal of the dynamical matrix.
    """
    data = operator(expansion, mass_weighted)
    size = 3 * expansion.structure.num_atoms
    block = min(math.ceil(_SPARE * count) + _SPARE_LEAST, size)
    tolerance = _PRECISE if precise else _TOLERANCE
    pairs = eigensolver.lowest(dynamical, data, jax.random.key(0), size, count, block, tolerance)
    return pairs._replace(converged=pairs.converged & ~data[0].overflow), data[2]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _participation(leaves, expansion, count, mass_weighted) -> Participation:
    return _measured(expansion, count, mass_weighted, False)[0]


def _measured(expansion: Expansion, count: int, mass_weighted: bool, precise: bool):
    pairs, _ = lowest(expansion, count, mass_weighted, precise)
    num_atoms = expansion.structure.num_atoms
    inside = pairs.vectors[:, :count].reshape(num_atoms, 3, count)
    fraction = num_atoms * jnp.mean(jnp.sum(inside**2, axis=1), axis=1)
    converged = jnp.all(pairs.converged[:count])
    fraction = jnp.where(converged, fraction, jnp.nan)
    return Participation(fraction, pairs.values[0], converged), pairs


def _forward(leaves, expansion, count, mass_weighted):
    found, pairs = _measured(expansion, count, mass_weighted, True)
    return found, (leaves, expansion, pairs)


def _backward(count, mass_weighted, kept, cotangent):
    """Gradient of Σ w_i p_i = (N / M) tr(W P): -2 Σ_p y_p·dD v_p, (D - λ_p) y_p = Q W v_p N / M."""
    leaves, expansion, pairs = kept
    num_atoms = expansion.structure.num_atoms
    data = operator(expansion, mass_weighted)
    weight = jnp.repeat(cotangent.fraction, 3)[:, None] * (num_atoms / count)
    found = _perturbed(data, pairs, weight * pairs.vectors[:, :count])
    good = jnp.all(found.outcome == conjugate_gradient.CONVERGED)

    def bilinear(leaves, pair) -> Array:
        fractional, cell, potential = leaves
        placed = expansion.structure.replace(fractional=fractional, cell=cell)
        first, second = (column.reshape(num_atoms, 3) / data[1][:, None] for column in pair)
        product = energetics.hessian_vector_product(placed, potential, second, expansion.neighbors)
        return -2.0 * jnp.sum(first * product)

    def add(total, pair):
        return jax.tree.map(jnp.add, total, jax.grad(bilinear)(leaves, pair)), None

    columns = found.fields.T, pairs.vectors[:, :count].T
    total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, leaves), columns)
    return jax.tree.map(lambda x: jnp.where(good, x, jnp.nan), total), None


def _perturbed(
    data: tuple[Operator, Array, Array], pairs: eigensolver.Pairs, sides: Array
) -> conjugate_gradient.Solution:
    """Vectors y_p with (D - λ_p) y_p = Q b_p for M soft modes; Q takes these modes out.

    Args:
      data: arrays of the dynamical matrix D, see `dynamical`.
      pairs: its lowest eigenpairs, more than M.
      sides: (3 N, M) right-hand sides b.
    """
    count = sides.shape[-1]
    inside, outside = pairs.vectors[:, :count], pairs.vectors[:, count:]
    values, beyond = pairs.values[:count], pairs.values[count:]

    def project(vectors: Array) -> Array:
        return vectors - inside @ (inside.T @ vectors)

    # Most of the solution lies along the other vectors of the block, which are nearly modes.
    start = outside @ (outside.T @ project(sides) / (beyond[:, None] - values))
    return conjugate_gradient.solve(
        lambda vectors: project(dynamical(data, vectors) - values * vectors),
        sides,
        _GRADIENT_TOLERANCE,
        _GRADIENT_ITERATIONS,
        precondition=lambda vectors: vectors,
        project=project,
        start=start,
    )


_participation.defvjp(_forward, _backward)

FAMILY = Family(
    "soft_modes",
    ("participation_fraction",),
    lambda inputs: inputs.participation,
    lambda fraction, direction: [fraction],
)
"""Participation fraction of each atom in the soft modes, one on average."""
