"""The Hessian of a structure as an operator, and the solution of equations with it.

With F' frozen a potential is a pair potential ψ = φ + F'_i ρ_ij + F'_j ρ_ji, whose
Hessian is one 3×3 block per bond; the change of F' adds Σ_i F''_i ∇ρ_i ⊗ ∇ρ_i. Both are kept as
small dense matrices, a matrix for each tile of neighbouring atoms against all atoms that it
touches, because every backend is best at matrix products: many displacement fields cost little more
than a single field. For other potentials each field costs a derivative of the forces.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array

from stzjax.core import geometry
from stzjax.core.structure import Structure
from stzjax.mechanics import energetics
from stzjax.neighbors import lists
from stzjax.neighbors.lists import Neighbors
from stzjax.numerics import conjugate_gradient
from stzjax.potentials.potential import Atoms, Potential

_COLUMNS_AT_A_TIME = 2048
"""Tiles times fields of one batch of matrix products."""

_FIELDS_AT_A_TIME, _PROBES = 8, 8
"""Fields of one batch of derivatives of the forces, and those that the diagonal is known from."""


class Tiling(NamedTuple):
    """Static shape of a `Hessian`.

    Attributes:
      levels: the atoms are halved so many times.
      size: atoms of a tile, c; the last ones may be absent.
      width: room for the atoms that a tile touches, itself included, U.
    """

    levels: int
    size: int
    width: int


class Hessian(flax.struct.PyTreeNode):
    """The Hessian of N atoms, tile by tile.

    Attributes:
      members: (T, c) atoms of each tile; N where there is none.
      place: (N,) where each atom stands among them.
      touched: (T, U) atoms that a tile touches; N where there is none.
      rows: (T, 4 c, 3 U) for each atom of a tile three rows at frozen F' [eV/Å²], then ∇ρ [1/Å].
      back: (T, 3 c, U) ∂ρ_j/∂x_i for the atoms i of a tile and those that it touches, j [1/Å].
      bend: (N,) F'' [eV].
      diagonal: (N, 3, 3) diagonal blocks [eV/Å²].
      overflow: True if a tile touches more atoms than there is room for; the rest is wrong then.
    """

    members: Array
    place: Array
    touched: Array
    rows: Array
    back: Array
    bend: Array
    diagonal: Array
    overflow: Array


class MatrixFree(flax.struct.PyTreeNode):
    """The Hessian of N atoms under a potential that has no second derivatives bond by bond.

    Attributes:
      potential: the potential.
      atoms: the configuration.
      diagonal: (N, 3, 3) the mean of the diagonal in each place, an estimate [eV/Å²].
      overflow: False.
    """

    potential: Potential
    atoms: Atoms
    diagonal: Array
    overflow: Array


Operator = Hessian | MatrixFree


@functools.partial(jax.jit, static_argnames=("levels", "size"))
def members_of(structure: Structure, levels: int, size: int) -> Array:
    """Atoms of each tile, (T, c): halved along the longest side again and again."""
    num_atoms = structure.num_atoms
    sides = 1.0 / jnp.linalg.norm(geometry.inverse(structure.cell), axis=-1)
    points = geometry.wrap(structure.fractional) * sides
    # Absent atoms stand at the end whichever way the others are sorted.
    points = jnp.concatenate([points, jnp.full((1, 3), jnp.inf)])
    atoms = jnp.minimum(jnp.arange(size << levels), num_atoms)
    for level in range(levels):
        groups = atoms.reshape(1 << level, -1)
        axis = jnp.argmax(sides)
        order = jnp.argsort(jnp.take(points, axis, axis=1)[groups], axis=1)
        atoms = jnp.take_along_axis(groups, order, axis=1)
        sides = sides.at[axis].multiply(0.5)
    return atoms.reshape(1 << levels, size)


@functools.partial(jax.jit, static_argnames="shape")
def assemble(
    structure: Structure, potential: Potential, neighbors: Neighbors, shape: Tiling
) -> Operator:
    """The Hessian of a structure; the shape is from `allocation.tiling` for it or one like it."""
    atoms = energetics.atoms_of(structure, potential, neighbors)
    curvature = potential.curvature(atoms)
    if curvature is None:
        return _matrix_free(potential, atoms)
    num_atoms = structure.num_atoms
    members = members_of(structure, shape.levels, shape.size)
    place = jnp.zeros(num_atoms + 1, jnp.int32)
    place = place.at[members.reshape(-1)].set(jnp.arange(members.size, dtype=jnp.int32))
    table = jnp.pad(lists.table(neighbors), ((0, 0), (0, 1)), constant_values=num_atoms)
    around = jnp.moveaxis(table[:, members], 0, -1)  # (T, c, K)
    whole = jnp.concatenate([around, members[..., None]], axis=-1).reshape(len(members), -1)
    # A place more than there is room for, which stays empty unless there are too many.
    distinct = functools.partial(jnp.unique, size=shape.width + 1, fill_value=num_atoms)
    touched, beyond = jnp.split(jax.vmap(distinct)(whole), [shape.width], axis=1)
    find = jax.vmap(jnp.searchsorted)
    at = find(touched, around)
    itself = find(touched, members)
    blocks, given, taken, bend = curvature
    diagonal = _diagonal(blocks, given, taken, bend, lists.table(neighbors))

    def tiled(values: Array) -> Array:
        """Values of the bonds (..., K, N) for the atoms of the tiles, (T, c, K, ...)."""
        padded = jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, 1)])
        return jnp.moveaxis(padded[..., members], (-2, -1, -3), (0, 1, 2))

    tile, atom = jnp.indices(members.shape)
    empty = jnp.zeros((*members.shape, 4, shape.width, 3))
    given, taken, blocks = (tiled(v) for v in (given, taken, blocks))
    here = tile[..., None], atom[..., None]
    rows = empty.at[*here, :3, at, :].add(-blocks, mode="drop")
    rows = rows.at[*here, 3, at, :].add(given, mode="drop")
    rows = rows.at[tile, atom, :3, itself, :].add(jnp.sum(blocks, axis=2), mode="drop")
    rows = rows.at[tile, atom, 3, itself, :].add(-jnp.sum(given, axis=2), mode="drop")
    back = jnp.zeros((*members.shape, 3, shape.width))
    back = back.at[*here, :, at].add(taken, mode="drop")
    back = back.at[tile, atom, :, itself].add(-jnp.sum(given, axis=2), mode="drop")
    return Hessian(
        members=members,
        place=place[:num_atoms],
        touched=touched,
        rows=rows.reshape(len(members), 4 * shape.size, 3 * shape.width),
        back=back.reshape(len(members), 3 * shape.size, shape.width),
        bend=bend,
        diagonal=diagonal,
        overflow=jnp.any(beyond < num_atoms),
    )


def _diagonal(blocks: Array, given: Array, taken: Array, bend: Array, idx: Array) -> Array:
    """Diagonal blocks, (N, 3, 3) [eV/Å²]."""
    own = jnp.sum(given, axis=1)
    there = jnp.take(bend, idx, mode="clip")
    square = jnp.einsum("akn,kn,bkn->nab", taken, there, taken)
    square = square + jnp.einsum("an,n,bn->nab", own, bend, own)
    return square + jnp.moveaxis(jnp.sum(blocks, axis=2), -1, 0)


def _matrix_free(potential: Potential, atoms: Atoms) -> MatrixFree:
    num_atoms = len(atoms.fractional)
    signs = jax.random.rademacher(jax.random.key(0), (num_atoms, 3, _PROBES), jnp.float64)
    found = MatrixFree(potential, atoms, jnp.zeros((num_atoms, 3, 3)), jnp.zeros((), bool))
    # M. F. Hutchinson, Commun. Stat. Simul. 19, 433 (1990).
    mean = jnp.mean(signs * apply(found, signs))
    return found.replace(diagonal=jnp.broadcast_to(mean * jnp.eye(3), (num_atoms, 3, 3)))


def _by_forces(hessian: MatrixFree, fields: Array) -> Array:
    """The Hessian times fields (N, 3, M) as the change of the forces along each."""
    atoms, inverse = hessian.atoms, geometry.inverse(hessian.atoms.cell)

    def forces(fractional: Array) -> Array:
        return hessian.potential.forces(atoms._replace(fractional=fractional))

    def product(field: Array) -> Array:
        move = geometry.product(field.astype(inverse.dtype), inverse.T)
        return -jax.jvp(forces, (atoms.fractional,), (move,))[1]

    columns = jnp.moveaxis(fields, -1, 0)
    return jnp.moveaxis(jax.lax.map(product, columns, batch_size=_FIELDS_AT_A_TIME), 0, -1)


def apply(hessian: Operator, fields: Array) -> Array:
    """The Hessian times displacement fields (N, 3, M) [Å], in eV/Å."""
    if isinstance(hessian, MatrixFree):
        return _by_forces(hessian, fields)
    many = fields.shape[-1]
    count, size = hessian.members.shape
    # A power of two, as their number is: with one left over, few fields take twice as long.
    batch = min(1 << max(0, (_COLUMNS_AT_A_TIME // many).bit_length() - 1), count)

    def product(matrices: Array, values: Array) -> Array:
        """Matrices of the tiles times values (N, ..., M) of atoms that they touch, (N, ..., M)."""

        def single(args):
            matrix, touched = args
            there = jnp.take(values, touched, axis=0, mode="clip")
            return geometry.product(matrix, there.reshape(-1, many))

        found = jax.lax.map(single, (matrices, hessian.touched), batch_size=batch)
        found = found.reshape(count * size, -1, many)
        return jnp.take(found, hessian.place, axis=0, mode="clip")

    both = product(hessian.rows, fields)
    return both[:, :3] + product(hessian.back, hessian.bend[:, None] * both[:, 3])


@functools.partial(jax.jit, static_argnames="max_iterations")
def solve(
    hessian: Operator, sides: Array, tolerance: float = 1e-9, max_iterations: int = 20_000
) -> conjugate_gradient.Solution:
    """Fields u (N, 3, M) [Å] with H u = b at a minimum, without translation, which costs no energy.

    The means of the right-hand sides b (N, 3, M) [eV/Å] are taken out. The tolerance limits the
    norm of the residual, relative to that of b.
    """
    inverse = jnp.linalg.inv(hessian.diagonal)
    found = conjugate_gradient.solve(
        functools.partial(apply, hessian),
        sides,
        tolerance,
        max_iterations,
        precondition=lambda x: jnp.einsum("nab,nbm->nam", inverse, x),
        project=lambda x: x - jnp.mean(x, axis=0),
    )
    short = jnp.where(hessian.overflow, conjugate_gradient.NOT_FINITE, found.outcome)
    return found._replace(outcome=short)


def differentiable_solve(
    hessian: Operator, product: Callable[[Array], Array], sides: Array, tolerance: float = 1e-9
) -> conjugate_gradient.Solution:
    """As `solve`, with derivatives by the implicit function theorem; NaN where not converged.

    The result is differentiated by the sides, and by `product`: the Hessian times fields
    (N, 3, M). Each derivative costs one more solution.
    """

    def inverse(_, sides: Array):
        found = solve(hessian, sides, tolerance)
        return found.fields, found._replace(fields=None)

    fields, found = jax.lax.custom_linear_solve(
        product, sides, inverse, symmetric=True, has_aux=True
    )
    good = found.outcome == conjugate_gradient.CONVERGED
    return found._replace(fields=jnp.where(good, fields, jnp.nan))
